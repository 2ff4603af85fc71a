// TCP mode over real sockets: what a connection through a listener with mode tcp looks like at both of its
// ends.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <string>
#include <thread>

#include "lb/base/random.hpp"
#include "lb/base/sanitized.hpp"
#include "lb/proxy/wire_test_kit.hpp"

namespace lb::wire {
namespace {

Config tcp_to(std::vector<BackendConfig> backends) {
  Config config;
  config.listen.push_back({{.host = "127.0.0.1"}, ListenMode::tcp});
  config.backends = std::move(backends);
  return config;
}

Config tcp_to(const ScriptedBackend& backend) {
  return tcp_to({backend_at(backend.port())});
}

void echo(Wire& wire) {
  wire.send(wire.read_to_end());
}

/// A port on which nobody listens.
std::uint16_t dead_port() {
  ScriptedBackend gone{echo};
  return gone.port();
}

std::string random_bytes(std::size_t size, std::uint64_t seed) {
  Random random{seed};
  std::string bytes(size, 0);
  for (char& c : bytes) c = static_cast<char>(random());
  return bytes;
}

TEST(ProxyTcp, BytesGoBothWaysAndHalfClosesArePassedOn) {
  ScriptedBackend backend{[](Wire& wire) {
    const std::string all = wire.read_to_end();  // ends only when the half-close came through
    wire.send("got " + all);
  }};
  ProxyUnderTest proxy{tcp_to(backend)};
  Wire client = proxy.connect();
  const std::string bytes("\0\r\n not HTTP", 12);
  client.send(bytes);
  client.finish_sending();
  EXPECT_EQ(client.read_to_end(), "got " + bytes);
  EXPECT_TRUE(proxy.counted([](const CounterTotals& c) {
    return c.tunnels == 1 && c.tunnels_open == 0 && c.connections_open == 0 && c.requests_in_flight == 0;
  }));
  EXPECT_EQ(proxy->counters().bytes_from_clients, 12U);
  EXPECT_EQ(proxy->counters().bytes_to_clients, 16U);
}

TEST(ProxyTcp, TheServerMaySpeakFirst) {
  ScriptedBackend backend{[](Wire& wire) {
    wire.send("220 ready\r\n");
    if (wire.read_until("\r\n") == "QUIT\r\n") wire.send("221 bye\r\n");
  }};
  ProxyUnderTest proxy{tcp_to(backend)};
  Wire client = proxy.connect();
  EXPECT_EQ(client.read_until("\r\n"), "220 ready\r\n");
  client.send("QUIT\r\n");
  EXPECT_EQ(client.read_to_end(), "221 bye\r\n");
}

TEST(ProxyTcp, AClientThatHasFinishedBeforeTheBackendIsReachedIsServed) {
  ScriptedBackend backend{echo};
  ProxyUnderTest proxy{tcp_to(backend)};
  for (int i = 0; i < 50; ++i) {
    Wire client = proxy.connect();
    client.send("all");
    client.finish_sending();
    EXPECT_EQ(client.read_to_end(), "all");
  }
}

TEST(ProxyTcp, ABackendThatRefusesIsPassedOver) {
  ScriptedBackend backend{echo};
  ProxyUnderTest proxy{tcp_to({backend_at(dead_port(), "dead"), backend_at(backend.port(), "alive")})};
  for (int i = 0; i < 4; ++i) {
    Wire client = proxy.connect();
    client.send("hello");
    client.finish_sending();
    EXPECT_EQ(client.read_to_end(), "hello");
  }
  EXPECT_GE(proxy->counters().upstream_connect_failures, 1U);
}

TEST(ProxyTcp, WithoutABackendTheClientIsReset) {
  ProxyUnderTest proxy{tcp_to({backend_at(dead_port())})};
  const Wire client = proxy.connect();
  EXPECT_TRUE(ends_with_reset(client));
  EXPECT_TRUE(proxy.counted([](const CounterTotals& c) { return c.connections_open == 0; }));
  EXPECT_EQ(proxy->counters().tunnels, 0U);
}

TEST(ProxyTcp, AResetIsPassedOnEitherWay) {
  std::promise<bool> seen;
  ScriptedBackend resetting{[&](Wire& wire) {
    if (wire.read_until("\n") == "reset me\n") return wire.reset();
    seen.set_value(ends_with_reset(wire));
  }};
  ProxyUnderTest proxy{tcp_to(resetting)};
  Wire client = proxy.connect();
  client.send("reset me\n");
  EXPECT_TRUE(ends_with_reset(client));
  Wire other = proxy.connect();
  other.send("I will\n");
  EXPECT_TRUE(proxy.counted([](const CounterTotals& c) { return c.bytes_from_clients == 16; }));
  other.reset();
  EXPECT_TRUE(seen.get_future().get());
}

TEST(ProxyTcp, NothingIsLostBetweenASlowReaderAndAFastOne) {
  constexpr std::size_t kBytes = (kSanitized ? 1U : 12U) << 20U;
  const std::string up = random_bytes(kBytes, 1);
  const std::string down = random_bytes(kBytes, 2);
  std::promise<std::string> received;
  ScriptedBackend backend{[&](Wire& wire) {
    std::thread sending{[&] {
      wire.send(down);
      wire.finish_sending();
    }};
    std::string all;
    for (char bytes[3000];;) {  // small bites with pauses: the client is held back
      const ssize_t n = ::recv(wire.fd(), bytes, sizeof bytes, 0);
      if (n <= 0) break;
      all.append(bytes, static_cast<std::size_t>(n));
      if (all.size() % 64 == 0) std::this_thread::yield();
    }
    sending.join();
    received.set_value(std::move(all));
  }};
  ProxyUnderTest proxy{tcp_to(backend), {.receive_buffer_bytes = 16 * 1024}};
  Wire client = proxy.connect();
  std::thread sending{[&] {
    client.send(up);
    client.finish_sending();
  }};
  const std::string answer = client.read_to_end();
  sending.join();
  EXPECT_TRUE(answer == down);  // not EXPECT_EQ: nobody wants to read the difference
  EXPECT_TRUE(received.get_future().get() == up);
  EXPECT_TRUE(proxy.counted([](const CounterTotals& c) { return c.connections_open == 0; }));
}

TEST(ProxyTcp, ABackendHasAtMostItsConnections) {
  ScriptedBackend backend{echo};
  Config config = tcp_to(backend);
  config.backends[0].max_connections = 1;
  config.queue.size = 0;
  ProxyUnderTest proxy{config};
  Wire first = proxy.connect();
  EXPECT_TRUE(proxy.counted([](const CounterTotals& c) { return c.tunnels_open == 1; }));
  EXPECT_TRUE(ends_with_reset(proxy.connect()));
  first.send("still here");
  first.finish_sending();
  EXPECT_EQ(first.read_to_end(), "still here");
  EXPECT_TRUE(proxy.counted([](const CounterTotals& c) { return c.tunnels_open == 0; }));
  Wire second = proxy.connect();
  second.finish_sending();
  EXPECT_TRUE(second.at_end());
}

TEST(ProxyTcp, AConnectionWaitsForABackendThatIsFull) {
  ScriptedBackend backend{echo};
  Config config = tcp_to(backend);
  config.backends[0].max_connections = 1;
  ProxyUnderTest proxy{config};
  Wire first = proxy.connect();
  EXPECT_TRUE(proxy.counted([](const CounterTotals& c) { return c.tunnels_open == 1; }));
  Wire second = proxy.connect();
  second.send("early");
  second.finish_sending();
  EXPECT_TRUE(proxy.counted([](const CounterTotals& c) { return c.queue_waiting == 1; }));
  first.finish_sending();
  EXPECT_TRUE(first.at_end());
  EXPECT_EQ(second.read_to_end(), "early");
}

TEST(ProxyTcp, ASilentTunnelEndsAndASilentConnectTooAfterItsTimeout) {
  ScriptedBackend backend{[](Wire& wire) { (void)wire.read_to_end(); }};
  Config config = tcp_to(backend);
  config.timeouts.tunnel = Milliseconds{30};
  ProxyUnderTest proxy{config};
  EXPECT_TRUE(ends_with_reset(proxy.connect()));
}

TEST(ProxyTcp, TheRateLimitCountsConnections) {
  ScriptedBackend backend{echo};
  Config config = tcp_to(backend);
  config.rate_limit = RateLimitConfig{.per_ip = 0.001, .burst = 2};
  ProxyUnderTest proxy{config};
  for (int i = 0; i < 2; ++i) {
    Wire client = proxy.connect();
    client.finish_sending();
    EXPECT_TRUE(client.at_end());
  }
  EXPECT_TRUE(ends_with_reset(proxy.connect()));
  EXPECT_EQ(proxy->counters().rate_limited, 1U);
}

TEST(ProxyTcp, ADrainLetsTunnelsLiveOnUntilItsTimeout) {
  ScriptedBackend backend{[](Wire& wire) {
    for (std::string line; !(line = wire.read_until("\n")).empty();) wire.send(line);
  }};
  Config config = tcp_to(backend);
  config.drain_timeout = Milliseconds{300};
  ProxyUnderTest proxy{config, {.keep_open = true}};
  Wire finishing = proxy.connect();
  Wire staying = proxy.connect();
  finishing.send("one\n");
  staying.send("two\n");
  EXPECT_EQ(finishing.read_until("\n"), "one\n");
  EXPECT_EQ(staying.read_until("\n"), "two\n");
  proxy->start_drain();
  finishing.send("three\n");
  EXPECT_EQ(finishing.read_until("\n"), "three\n");
  finishing.finish_sending();
  EXPECT_TRUE(finishing.at_end());
  EXPECT_TRUE(ends_with_reset(staying));
  EXPECT_TRUE(proxy.drained());
  EXPECT_EQ(proxy->counters().drain_force_closed, 1U);
  EXPECT_EQ(proxy->counters().handed_over, 0U);
}

}  // namespace
}  // namespace lb::wire
