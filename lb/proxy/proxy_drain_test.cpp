// Draining on the wire: what clients of a generation that goes see.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

constexpr std::string_view kGetDrain = "GET /a?b=c HTTP/1.1\r\nHost: example.org\r\nUser-Agent: t\r\n\r\n";
constexpr std::string_view kHelloDrain = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-B: 1\r\n\r\nhello";

TEST(ProxyDrain, AnIdleConnectionIsNotClosedAtOnceAndItsNextResponseSaysClose) {
  ScriptedBackend backend{always(kHelloDrain)};
  Config config = to_backend(backend.port());
  config.timeouts.quiet = Milliseconds{5000};
  ProxyUnderTest proxy{config};
  Wire client = proxy.connect();
  client.send(kGetDrain);
  EXPECT_THAT(client.read_message(), Not(HasSubstr("Connection: close")));
  proxy->start_drain();
  client.send(kGetDrain);
  const std::string last = client.read_message();
  EXPECT_THAT(last, EndsWith("hello"));
  EXPECT_THAT(last, HasSubstr("Connection: close\r\n"));
  EXPECT_TRUE(client.at_end());
  client.close();
  EXPECT_TRUE(proxy.drained());
  EXPECT_EQ(proxy->drain_report().completed, 1U);
  EXPECT_EQ(proxy->drain_report().force_closed, 0U);
}

TEST(ProxyDrain, AQuietConnectionIsClosedAfterAWhile) {
  ScriptedBackend backend{always(kHelloDrain)};
  Config config = to_backend(backend.port());
  config.timeouts.quiet = Milliseconds{50};
  ProxyUnderTest proxy{config};
  Wire client = proxy.connect();
  client.send(kGetDrain);
  client.read_message();
  proxy->start_drain();
  EXPECT_TRUE(client.at_end());
  EXPECT_TRUE(proxy.drained());
  EXPECT_EQ(proxy->drain_report().closed_idle, 1U);
}

TEST(ProxyDrain, ARequestInFlightIsAnswered) {
  std::promise<void> go;
  auto gate = go.get_future().share();
  ScriptedBackend backend{[gate](Wire& wire) {
    if (wire.read_until("\r\n\r\n").empty()) return;
    gate.wait();
    wire.send(kHelloDrain);
  }};
  ProxyUnderTest proxy{to_backend(backend.port())};
  Wire client = proxy.connect();
  client.send(kGetDrain);
  ASSERT_TRUE(proxy.counted([](const CounterTotals& c) { return c.requests_in_flight == 1; }));
  proxy->start_drain();
  go.set_value();
  EXPECT_THAT(client.read_message(), EndsWith("hello"));
  client.close();
  EXPECT_TRUE(proxy.drained());
}

TEST(ProxyDrain, PipelinedRequestsThatAreHereAreAllAnswered) {
  std::promise<void> go;
  auto gate = go.get_future().share();
  ScriptedBackend backend{[gate](Wire& wire) {
    while (!wire.read_until("\r\n\r\n").empty()) {
      gate.wait();
      wire.send(kHelloDrain);
    }
  }};
  ProxyUnderTest proxy{to_backend(backend.port())};
  Wire client = proxy.connect();
  client.send(std::string{kGetDrain} + std::string{kGetDrain} + std::string{kGetDrain});
  ASSERT_TRUE(proxy.counted([](const CounterTotals& c) { return c.requests_in_flight == 1; }));
  proxy->start_drain();
  go.set_value();
  EXPECT_THAT(client.read_message(), Not(HasSubstr("Connection: close")));
  EXPECT_THAT(client.read_message(), Not(HasSubstr("Connection: close")));
  EXPECT_THAT(client.read_message(), HasSubstr("Connection: close"));
  client.close();
  EXPECT_TRUE(proxy.drained());
}

