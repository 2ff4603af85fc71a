// The proxy on the wire: scripted bytes in, bytes out.
#include "lb/proxy/proxy.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <future>

#include "lb/proxy/wire_test_kit.hpp"

namespace lb {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using wire::always;
using wire::answering;
using wire::backend_at;
using wire::ProxyUnderTest;
using wire::ScriptedBackend;
using wire::to_backend;
using wire::Wire;

constexpr std::string_view kGet = "GET /a?b=c HTTP/1.1\r\nHost: example.org\r\nUser-Agent: t\r\n\r\n";
constexpr std::string_view kHello = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-B: 1\r\n\r\nhello";

std::string chunked_get() {
  return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3\r\nabc\r\n0\r\n\r\n";
}

TEST(ProxyWire, ForwardsARequestWithTheHeadWrittenAnew) {
  std::string seen;
  std::mutex mutex;
  ScriptedBackend backend{answering([&](const std::string& request) {
    const std::scoped_lock lock{mutex};
    seen = request;
    return std::string{kHello};
  })};
  ProxyUnderTest proxy{to_backend(backend.port())};
  Wire client = proxy.connect();
  client.send(
      "GET /a?b=c HTTP/1.1\r\nHost: example.org\r\nConnection: keep-alive, X-Drop\r\nX-Drop: 1\r\nX-Keep: "
      "2\r\n\r\n");
  const std::string response = client.read_message();
  EXPECT_THAT(response, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(response, EndsWith("\r\n\r\nhello"));
  EXPECT_THAT(response, HasSubstr("Via: 1.1 lb\r\n"));
  const std::scoped_lock lock{mutex};
  EXPECT_THAT(seen, StartsWith("GET /a?b=c HTTP/1.1\r\nHost: example.org\r\n"));
  EXPECT_THAT(seen, HasSubstr("X-Keep: 2\r\n"));
  EXPECT_THAT(seen, HasSubstr("X-Forwarded-For: 127.0.0.1\r\n"));
  EXPECT_THAT(seen, HasSubstr("X-Forwarded-Proto: http\r\n"));
  EXPECT_THAT(seen, HasSubstr("X-Forwarded-Host: example.org\r\n"));
  EXPECT_THAT(seen, Not(HasSubstr("X-Drop")));
}

TEST(ProxyWire, KeepsBothConnectionsForTheNextRequest) {
  ScriptedBackend backend{always(kHello)};
  ProxyUnderTest proxy{to_backend(backend.port())};
  Wire client = proxy.connect();
  for (int i = 0; i < 20; ++i) {
    client.send(kGet);
    ASSERT_THAT(client.read_message(), EndsWith("hello"));
  }
  EXPECT_EQ(backend.connections(), 1);
  EXPECT_EQ(proxy->counters().upstream_reused, 19U);
  EXPECT_EQ(proxy->counters().connections_accepted, 1U);
}

TEST(ProxyWire, ARequestCutAtEveryBoundaryIsTheSameRequest) {
  ScriptedBackend backend{answering([](const std::string& request) {
    const std::string body = std::to_string(request.size());
    // With a Date of its own, as one that the proxy adds changes with the second.
    return "HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 08:00:00 GMT\r\nContent-Length: " +
           std::to_string(body.size()) + "\r\n\r\n" + body;
  })};
  ProxyUnderTest proxy{to_backend(backend.port())};
  const std::string request = "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n0123456789";
  Wire whole = proxy.connect();
  whole.send(request);
  const std::string expected = whole.read_message();
  ASSERT_THAT(expected, StartsWith("HTTP/1.1 200 OK"));
  for (std::size_t cut = 1; cut < request.size(); ++cut) {
    Wire client = proxy.connect();
    const std::uint64_t before = proxy->counters().bytes_from_clients;
    client.send(std::string_view{request}.substr(0, cut));
    // Bytes that came with the head count when it is complete: waiting for all of them shows the cut was
    // seen.
    ASSERT_TRUE(proxy.counted([&](const CounterTotals& c) { return c.bytes_from_clients == before + cut; }))
        << cut;
    client.send(std::string_view{request}.substr(cut));
    ASSERT_EQ(client.read_message(), expected) << "cut at " << cut;
  }
}

TEST(ProxyWire, AResponseCutAtEveryBoundaryIsTheSameResponse) {
  for (const std::string& response : {std::string{kHello}, chunked_get()}) {
    std::atomic<std::size_t> cut{0};
    ScriptedBackend backend{[&](Wire& wire) {
      for (;;) {
        if (wire.read_until("\r\n\r\n").empty()) return;
        const std::size_t at = cut;
        wire.send(std::string_view{response}.substr(0, at));
        std::this_thread::sleep_for(Milliseconds{1});  // lets the proxy see the cut; nothing depends on it
        wire.send(std::string_view{response}.substr(at));
      }
    }};
    ProxyUnderTest proxy{to_backend(backend.port())};
    Wire client = proxy.connect();
    const std::string_view mark = response == kHello ? "\r\n\r\nhello" : "0\r\n\r\n";
    for (cut = 0; cut <= response.size(); ++cut) {
      client.send(kGet);
      const std::string got = client.read_until(mark);
      ASSERT_THAT(got, StartsWith("HTTP/1.1 200 OK\r\n")) << "cut at " << cut;
      ASSERT_THAT(got, EndsWith(mark)) << "cut at " << cut;
    }
    EXPECT_EQ(backend.connections(), 1);
  }
}

TEST(ProxyWire, AnswersPipelinedRequestsInOrder) {
  ScriptedBackend backend{answering([](const std::string& request) {
    const std::string body = request.substr(4, request.find(' ', 4) - 4);
    return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  })};
  ProxyUnderTest proxy{to_backend(backend.port())};
  Wire client = proxy.connect();
  std::string batch;
  for (int i = 100; i < 200; ++i) batch += "GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: h\r\n\r\n";
  client.send(batch);
  for (int i = 100; i < 200; ++i) ASSERT_THAT(client.read_message(), EndsWith("/" + std::to_string(i)));
}

TEST(ProxyWire, PassesLargeBodiesBothWaysToASlowReader) {
  constexpr std::size_t kBytes = 20'000'000;
  ScriptedBackend backend{[](Wire& wire) {
    const std::string head = wire.read_until("\r\n\r\n");
    if (head.empty()) return;
    const std::string body = wire.read_exactly(kBytes);
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n");
    wire.send(body);
  }};
  ProxyUnderTest proxy{to_backend(backend.port())};
  std::string body(kBytes, '\0');
  for (std::size_t i = 0; i < kBytes; ++i) body[i] = static_cast<char>(i * 2654435761U >> 24U);
  Wire client = proxy.connect();
  client.send("PUT /big HTTP/1.1\r\nHost: h\r\nContent-Length: " + std::to_string(kBytes) + "\r\n\r\n");
  client.send(body);
  client.read_until("\r\n\r\n");
  std::string got;
  while (got.size() < kBytes) {
    const std::string piece = client.read_exactly(std::min<std::size_t>(500'000, kBytes - got.size()));
    ASSERT_FALSE(piece.empty());
    got += piece;
  }
  EXPECT_TRUE(got == body);
}

TEST(ProxyWire, PassesChunkedBodiesBothWays) {
  std::string seen;
  ScriptedBackend backend{[&](Wire& wire) {
    wire.read_until("\r\n\r\n");
    seen = wire.read_until("0\r\n\r\n");
    wire.send(chunked_get());
  }};
  ProxyUnderTest proxy{to_backend(backend.port())};
  Wire client = proxy.connect();
  client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n");
  client.send("A\r\n0123456789\r\n0\r\nTrailer: dropped\r\n\r\n");
  const std::string response = client.read_until("0\r\n\r\n");
  EXPECT_THAT(response, EndsWith("5\r\nhello\r\n3\r\nabc\r\n0\r\n\r\n"));
  EXPECT_EQ(seen, "3\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n");
}

TEST(ProxyWire, AnOldClientGetsNoChunksAndAClose) {
  ScriptedBackend backend{always(chunked_get())};
  ProxyUnderTest proxy{to_backend(backend.port())};
  Wire client = proxy.connect();
  client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  const std::string response = client.read_to_end();
  EXPECT_THAT(response, EndsWith("\r\n\r\nhelloabc"));
  EXPECT_THAT(response, HasSubstr("Connection: close\r\n"));
  EXPECT_THAT(response, Not(HasSubstr("Transfer-Encoding")));
}

TEST(ProxyWire, AnOldClientMayKeepItsConnection) {
  ScriptedBackend backend{always(kHello)};
  ProxyUnderTest proxy{to_backend(backend.port())};
  Wire client = proxy.connect();
  for (int i = 0; i < 3; ++i) {
    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    const std::string response = client.read_message();
    EXPECT_THAT(response, HasSubstr("Connection: keep-alive\r\n"));
  }
  client.send("GET / HTTP/1.0\r\n\r\n");
  EXPECT_THAT(client.read_to_end(), EndsWith("hello"));
}

TEST(ProxyWire, ABodyUntilCloseBecomesChunked) {
  ScriptedBackend backend{[](Wire& wire) {
    wire.read_until("\r\n\r\n");
    wire.send("HTTP/1.1 200 OK\r\n\r\nhello");
    wire.finish_sending();
  }};
  ProxyUnderTest proxy{to_backend(backend.port())};
  Wire client = proxy.connect();
  client.send(kGet);
  EXPECT_THAT(client.read_until("0\r\n\r\n"), EndsWith("5\r\nhello\r\n0\r\n\r\n"));
  client.send(kGet);  // the client's connection lives on
  EXPECT_THAT(client.read_until("0\r\n\r\n"), EndsWith("5\r\nhello\r\n0\r\n\r\n"));
}

TEST(ProxyWire, HeadAndBodilessAnswersHaveNoBody) {
  ScriptedBackend backend{answering([](const std::string& request) -> std::string {
    if (request.starts_with("HEAD")) return "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n";
    if (request.find("/204") != std::string::npos) return "HTTP/1.1 204 No Content\r\n\r\n";
    return "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 77\r\n\r\n";
  })};
  ProxyUnderTest proxy{to_backend(backend.port())};
  Wire client = proxy.connect();
  client.send(
      "HEAD / HTTP/1.1\r\nHost: h\r\n\r\nGET /204 HTTP/1.1\r\nHost: h\r\n\r\nGET /304 HTTP/1.1\r\nHost: "
      "h\r\n\r\n");
  EXPECT_THAT(client.read_until("\r\n\r\n"), HasSubstr("Content-Length: 1234\r\n"));
  EXPECT_THAT(client.read_until("\r\n\r\n"), StartsWith("HTTP/1.1 204 No Content\r\n"));
  EXPECT_THAT(client.read_until("\r\n\r\n"), StartsWith("HTTP/1.1 304 Not Modified\r\n"));
  EXPECT_EQ(backend.connections(), 1);
}

TEST(ProxyWire, InterimResponsesAndExpectContinuePass) {
  ScriptedBackend backend{[](Wire& wire) {
    const std::string head = wire.read_until("\r\n\r\n");
    EXPECT_THAT(head, HasSubstr("Expect: 100-continue\r\n"));
    wire.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
    EXPECT_EQ(wire.read_exactly(4), "body");
    wire.send(kHello);
  }};
  ProxyUnderTest proxy{to_backend(backend.port())};
  Wire client = proxy.connect();
  client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_THAT(client.read_until("\r\n\r\n"), StartsWith("HTTP/1.1 103 Early Hints\r\n"));
  EXPECT_THAT(client.read_until("\r\n\r\n"), StartsWith("HTTP/1.1 100 Continue\r\n"));
  client.send("body");
  EXPECT_THAT(client.read_message(), EndsWith("hello"));
}

TEST(ProxyWire, AnUpgradeBecomesATunnelWithHalfClose) {
  ScriptedBackend backend{[](Wire& wire) {
    const std::string head = wire.read_until("\r\n\r\n");
    EXPECT_THAT(head, HasSubstr("Upgrade: echo\r\n"));
    wire.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nwelcome");
    const std::string all = wire.read_to_end();
    wire.send("got " + all);
  }};
  ProxyUnderTest proxy{to_backend(backend.port())};
  Wire client = proxy.connect();
  client.send("GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly ");
  EXPECT_THAT(client.read_until("\r\n\r\n"), StartsWith("HTTP/1.1 101 "));
  EXPECT_EQ(client.read_exactly(7), "welcome");
  EXPECT_EQ(proxy->counters().tunnels_open, 1U);
  client.send("late");
  client.finish_sending();
  EXPECT_EQ(client.read_to_end(), "got early late");
  EXPECT_TRUE(
      proxy.counted([](const CounterTotals& c) { return c.tunnels_open == 0 && c.connections_open == 0; }));
}

TEST(ProxyWire, AHalfClosedClientStillGetsItsAnswer) {
  ScriptedBackend backend{always(kHello)};
  ProxyUnderTest proxy{to_backend(backend.port())};
  Wire client = proxy.connect();
  client.send(kGet);
  client.finish_sending();
  EXPECT_THAT(client.read_to_end(), EndsWith("hello"));
}

TEST(ProxyWire, MalformedRequestsAreRefusedAndTheConnectionEnds) {
  ScriptedBackend backend{always(kHello)};
  ProxyUnderTest proxy{to_backend(backend.port())};
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "},
      {"GET / HTTP/2.0\r\nHost: h\r\n\r\n", "HTTP/1.1 505 "},
      {"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
       "HTTP/1.1 400 "},
      {"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "HTTP/1.1 400 "},
      {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", "HTTP/1.1 501 "},
      {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 400 "},
      {"GET / HTTP/1.1\r\nHost: h\r\nX: " + std::string(40'000, 'a') + "\r\n\r\n", "HTTP/1.1 431 "},
      {"GET /" + std::string(20'000, 'a') + " HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 414 "},
      {"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n", "HTTP/1.1 501 "},
      {"\x16\x03\x01\x02garbage that is no HTTP at all\r\n\r\n", "HTTP/1.1 400 "},
  };
  for (const auto& [request, expected] : cases) {
    Wire client = proxy.connect();
    client.send(request);
    const std::string response = client.read_to_end();
    EXPECT_THAT(response, StartsWith(expected)) << request.substr(0, 80);
    EXPECT_THAT(response, HasSubstr("Connection: close\r\n"));
  }
  EXPECT_EQ(backend.connections(), 0);
}

TEST(ProxyWire, FaultyResponsesBecome502) {
  for (const std::string_view response : {
           std::string_view{"rubbish\r\n\r\n"},
           std::string_view{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"},
           std::string_view{"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"},
           std::string_view{""},
       }) {
    ScriptedBackend backend{[response](Wire& wire) {
      wire.read_until("\r\n\r\n");
      wire.send(response);
    }};
    ProxyUnderTest proxy{to_backend(backend.port())};
    Wire client = proxy.connect();
    client.send(kGet);
    EXPECT_THAT(client.read_message(), StartsWith("HTTP/1.1 502 ")) << response;
    client.send(kGet);  // the client's connection is none the worse for it
    EXPECT_THAT(client.read_message(), StartsWith("HTTP/1.1 502 ")) << response;
  }
}

TEST(ProxyWire, AResponseCutShortIsCutShortForTheClient) {
  for (const std::string_view response :
       {std::string_view{"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"},
        std::string_view{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"}}) {
    ScriptedBackend backend{[response](Wire& wire) {
      wire.read_until("\r\n\r\n");
      wire.send(response);
    }};
    ProxyUnderTest proxy{to_backend(backend.port())};
    Wire client = proxy.connect();
    client.send(kGet);
    const std::string got = client.read_to_end();
    EXPECT_THAT(got, HasSubstr("hello"));
    EXPECT_THAT(got, Not(HasSubstr("\r\n0\r\n\r\n")));
  }
}

TEST(ProxyWire, APooledConnectionThatDiedIsReplacedOnceForIdempotentRequests) {
  std::atomic<int> served{0};
  ScriptedBackend backend{[&](Wire& wire) {
    for (;;) {
      const std::string request = wire.read_message();
      if (request.empty()) return;
      // Every second request on a connection finds it dying: no byte of an answer.
      if (served++ % 2 == 1) return;
      wire.send(kHello);
    }
  }};
  ProxyUnderTest proxy{to_backend(backend.port())};
  Wire client = proxy.connect();
  client.send(kGet);
  EXPECT_THAT(client.read_message(), EndsWith("hello"));
  client.send(kGet);
  EXPECT_THAT(client.read_message(), EndsWith("hello"));
  EXPECT_EQ(proxy->counters().upstream_retries, 1U);
  EXPECT_EQ(backend.connections(), 2);
  client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
  EXPECT_THAT(client.read_message(), StartsWith("HTTP/1.1 502 "));  // not idempotent: never sent twice
}

TEST(ProxyWire, AConnectionWithUnreadBytesIsNotReused) {
  ScriptedBackend backend{always(std::string{kHello} + "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")};
  ProxyUnderTest proxy{to_backend(backend.port())};
  Wire client = proxy.connect();
  for (int i = 0; i < 3; ++i) {
    client.send(kGet);
    EXPECT_THAT(client.read_message(), EndsWith("hello"));
  }
  EXPECT_EQ(backend.connections(), 3);
}

TEST(ProxyWire, ABackendThatRefusesIsPutAsideAndTheNextOneServes) {
  ScriptedBackend good{always(kHello)};
  auto dead = open_listener_shards(Endpoint{.host = "127.0.0.1"}, 1, {});
  const std::string text = *local_address_text(dead->front().fd.get());
  dead->clear();
  Config config = to_backend(good.port());
  config.backends.push_back(
      backend_at(static_cast<std::uint16_t>(std::stoi(text.substr(text.rfind(':') + 1)))));
  ProxyUnderTest proxy{config};
  Wire client = proxy.connect();
  for (int i = 0; i < 10; ++i) {
    client.send(kGet);
    ASSERT_THAT(client.read_message(), EndsWith("hello"));
  }
  EXPECT_EQ(proxy->counters().upstream_connect_failures, 1U);
}

TEST(ProxyWire, NoBackendLeftIs502) {
  auto dead = open_listener_shards(Endpoint{.host = "127.0.0.1"}, 1, {});
  const std::string text = *local_address_text(dead->front().fd.get());
  dead->clear();
  ProxyUnderTest proxy{to_backend(static_cast<std::uint16_t>(std::stoi(text.substr(text.rfind(':') + 1))))};
  Wire client = proxy.connect();
  client.send(kGet);
  EXPECT_THAT(client.read_message(), StartsWith("HTTP/1.1 502 "));
}

TEST(ProxyWire, AFullBackendIs503) {
  std::promise<void> go;
  auto gate = go.get_future().share();
  ScriptedBackend backend{[gate](Wire& wire) {
    if (wire.read_until("\r\n\r\n").empty()) return;
    gate.wait();
    wire.send(kHello);
  }};
  Config config = to_backend(backend.port());
  config.backends[0].max_connections = 1;
  config.queue.size = 0;
  ProxyUnderTest proxy{config};
  Wire first = proxy.connect();
  first.send(kGet);
  ASSERT_TRUE(proxy.counted([](const CounterTotals& c) { return c.requests_in_flight == 1; }));
  Wire second = proxy.connect();
  second.send(kGet);
  EXPECT_THAT(second.read_message(), StartsWith("HTTP/1.1 503 "));
  go.set_value();
  EXPECT_THAT(first.read_message(), EndsWith("hello"));
}

TEST(ProxyWire, ASilentBackendIs504) {
  ScriptedBackend backend{[](Wire& wire) { wire.read_to_end(); }};
  Config config = to_backend(backend.port());
  config.timeouts.response = Milliseconds{50};
  ProxyUnderTest proxy{config};
  Wire client = proxy.connect();
  client.send(kGet);
  EXPECT_THAT(client.read_message(), StartsWith("HTTP/1.1 504 "));
}

TEST(ProxyWire, ASlowHeadIs408) {
  ScriptedBackend backend{always(kHello)};
  Config config = to_backend(backend.port());
  config.timeouts.header = Milliseconds{50};
  ProxyUnderTest proxy{config};
  Wire client = proxy.connect();
  client.send("GET / HTTP/1.1\r\nHo");
  EXPECT_THAT(client.read_to_end(), StartsWith("HTTP/1.1 408 "));
}

TEST(ProxyWire, AnEarlyAnswerEndsTheConnectionWithoutLosingTheAnswer) {
  ScriptedBackend backend{[](Wire& wire) {
    wire.read_until("\r\n\r\n");
    wire.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig");
    wire.close();
  }};
  ProxyUnderTest proxy{to_backend(backend.port())};
  Wire client = proxy.connect();
  client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n");
  std::thread sender{[&] {
    const std::string piece(100'000, 'x');
    for (int i = 0; i < 50 && client.send(piece); ++i) {
    }
  }};
  const std::string response = client.read_until("big");
  sender.join();
  EXPECT_THAT(response, StartsWith("HTTP/1.1 413 "));
  EXPECT_THAT(response, HasSubstr("Connection: close\r\n"));
}

TEST(ProxyWire, TheRateLimitAnswers429WithRetryAfter) {
  ScriptedBackend backend{always(kHello)};
  Config config = to_backend(backend.port());
  config.rate_limit = RateLimitConfig{.per_ip = 0.001, .burst = 3};
  ProxyUnderTest proxy{config};
  Wire client = proxy.connect();
  for (int i = 0; i < 3; ++i) {
    client.send(kGet);
    ASSERT_THAT(client.read_message(), EndsWith("hello"));
  }
  client.send(kGet);
  const std::string refused = client.read_message();
  EXPECT_THAT(refused, StartsWith("HTTP/1.1 429 "));
  EXPECT_THAT(refused, HasSubstr("Retry-After: "));
  client.send(kGet);
  EXPECT_THAT(client.read_message(), StartsWith("HTTP/1.1 429 "));
}

TEST(ProxyWire, ConfiguredResponseHeadersReplaceTheBackends) {
  ScriptedBackend backend{always(kHello)};
  Config config = to_backend(backend.port());
  config.response_headers = {{"X-B", "ours"}, {"X-Config", "7"}};
  ProxyUnderTest proxy{config};
  Wire client = proxy.connect();
  client.send(kGet);
  const std::string response = client.read_message();
  EXPECT_THAT(response, HasSubstr("X-B: ours\r\n"));
  EXPECT_THAT(response, HasSubstr("X-Config: 7\r\n"));
  EXPECT_THAT(response, Not(HasSubstr("X-B: 1\r\n")));
}

TEST(ProxyWire, WeightedRoundRobinIsSmooth) {
  ScriptedBackend a{always("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na")};
  ScriptedBackend b{always("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb")};
  Config config;
  config.algorithm = Algorithm::weighted_round_robin;
  config.backends = {backend_at(a.port()), backend_at(b.port())};
  config.backends[0].weight = 3;
  config.backends[1].weight = 2;
  ProxyUnderTest proxy{config};
  Wire client = proxy.connect();
  std::string order;
  for (int i = 0; i < 10; ++i) {
    client.send(kGet);
    order += client.read_message().back();
  }
  EXPECT_EQ(order, "ababaababa");
}

TEST(ProxyWire, AnAbsentClientDoesNotKeepItsBackendBusy) {
  ScriptedBackend backend{[](Wire& wire) {
    wire.read_until("\r\n\r\n");
    wire.read_to_end();
  }};
  ProxyUnderTest proxy{to_backend(backend.port())};
  Wire client = proxy.connect();
  client.send(kGet);
  ASSERT_TRUE(proxy.counted([](const CounterTotals& c) { return c.requests_in_flight == 1; }));
  client.reset();
  EXPECT_TRUE(proxy.counted(
      [](const CounterTotals& c) { return c.requests_in_flight == 0 && c.connections_open == 0; }));
  EXPECT_EQ(proxy->backends()[0].in_flight, 0U);
}

TEST(ProxyWire, TheClientLimitHoldsNewConnectionsBackUntilOthersEnd) {
  ScriptedBackend backend{always(kHello)};
  Config config = to_backend(backend.port());
  config.max_connections = 2;
  ProxyUnderTest proxy{config};
  Wire first = proxy.connect();
  Wire second = proxy.connect();
  first.send(kGet);
  ASSERT_THAT(first.read_message(), EndsWith("hello"));
  second.send(kGet);
  ASSERT_THAT(second.read_message(), EndsWith("hello"));
  Wire third = proxy.connect();  // the kernel accepts, the proxy does not yet
  third.send(kGet);
  first.close();
  EXPECT_THAT(third.read_message(), EndsWith("hello"));
}

TEST(ProxyWire, SeveralWorkersServeOneAddress) {
  ScriptedBackend backend{always(kHello)};
  Config config = to_backend(backend.port());
  config.workers = 4;
  ProxyUnderTest proxy{config};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        Wire client = proxy.connect();
        client.send(kGet);
        EXPECT_THAT(client.read_message(), EndsWith("hello"));
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(proxy->counters().requests, 160U);
}

}  // namespace
}  // namespace lb
