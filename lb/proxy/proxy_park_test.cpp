// A drain that is taken back, on the wire; and the self-probe.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <future>

#include "lb/proxy/proxy.hpp"
#include "lb/proxy/wire_test_kit.hpp"

namespace lb {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using wire::always;
using wire::ProxyUnderTest;
using wire::ScriptedBackend;
using wire::to_backend;
using wire::Wire;

constexpr std::string_view kGetPark = "GET /a HTTP/1.1\r\nHost: example.org\r\n\r\n";
constexpr std::string_view kFirst = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst";
constexpr std::string_view kSecond = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond";

std::string ask(Wire& client) {
  client.send(kGetPark);
  return client.read_message();
}

class ProxyPark : public ::testing::Test {
 protected:
  static Config patient(std::uint16_t port) {
    Config config = to_backend(port);
    config.timeouts.quiet = Milliseconds{8'000};
    return config;
  }
  /// As a generation does with SUCCESSOR.
  void park(ProxyUnderTest& proxy, Handoff handoff = Handoff::none) {
    auto successor = std::make_shared<Config>(patient(second.port()));
    successor->listen = {{{.host = "127.0.0.1"}}};
    proxy->park(successor.get());
    reload_start_drain(*proxy, successor, handoff);
  }

  ScriptedBackend first{always(kFirst)};
  ScriptedBackend second{always(kSecond)};
};

TEST_F(ProxyPark, AcceptsNobodyUntilItIsResumed) {
  ProxyUnderTest proxy{patient(first.port())};
  park(proxy);
  EXPECT_TRUE(proxy.drained()) << "nothing is left, and it stays";
  Wire client = proxy.connect();  // queued by the kernel
  client.send(kGetPark);
  pollfd answered{client.fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&answered, 1, 50), 0);
  proxy->resume({});
  EXPECT_FALSE(proxy.drained_now());
  EXPECT_THAT(client.read_message(), EndsWith("first")) << "with its own backends again";
  EXPECT_THAT(ask(client), Not(HasSubstr("Connection: close")));
}

TEST_F(ProxyPark, ResumesWithARequestInFlight) {
  std::promise<void> go;
  auto gate = go.get_future().share();
  ScriptedBackend slow{[gate](Wire& wire) {
    while (!wire.read_until("\r\n\r\n").empty()) {
      gate.wait();
      wire.send(kFirst);
    }
  }};
  ProxyUnderTest proxy{patient(slow.port())};
  Wire client = proxy.connect();
  client.send(kGetPark);
  ASSERT_TRUE(proxy.counted([](const CounterTotals& c) { return c.requests_in_flight == 1; }));
  park(proxy);
  proxy->resume({});
  go.set_value();
  const std::string answer = client.read_message();
  EXPECT_THAT(answer, EndsWith("first"));
  EXPECT_THAT(answer, Not(HasSubstr("Connection: close")));
  EXPECT_THAT(ask(client), EndsWith("first")) << "the connection lives on";
}

TEST_F(ProxyPark, IdleConnectionsThatWereNotTakenYetStay) {
  ProxyUnderTest proxy{patient(first.port())};
  Wire client = proxy.connect();
  ask(client);
  park(proxy, Handoff::live);
  EXPECT_EQ(proxy->counters().connections_open, 0U);
  proxy->resume({});
  EXPECT_THAT(ask(client), EndsWith("first"));
}

TEST_F(ProxyPark, TakesConnectionsBackAfterwards) {
  ProxyUnderTest a{patient(first.port())};
  ProxyUnderTest b{patient(second.port())};
  Wire client = a.connect();
  ask(client);
  park(a, Handoff::live);
  b->adopt(a->take_handed());
  EXPECT_THAT(ask(client), EndsWith("second"));
  a->resume({});
  b->start_drain(Handoff::live);
  ASSERT_TRUE(b.counted([](const CounterTotals& c) { return c.handed_over == 1; }));
  a->adopt(b->take_handed());
  EXPECT_THAT(ask(client), EndsWith("first"));
  EXPECT_TRUE(b.drained());
}

TEST_F(ProxyPark, ParksAgainAndAgainAndThenDrains) {
  ProxyUnderTest proxy{patient(first.port())};
  for (int i = 0; i < 20; ++i) {
    park(proxy, i % 2 == 0 ? Handoff::none : Handoff::live);
    park(proxy, Handoff::live);  // a further successor
    proxy->resume({});
    Wire client = proxy.connect();
    ASSERT_THAT(ask(client), EndsWith("first"));
    client.close();
    ASSERT_TRUE(proxy.counted([](const CounterTotals& c) { return c.connections_open == 0; }));
  }
  park(proxy);
  proxy->let_go();
  EXPECT_TRUE(proxy.drained());
  EXPECT_EQ(proxy->drain_report().completed, 0U) << "what was served before is not the drain's";
}

TEST_F(ProxyPark, WhatTheSuccessorDoesNotListenAtIsReset) {
  ProxyUnderTest proxy{patient(first.port())};
  Config elsewhere = patient(second.port());
  elsewhere.listen = {{{.host = "127.0.0.1", .port = 1}}};
  proxy->park(&elsewhere);
  proxy->start_drain();
  for (int i = 0; i < 3; ++i) {
    Wire client = proxy.connect();
    char byte = 0;
    EXPECT_LE(::recv(client.fd(), &byte, 1, 0), 0) << "it would wait for ever";
  }
  park(proxy);  // a further successor, which has it again
  Wire client = proxy.connect();
  client.send(kGetPark);
  proxy->resume({});
  EXPECT_THAT(client.read_message(), EndsWith("first"));
}

TEST_F(ProxyPark, FurtherShardsArePolled) {
  ProxyUnderTest proxy{patient(first.port()), {.keep_open = true}};
  park(proxy);
  auto more = open_more_shards(Endpoint{.host = "127.0.0.1"}, proxy.held_fd(), 3, {});
  ASSERT_TRUE(more) << more.error().message;
  proxy->resume(std::move(*more));
  for (int i = 0; i < 40; ++i) {  // whichever of the four queues the kernel picks
    Wire client = proxy.connect();
    ASSERT_THAT(ask(client), EndsWith("first"));
  }
}

// ---- the self-probe ----

TEST_F(ProxyPark, TheProbeSeesEachListenerAndNobodySeesTheProbe) {
  ProxyUnderTest proxy{patient(first.port())};
  const auto probes = proxy->probe(std::chrono::seconds{5});
  ASSERT_EQ(probes.size(), 1U);
  EXPECT_TRUE(probes[0].ok) << probes[0].error;
  EXPECT_EQ(proxy->counters().connections_accepted, 0U);
  EXPECT_EQ(first.connections(), 0);
}

TEST_F(ProxyPark, TheProbeFindsAListenerThatNobodyPolls) {
  ProxyUnderTest proxy{patient(first.port())};
  park(proxy);
  const auto probes = proxy->probe(Milliseconds{50});
  ASSERT_EQ(probes.size(), 1U);
  EXPECT_FALSE(probes[0].ok);
  EXPECT_THAT(probes[0].error, HasSubstr("none of its workers accepted it"));
}

}  // namespace
}  // namespace lb