TEST(ProxyDrain, APipelinedRequestThatTheKernelStillHoldsIsAnsweredToo) {
  std::promise<void> go;
  auto gate = go.get_future().share();
  ScriptedBackend backend{[gate](Wire& wire) {
    while (!wire.read_until("\r\n\r\n").empty()) {
      gate.wait();
      wire.send(kHelloDrain);
    }
  }};
  ProxyUnderTest proxy{to_backend(backend.port())};
  Wire client = proxy.connect();
  client.send(kGetDrain);
  ASSERT_TRUE(proxy.counted([](const CounterTotals& c) { return c.requests_in_flight == 1; }));
  client.send(kGetDrain);  // not read while the first is in flight
  proxy->start_drain();
  go.set_value();
  EXPECT_THAT(client.read_message(), EndsWith("hello"));
  EXPECT_THAT(client.read_message(), EndsWith("hello"));
  client.close();
  EXPECT_TRUE(proxy.drained());
}

TEST(ProxyDrain, WhatOutlivesTheDrainTimeoutIsClosedAndCounted) {
  ScriptedBackend backend{[](Wire& wire) { wire.read_to_end(); }};
  Config config = to_backend(backend.port());
  config.drain_timeout = Milliseconds{100};
  ProxyUnderTest proxy{config};
  Wire client = proxy.connect();
  client.send(kGetDrain);
  ASSERT_TRUE(proxy.counted([](const CounterTotals& c) { return c.requests_in_flight == 1; }));
  proxy->start_drain();
  EXPECT_TRUE(client.at_end());
  EXPECT_TRUE(proxy.drained());
  EXPECT_EQ(proxy->drain_report().force_closed, 1U);
}

TEST(ProxyDrain, RequestsOnOldConnectionsGoToTheSuccessorsBackends) {
  ScriptedBackend before{always("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nbefore")};
  ScriptedBackend after{always("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nafter")};
  ProxyUnderTest proxy{to_backend(before.port())};
  Wire client = proxy.connect();
  client.send(kGetDrain);
  ASSERT_THAT(client.read_message(), EndsWith("before"));
  reload_start_drain(*proxy, std::make_shared<const Config>(to_backend(after.port())));
  client.send(kGetDrain);
  EXPECT_THAT(client.read_message(), EndsWith("after"));
  client.close();
  EXPECT_TRUE(proxy.drained());
}

TEST(ProxyDrain, EachFurtherSuccessorTakesOverWhileARequestOfTheFirstSetStillRuns) {
  std::promise<void> go;
  auto gate = go.get_future().share();
  ScriptedBackend slow{[gate](Wire& wire) {
    if (wire.read_until("\r\n\r\n").empty()) return;
    gate.wait();
    wire.send(kHelloDrain);
  }};
  ProxyUnderTest proxy{to_backend(slow.port())};
  Wire waiting = proxy.connect();
  Wire client = proxy.connect();
  waiting.send(kGetDrain);
  ASSERT_TRUE(proxy.counted([](const CounterTotals& c) { return c.requests_in_flight == 1; }));
  for (int i = 0; i < 5; ++i) {
    const std::string body = std::to_string(i);
    ScriptedBackend next{always("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + body)};
    proxy->set_successor(std::make_shared<const Config>(to_backend(next.port())));
    client.send(kGetDrain);
    EXPECT_THAT(client.read_message(), EndsWith(body));
    proxy->set_successor(std::make_shared<const Config>(to_backend(slow.port())));  // lets `next` go
  }
  go.set_value();
  EXPECT_THAT(waiting.read_message(), EndsWith("hello"));
}

TEST(ProxyDrain, TheListenerStaysOpenForItsOtherHolders) {
  ScriptedBackend backend{always(kHelloDrain)};
  auto opened = open_listener_shards(Endpoint{.host = "127.0.0.1"}, 1, {});
  const Fd held = opened->front().fd.duplicate();
  const std::string text = *local_address_text(held.get());
  const auto port = static_cast<std::uint16_t>(std::stoi(text.substr(text.rfind(':') + 1)));
  Config config = to_backend(backend.port());
  config.listen.push_back({{.host = "127.0.0.1"}});
  config.workers = 1;
  auto proxy = Proxy::create(
      ProxyOptions{.config = std::make_shared<const Config>(config), .listeners = std::move(*opened)});
  (*proxy)->start();
  (*proxy)->start_drain();
  Wire late = Wire::connect_to(port);  // queued by the kernel: no refusal, no reset
  late.send(kGetDrain);
  const Fd accepted{::accept4(held.get(), nullptr, nullptr, SOCK_CLOEXEC)};
  EXPECT_TRUE(accepted);
}

}  // namespace
}  // namespace lb
