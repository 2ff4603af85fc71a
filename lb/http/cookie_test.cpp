#include "lb/http/cookie.hpp"

#include <gtest/gtest.h>

namespace lb::http {
namespace {

TEST(Cookie, IsFoundWhereverItStands) {
  EXPECT_EQ(cookie_value("a=1; b=2; c=3", "a"), "1");
  EXPECT_EQ(cookie_value("a=1; b=2; c=3", "b"), "2");
  EXPECT_EQ(cookie_value("a=1; b=2; c=3", "c"), "3");
  EXPECT_EQ(cookie_value("a=1; b=2; c=3", "d"), "");
}

TEST(Cookie, NamesAreExact) {
  EXPECT_EQ(cookie_value("xa=1; A=2; ax=3; a=4", "a"), "4");
  EXPECT_EQ(cookie_value("b=a=1", "a"), "");
}

TEST(Cookie, ValuesAreAsSent) {
  EXPECT_EQ(cookie_value(R"(a="x y"; b=2)", "a"), R"("x y")");
  EXPECT_EQ(cookie_value("a=x=y==; b=2", "a"), "x=y==");
  EXPECT_EQ(cookie_value("a=%3B", "a"), "%3B");
}

TEST(Cookie, TheFirstCounts) {
  EXPECT_EQ(cookie_value("a=1; a=2", "a"), "1");
}

TEST(Cookie, WhatIsNoCookieIsPassedOver) {
  EXPECT_EQ(cookie_value("", "a"), "");
  EXPECT_EQ(cookie_value(";;; ;", "a"), "");
  EXPECT_EQ(cookie_value("a; a=1", "a"), "1");
  EXPECT_EQ(cookie_value("a", "a"), "");
  EXPECT_EQ(cookie_value("a=", "a"), "");
  EXPECT_EQ(cookie_value("a=;b=1", "b"), "1");
  EXPECT_EQ(cookie_value(" \t a \t=\t 1 \t;", "a"), "1");
  EXPECT_EQ(cookie_value("=1", "a"), "");
}

TEST(Cookie, EveryCookieFieldIsLookedAt) {
  FieldTable table;
  const auto add = [&](std::string_view name, std::string_view value, FieldId id = FieldId::other) {
    table.fields[table.field_count++] = {.name = name, .value = value, .id = id};
  };
  add("Host", "a=0", FieldId::host);
  add("X-Cookie", "a=1");
  add("COOKIE", "b=2");
  add("cookie", "a=3; b=4");
  EXPECT_EQ(cookie_of(table, "a"), "3");
  EXPECT_EQ(cookie_of(table, "b"), "2");
  EXPECT_EQ(cookie_of(table, "c"), "");
}

}  // namespace
}  // namespace lb::http
