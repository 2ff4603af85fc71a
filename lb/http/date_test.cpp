#include "lb/http/date.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <ctime>
#include <limits>
#include <string>

namespace lb::http {
namespace {

std::string date(std::int64_t unix_s) {
  std::array<char, kDateBytes> text{};
  write_date(unix_s, text);
  return {text.data(), text.size()};
}

TEST(Date, Rfc9110_5_6_7_ImfFixdate) {
  EXPECT_EQ(date(784'111'777), "Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
  EXPECT_EQ(date(951'868'799), "Tue, 29 Feb 2000 23:59:59 GMT");
  EXPECT_EQ(date(-1), date(0));
  EXPECT_EQ(date(std::numeric_limits<std::int64_t>::max()), "Fri, 31 Dec 9999 23:59:59 GMT");
}

TEST(Date, AsTheLibraryHasIt) {
  for (std::time_t at = 0; at < 5'000'000'000; at += 7'654'321) {
    std::tm parts{};
    std::array<char, 64> text{};
    ASSERT_NE(::gmtime_r(&at, &parts), nullptr);
    std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
    ASSERT_EQ(date(at), text.data());
  }
}

}  // namespace
}  // namespace lb::http
