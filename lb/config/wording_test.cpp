#include "lb/config/wording.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace lb {
namespace {

TEST(Wording, Nearest) {
  static constexpr std::string_view kKnown[] = {
      "listen", "listen_port",          "algorithm", "backends",   "pool", "ttl",
      "port",   "weighted_round_robin", "timeouts",  "round_robin"};
  struct Case {
    std::string_view name, meant;
  };
  for (const Case& c : {Case{"algoritm", "algorithm"},
                        {"prot", "port"},
                        {"backend", "backends"},
                        {"Backends", "backends"},
                        {"listen-port", "listen_port"},
                        {"listenport", "listen_port"},
                        {"listne", "listen"},
                        {"TTL", "ttl"},
                        {"tll", "ttl"},
                        {"timeout", "timeouts"},
                        {"roundrobin", "round_robin"},
                        {"weighted_roundrobin", "weighted_round_robin"},
                        {"x", ""},
                        {"", ""},
                        {"zzz", ""},
                        {"password", ""}}) {
    EXPECT_EQ(nearest(c.name, kKnown), c.meant) << c.name;
  }
  EXPECT_EQ(nearest(std::string(100'000, 'a'), kKnown), "");
}

TEST(Wording, Numbers) {
  EXPECT_EQ(seconds_text(Milliseconds{60'000}), "60");
  EXPECT_EQ(seconds_text(Milliseconds{1}), "0.001");
  EXPECT_EQ(seconds_text(Milliseconds{12'340}), "12.34");
  EXPECT_EQ(seconds_text(Milliseconds{-1'500}), "-1.5");
  EXPECT_EQ(seconds_text(Milliseconds::min()), "-9223372036854775.808");
  EXPECT_EQ(number_text(100.0), "100");
  EXPECT_EQ(number_text(0.1), "0.1");
  EXPECT_EQ(number_text(std::numeric_limits<double>::infinity()), "null");
  EXPECT_EQ(grouped(0), "0");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(100'000), "100,000");
  EXPECT_EQ(grouped(2'000'000), "2,000,000");
}

TEST(Wording, JsonStrings) {
  EXPECT_EQ(json_string("a\"b\\c\n\t\r\x01/"), R"("a\"b\\c\n\t\u000d\u0001/")");
  EXPECT_EQ(json_string("gr\xc3\xbcn \xf0\x9f\x8c\xbf"), "\"gr\xc3\xbcn \xf0\x9f\x8c\xbf\"");
  EXPECT_EQ(json_string("\xff\xc3"), R"("\ufffd\ufffd")");
  EXPECT_EQ(json_string("\xc2\x9b[31m"), R"("\u009b[31m")") << "C1 controls also drive terminals";
}

TEST(Wording, LongTextsAreCutBetweenCharacters) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += "\xc3\xbc";
  EXPECT_EQ(shown_text(text), "\"" + text.substr(0, 120) + "\"...");
  EXPECT_EQ(printable("a\x1b[31m", 3), "a\\u001b[...");
}

TEST(Wording, Utf8) {
  EXPECT_EQ(utf8_length("a"), 1U);
  EXPECT_EQ(utf8_length("\xc2\x80"), 2U);
  EXPECT_EQ(utf8_length("\xe0\xa0\x80"), 3U);
  EXPECT_EQ(utf8_length("\xf4\x8f\xbf\xbf"), 4U);
  for (const char* bad :
       {"", "\x80", "\xc0\xaf", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xc3", "\xe2\x82", "\xf0\x9f\x8c"}) {
    EXPECT_EQ(utf8_length(bad), 0U);
  }
}

}  // namespace
}  // namespace lb
