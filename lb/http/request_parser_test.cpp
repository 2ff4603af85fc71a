#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "lb/http/http_testing.hpp"
#include "lb/http/message.hpp"
#include "lb/http/parser.hpp"

namespace lb::http {
namespace {

using namespace std::string_view_literals;
using testing::RequestJudge;
using testing::Verdict;

struct Case {
  const char* rule;  // section and what is tried
  std::string_view bytes;
  int status = Verdict::kAccepted;
};

void check(const Case& c) {
  SCOPED_TRACE(std::string(c.rule) + ": " + testing::readable(c.bytes));
  RequestJudge judge;
  const Verdict verdict = testing::judge_at_every_cut(judge, c.bytes);
  EXPECT_EQ(verdict.status, c.status) << verdict;
  if (c.status == Verdict::kAccepted) {
    EXPECT_EQ(verdict.head_bytes, c.bytes.size());
  }
}

TEST(RequestParser, RequestLine) {
  const Case cases[] = {
      {"9112 3: GET, 1.1", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"9112 3: GET, 1.0", "GET / HTTP/1.0\r\n\r\n"},
      {"9112 2.2: one empty line before", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"9112 2.2: two empty lines before", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"9112 2.2: bare LF before", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"9112 2.2: bare CR before", "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"9112 2.2: space before", " GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"9110 9.1: extension method", "PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"9110 9.1: methods are case-sensitive, get is another one", "get / HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"9110 5.6.2: all token characters", "!#$%&'*+-.^_`|~09azAZ / HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"9110 5.6.2: method with a separator", "GE(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"9110 5.6.2: method with a colon", "GET: / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"9110 5.6.2: method with NUL", "GE\0T / HTTP/1.1\r\nHost: a\r\n\r\n"sv, 400},
      {"9110 5.6.2: method with obs-text", "GE\xc3T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"9112 3.1: empty method", " / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"9112 3: tab after the method", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"9112 3: two spaces after the method", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"9112 3: tab after the target", "GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"9112 3: two spaces after the target", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"9112 3: no target", "GET HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"9112 3: nothing but the method", "GET\r\nHost: a\r\n\r\n", 400},
      {"9112 3: space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"9112 3: space after the version", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400},
      {"9112 3: text after the version", "GET / HTTP/1.1x\r\nHost: a\r\n\r\n", 400},
      {"9112 2.2: bare LF after the version", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400},
      {"9112 2.2: bare CR after the version", "GET / HTTP/1.1\rHost: a\r\n\r\n", 400},
      {"9112 2.2: bare CR and a byte after the version", "GET / HTTP/1.1\rXHost: a\r\n\r\n", 400},
      {"9112 2.2: CR CR LF after the version", "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", 400},
      {"9112 2.3: HTTP/0.9 line", "GET /\r\nHost: a\r\n\r\n", 400},
      {"9112 2.3: HTTP/0.9 line with a space", "GET / \r\n\r\n", 400},
      {"9112 2.3: lower case name", "GET / http/1.1\r\nHost: a\r\n\r\n", 400},
      {"9112 2.3: other name", "GET / HTTPS/1.1\r\nHost: a\r\n\r\n", 400},
      {"9112 2.3: space in the version", "GET / HTTP/ 1.1\r\nHost: a\r\n\r\n", 400},
      {"9112 2.3: no minor version", "GET / HTTP/1\r\nHost: a\r\n\r\n", 400},
      {"9112 2.3: minor of two digits", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400},
      {"9112 2.3: major of two digits", "GET / HTTP/11.1\r\nHost: a\r\n\r\n", 400},
      {"9112 2.3: sign in the version", "GET / HTTP/+1.1\r\nHost: a\r\n\r\n", 400},
      {"9112 2.3: comma in the version", "GET / HTTP/1,1\r\nHost: a\r\n\r\n", 400},
      {"9110 2.5: higher minor is served as 1.1", "GET / HTTP/1.2\r\nHost: a\r\n\r\n"},
      {"9110 2.5: 1.9, and Host is required", "GET / HTTP/1.9\r\n\r\n", 400},
      {"9110 15.6.6: HTTP/2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
      {"9110 15.6.6: preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
      {"9110 15.6.6: HTTP/0.9", "GET / HTTP/0.9\r\n\r\n", 505},
      {"9110 15.6.6: HTTP/3.1", "GET / HTTP/3.1\r\nHost: a\r\n\r\n", 505},
      {"9112 3: TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"sv, 400},
  };
  for (const Case& c : cases) check(c);
}

TEST(RequestParser, Target) {
  const Case cases[] = {
      {"9112 3.2.1: path and query", "GET /a/b?c=d&e=/?f HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"9112 3.2.1: percent-encoded", "GET /%20%00%zz HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"9112 3.2.1: visible characters that clients leave unencoded",
       "GET /\"<>\\^`{|}[]' HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"9112 3.2.1: two slashes", "GET //a HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"9112 3.2: no leading slash", "GET a/b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"9112 3.2: query alone", "GET ?a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"3986 3.5: fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"3986 2: NUL", "GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n"sv, 400},
      {"3986 2: tab", "GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"3986 2: vertical tab", "GET /a\vb HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"3986 2: DEL", "GET /a\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"3986 2: raw UTF-8", "GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"3986 2: CR in the target", "GET /a\rb HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"3986 2: LF in the target", "GET /a\nb HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"9112 3.2.2: absolute", "GET http://a/b HTTP/1.1\r\nHost: c\r\n\r\n"},
      {"9112 3.2.2: https", "GET HTTPS://a:443/b HTTP/1.1\r\nHost: c\r\n\r\n"},
      {"9112 3.2.2: absolute still needs Host", "GET http://a/b HTTP/1.1\r\n\r\n", 400},
      {"9112 3.2.2: absolute in 1.0", "GET http://a/b HTTP/1.0\r\n\r\n"},
      {"9112 3.2.2: other scheme", "GET ftp://a/b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"9112 3.2.2: scheme without slashes", "GET http:a/b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"9110 4.2.1: empty authority", "GET http:///b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"9110 4.2.4: user information", "GET http://u:p@a/b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"3986 3.2.3: port is no number", "GET http://a:8x/b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"9112 3.2.3: CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"},
      {"9112 3.2.3: CONNECT with an IPv6 address", "CONNECT [::1]:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"},
      {"9112 3.2.3: CONNECT without port", "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"9112 3.2.3: CONNECT with an empty port", "CONNECT a: HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"9112 3.2.3: CONNECT with a path", "CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"9112 3.2.3: CONNECT with an absolute target", "CONNECT http://a:1/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"9112 3.2.3: authority-form without CONNECT", "GET a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"9112 3.2.4: OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"9112 3.2.4: GET *", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"9112 3.2.4: OPTIONS **", "OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n", 400},
  };
  for (const Case& c : cases) check(c);
}

TEST(RequestParser, FieldLines) {
  const Case cases[] = {
      {"9112 5: white space around the value", "GET / HTTP/1.1\r\nHost: \t a\t \r\n\r\n"},
      {"9112 5: none before the value", "GET / HTTP/1.1\r\nHost:a\r\n\r\n"},
      {"9110 5.5: empty value", "GET / HTTP/1.1\r\nHost: a\r\nX:\r\nY: \r\n\r\n"},
      {"9110 5.5: obs-text in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: \xc3\xa9\xff\x80\r\n\r\n"},
      {"9110 5.5: tab inside a value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\tb\r\n\r\n"},
      {"9110 5.5: colons in a value", "GET / HTTP/1.1\r\nHost: a\r\nX:: :\r\n\r\n"},
      {"9110 5.6.2: all token characters", "GET / HTTP/1.1\r\nHost: a\r\n!#$%&'*+-.^_`|~09azAZ: x\r\n\r\n"},
      {"9110 5.5: NUL", "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"sv, 400},
      {"9110 5.5: SOH", "GET / HTTP/1.1\r\nHost: a\r\nX: a\x01\r\n\r\n", 400},
      {"9110 5.5: vertical tab", "GET / HTTP/1.1\r\nHost: a\r\nX: \v1\r\n\r\n", 400},
      {"9110 5.5: escape", "GET / HTTP/1.1\r\nHost: a\r\nX: \x1b[0m\r\n\r\n", 400},
      {"9110 5.5: DEL", "GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n", 400},
      {"9112 2.2: bare CR in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400},
      {"9112 2.2: CR CR LF", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\r\n\r\n", 400},
      {"9112 2.2: bare LF after a value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\nY: b\r\n\r\n", 400},
      {"9112 2.2: bare LF for the empty line", "GET / HTTP/1.1\r\nHost: a\r\n\n", 400},
      {"9112 2.2: bare CR for the empty line", "GET / HTTP/1.1\r\nHost: a\r\n\rx", 400},
      {"9112 2.2: white space before the first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
      {"9112 2.2: tab before the first field", "GET / HTTP/1.1\r\n\tHost: a\r\n\r\n", 400},
      {"9112 5.2: folded line, space", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400},
      {"9112 5.2: folded line, tab", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n\tb\r\n\r\n", 400},
      {"9112 5.2: a line of white space", "GET / HTTP/1.1\r\nHost: a\r\n \r\n\r\n", 400},
      {"9112 5.1: space before the colon", "GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n", 400},
      {"9112 5.1: tab before the colon", "GET / HTTP/1.1\r\nHost: a\r\nX\t: a\r\n\r\n", 400},
      {"9110 5.1: empty name", "GET / HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n", 400},
      {"9110 5.1: name with a space", "GET / HTTP/1.1\r\nHost: a\r\nX Y: a\r\n\r\n", 400},
      {"9110 5.1: name with a slash", "GET / HTTP/1.1\r\nHost: a\r\nX/Y: a\r\n\r\n", 400},
      {"9110 5.1: quoted name", "GET / HTTP/1.1\r\nHost: a\r\n\"X\": a\r\n\r\n", 400},
      {"9110 5.1: name with obs-text", "GET / HTTP/1.1\r\nHost: a\r\nX\xa0: a\r\n\r\n", 400},
      {"9110 5.1: name with NUL", "GET / HTTP/1.1\r\nHost: a\r\nX\0: a\r\n\r\n"sv, 400},
      {"9112 5: no colon", "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400},
      {"9112 5: no colon, bare LF", "GET / HTTP/1.1\r\nHost: a\r\nX\n\r\n", 400},
      {"9112 5: no colon, bare CR", "GET / HTTP/1.1\r\nHost: a\r\nX\r: a\r\n\r\n", 400},
  };
  for (const Case& c : cases) check(c);
}

TEST(RequestParser, HostField) {
  const Case cases[] = {
      {"9112 3.2: missing in 1.1", "GET / HTTP/1.1\r\n\r\n", 400},
      {"9112 3.2: missing in 1.0", "GET / HTTP/1.0\r\nX: y\r\n\r\n"},
      {"9112 3.2: two", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
      {"9112 3.2: two alike", "GET / HTTP/1.1\r\nHost: a\r\nHOST: a\r\n\r\n", 400},
      {"9112 3.2: two in 1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400},
      {"9110 7.2: any case of the name", "GET / HTTP/1.1\r\nhOsT: a\r\n\r\n"},
      {"9110 7.2: name and port", "GET / HTTP/1.1\r\nHost: a-b_c.example:8080\r\n\r\n"},
      {"9110 7.2: IPv4", "GET / HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n"},
      {"9110 7.2: IPv6", "GET / HTTP/1.1\r\nHost: [::ffff:127.0.0.1]:80\r\n\r\n"},
      {"9110 7.2: empty", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400},
      {"9110 7.2: invalid in 1.0 too", "GET / HTTP/1.0\r\nHost: a b\r\n\r\n", 400},
      {"9110 7.2: list", "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 400},
      {"9110 7.2: white space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
      {"9110 7.2: user information", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400},
      {"9110 7.2: URL", "GET / HTTP/1.1\r\nHost: http://a\r\n\r\n", 400},
      {"9110 7.2: path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
      {"9110 7.2: obs-text", "GET / HTTP/1.1\r\nHost: \xc3\xa9\r\n\r\n", 400},
      {"9110 7.2: port with letters", "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400},
      {"9110 7.2: port too large", "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400},
  };
  for (const Case& c : cases) check(c);
}

TEST(RequestParser, ExpectField) {
  const Case cases[] = {
      {"9110 10.1.1: 100-continue",
       "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n"},
      {"9110 10.1.1: unknown", "PUT / HTTP/1.1\r\nHost: a\r\nExpect: other\r\nContent-Length: 1\r\n\r\n",
       417},
      {"9110 10.1.1: empty", "PUT / HTTP/1.1\r\nHost: a\r\nExpect:\r\nContent-Length: 1\r\n\r\n", 417},
      {"9110 10.1.1: prefixed", "PUT / HTTP/1.1\r\nHost: a\r\nExpect: y 100-continue\r\n\r\n", 417},
      {"9110 10.1.1: list", "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue, other\r\n\r\n", 417},
      {"9110 10.1.1: twice",
       "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nExpect: 100-continue\r\n\r\n", 417},
  };
  for (const Case& c : cases) check(c);
}

}  // namespace
}  // namespace lb::http
