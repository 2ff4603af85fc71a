#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "lb/http/http_testing.hpp"
#include "lb/http/message.hpp"
#include "lb/http/parser.hpp"

namespace lb::http {
namespace {

using namespace std::string_view_literals;
using testing::ResponseJudge;
using testing::Verdict;

struct ResponseCase {
  const char* rule;
  std::string_view bytes;
  int status = Verdict::kAccepted;
};

void check(const ResponseCase& c) {
  SCOPED_TRACE(std::string(c.rule) + ": " + testing::readable(c.bytes));
  ResponseJudge judge;
  const Verdict verdict = testing::judge_at_every_cut(judge, c.bytes);
  EXPECT_EQ(verdict.status, c.status) << verdict;
  if (c.status == Verdict::kAccepted) {
    EXPECT_EQ(verdict.head_bytes, c.bytes.size());
  }
}

TEST(ResponseParser, StatusLine) {
  const ResponseCase cases[] = {
      {"9112 4: ordinary", "HTTP/1.1 200 OK\r\n\r\n"},
      {"9112 4: 1.0", "HTTP/1.0 200 OK\r\n\r\n"},
      {"9112 4: empty reason", "HTTP/1.1 200 \r\n\r\n"},
      {"9112 4: no reason and no space", "HTTP/1.1 200\r\n\r\n"},
      {"9112 4: reason with spaces, tab and obs-text", "HTTP/1.1 404 nicht \t gefunden \xc3\xa9\r\n\r\n"},
      {"9110 15: code above 599", "HTTP/1.1 999 Request Denied\r\n\r\n"},
      {"9110 2.5: higher minor", "HTTP/1.7 200 OK\r\n\r\n"},
      {"9112 4: empty line before", "\r\nHTTP/1.1 200 OK\r\n\r\n", 502},
      {"9112 4: space before", " HTTP/1.1 200 OK\r\n\r\n", 502},
      {"9112 4: two spaces", "HTTP/1.1  200 OK\r\n\r\n", 502},
      {"9112 4: tab", "HTTP/1.1\t200 OK\r\n\r\n", 502},
      {"9112 4: tab after the code", "HTTP/1.1 200\tOK\r\n\r\n", 502},
      {"9112 4: two digits", "HTTP/1.1 20 OK\r\n\r\n", 502},
      {"9112 4: four digits", "HTTP/1.1 2000 OK\r\n\r\n", 502},
      {"9112 4: sign", "HTTP/1.1 +20 OK\r\n\r\n", 502},
      {"9112 4: letters", "HTTP/1.1 2xx OK\r\n\r\n", 502},
      {"9110 15: below 100", "HTTP/1.1 099 OK\r\n\r\n", 502},
      {"9110 15: zero", "HTTP/1.1 000 OK\r\n\r\n", 502},
      {"9112 4: no code", "HTTP/1.1\r\n\r\n", 502},
      {"9112 4: bare LF", "HTTP/1.1 200 OK\n\r\n", 502},
      {"9112 4: bare LF without reason", "HTTP/1.1 200\n\r\n", 502},
      {"9112 2.2: bare CR in the reason", "HTTP/1.1 200 O\rK\r\n\r\n", 502},
      {"9112 2.2: bare CR without reason", "HTTP/1.1 200\rX\r\n\r\n", 502},
      {"9112 4: NUL in the reason", "HTTP/1.1 200 O\0K\r\n\r\n"sv, 502},
      {"9112 4: escape in the reason", "HTTP/1.1 200 \x1b[1m\r\n\r\n", 502},
      {"9112 2.3: HTTP/2", "HTTP/2 200\r\n\r\n", 502},
      {"9112 2.3: HTTP/2.0", "HTTP/2.0 200 OK\r\n\r\n", 502},
      {"9112 2.3: HTTP/0.9", "HTTP/0.9 200 OK\r\n\r\n", 502},
      {"9112 2.3: lower case", "http/1.1 200 OK\r\n\r\n", 502},
      {"9112 2.3: no minor", "HTTP/1 200 OK\r\n\r\n", 502},
      {"9112 2.3: minor is no digit", "HTTP/1.x 200 OK\r\n\r\n", 502},
      {"9112 2.3: two digits", "HTTP/1.11 200 OK\r\n\r\n", 502},
      {"9112 4: ICY", "ICY 200 OK\r\n\r\n", 502},
      {"9112 4: a request", "GET / HTTP/1.1\r\n\r\n", 502},
      {"HTTP/0.9: a body alone", "<html></html>", 502},
      {"9112 4: SSH", "SSH-2.0-OpenSSH_9.2\r\n", 502},
  };
  for (const ResponseCase& c : cases) check(c);
}

TEST(ResponseParser, FieldLinesAreAsStrictAsInRequests) {
  const ResponseCase cases[] = {
      {"9112 5", "HTTP/1.1 200 OK\r\nX:  y \r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n\r\n"},
      {"9112 5.2: folded line", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", 502},
      {"9112 5.1: space before the colon", "HTTP/1.1 200 OK\r\nX : a\r\n\r\n", 502},
      {"9112 2.2: white space before the first field", "HTTP/1.1 200 OK\r\n X: a\r\n\r\n", 502},
      {"9112 2.2: bare LF", "HTTP/1.1 200 OK\r\nX: a\n\r\n", 502},
      {"9112 2.2: bare LF at the end", "HTTP/1.1 200 OK\r\nX: a\r\n\n", 502},
      {"9112 2.2: bare CR", "HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", 502},
      {"9110 5.5: NUL", "HTTP/1.1 200 OK\r\nX: a\0\r\n\r\n"sv, 502},
      {"9110 5.1: name", "HTTP/1.1 200 OK\r\nX(: a\r\n\r\n", 502},
      {"9110 5.1: empty name", "HTTP/1.1 200 OK\r\n: a\r\n\r\n", 502},
      {"9112 5: no colon", "HTTP/1.1 200 OK\r\nX\r\n\r\n", 502},
      {"9110 8.6: Content-Length twice", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
       502},
      {"9110 8.6: Content-Length list", "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n", 502},
      {"9110 8.6: negative", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", 502},
      {"9110 7.6.1: Connection", "HTTP/1.1 200 OK\r\nConnection: a b\r\n\r\n", 502},
      {"fields that only requests judge", "HTTP/1.1 200 OK\r\nHost: a b\r\nHost: c\r\nExpect: x\r\n\r\n"},
  };
  for (const ResponseCase& c : cases) check(c);
}

TEST(ResponseParser, Parts) {
  ResponseJudge judge;
  const std::string_view bytes =
      "HTTP/1.1 206 Partial  Content \r\nContent-Length: 7\r\nConnection: close, X-A\r\nX-A: b\r\nUpgrade: "
      "x\r\n\r\n";
  ASSERT_EQ(testing::judge_at_every_cut(judge, bytes).status, Verdict::kAccepted);
  const ResponseHead& head = *judge.head;
  EXPECT_EQ(head.status, 206);
  EXPECT_EQ(head.reason, "Partial  Content ");
  EXPECT_EQ(head.minor_version, 1);
  EXPECT_EQ(head.facts.content_length, 7u);
  EXPECT_TRUE(head.facts.connection_close);
  EXPECT_TRUE(head.facts.has_upgrade);
  EXPECT_FALSE(head.facts.connection_upgrade);
  ASSERT_EQ(head.table.field_count, 4u);
  EXPECT_TRUE(head.table.fields[2].hop_by_hop);
}

TEST(ResponseParser, SeveralHeadsInOneBuffer) {
  const std::string_view first = "HTTP/1.1 100 Continue\r\n\r\n";
  const std::string both = std::string(first) + "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc";
  ResponseJudge judge;
  EXPECT_EQ(judge(both).head_bytes, first.size());
  EXPECT_EQ(judge.head->status, 100);
  judge.scanner.reset();
  EXPECT_EQ(judge(std::string_view(both).substr(first.size())).framing.length, 3u);
  EXPECT_EQ(judge.head->minor_version, 0);
}

// RFC 9110 8.6, RFC 9112 6.1: such a message has no content, but who announces some may send it.
TEST(ResponseParser, AnnouncedContentThatCannotBeEndsTheConnection) {
  struct {
    std::string_view bytes;
    bool reusable;
  } const cases[] = {
      {"HTTP/1.1 204 No Content\r\n\r\n", true},
      {"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", true},
      {"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", false},
      {"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", false},
      {"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n", false},
      {"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", true},
  };
  for (const auto& c : cases) {
    ResponseJudge judge;
    EXPECT_EQ(judge(c.bytes).status, Verdict::kAccepted);
    EXPECT_EQ(wants_keep_alive(judge.head->facts, judge.head->minor_version), c.reusable) << c.bytes;
  }
}

}  // namespace
}  // namespace lb::http
