// Live handoff of tunnels and of idle connections to backends, over real sockets: what both ends see of it is
// nothing at all.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <string>
#include <thread>

#include "lb/base/random.hpp"
#include "lb/base/sanitized.hpp"
#include "lb/proxy/proxy.hpp"
#include "lb/proxy/wire_test_kit.hpp"

namespace lb::wire {
namespace {

using ::testing::EndsWith;
using ::testing::StartsWith;

Config tcp_to(std::uint16_t port, std::string name = {}) {
  Config config;
  config.listen.push_back({{.host = "127.0.0.1"}, ListenMode::tcp});
  config.backends = {backend_at(port, std::move(name))};
  return config;
}

std::string random_bytes(std::size_t size, std::uint64_t seed) {
  Random random{seed};
  std::string bytes(size, 0);
  for (char& c : bytes) c = static_cast<char>(random());
  return bytes;
}

/// Sends back what comes, at once, and ends when the other side does.
void echo(Wire& wire) {
  for (std::string bytes = wire.read_exactly(1); !bytes.empty(); bytes = wire.read_exactly(1))
    wire.send(bytes);
}

/// What the successor has: the same configuration, unless said otherwise.
void reload(ProxyUnderTest& old, const Config& next) {
  Config successor = next;
  if (successor.workers == 0) successor.workers = 1;
  reload_start_drain(*old, std::make_shared<const Config>(successor), Handoff::live);
}

TEST(ProxyTunnelHandoff, ATcpTunnelMovesAndNeitherEndNotices) {
  ScriptedBackend backend{echo};
  const Config config = tcp_to(backend.port());
  ProxyUnderTest a{config};
  ProxyUnderTest b{config};
  Wire client = a.connect();
  client.send("one");
  ASSERT_EQ(client.read_exactly(3), "one");
  reload(a, config);
  EXPECT_EQ(a->counters().tunnels_open, 0U);
  EXPECT_FALSE(a.drained_now());
  ASSERT_TRUE(a.hand_over_to(*b, 1));
  EXPECT_TRUE(a.drained());
  client.send("two");
  EXPECT_EQ(client.read_exactly(3), "two");
  EXPECT_EQ(b->counters().tunnels_open, 1U);
  EXPECT_EQ(b->counters().tunnels, 0U);  // begun elsewhere
  EXPECT_EQ(b->counters().tunnels_adopted, 1U);
  EXPECT_EQ(b->backends()[0].in_flight, 1U);
  EXPECT_EQ(a->counters().requests_in_flight, 0U);
  client.finish_sending();
  EXPECT_TRUE(client.at_end());
  EXPECT_TRUE(
      b.counted([](const CounterTotals& c) { return c.tunnels_open == 0 && c.connections_open == 0; }));
  EXPECT_EQ(b->backends()[0].in_flight, 0U);
}

TEST(ProxyTunnelHandoff, AnUpgradedConnectionMovesThroughManyGenerations) {
  ScriptedBackend backend{[](Wire& wire) {
    wire.read_until("\r\n\r\n");
    wire.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n");
    echo(wire);
  }};
  const Config config = to_backend(backend.port());
  auto current = std::make_unique<ProxyUnderTest>(config);
  Wire client = current->connect();
  client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
  ASSERT_THAT(client.read_until("\r\n\r\n"), StartsWith("HTTP/1.1 101 "));
  for (int i = 0; i < 5; ++i) {
    auto next = std::make_unique<ProxyUnderTest>(config);
    client.send("before");
    reload(*current, config);
    client.send("after");
    ASSERT_TRUE(current->hand_over_to(**next, 1));
    ASSERT_TRUE(current->drained());
    EXPECT_EQ((*current)->drain_report().force_closed, 0U);
    EXPECT_EQ(client.read_exactly(11), "beforeafter");
    current = std::move(next);
  }
}

/// A client that does not read, a backend that does not read: both outboxes are full, maybe with a pipe.
TEST(ProxyTunnelHandoff, WhatWaitsForSlowReadersBothWaysTravelsAlong) {
  constexpr std::size_t kBytes = (kSanitized ? 12 : 24) << 20U;
  const std::string up = random_bytes(kBytes, 1);
  const std::string down = random_bytes(kBytes, 2);
  std::promise<void> go;
  std::promise<std::string> arrived;
  ScriptedBackend backend{[&, gate = go.get_future().share()](Wire& wire) {
    std::thread speaker{[&] { EXPECT_TRUE(wire.send(down)); }};
    gate.wait();
    arrived.set_value(wire.read_exactly(kBytes));
    speaker.join();
    wire.finish_sending();
    wire.read_to_end();
  }};
  const Config config = tcp_to(backend.port());
  ProxyUnderTest a{config};
  ProxyUnderTest b{config};
  ProxyUnderTest c{config};
  Wire client = a.connect();
  std::thread speaker{[&] { EXPECT_TRUE(client.send(up)); }};
  // Both directions have come to a standstill once the counters rest.
  std::uint64_t last = 0;
  int rests = 0;
  EXPECT_TRUE(a.counted([&](const CounterTotals& totals) {
    std::this_thread::sleep_for(Milliseconds{20});
    const std::uint64_t now = totals.bytes_from_clients + totals.bytes_to_clients;
    rests = now == last && now > 0 ? rests + 1 : 0;
    last = now;
    return rests == 5;
  }));
  reload(a, config);
  auto taken = a->take_handed();
  ASSERT_EQ(taken.size(), 1U);
  ASSERT_NE(taken[0].tunnel, nullptr);
  EXPECT_FALSE(taken[0].tunnel->client_side.outbox.empty());
  EXPECT_FALSE(taken[0].tunnel->upstream_side.outbox.empty());
  b->adopt(std::move(taken));
  reload(b, config);
  ASSERT_TRUE(b.hand_over_to(*c, 1));
  EXPECT_TRUE(a.drained());
  EXPECT_TRUE(b.drained());
  go.set_value();
  EXPECT_TRUE(client.read_exactly(kBytes) == down);
  EXPECT_TRUE(arrived.get_future().get() == up);
  speaker.join();
  EXPECT_TRUE(client.at_end());
}

TEST(ProxyTunnelHandoff, HalfClosedOnesMoveEitherWay) {
  // The client has finished, the backend speaks on.
  std::promise<void> heard;
  std::promise<void> go;
  ScriptedBackend backend{[&, gate = go.get_future().share()](Wire& wire) {
    EXPECT_EQ(wire.read_to_end(), "all I say");
    heard.set_value();
    gate.wait();
    wire.send("answer");
  }};
  // The backend has finished, the client speaks on.
  std::promise<std::string> said;
  ScriptedBackend finished{[&](Wire& wire) {
    wire.send("all I say");
    wire.finish_sending();
    said.set_value(wire.read_to_end());
  }};
  const Config first = tcp_to(backend.port());
  const Config second = tcp_to(finished.port());
  ProxyUnderTest a{first};
  ProxyUnderTest b{first};
  ProxyUnderTest c{second};
  ProxyUnderTest d{second};
  Wire client = a.connect();
  client.send("all I say");
  client.finish_sending();
  heard.get_future().get();
  reload(a, first);
  ASSERT_TRUE(a.hand_over_to(*b, 1));
  go.set_value();
  EXPECT_EQ(client.read_to_end(), "answer");
  Wire speaker = c.connect();
  EXPECT_EQ(speaker.read_to_end(), "all I say");
  reload(c, second);
  ASSERT_TRUE(c.hand_over_to(*d, 1));
  speaker.send("I go on");
  speaker.finish_sending();
  EXPECT_EQ(said.get_future().get(), "I go on");
  for (ProxyUnderTest* proxy : {&b, &d}) {
    EXPECT_TRUE(proxy->counted([](const CounterTotals& t) { return t.connections_open == 0; }));
  }
}

TEST(ProxyTunnelHandoff, AnEndOrAResetBetweenTheGenerationsIsPassedOn) {
  ScriptedBackend backend{[](Wire& wire) { wire.read_to_end(); }};
  const Config config = tcp_to(backend.port());
  ProxyUnderTest a{config};
  ProxyUnderTest b{config};
  Wire resetting = a.connect();
  Wire finishing = a.connect();
  ASSERT_TRUE(a.counted([](const CounterTotals& c) { return c.tunnels_open == 2; }));
  reload(a, config);
  resetting.reset();
  finishing.finish_sending();
  ASSERT_TRUE(a.hand_over_to(*b, 2));
  EXPECT_TRUE(finishing.at_end());
  EXPECT_TRUE(b.counted([](const CounterTotals& c) {
    return c.tunnels_adopted == 2 && c.tunnels_open == 0 && c.connections_open == 0;
  }));
}

TEST(ProxyTunnelHandoff, WhatNobodyTookComesBackAndGoesOnWhereItWas) {
  ScriptedBackend backend{echo};
  const Config config = tcp_to(backend.port());
  ProxyUnderTest a{config};
  Wire client = a.connect();
  client.send("one");
  ASSERT_EQ(client.read_exactly(3), "one");
  reload(a, config);
  auto taken = a->take_handed();
  ASSERT_EQ(taken.size(), 1U);
  client.send("two");  // nobody reads it now
  a->give_up_handoff();
  a->adopt(std::move(taken));
  EXPECT_EQ(client.read_exactly(3), "two");
  EXPECT_EQ(a->counters().tunnels_open, 1U);
  client.finish_sending();
  EXPECT_TRUE(client.at_end());
  EXPECT_TRUE(a.drained());
  EXPECT_EQ(a->drain_report().force_closed, 0U);
}

TEST(ProxyTunnelHandoff, OneThatWasRefusedStaysUntilTheNextSuccessor) {
  ScriptedBackend backend{echo};
  const Config config = tcp_to(backend.port());
  ProxyUnderTest a{config};
  ProxyUnderTest b{config};
  Wire client = a.connect();
  client.send("one");
  ASSERT_EQ(client.read_exactly(3), "one");
  reload(a, config);
  auto taken = a->take_handed();
  ASSERT_EQ(taken.size(), 1U);
  taken[0].stays = true;
  a->adopt(std::move(taken));
  client.send("two");
  EXPECT_EQ(client.read_exactly(3), "two");
  EXPECT_TRUE(a->take_handed().empty());
  reload(a, config);
  ASSERT_TRUE(a.hand_over_to(*b, 1));
  client.send("three");
  EXPECT_EQ(client.read_exactly(5), "three");
}

TEST(ProxyTunnelHandoff, ABackendThatWasRemovedKeepsItsTunnelsUnderItsName) {
  ScriptedBackend backend{echo};
  ScriptedBackend other{echo};
  const Config before = tcp_to(backend.port(), "old");
  const Config after = tcp_to(other.port(), "new");
  ProxyUnderTest a{before};
  ProxyUnderTest b{after};
  ProxyUnderTest c{before};
  Wire client = a.connect();
  client.send("one");
  ASSERT_EQ(client.read_exactly(3), "one");
  reload(a, after);
  ASSERT_TRUE(a.hand_over_to(*b, 1));
  client.send("two");
  EXPECT_EQ(client.read_exactly(3), "two");
  auto backends = b->backends();
  ASSERT_EQ(backends.size(), 2U);
  EXPECT_EQ(backends[0].in_flight, 0U);
  EXPECT_EQ(backends[1].name, "old");
  EXPECT_EQ(backends[1].standing, "removed");
  EXPECT_EQ(backends[1].in_flight, 1U);
  // And when it is there again it is a tunnel like any other.
  reload(b, before);
  ASSERT_TRUE(b.hand_over_to(*c, 1));
  EXPECT_EQ(b->backends().size(), 1U);
  client.send("three");
  EXPECT_EQ(client.read_exactly(5), "three");
  backends = c->backends();
  ASSERT_EQ(backends.size(), 1U);
  EXPECT_EQ(backends[0].in_flight, 1U);
}

TEST(ProxyTunnelHandoff, ARemovedBackendMayDrainOrCloseItsTunnels) {
  ScriptedBackend backend{echo};
  Config before = tcp_to(backend.port(), "old");
  before.drain_timeout = Milliseconds{400};
  const Config after = tcp_to(backend.port() == 1 ? 2 : 1, "new");
  before.backends[0].on_removal = OnRemoval::drain;
  ProxyUnderTest a{before};
  ProxyUnderTest b{after};
  Wire draining = a.connect();
  draining.send("one");
  ASSERT_EQ(draining.read_exactly(3), "one");
  reload(a, after);
  ASSERT_TRUE(a.hand_over_to(*b, 1));
  draining.send("two");
  EXPECT_EQ(draining.read_exactly(3), "two");
  EXPECT_TRUE(ends_with_reset(draining));
  EXPECT_TRUE(
      b.counted([](const CounterTotals& c) { return c.drain_force_closed == 1 && c.tunnels_open == 0; }));
  EXPECT_EQ(b->backends().size(), 1U);

  before.backends[0].on_removal = OnRemoval::close;
  ProxyUnderTest c{before};
  Wire closed = c.connect();
  closed.send("one");
  ASSERT_EQ(closed.read_exactly(3), "one");
  reload(c, after);
  EXPECT_TRUE(ends_with_reset(closed));
  EXPECT_TRUE(c.drained());
  EXPECT_EQ(c->drain_report().closed_removed, 1U);
  EXPECT_EQ(c->drain_report().force_closed, 0U);
}

TEST(ProxyTunnelHandoff, AnAdoptedTunnelTakesAPlaceOfItsBackend) {
  ScriptedBackend backend{echo};
  Config config = tcp_to(backend.port());
  config.backends[0].max_connections = 1;
  config.queue.timeout = Milliseconds{100};
  ProxyUnderTest a{config};
  ProxyUnderTest b{config};
  Wire client = a.connect();
  client.send("one");
  ASSERT_EQ(client.read_exactly(3), "one");
  reload(a, config);
  ASSERT_TRUE(a.hand_over_to(*b, 1));
  ASSERT_TRUE(b.counted([](const CounterTotals& c) { return c.tunnels_open == 1; }));
  Wire refused = b.connect();
  EXPECT_TRUE(ends_with_reset(refused));
  client.send("two");
  EXPECT_EQ(client.read_exactly(3), "two");
  client.finish_sending();
  EXPECT_TRUE(client.at_end());
  Wire next = b.connect();
  next.send("x");
  EXPECT_EQ(next.read_exactly(1), "x");
}

TEST(ProxyTunnelHandoff, IdleConnectionsToBackendsMoveSoThatNobodyConnectsAgain) {
  ScriptedBackend backend{always("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")};
  const Config config = to_backend(backend.port());
  ProxyUnderTest a{config};
  ProxyUnderTest b{config};
  Wire client = a.connect();
  const std::string_view get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
  client.send(get);
  ASSERT_THAT(client.read_message(), EndsWith("ok"));
  ASSERT_TRUE(a.counted([](const CounterTotals& c) { return c.requests_in_flight == 0; }));
  reload(a, config);
  ASSERT_TRUE(a.hand_over_to(*b, 2));
  EXPECT_TRUE(a.drained());
  client.send(get);
  EXPECT_THAT(client.read_message(), EndsWith("ok"));
  EXPECT_EQ(backend.connections(), 1);
  EXPECT_EQ(b->counters().upstream_connects, 0U);
  EXPECT_EQ(b->counters().upstream_reused, 1U);
  EXPECT_EQ(b->counters().upstreams_adopted, 1U);
}

TEST(ProxyTunnelHandoff, OnlyThoseOfBackendsThatAreTheSameMove) {
  ScriptedBackend backend{always("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")};
  Config config = to_backend(backend.port());
  Config other = config;
  other.backends[0].name = "another";
  ProxyUnderTest a{config};
  ProxyUnderTest b{other};
  Wire client = a.connect();
  client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  ASSERT_THAT(client.read_message(), EndsWith("ok"));
  ASSERT_TRUE(a.counted([](const CounterTotals& c) { return c.requests_in_flight == 0; }));
  reload(a, other);
  ASSERT_TRUE(a.hand_over_to(*b, 1));
  EXPECT_TRUE(a.drained());
  EXPECT_EQ(a->counters().upstreams_handed_over, 0U);
}

TEST(ProxyTunnelHandoff, AnExchangeThatEndsInTheDrainGivesItsConnectionToThePool) {
  std::promise<void> go;
  ScriptedBackend backend{[gate = go.get_future().share()](Wire& wire) {
    while (!wire.read_until("\r\n\r\n").empty()) {
      gate.wait();
      wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
  }};
  const Config config = to_backend(backend.port());
  ProxyUnderTest a{config};
  ProxyUnderTest b{config};
  Wire client = a.connect();
  client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  ASSERT_TRUE(a.counted([](const CounterTotals& c) { return c.requests_in_flight == 1; }));
  reload(a, config);
  go.set_value();
  EXPECT_THAT(client.read_message(), EndsWith("ok"));
  ASSERT_TRUE(a.hand_over_to(*b, 2));
  EXPECT_TRUE(a.drained());
  client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_THAT(client.read_message(), EndsWith("ok"));
  EXPECT_EQ(backend.connections(), 1);
}

}  // namespace
}  // namespace lb::wire
