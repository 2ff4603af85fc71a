// PROXY headers on the wire: whose address counts, who may tell one, and what backends are told.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "lb/proxy/wire_test_kit.hpp"

namespace lb::wire {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using namespace std::string_literals;

constexpr const char* kGetPreface = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
constexpr const char* kLine = "PROXY TCP4 192.0.2.7 198.51.100.1 1234 80\r\n";
const std::string kBinary =
    "\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x08\xc6\x33\x64\x01\x04\xd2\x00\x50"s;

/// Answers each request with its own head as the body.
ScriptedBackend::Script mirror() {
  return answering([](const std::string& request) {
    return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(request.size()) + "\r\n\r\n" + request;
  });
}

Config with_preface(const ScriptedBackend& backend, ListenMode mode = ListenMode::http,
                    std::vector<Network> from = {}) {
  Config config = to_backend(backend.port());
  config.listen.push_back({{.host = "127.0.0.1"}, mode, ProxyProtocolConfig{std::move(from)}});
  return config;
}

TEST(ProxyPreface, TheAddressOfAHeaderIsTheClients) {
  ScriptedBackend backend{mirror()};
  ProxyUnderTest proxy{with_preface(backend)};
  Wire client = proxy.connect();
  client.send(kLine + std::string{kGetPreface});
  EXPECT_THAT(client.read_message(), HasSubstr("X-Forwarded-For: 192.0.2.7\r\n"));
  client.send(kGetPreface);  // for the whole connection
  EXPECT_THAT(client.read_message(), HasSubstr("X-Forwarded-For: 192.0.2.7\r\n"));
  Wire other = proxy.connect();
  other.send(kBinary + kGetPreface);
  EXPECT_THAT(other.read_message(), HasSubstr("X-Forwarded-For: 192.0.2.8\r\n"));
}

TEST(ProxyPreface, AHeaderMayComeByteByByteAndAlone) {
  ScriptedBackend backend{mirror()};
  ProxyUnderTest proxy{with_preface(backend)};
  for (const std::string& header : {std::string{kLine}, kBinary}) {
    Wire client = proxy.connect();
    for (const char byte : header) client.send({&byte, 1});
    client.send(kGetPreface);
    EXPECT_THAT(client.read_message(), HasSubstr("X-Forwarded-For: 192.0.2."));
  }
}

TEST(ProxyPreface, ALocalConnectionKeepsItsOwnAddress) {
  ScriptedBackend backend{mirror()};
  ProxyUnderTest proxy{with_preface(backend)};
  for (const std::string& header : {"PROXY UNKNOWN\r\n"s, "\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00"s}) {
    Wire client = proxy.connect();
    client.send(header + kGetPreface);
    EXPECT_THAT(client.read_message(), HasSubstr("X-Forwarded-For: 127.0.0.1\r\n"));
  }
}

TEST(ProxyPreface, WhatIsNoHeaderIsReset) {
  ScriptedBackend backend{mirror()};
  Config config = with_preface(backend);
  config.timeouts.header = Milliseconds{50};
  ProxyUnderTest proxy{config};
  for (const char* bytes :
       {kGetPreface, "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", "PROX"}) {  // the last one never goes on
    Wire client = proxy.connect();
    client.send(bytes);
    EXPECT_TRUE(ends_with_reset(client)) << bytes;
  }
  EXPECT_EQ(proxy->counters().proxy_headers_refused, 3U);
  Wire cut = proxy.connect();
  cut.send("PROXY TCP4 1.2.3.4");
  cut.finish_sending();
  EXPECT_TRUE(ends_with_reset(cut));
  Wire probe = proxy.connect();  // only looks whether we are there
  probe.finish_sending();
  EXPECT_TRUE(probe.at_end());
  EXPECT_EQ(proxy->counters().proxy_headers_refused, 4U);
  EXPECT_EQ(proxy->counters().requests, 0U);
  EXPECT_EQ(proxy->counters().connections_open, 0U);
}

TEST(ProxyPreface, WhoIsNotTrustedIsResetBeforeAByteIsRead) {
  ScriptedBackend backend{mirror()};
  ProxyUnderTest strangers{
      with_preface(backend, ListenMode::http, {*parse_network("10.0.0.0/8"), *parse_network("unix")})};
  EXPECT_TRUE(ends_with_reset(strangers.connect()));
  EXPECT_EQ(strangers->counters().proxy_headers_refused, 1U);
  ProxyUnderTest friends{with_preface(backend, ListenMode::http, {*parse_network("127.0.0.0/8")})};
  Wire client = friends.connect();
  client.send(kLine + std::string{kGetPreface});
  EXPECT_THAT(client.read_message(), HasSubstr("X-Forwarded-For: 192.0.2.7\r\n"));
}

TEST(ProxyPreface, TheRateLimitIsThatOfTheToldAddress) {
  ScriptedBackend backend{mirror()};
  Config config = with_preface(backend);
  config.rate_limit = RateLimitConfig{.per_ip = 0.001, .burst = 1};
  ProxyUnderTest proxy{config};
  const auto ask = [&](const std::string& header) {
    Wire client = proxy.connect();
    client.send(header + kGetPreface);
    return client.read_until("\r\n");
  };
  EXPECT_THAT(ask(kLine), HasSubstr(" 200 "));
  EXPECT_THAT(ask(kLine), HasSubstr(" 429 "));
  EXPECT_THAT(ask(kBinary), HasSubstr(" 200 "));
}

TEST(ProxyPreface, InTcpModeTheRestIsTheBackends) {
  ScriptedBackend backend{[](Wire& wire) { wire.send("got " + wire.read_to_end()); }};
  ProxyUnderTest proxy{with_preface(backend, ListenMode::tcp)};
  Wire client = proxy.connect();
  client.send(kBinary + "PROXY is data now");
  client.finish_sending();
  EXPECT_EQ(client.read_to_end(), "got PROXY is data now");
}

TEST(ProxyPreface, BackendsAreToldTheClient) {
  ScriptedBackend backend{[](Wire& wire) { wire.send("got " + wire.read_to_end()); }};
  Config config = with_preface(backend, ListenMode::tcp);
  config.backends[0].send_proxy = SendProxy::v1;
  ProxyUnderTest text{config};
  Wire client = text.connect();
  client.send(kBinary + "data");
  client.finish_sending();
  EXPECT_EQ(client.read_to_end(), "got PROXY TCP4 192.0.2.8 198.51.100.1 1234 80\r\ndata");
  config.listen.clear();
  config.listen.push_back({{.host = "127.0.0.1"}, ListenMode::tcp});
  config.backends[0].send_proxy = SendProxy::v2;
  ProxyUnderTest binary{config};
  Wire direct = binary.connect();
  direct.send("data");
  direct.finish_sending();
  const std::string got = direct.read_to_end();
  EXPECT_THAT(got, StartsWith("got " + kBinary.substr(0, 16) + "\x7f\x00\x00\x01\x7f\x00\x00\x01"s));
  EXPECT_THAT(got, EndsWith("data"));
  EXPECT_EQ(got.size(), 4 + 28 + 4U);
}

TEST(ProxyPreface, AConnectionWithAHeaderServesOneRequestOfHttp) {
  ScriptedBackend backend{[](Wire& wire) {
    const std::string request = wire.read_message();
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(request.size()) + "\r\n\r\n" + request);
    EXPECT_TRUE(wire.at_end());
  }};
  Config config = with_preface(backend);
  config.backends[0].send_proxy = SendProxy::v1;
  ProxyUnderTest proxy{config};
  for (int i = 0; i < 3; ++i) {
    Wire client = proxy.connect();
    client.send(kLine + std::string{kGetPreface});
    EXPECT_THAT(client.read_message(), HasSubstr("\r\n\r\n" + std::string{kLine} + "GET / HTTP/1.1\r\n"));
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody");
    EXPECT_THAT(client.read_message(), EndsWith("body"));
  }
  EXPECT_EQ(backend.connections(), 6);
}

