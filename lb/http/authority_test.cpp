#include "lb/http/authority.hpp"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "lb/http/http_testing.hpp"

namespace lb::http {
namespace {

using namespace std::string_view_literals;

bool valid(std::string_view text, PortRule rule = PortRule::optional) {
  const testing::ExactBytes exact(text);
  return is_valid_authority(exact.view(), rule);
}

TEST(Authority, Accepts) {  // RFC 3986 3.2.2, 3.2.3
  for (const std::string_view text :
       {"a", "example.com", "example.com.", "a:80", "a:0", "a:65535", "a:00080", "a:", "127.0.0.1",
        "127.0.0.1:8080", "[::1]", "[::1]:80", "[::1]:", "[2001:db8::1.2.3.4]", "a_b", "a~b", "%61b",
        "x%c3%A9", "a!$&'()*+;=b"}) {
    EXPECT_TRUE(valid(text)) << text;
  }
}

TEST(Authority, Refuses) {
  for (const std::string_view text :
       {"",        ":",        ":80",     "a:b",   "a:80:80", "a:65536", "a:100000",
        "a:-1",    "a:+1",     "a: 80",   "a:8 0", "a b",     " a",      "a ",
        "a,b",     "a/b",      "a?b",     "a#b",   "a@b",     "u:p@a",   "http://a",
        "a\\b",    "a\"b",     "<a>",     "a|b",   "a^b",     "a`b",     "{a}",
        "[",       "]",        "[]",      "[:]",   "[::1",    "::1",     "[::1]]",
        "[[::1]]", "[::1]80",  "[::1]:x", "[a b]", "[::g]",   "[1234]",  "[fe80::1%25eth0]",
        "[v1.x]",  "a[::1]",   "%",       "%6",    "%6g",     "a%",      "a%zz",
        "a%4",     "\xc3\xa9", "a\x7f",   "a\t",   "a\r\nb"}) {
    EXPECT_FALSE(valid(text)) << testing::readable(text);
  }
  EXPECT_FALSE(valid("a\0"sv));
  EXPECT_FALSE(valid("\0"sv));
}

TEST(Authority, PortRequired) {  // RFC 9112 3.2.3
  EXPECT_TRUE(valid("a:443", PortRule::required));
  EXPECT_TRUE(valid("[::1]:443", PortRule::required));
  EXPECT_FALSE(valid("a", PortRule::required));
  EXPECT_FALSE(valid("a:", PortRule::required));
  EXPECT_FALSE(valid("[::1]", PortRule::required));
}

TEST(Authority, Length) {
  EXPECT_TRUE(valid(std::string(kAuthorityBytesMax - 1, 'a')));
  EXPECT_TRUE(valid(std::string(kAuthorityBytesMax, 'a')));
  EXPECT_FALSE(valid(std::string(kAuthorityBytesMax + 1, 'a')));
}

}  // namespace
}  // namespace lb::http
