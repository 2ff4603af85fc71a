#include "lb/http/writer.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lb/http/authority.hpp"
#include "lb/http/http_testing.hpp"

namespace lb::http {
namespace {

using testing::ExactBytes;
using testing::RequestJudge;
using testing::ResponseJudge;
using testing::Verdict;

constexpr ForwardContext kContext{"192.0.2.7", "http", "lb", "backend:9001"};

// What the writer adds to a request that has none of the forwarding fields.
std::string added(std::string_view host, std::string_view via = "1.1 lb") {
  return "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: " + std::string(host) +
         "\r\nVia: " + std::string(via) + "\r\n";
}

// Into memory of exactly `size` bytes, so that a sanitizer sees an overrun.
template <class Write>
std::string write_exact(std::size_t size, Write&& write) {
  const auto memory = std::make_unique<char[]>(size);
  const std::size_t written = write(std::span<char>(memory.get(), size));
  return {memory.get(), written};
}

// Also proves that exactly enough room is enough, that less gives 0, and that kHeadGrowthMax bounds it.
template <class Write>
std::string write_and_check_room(std::size_t head_bytes, std::size_t extra_bytes, Write&& write) {
  const std::string text = write_exact(64 * 1024, write);
  EXPECT_LE(text.size(), head_bytes + extra_bytes + kHeadGrowthMax);
  EXPECT_EQ(write_exact(text.size(), write), text);
  for (const std::size_t less : {std::size_t{1}, std::size_t{2}, text.size() / 2, text.size()}) {
    EXPECT_EQ(write_exact(text.size() - std::min(less, text.size()), write), "");
  }
  return text;
}

std::string upstream(std::string_view bytes, const ForwardContext& context = kContext) {
  const ExactBytes exact(bytes);
  RequestJudge judge;
  const Verdict verdict = judge(exact.view());
  EXPECT_EQ(verdict.status, Verdict::kAccepted) << verdict << "\n" << testing::readable(bytes);
  if (verdict.status != Verdict::kAccepted) return "";
  return write_and_check_room(verdict.head_bytes, 0, [&](std::span<char> out) {
    return write_upstream_head(*judge.head, verdict.framing, context, out);
  });
}

TEST(UpstreamHead, Golden) {
  struct {
    const char* rule;
    std::string_view in;
    std::string out;
  } const cases[] = {
      {"smallest", "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
       "GET / HTTP/1.1\r\nHost: a\r\n" + added("a") + "\r\n"},
      {"9112 2.2: the empty line before is gone", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
       "GET / HTTP/1.1\r\nHost: a\r\n" + added("a") + "\r\n"},
      {"9112 3.2: Host comes first, other fields in order",
       "GET /p?q HTTP/1.1\r\nB: 2\r\nHost: a:81\r\nA: 1\r\nB: 3\r\n\r\n",
       "GET /p?q HTTP/1.1\r\nHost: a:81\r\nB: 2\r\nA: 1\r\nB: 3\r\n" + added("a:81") + "\r\n"},
      {"9112 5: white space is made regular, spelling kept",
       "GET / HTTP/1.1\r\nhost:a\r\nx-A:1\r\nX-b: \t2 \t\r\nX-C:\r\nX-D:  \r\nX-e: 3\r\nX-f:\t4\r\nX-g: 5 "
       "\r\n\r\n",
       "GET / HTTP/1.1\r\nHost: a\r\nx-A: 1\r\nX-b: 2\r\nX-C: \r\nX-D: \r\nX-e: 3\r\nX-f: 4\r\nX-g: 5\r\n" +
           added("a") + "\r\n"},
      {"9112 3.2.2: absolute target overrides Host", "GET http://b:8/x?y HTTP/1.1\r\nHost: a\r\n\r\n",
       "GET /x?y HTTP/1.1\r\nHost: b:8\r\n" + added("b:8") + "\r\n"},
      {"9112 3.2.2: query without a path", "GET http://b?y HTTP/1.1\r\nHost: a\r\n\r\n",
       "GET /?y HTTP/1.1\r\nHost: b\r\n" + added("b") + "\r\n"},
      {"9112 3.2.4: asterisk", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
       "OPTIONS * HTTP/1.1\r\nHost: a\r\n" + added("a") + "\r\n"},
      {"9112 3.2.4: absolute OPTIONS without a path", "OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n",
       "OPTIONS * HTTP/1.1\r\nHost: b\r\n" + added("b") + "\r\n"},
      {"9110 7.6.1: hop-by-hop",
       "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x-mine\r\nKeep-Alive: timeout=5\r\nTE: "
       "trailers\r\n"
       "Trailer: X\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic x\r\nProxy-Authenticate: "
       "y\r\n"
       "Upgrade: websocket\r\nX-Mine: 1\r\nX-Other: 2\r\n\r\n",
       "GET / HTTP/1.1\r\nHost: a\r\nX-Other: 2\r\n" + added("a") + "Connection: TE\r\nTE: trailers\r\n\r\n"},
      {"9110 10.1.4: TE is for one hop, but for trailers",
       "GET / HTTP/1.1\r\nHost: a\r\nConnection: TE\r\nTE: gzip;q=0.5, deflate\r\n\r\n",
       "GET / HTTP/1.1\r\nHost: a\r\n" + added("a") + "\r\n"},
      {"9110 10.1.4: trailers among other codings",
       "GET / HTTP/1.1\r\nHost: a\r\nTE: gzip;q=0.5, Trailers\r\n\r\n",
       "GET / HTTP/1.1\r\nHost: a\r\n" + added("a") + "Connection: TE\r\nTE: trailers\r\n\r\n"},
      {"9110 10.1.4: a 1.0 client takes none", "GET / HTTP/1.0\r\nHost: a\r\nTE: trailers\r\n\r\n",
       "GET / HTTP/1.1\r\nHost: a\r\n" + added("a", "1.0 lb") + "\r\n"},
      {"9110 6.6.2: Trailer goes with chunked",
       "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X, Y\r\nTrailer: Z\r\n\r\n",
       "POST / HTTP/1.1\r\nHost: a\r\n" + added("a") +
           "Transfer-Encoding: chunked\r\nTrailer: X, Y, Z\r\n\r\n"},
      {"9110 7.8 and 10.1.4: upgrade and trailers",
       "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade, TE\r\nTE: trailers\r\nUpgrade: websocket\r\n\r\n",
       "GET / HTTP/1.1\r\nHost: a\r\n" + added("a") +
           "Connection: upgrade, TE\r\nTE: trailers\r\nUpgrade: websocket\r\n\r\n"},
      {"imitations", "GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 1\r\nContent_Length: 5\r\nx_y: 2\r\n\r\n",
       "GET / HTTP/1.1\r\nHost: a\r\nx_y: 2\r\n" + added("a") + "\r\n"},
      {"length", "POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 0042\r\nX: y\r\n\r\n",
       "POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n" + added("a") + "Content-Length: 42\r\n\r\n"},
      {"length 0 is kept", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
       "POST / HTTP/1.1\r\nHost: a\r\n" + added("a") + "Content-Length: 0\r\n\r\n"},
      {"chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:  CHUNKED\r\nX: y\r\n\r\n",
       "POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n" + added("a") + "Transfer-Encoding: chunked\r\n\r\n"},
      {"9110 10.1.1: Expect goes with content",
       "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
       "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n" + added("a") + "Content-Length: 3\r\n\r\n"},
      {"9110 10.1.1: Expect without content goes no further",
       "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
       "GET / HTTP/1.1\r\nHost: a\r\n" + added("a") + "\r\n"},
      {"HTTP/1.0 becomes 1.1 with Host; 9110 7.6.3: Via tells the version received",
       "GET / HTTP/1.0\r\nX: y\r\n\r\n",
       "GET / HTTP/1.1\r\nHost: backend:9001\r\nX: y\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: "
       "http\r\n"
       "Via: 1.0 lb\r\n\r\n"},
      {"HTTP/1.0 with Host and Expect",
       "PUT / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
       "PUT / HTTP/1.1\r\nHost: a\r\n" + added("a", "1.0 lb") + "Content-Length: 1\r\n\r\n"},
      {"9110 7.8: upgrade",
       "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, X-Mine\r\nX-Mine: 1\r\nUpgrade: websocket\r\n"
       "Sec-WebSocket-Key: k\r\nUpgrade: other/2\r\n\r\n",
       "GET / HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Key: k\r\n" + added("a") +
           "Connection: upgrade\r\nUpgrade: websocket, other/2\r\n\r\n"},
      {"9110 7.8: no upgrade from HTTP/1.0",
       "GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
       "GET / HTTP/1.1\r\nHost: a\r\n" + added("a", "1.0 lb") + "\r\n"},
      {"h2c goes no further",
       "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: "
       "A\r\n\r\n",
       "GET / HTTP/1.1\r\nHost: a\r\n" + added("a") + "\r\n"},
      {"9110 7.6.2: Max-Forwards is counted down", "OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n\r\n",
       "OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 2\r\n" + added("a") + "\r\n"},
      {"9110 7.6.2: of other methods it is left", "GET / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n\r\n",
       "GET / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n" + added("a") + "\r\n"},
      {"extension method", "PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n",
       "PROPFIND / HTTP/1.1\r\nHost: a\r\n" + added("a") + "\r\n"},
      {"obs-text in values passes", "GET / HTTP/1.1\r\nHost: a\r\nX: \xc3\xa9\xff\r\n\r\n",
       "GET / HTTP/1.1\r\nHost: a\r\nX: \xc3\xa9\xff\r\n" + added("a") + "\r\n"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.rule);
    EXPECT_EQ(upstream(c.in), c.out);
  }
}

TEST(UpstreamHead, ForwardingFieldsContinueOrReplace) {
  EXPECT_EQ(
      upstream("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nx-forwarded-for: \r\nVia: 1.0 p\r\n"
               "X-Forwarded-Proto: https\r\nX-FORWARDED-HOST: evil\r\nX-Forwarded-Host: evil2\r\nX: y\r\n"
               "X-Forwarded-For:2.2.2.2, 3.3.3.3 \r\nVia: 1.1 q (comment)\r\n\r\n"),
      "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n"
      "X-Forwarded-For: 1.1.1.1, 2.2.2.2, 3.3.3.3, 192.0.2.7\r\n"
      "X-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nVia: 1.0 p, 1.1 q (comment), 1.1 lb\r\n\r\n");
}

TEST(UpstreamHead, WhatIsReadAgainIsTheSame) {
  for (const std::string_view bytes : {
           "GET http://h?x HTTP/1.1\r\nHost: a\r\nA:b\r\n\r\n",
           "POST / HTTP/1.0\r\nContent-Length: 7\r\nConnection: X, keep-alive\r\nX: y\r\n\r\n",
           "PUT /long/path HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
       }) {
    const std::string once = upstream(bytes);
    RequestJudge judge;
    const Verdict verdict = testing::judge_at_every_cut(judge, once);
    EXPECT_EQ(verdict.status, Verdict::kAccepted) << verdict;
    EXPECT_EQ(verdict.head_bytes, once.size());
  }
}

// A line with the largest growth each: kHeadGrowthMax must cover it together with the longest authority.
TEST(UpstreamHead, GrowthIsBounded) {
  const std::string host(kAuthorityBytesMax, 'h');
  std::string bytes = "POST http://" + host + "?q HTTP/1.0\r\nContent-Length:9223372036854775807\r\n";
  for (std::uint32_t i = 1; i < kFieldCountMax; ++i)
    bytes += i % 3 == 0 ? "Via:a\r\n" : i % 3 == 1 ? "x:\r\n" : "X-Forwarded-For:b\r\n";
  bytes += "\r\n";
  RequestJudge judge;
  judge.limits.field_count_max = kFieldCountMax;
  const Verdict verdict = judge(bytes);
  ASSERT_EQ(verdict.status, Verdict::kAccepted) << verdict;
  const std::string name(1024 - 45 - 5 - 100, 'v');
  const std::string backend(100, 'b');
  const ForwardContext context{"2001:0db8:1111:2222:3333:4444:5555:6666%eth0", "https", name, backend};
  write_and_check_room(bytes.size(), 0, [&](std::span<char> out) {
    return write_upstream_head(*judge.head, verdict.framing, context, out);
  });
}

// A Field or path that was replaced by one from elsewhere is written from its parts.
TEST(UpstreamHead, ReplacedStrings) {
  const ExactBytes bytes("GET /a HTTP/1.1\r\nHost: a\r\nX: 1\r\nY: 2\r\nZ: 3\r\n\r\n");
  RequestJudge judge;
  ASSERT_EQ(judge(bytes.view()).status, Verdict::kAccepted);
  const ExactBytes value("new");
  const ExactBytes path("/b");
  judge.head->table.fields[2].value = value.view();
  judge.head->path = path.view();
  const std::string out = write_exact(
      4096, [&](std::span<char> memory) { return write_upstream_head(*judge.head, {}, kContext, memory); });
  EXPECT_EQ(out, "GET /b HTTP/1.1\r\nHost: a\r\nX: 1\r\nY: new\r\nZ: 3\r\n" + added("a") + "\r\n");
}

struct Answer {
  std::string_view in;
  Method method = Method::get;
  std::uint8_t client_minor = 1;
  bool keep_alive = true;
  std::string_view extra_block;
  std::vector<std::string> extra_names;
};

std::string client(const Answer& answer) {
  const ExactBytes exact(answer.in);
  ResponseJudge judge;
  judge.request_method = answer.method;
  judge.upgrade_requested = true;
  const Verdict verdict = judge(exact.view());
  EXPECT_EQ(verdict.status, Verdict::kAccepted) << verdict << "\n" << testing::readable(answer.in);
  if (verdict.status != Verdict::kAccepted) return "";
  ResponseContext context;
  context.via_name = "lb";
  context.extra_block = answer.extra_block;
  context.extra_names = answer.extra_names;
  context.request_method = answer.method;
  context.client_minor_version = answer.client_minor;
  context.keep_alive = answer.keep_alive;
  const BodyFraming framing = client_framing(verdict.framing, answer.client_minor);
  return write_and_check_room(verdict.head_bytes, answer.extra_block.size(), [&](std::span<char> out) {
    return write_client_head(*judge.head, framing, context, out);
  });
}

TEST(ClientHead, Golden) {
  struct {
    const char* rule;
    Answer answer;
    std::string_view out;
  } const cases[] = {
      {"length",
       {"HTTP/1.1 200 OK\r\nDate: d\r\nContent-Length: 05\r\nServer: s\r\nX:  y \r\n\r\n"},
       "HTTP/1.1 200 OK\r\nDate: d\r\nServer: s\r\nX: y\r\nVia: 1.1 lb\r\nContent-Length: 5\r\n\r\n"},
      {"length 0",
       {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
       "HTTP/1.1 200 OK\r\nVia: 1.1 lb\r\nContent-Length: 0\r\n\r\n"},
      {"chunked",
       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nTrailer: X\r\n\r\n"},
       "HTTP/1.1 200 OK\r\nVia: 1.1 lb\r\nTransfer-Encoding: chunked\r\n\r\n"},
      {"until close becomes chunked",
       {"HTTP/1.0 200 OK\r\n\r\n"},
       "HTTP/1.1 200 OK\r\nVia: 1.0 lb\r\nTransfer-Encoding: chunked\r\n\r\n"},
      {"9112 9.3: close",
       {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Method::get, 1, false},
       "HTTP/1.1 200 OK\r\nVia: 1.1 lb\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"},
      {"9112 9.3: keep-alive to HTTP/1.0",
       {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Method::get, 0, true},
       "HTTP/1.1 200 OK\r\nVia: 1.1 lb\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n"},
      {"9112 6.1: no chunked to HTTP/1.0",
       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Method::get, 0, false},
       "HTTP/1.1 200 OK\r\nVia: 1.1 lb\r\nConnection: close\r\n\r\n"},
      {"9110 7.6.1: hop-by-hop",
       {"HTTP/1.1 200 OK\r\nConnection: close, X-A\r\nX-A: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: "
        "Basic\r\n"
        "Upgrade: x\r\nX-B: 2\r\nContent-Length: 1\r\n\r\n"},
       "HTTP/1.1 200 OK\r\nX-B: 2\r\nVia: 1.1 lb\r\nContent-Length: 1\r\n\r\n"},
      {"9110 9.3.2: HEAD keeps the length",
       {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Method::head},
       "HTTP/1.1 200 OK\r\nVia: 1.1 lb\r\nContent-Length: 5\r\n\r\n"},
      {"9110 9.3.2: HEAD without a length gets none",
       {"HTTP/1.1 200 OK\r\n\r\n", Method::head},
       "HTTP/1.1 200 OK\r\nVia: 1.1 lb\r\n\r\n"},
      {"9110 9.3.2: HEAD, chunked",
       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Method::head},
       "HTTP/1.1 200 OK\r\nVia: 1.1 lb\r\n\r\n"},
      {"9110 15.4.5: 304 keeps the length",
       {"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: e\r\n\r\n"},
       "HTTP/1.1 304 Not Modified\r\nETag: e\r\nVia: 1.1 lb\r\nContent-Length: 5\r\n\r\n"},
      {"9110 15.4.5: 304 without",
       {"HTTP/1.1 304 Not Modified\r\n\r\n"},
       "HTTP/1.1 304 Not Modified\r\nVia: 1.1 lb\r\n\r\n"},
      {"9110 8.6: 204 has no length",
       {"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"},
       "HTTP/1.1 204 No Content\r\nVia: 1.1 lb\r\n\r\n"},
      {"9110 15.2: 100",
       {"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n", Method::post, 1, false, "A: b\r\n", {"X"}},
       "HTTP/1.1 100 Continue\r\nX: y\r\nVia: 1.1 lb\r\n\r\n"},
      {"9110 7.8: 101",
       {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: k\r\n\r\n"},
       "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: k\r\nVia: 1.1 lb\r\nUpgrade: websocket\r\n"
       "Connection: upgrade\r\n\r\n"},
      {"9110 15.5.22: 426",
       {"HTTP/1.1 426 Upgrade Required\r\nUpgrade: TLS/1.0\r\nConnection: upgrade\r\n"
        "Content-Length: 0\r\n\r\n",
        Method::get, 1, false},
       "HTTP/1.1 426 Upgrade Required\r\nVia: 1.1 lb\r\nContent-Length: 0\r\nUpgrade: TLS/1.0\r\n"
       "Connection: upgrade, close\r\n\r\n"},
      {"9110 7.6.3: Via lines are merged",
       {"HTTP/1.1 200 OK\r\nVia: 1.1 a\r\nContent-Length: 1\r\nvia: 1.0 b\r\n\r\n"},
       "HTTP/1.1 200 OK\r\nVia: 1.1 a, 1.0 b, 1.1 lb\r\nContent-Length: 1\r\n\r\n"},
      {"9112 4: the space before an empty reason",
       {"HTTP/1.1 299\r\nContent-Length: 1\r\n\r\n"},
       "HTTP/1.1 299 \r\nVia: 1.1 lb\r\nContent-Length: 1\r\n\r\n"},
      {"Set-Cookie lines stay apart",
       {"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nContent-Length: 1\r\nSet-Cookie: b=2\r\n\r\n"},
       "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nVia: 1.1 lb\r\nContent-Length: 1\r\n\r\n"},
      {"extra fields replace the backend's",
       {"HTTP/1.1 200 OK\r\nserver: s\r\nX-A: 1\r\nX-AB: 2\r\nX-a: 3\r\nContent-Length: 1\r\n\r\n",
        Method::get,
        1,
        true,
        "Server: lb\r\nX-A: new\r\n",
        {"Server", "x-a"}},
       "HTTP/1.1 200 OK\r\nX-AB: 2\r\nVia: 1.1 lb\r\nContent-Length: 1\r\nServer: lb\r\nX-A: new\r\n\r\n"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.rule);
    EXPECT_EQ(client(c.answer), c.out);
  }
}

// Response splitting: whatever bytes a backend puts into a value, the client reads one head with the
// same number of fields, or the response is refused.
TEST(ClientHead, NothingInAValueEndsALine) {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string value = std::string("a") + static_cast<char>(byte) + "Set-Cookie: evil=1";
    const std::string bytes = "HTTP/1.1 302 Found\r\nLocation: " + value + "\r\nContent-Length: 0\r\n\r\n";
    ResponseJudge judge;
    const bool control = (byte < 0x20 && byte != '\t') || byte == 0x7f;
    const Verdict verdict = testing::judge_at_every_cut(judge, bytes);
    EXPECT_EQ(verdict.status, control ? 502 : Verdict::kAccepted) << byte;
    if (control) continue;
    const std::string out = client({bytes});
    ResponseJudge again;
    EXPECT_EQ(again(out).status, Verdict::kAccepted);
    EXPECT_EQ(again.head->table.field_count, 3u) << testing::readable(out);
  }
}

TEST(UpstreamHead, NothingInATargetEndsALine) {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string target = std::string("/a") + static_cast<char>(byte) + "X-Evil:1";
    const std::string bytes = "GET " + target + " HTTP/1.1\r\nHost: a\r\n\r\n";
    RequestJudge judge;
    const bool good = byte > 0x20 && byte < 0x7f && byte != '#';
    EXPECT_EQ(testing::judge_at_every_cut(judge, bytes).status, good ? Verdict::kAccepted : 400) << byte;
  }
}

}  // namespace
}  // namespace lb::http