TEST(ProxyPreface, TheAddressGoesAlongToTheNextGeneration) {
  ScriptedBackend backend{mirror()};
  ProxyUnderTest before{with_preface(backend), {.keep_open = true}};
  Wire idle = before.connect();
  idle.send(kLine + std::string{kGetPreface});
  idle.read_message();
  Wire silent = before.connect();  // its header is still to come
  EXPECT_TRUE(before.counted([](const CounterTotals& c) { return c.connections_accepted == 2; }));
  Config next = with_preface(backend);
  next.backends[0].send_proxy = SendProxy::v1;
  ProxyUnderTest after{next, before};
  before->start_drain(Handoff::live);
  ASSERT_TRUE(before.hand_over_to(*after, 1));
  idle.send(kGetPreface);
  const std::string message = idle.read_message();
  EXPECT_THAT(message, HasSubstr("X-Forwarded-For: 192.0.2.7\r\n"));
  EXPECT_THAT(message, HasSubstr(kLine));
  silent.send(kBinary);  // read by the one that accepted it, which hands it over then
  ASSERT_TRUE(before.hand_over_to(*after, 1));
  silent.send(kGetPreface);
  EXPECT_THAT(silent.read_message(), HasSubstr("X-Forwarded-For: 192.0.2.8\r\n"));
  EXPECT_TRUE(before.drained());
}

}  // namespace
}  // namespace lb::wire
