#include "lb/http/framing.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "lb/http/http_testing.hpp"
#include "lb/http/writer.hpp"

namespace lb::http {
namespace {

using FramingKind = BodyFraming::Kind;
using testing::RequestJudge;
using testing::ResponseJudge;
using testing::Verdict;

constexpr BodyFraming kNone{FramingKind::none, 0};
constexpr BodyFraming kChunked{FramingKind::chunked, 0};
constexpr BodyFraming kUntilClose{FramingKind::until_close, 0};
constexpr BodyFraming kTunnel{FramingKind::tunnel, 0};

constexpr BodyFraming length(std::uint64_t bytes) {
  return {FramingKind::length, bytes};
}

TEST(RequestFraming, ByFields) {
  struct {
    const char* rule;
    std::string_view line;
    BodyFraming framing;
  } const cases[] = {
      {"9112 6.3: neither", "GET / HTTP/1.1", kNone},
      {"9112 6.3: length", "POST / HTTP/1.1\r\nContent-Length: 5", length(5)},
      {"9112 6.3: length of GET", "GET / HTTP/1.1\r\nContent-Length: 5", length(5)},
      {"9112 6.3: length 0", "POST / HTTP/1.1\r\nContent-Length: 0", kNone},
      {"9110 8.6: leading zeros", "POST / HTTP/1.1\r\nContent-Length: 0000000000000000000000010", length(10)},
      {"9110 8.6: 2^63 - 1", "POST / HTTP/1.1\r\nContent-Length: 9223372036854775807", length(INT64_MAX)},
      {"9112 6.1: chunked", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked", kChunked},
      {"9112 7: codings are case-insensitive", "POST / HTTP/1.1\r\ntransfer-encoding:\t CHUNKed ", kChunked},
      {"9112 9.3: HTTP/1.0 with length", "POST / HTTP/1.0\r\nContent-Length: 5", length(5)},
      {"9112 9.3: HTTP/1.0 without", "POST / HTTP/1.0", kNone},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.rule);
    RequestJudge judge;
    const Verdict verdict = testing::judge_at_every_cut(judge, std::string(c.line) + "\r\nHost: a\r\n\r\n");
    EXPECT_EQ(verdict.status, Verdict::kAccepted) << verdict;
    EXPECT_EQ(verdict.framing, c.framing) << verdict;
  }
}

TEST(ResponseFraming, ByStatusMethodAndFields) {
  struct {
    const char* rule;
    std::string_view bytes;
    Method method;
    bool upgrade;
    BodyFraming framing;
    int status = Verdict::kAccepted;
  } const cases[] = {
      {"9112 6.3: length", "HTTP/1.1 200 OK\r\nContent-Length: 5", Method::get, false, length(5)},
      {"9112 6.3: length 0", "HTTP/1.1 200 OK\r\nContent-Length: 0", Method::get, false, kNone},
      {"9112 6.3: chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked", Method::get, false, kChunked},
      {"9112 6.3: until close", "HTTP/1.1 200 OK", Method::get, false, kUntilClose},
      {"9112 6.3: until close, 1.0", "HTTP/1.0 200 OK", Method::get, false, kUntilClose},
      {"9112 6.3: errors too", "HTTP/1.1 500 No", Method::post, false, kUntilClose},
      {"9112 6.3: HEAD, length", "HTTP/1.1 200 OK\r\nContent-Length: 5", Method::head, false, kNone},
      {"9112 6.3: HEAD, chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", Method::head, false,
       kNone},
      {"9112 6.3: HEAD, nothing", "HTTP/1.1 200 OK", Method::head, false, kNone},
      {"9112 6.3: 304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5", Method::get, false, kNone},
      {"9112 6.3: 304, chunked", "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked", Method::get,
       false, kNone},
      {"9112 6.3: 204", "HTTP/1.1 204 No Content", Method::get, false, kNone},
      {"9112 6.3: 204 with length", "HTTP/1.1 204 No Content\r\nContent-Length: 5", Method::get, false,
       kNone},
      {"9110 15.3.6: 205 is framed like others", "HTTP/1.1 205 Reset\r\nContent-Length: 0", Method::get,
       false, kNone},
      {"9112 6.3: 100", "HTTP/1.1 100 Continue", Method::post, false, kNone},
      {"9112 6.3: 103", "HTTP/1.1 103 Early Hints\r\nLink: a", Method::get, false, kNone},
      {"9110 7.8: 101 asked for", "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x", Method::get, true,
       kTunnel},
      {"9110 7.8: 101 unasked",
       "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x",
       Method::get,
       false,
       {},
       502},
      {"9110 15.2: 101 in 1.0",
       "HTTP/1.0 101 S\r\nConnection: upgrade\r\nUpgrade: x",
       Method::get,
       true,
       {},
       502},
      {"9110 7.8: upgrade declined", "HTTP/1.1 200 OK\r\nContent-Length: 5", Method::get, true, length(5)},
      {"9112 6.3: both",
       "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
       Method::get,
       false,
       {},
       502},
      {"9112 6.3: both, other order",
       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5",
       Method::get,
       false,
       {},
       502},
      {"9112 6.3: both, to HEAD",
       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5",
       Method::head,
       false,
       {},
       502},
      {"9112 6.1: chunked in 1.0",
       "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked",
       Method::get,
       false,
       {},
       502},
      {"9112 6.1: gzip", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked", Method::get, false, {}, 502},
      {"9112 6.1: chunked not last",
       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip",
       Method::get,
       false,
       {},
       502},
      {"9112 6.1: identity", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity", Method::get, false, {}, 502},
      {"9112 6.1: empty", "HTTP/1.1 200 OK\r\nTransfer-Encoding:", Method::get, false, {}, 502},
      {"9112 6.1: twice",
       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
       Method::get,
       false,
       {},
       502},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.rule);
    ResponseJudge judge;
    judge.request_method = c.method;
    judge.upgrade_requested = c.upgrade;
    const Verdict verdict = testing::judge_at_every_cut(judge, std::string(c.bytes) + "\r\n\r\n");
    EXPECT_EQ(verdict.status, c.status) << verdict;
    EXPECT_EQ(verdict.framing, c.framing) << verdict;
  }
}

TEST(ClientFraming, TowardsEachVersion) {
  struct {
    BodyFraming upstream, to_1_1, to_1_0;
  } const cases[] = {
      {kNone, kNone, kNone},
      {length(7), length(7), length(7)},
      {kChunked, kChunked, kUntilClose},
      {kUntilClose, kChunked, kUntilClose},
      {kTunnel, kTunnel, kTunnel},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(client_framing(c.upstream, 1), c.to_1_1);
    EXPECT_EQ(client_framing(c.upstream, 0), c.to_1_0);
  }
}

TEST(KeepAlive, ByVersionAndConnection) {  // RFC 9112 9.3
  HeadFacts facts;
  EXPECT_TRUE(wants_keep_alive(facts, 1));
  EXPECT_FALSE(wants_keep_alive(facts, 0));
  facts.connection_keep_alive = true;
  EXPECT_TRUE(wants_keep_alive(facts, 1));
  EXPECT_TRUE(wants_keep_alive(facts, 0));
  facts.connection_close = true;
  EXPECT_FALSE(wants_keep_alive(facts, 1));
  EXPECT_FALSE(wants_keep_alive(facts, 0));
}

}  // namespace
}  // namespace lb::http
