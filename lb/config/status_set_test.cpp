#include "lb/config/status_set.hpp"

#include <gtest/gtest.h>

#include <string>

namespace lb {
namespace {

TEST(StatusSet, NumbersAndRanges) {
  const auto set = StatusSet::parse("200-204, 301,404");
  ASSERT_TRUE(set);
  std::string members;
  for (std::uint16_t status = 0; status < 1000; ++status) {
    if (set->contains(status)) members += std::to_string(status) + " ";
  }
  EXPECT_EQ(members, "200 201 202 203 204 301 404 ");
  EXPECT_TRUE(StatusSet::parse("100-599")->contains(599));
}

TEST(StatusSet, WhatItIsNot) {
  for (const char* text : {"", ",", "200,", ",200", "99", "600", "2xx", "300-200", "200-", "-200",
                           "200-299-300", "200 299", "+200", "0200-x"}) {
    EXPECT_FALSE(StatusSet::parse(text)) << text;
  }
}

}  // namespace
}  // namespace lb
