#include "lb/proxy/hash_key.hpp"

#include <gtest/gtest.h>

#include <string>

#include "lb/base/hash.hpp"
#include "lb/http/parser.hpp"

namespace lb {
namespace {

constexpr std::uint64_t kClient = 4711;

std::uint64_t key(HashBy by, const std::string& name, const std::string& request) {
  static http::RequestHead head;
  http::HeadScanner scanner;
  const http::ParseOutcome outcome = http::parse_request_head(request, {}, scanner, head);
  EXPECT_EQ(outcome.status, http::ParseStatus::complete) << request;
  return hash_key(HashConfig{.by = by, .name = name}, head, kClient);
}

TEST(HashKey, OfTheClientIsItsAddress) {
  EXPECT_EQ(key(HashBy::client_ip, "", "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"), kClient);
}

TEST(HashKey, OfAHeaderIsItsFirstValueThatIsNotEmpty) {
  const std::string request = "GET / HTTP/1.1\r\nHost: a\r\nx-user: \r\nX-USER: ann\r\nX-User: bob\r\n\r\n";
  EXPECT_EQ(key(HashBy::header, "X-User", request), hash_bytes("ann"));
  EXPECT_EQ(key(HashBy::header, "Host", request), hash_bytes("a"));
  EXPECT_EQ(key(HashBy::header, "X-Other", request), kClient);
}

TEST(HashKey, OfACookieIsItsValue) {
  const std::string request = "GET / HTTP/1.1\r\nHost: a\r\nCookie: x=1; session=abc\r\n\r\n";
  EXPECT_EQ(key(HashBy::cookie, "session", request), hash_bytes("abc"));
  EXPECT_EQ(key(HashBy::cookie, "Session", request), kClient);
}

TEST(HashKey, OfAPathIsWithoutTheQueryAndOfAUriWithIt) {
  const auto at = [](HashBy by, const std::string& target) {
    return key(by, "", "GET " + target + " HTTP/1.1\r\nHost: a\r\n\r\n");
  };
  EXPECT_EQ(at(HashBy::path, "/a/b?c=d"), hash_bytes("/a/b"));
  EXPECT_EQ(at(HashBy::uri, "/a/b?c=d"), hash_bytes("/a/b?c=d"));
  EXPECT_EQ(at(HashBy::path, "/a/b"), at(HashBy::path, "/a/b?"));
  EXPECT_EQ(at(HashBy::path, "http://a/x?y"), hash_bytes("/x"));
  EXPECT_EQ(at(HashBy::path, "http://a?y"), hash_bytes("/"));
  EXPECT_EQ(at(HashBy::path, "http://a"), hash_bytes("/"));
  EXPECT_NE(at(HashBy::path, "/A"), at(HashBy::path, "/a"));
}

}  // namespace
}  // namespace lb
