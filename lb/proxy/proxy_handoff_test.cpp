// Live handoff on the wire: idle connections that go from one generation to the next, and what their clients
// see of it: nothing. Which generation answered is told by its backend.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/un.h>

#include <cstdlib>
#include <future>

#include "lb/proxy/proxy.hpp"
#include "lb/proxy/wire_test_kit.hpp"

namespace lb {
namespace {

using ::testing::AnyOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using wire::always;
using wire::ProxyUnderTest;
using wire::ScriptedBackend;
using wire::to_backend;
using wire::Wire;

constexpr std::string_view kGetHandoff = "GET /a?b=c HTTP/1.1\r\nHost: example.org\r\n\r\n";
constexpr std::string_view kFirst = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst";
constexpr std::string_view kSecond = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond";

/// The client sees neither an end nor a reset.
bool is_open(const Wire& client) {
  char byte = 0;
  return ::recv(client.fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

/// A request and its answer.
std::string ask(Wire& client) {
  client.send(kGetHandoff);
  return client.read_message();
}

/// Holds each answer back until it is let go.
class GatedBackend final {
 public:
  void let_go() { go_.set_value(); }
  [[nodiscard]] std::uint16_t port() const { return backend_.port(); }

 private:
  std::promise<void> go_;
  ScriptedBackend backend_{[gate = go_.get_future().share()](Wire& wire) {
    while (!wire.read_until("\r\n\r\n").empty()) {
      gate.wait();
      wire.send(kFirst);
    }
  }};
};

class ProxyHandoff : public ::testing::Test {
 protected:
  static Config patient(std::uint16_t port) {
    Config config = to_backend(port);
    config.timeouts.quiet = Milliseconds{8'000};  // nobody is closed for being quiet while a test looks
    return config;
  }
  static void in_flight(ProxyUnderTest& proxy, std::uint64_t count) {
    ASSERT_TRUE(proxy.counted([=](const CounterTotals& c) { return c.requests_in_flight == count; }));
  }
  static void open(ProxyUnderTest& proxy, std::uint64_t count) {
    ASSERT_TRUE(proxy.counted([=](const CounterTotals& c) { return c.connections_open == count; }));
  }
  ScriptedBackend first{always(kFirst)};
  ScriptedBackend second{always(kSecond)};
};

TEST_F(ProxyHandoff, AnIdleConnectionMovesAndItsNextRequestIsAnsweredByTheAdopter) {
  ProxyUnderTest a{patient(first.port())};
  ProxyUnderTest b{patient(second.port())};
  Wire client = a.connect();
  ASSERT_THAT(ask(client), EndsWith("first"));
  a->start_drain(Handoff::live);
  EXPECT_EQ(a->counters().connections_open, 0U);
  EXPECT_FALSE(a.drained_now());  // it is ours until it is taken
  std::vector<HandedConnection> taken = a->take_handed();
  ASSERT_EQ(taken.size(), 1U);
  EXPECT_EQ(taken[0].requests, 1U);
  EXPECT_TRUE(a.drained());
  EXPECT_EQ(a->drain_report().handed_over, 1U);
  EXPECT_EQ(a->drain_report().closed_idle, 0U);
  b->adopt(std::move(taken));
  for (int i = 0; i < 3; ++i) {
    const std::string answer = ask(client);
    EXPECT_THAT(answer, EndsWith("second"));
    EXPECT_THAT(answer, Not(HasSubstr("Connection: close")));
  }
  EXPECT_TRUE(is_open(client));
  EXPECT_EQ(b->counters().connections_accepted, 0U);
  EXPECT_EQ(b->counters().connections_open, 1U);
  EXPECT_EQ(b->counters().adopted, 1U);
  EXPECT_EQ(a->counters().handed_over, 1U);
}

TEST_F(ProxyHandoff, TheOldProcessMayEndBeforeTheAdopterHasTheConnection) {
  ProxyUnderTest b{patient(second.port())};
  Wire client;
  std::vector<HandedConnection> taken;
  {
    ProxyUnderTest a{patient(first.port())};
    client = a.connect();
    ask(client);
    a->start_drain(Handoff::live);
    taken = a->take_handed();
    EXPECT_TRUE(a.drained());
  }
  b->adopt(std::move(taken));
  EXPECT_THAT(ask(client), EndsWith("second"));
}

TEST_F(ProxyHandoff, ARequestSentBetweenTheGenerationsIsAnswered) {
  ProxyUnderTest a{patient(first.port())};
  ProxyUnderTest b{patient(second.port())};
  Wire client = a.connect();
  ask(client);
  a->start_drain(Handoff::live);
  client.send(kGetHandoff);  // into a socket that nobody reads
  EXPECT_TRUE(a.hand_over_to(*b, 1));
  EXPECT_THAT(client.read_message(), EndsWith("second"));
  EXPECT_TRUE(is_open(client));
}

TEST_F(ProxyHandoff, AResponseThatEndsDuringTheDrainPromisesLifeAndItsConnectionMoves) {
  GatedBackend slow;
  ProxyUnderTest a{patient(slow.port())};
  ProxyUnderTest b{patient(second.port())};
  Wire client = a.connect();
  client.send(kGetHandoff);
  in_flight(a, 1);
  a->start_drain(Handoff::live);
  EXPECT_TRUE(a->take_handed().empty());
  slow.let_go();
  const std::string answer = client.read_message();
  EXPECT_THAT(answer, EndsWith("first"));
  EXPECT_THAT(answer, Not(HasSubstr("Connection: close")));
  EXPECT_TRUE(a.hand_over_to(*b, 1));
  EXPECT_TRUE(a.drained());
  EXPECT_EQ(a->drain_report().completed, 1U);
  EXPECT_THAT(ask(client), EndsWith("second"));
}

TEST_F(ProxyHandoff, AClientThatWantsTheCloseGetsIt) {
  GatedBackend slow;
  ProxyUnderTest a{patient(slow.port())};
  Wire client = a.connect();
  client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  in_flight(a, 1);
  a->start_drain(Handoff::live);
  slow.let_go();
  EXPECT_THAT(client.read_message(), HasSubstr("Connection: close"));
  EXPECT_TRUE(client.at_end());
  EXPECT_TRUE(a.drained());
}

TEST_F(ProxyHandoff, PipelinedRequestsThatWereReadTravelAlongOnceTheFirstHasBeenAnswered) {
  GatedBackend slow;
  ProxyUnderTest a{patient(slow.port())};
  ProxyUnderTest b{patient(second.port())};
  Wire client = a.connect();
  client.send(std::string{kGetHandoff} + std::string{kGetHandoff} +
              std::string{kGetHandoff});  // one segment, read at once
  in_flight(a, 1);
  a->start_drain(Handoff::live);
  slow.let_go();
  const std::string answer = client.read_message();
  EXPECT_THAT(answer, EndsWith("first"));
  EXPECT_THAT(answer, Not(HasSubstr("Connection: close")));
  EXPECT_TRUE(a.hand_over_to(*b, 1));
  EXPECT_THAT(client.read_message(), EndsWith("second"));
  EXPECT_THAT(client.read_message(), EndsWith("second"));
  EXPECT_THAT(ask(client), EndsWith("second"));
  EXPECT_EQ(a->counters().requests, 1U);
}

TEST_F(ProxyHandoff, APipelinedRequestThatTheKernelHoldsMovesWithTheConnection) {
  GatedBackend slow;
  ProxyUnderTest a{patient(slow.port())};
  ProxyUnderTest b{patient(second.port())};
  Wire client = a.connect();
  client.send(kGetHandoff);
  in_flight(a, 1);
  client.send(kGetHandoff);  // not read while the first is in flight
  a->start_drain(Handoff::live);
  slow.let_go();
  EXPECT_THAT(client.read_message(), EndsWith("first"));
  EXPECT_TRUE(a.hand_over_to(*b, 1));
  EXPECT_THAT(client.read_message(), EndsWith("second"));
}

TEST_F(ProxyHandoff, RequestsRefusedByTheRateLimitDoNotLoseThoseBehindThem) {
  GatedBackend slow;
  Config config = patient(slow.port());
  config.rate_limit = RateLimitConfig{.per_ip = 0.001, .burst = 1};
  ProxyUnderTest a{config};
  ProxyUnderTest b{patient(second.port())};
  Wire client = a.connect();
  client.send(std::string{kGetHandoff} + std::string{kGetHandoff} + std::string{kGetHandoff});
  in_flight(a, 1);
  a->start_drain(Handoff::live);
  slow.let_go();
  EXPECT_THAT(client.read_message(), EndsWith("first"));
  EXPECT_TRUE(a.hand_over_to(*b, 1));
  for (int i = 0; i < 2; ++i) EXPECT_THAT(client.read_message(), EndsWith("second"));
  EXPECT_THAT(ask(client), EndsWith("second"));
}

TEST_F(ProxyHandoff, WhilePausedClientsAreServedAsIfTheyStayedAndThenMove) {
  Config config = patient(first.port());
  config.timeouts.quiet = Milliseconds{50};
  ProxyUnderTest a{config};
  ProxyUnderTest b{patient(second.port())};
  Wire client = a.connect();
  ask(client);
  a->pause_handoff(true);
  a->start_drain(Handoff::live);
  for (int i = 0; i < 3; ++i) {
    const std::string answer = ask(client);
    EXPECT_THAT(answer, EndsWith("first"));
    EXPECT_THAT(answer, Not(HasSubstr("Connection: close")));
  }
  EXPECT_TRUE(a->take_handed().empty());
  a->pause_handoff(false);
  EXPECT_TRUE(a.hand_over_to(*b, 1));
  EXPECT_TRUE(a.drained());
  EXPECT_THAT(ask(client), EndsWith("second"));
}

TEST_F(ProxyHandoff, HalfAHeadThatWasReadTravelsAlong) {
  ProxyUnderTest a{patient(first.port())};
  ProxyUnderTest b{patient(second.port())};
  Wire client = a.connect();
  client.send(kGetHandoff.substr(0, 20));
  ASSERT_TRUE(a.counted([](const CounterTotals& c) { return c.bytes_from_clients == 20; }));
  a->start_drain(Handoff::live);
  EXPECT_TRUE(a.hand_over_to(*b, 1));
  client.send(kGetHandoff.substr(20));
  const std::string answer = client.read_message();
  EXPECT_THAT(answer, EndsWith("second"));
  EXPECT_THAT(answer, Not(HasSubstr("Connection: close")));
  EXPECT_THAT(ask(client), EndsWith("second"));
}

TEST_F(ProxyHandoff, HalfAHeadThatNobodyReadMovesWithTheConnection) {
  ProxyUnderTest a{patient(first.port())};
  ProxyUnderTest b{patient(second.port())};
  Wire client = a.connect();
  ask(client);
  a->start_drain(Handoff::live);
  client.send(kGetHandoff.substr(0, 20));
  EXPECT_TRUE(a.hand_over_to(*b, 1));
  ASSERT_TRUE(b.counted([](const CounterTotals& c) { return c.bytes_from_clients == 20; }));
  client.send(kGetHandoff.substr(20));
  EXPECT_THAT(client.read_message(), EndsWith("second"));
}

TEST_F(ProxyHandoff, AConnectionThatNeverHadARequestMovesAndStillOwesItsFirst) {
  ProxyUnderTest a{patient(first.port())};
  Config config = patient(second.port());
  config.timeouts.header = Milliseconds{100};
  ProxyUnderTest b{config};
  Wire prompt = a.connect();
  Wire silent = a.connect();
  open(a, 2);
  a->start_drain(Handoff::live);
  prompt.send(kGetHandoff);
  EXPECT_TRUE(a.hand_over_to(*b, 2));
  EXPECT_THAT(prompt.read_message(), EndsWith("second"));
  EXPECT_TRUE(silent.at_end());  // closed by timeouts.header
  open(b, 1);
  EXPECT_TRUE(is_open(prompt));  // has timeouts.idle
}

TEST_F(ProxyHandoff, AClientOfAUnixSocketMovesToo) {
  std::string path = "/tmp/lb_handoff_XXXXXX";
  ASSERT_NE(::mkdtemp(path.data()), nullptr);
  const std::string folder = path;
  path += "/s";
  const Endpoint endpoint{.host = path, .unix_socket = true};
  auto opened = open_listener_shards(endpoint, 1, {});
  ASSERT_TRUE(opened.has_value());
  Config config = patient(first.port());
  config.workers = 1;
  config.listen = {{endpoint}};
  auto a = Proxy::create(
      ProxyOptions{.config = std::make_shared<const Config>(config), .listeners = std::move(*opened)});
  ASSERT_TRUE(a.has_value());
  (*a)->start();
  ProxyUnderTest b{patient(second.port())};
  Fd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  path.copy(to.sun_path, sizeof to.sun_path - 1);
  ASSERT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
  Wire client{std::move(fd)};
  EXPECT_THAT(ask(client), EndsWith("first"));
  (*a)->start_drain(Handoff::live);
  client.send(kGetHandoff);
  b->adopt((*a)->take_handed());
  EXPECT_THAT(client.read_message(), EndsWith("second"));
  EXPECT_THAT(ask(client), EndsWith("second"));
  ::unlink(path.c_str());
  ::rmdir(folder.c_str());
}

TEST_F(ProxyHandoff, ManyConnectionsMoveWhateverTheLimitOfTheAdopterIs) {
  constexpr std::size_t kMany = 2'000;
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  if (files.rlim_cur < 2 * kMany + 200) GTEST_SKIP() << "descriptors are limited to " << files.rlim_cur;
  Config of_a = patient(first.port());
  of_a.workers = 2;
  Config of_b = patient(second.port());
  of_b.workers = 3;
  of_b.max_connections = 10;
  ProxyUnderTest a{of_a};
  ProxyUnderTest b{of_b};
  std::vector<Wire> clients;
  for (std::size_t i = 0; i < kMany; ++i) clients.push_back(a.connect());
  for (Wire& client : clients) client.send(kGetHandoff);
  for (Wire& client : clients) ASSERT_THAT(client.read_message(), EndsWith("first"));
  ASSERT_TRUE(a.counted([](const CounterTotals& c) { return c.requests_in_flight == 0; }));
  a->start_drain(Handoff::live);
  // Whoever has not gone yet is answered here, and goes then.
  for (std::size_t i = 0; i < kMany; i += 2) clients[i].send(kGetHandoff);
  EXPECT_TRUE(a.hand_over_to(*b, kMany));
  EXPECT_TRUE(a.drained());
  for (std::size_t i = 0; i < kMany; i += 2) {
    ASSERT_THAT(clients[i].read_message(), AnyOf(EndsWith("first"), EndsWith("second")));
  }
  for (Wire& client : clients) ASSERT_THAT(ask(client), EndsWith("second"));
  EXPECT_EQ(b->counters().connections_open, kMany);
  EXPECT_EQ(b->counters().adopted, kMany);
  Wire refused = b.connect();  // waits: the limit still holds for accepting
  refused.send(kGetHandoff);
  clients.clear();
  EXPECT_THAT(refused.read_message(), EndsWith("second"));
  open(b, 1);
}

TEST_F(ProxyHandoff, AClientThatClosedOrResetJustBeforeIsForgottenByTheAdopter) {
  ProxyUnderTest a{patient(first.port())};
  ProxyUnderTest b{patient(second.port())};
  Wire closing = a.connect();
  Wire resetting = a.connect();
  Wire finishing = a.connect();
  for (Wire* client : {&closing, &resetting, &finishing}) ask(*client);
  a->start_drain(Handoff::live);
  closing.close();
  resetting.reset();
  finishing.send(kGetHandoff);
  finishing.finish_sending();
  EXPECT_TRUE(a.hand_over_to(*b, 3));
  EXPECT_THAT(finishing.read_message(), EndsWith("second"));
  EXPECT_TRUE(finishing.at_end());
  EXPECT_TRUE(b.counted([](const CounterTotals& c) { return c.adopted == 3 && c.connections_open == 0; }));
  EXPECT_EQ(b->counters().requests, 1U);
}

TEST_F(ProxyHandoff, AConnectionIsHandedOnTwice) {
  ScriptedBackend third{always("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nthird")};
  ProxyUnderTest a{patient(first.port())};
  ProxyUnderTest b{patient(second.port())};
  ProxyUnderTest c{patient(third.port())};
  Wire client = a.connect();
  EXPECT_THAT(ask(client), EndsWith("first"));
  a->start_drain(Handoff::live);
  EXPECT_TRUE(a.hand_over_to(*b, 1));
  EXPECT_THAT(ask(client), EndsWith("second"));
  b->start_drain(Handoff::live);
  EXPECT_TRUE(b.hand_over_to(*c, 1));
  EXPECT_THAT(ask(client), EndsWith("third"));
  EXPECT_TRUE(b.drained());
  EXPECT_TRUE(is_open(client));
}

TEST_F(ProxyHandoff, AGenerationThatHandsOverItselfHandsOnAtOnceEvenWhenItsDrainWasOver) {
  GatedBackend slow;
  ScriptedBackend third{always("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nthird")};
  ProxyUnderTest a{patient(slow.port())};
  ProxyUnderTest b{patient(second.port())};
  ProxyUnderTest c{patient(third.port())};
  Wire client = a.connect();
  client.send(kGetHandoff);
  in_flight(a, 1);
  a->start_drain(Handoff::live);
  b->start_drain(Handoff::live);
  EXPECT_TRUE(b.drained());
  slow.let_go();
  EXPECT_THAT(client.read_message(), EndsWith("first"));
  EXPECT_TRUE(a.hand_over_to(*b, 1));
  EXPECT_FALSE(b.drained_now());
  EXPECT_TRUE(b.hand_over_to(*c, 1));
  EXPECT_TRUE(b.drained());
  EXPECT_THAT(ask(client), EndsWith("third"));
}

TEST_F(ProxyHandoff, AGenerationThatDrainsWithoutHandoffClosesWhatItAdopts) {
  ProxyUnderTest a{patient(first.port())};
  Config config = to_backend(second.port());
  config.timeouts.quiet = Milliseconds{100};
  ProxyUnderTest b{config};
  Wire quiet = a.connect();
  Wire busy = a.connect();
  ask(quiet);
  ask(busy);
  a->start_drain(Handoff::live);
  b->start_drain();
  EXPECT_TRUE(b.drained());
  busy.send(kGetHandoff);
  EXPECT_TRUE(a.hand_over_to(*b, 2));
  EXPECT_THAT(busy.read_message(), HasSubstr("Connection: close"));
  EXPECT_TRUE(quiet.at_end());
  EXPECT_TRUE(busy.at_end());
  busy.close();
  EXPECT_TRUE(b.drained());
  EXPECT_EQ(b->counters().connections_open, 0U);
}

TEST_F(ProxyHandoff, WhatNobodyTookComesBackWhenItIsGivenUp) {
  Config config = to_backend(first.port());
  config.timeouts.quiet = Milliseconds{300};
  config.workers = 2;
  ProxyUnderTest a{config};
  Wire quiet = a.connect();
  Wire busy = a.connect();
  ask(quiet);
  ask(busy);
  a->start_drain(Handoff::live);
  busy.send(kGetHandoff);
  a->give_up_handoff();
  EXPECT_TRUE(a->take_handed().empty());
  const std::string answer = busy.read_message();
  EXPECT_THAT(answer, EndsWith("first"));
  EXPECT_THAT(answer, HasSubstr("Connection: close"));
  EXPECT_TRUE(busy.at_end());
  EXPECT_TRUE(quiet.at_end());
  busy.close();
  EXPECT_TRUE(a.drained());
  EXPECT_EQ(a->drain_report().handed_over, 0U);
  EXPECT_EQ(a->drain_report().closed_idle, 1U);
  EXPECT_EQ(a->drain_report().completed, 1U);
}

TEST_F(ProxyHandoff, AfterGivingUpAResponseInFlightSaysClose) {
  GatedBackend slow;
  ProxyUnderTest a{patient(slow.port())};
  Wire client = a.connect();
  client.send(kGetHandoff);
  in_flight(a, 1);
  a->start_drain(Handoff::live);
  a->give_up_handoff();
  slow.let_go();
  EXPECT_THAT(client.read_message(), HasSubstr("Connection: close"));
  EXPECT_TRUE(client.at_end());
  client.close();
  EXPECT_TRUE(a.drained());
}

TEST_F(ProxyHandoff, WhatCouldNotBePassedOnMayBeGivenBackAndGoesToAFurtherSuccessor) {
  ProxyUnderTest a{patient(first.port())};
  ProxyUnderTest b{patient(second.port())};
  Wire client = a.connect();
  ask(client);
  a->start_drain(Handoff::live);
  std::vector<HandedConnection> taken = a->take_handed();
  EXPECT_TRUE(a.drained());
  a->give_up_handoff();
  a->adopt(std::move(taken));
  EXPECT_FALSE(a.drained_now());
  open(a, 1);
  a->start_drain(Handoff::live);
  EXPECT_TRUE(a.hand_over_to(*b, 1));
  EXPECT_TRUE(a.drained());
  EXPECT_THAT(ask(client), EndsWith("second"));
}

TEST_F(ProxyHandoff, ADrainWithoutHandoffMayGetItLater) {
  ProxyUnderTest a{patient(first.port())};
  ProxyUnderTest b{patient(second.port())};
  Wire client = a.connect();
  ask(client);
  a->start_drain();
  EXPECT_TRUE(a->take_handed().empty());
  a->start_drain(Handoff::live);
  EXPECT_TRUE(a.hand_over_to(*b, 1));
  EXPECT_THAT(ask(client), EndsWith("second"));
}

TEST_F(ProxyHandoff, TheDrainTimeoutLeavesTheQueueAlone) {
  ScriptedBackend deaf{[](Wire& wire) { wire.read_to_end(); }};
  Config config = patient(deaf.port());
  config.drain_timeout = Milliseconds{100};
  ProxyUnderTest a{config};
  ProxyUnderTest b{patient(second.port())};
  Wire stuck = a.connect();
  Wire waiting = a.connect();
  stuck.send(kGetHandoff);
  in_flight(a, 1);
  open(a, 2);
  a->start_drain(Handoff::live);
  EXPECT_TRUE(stuck.at_end());
  EXPECT_FALSE(a.drained_now());
  EXPECT_TRUE(a.hand_over_to(*b, 1));
  EXPECT_TRUE(a.drained());
  EXPECT_EQ(a->drain_report().force_closed, 1U);
  EXPECT_THAT(ask(waiting), EndsWith("second"));
}

TEST_F(ProxyHandoff, GivenUpAfterTheDrainTimeoutItDoesNotLastForEver) {
  ScriptedBackend deaf{[](Wire& wire) { wire.read_to_end(); }};
  Config config = to_backend(deaf.port());
  config.drain_timeout = Milliseconds{50};
  config.timeouts.quiet = Milliseconds{100};
  config.timeouts.header = Milliseconds{60'000};
  ProxyUnderTest a{config};
  Wire stuck = a.connect();
  Wire waiting = a.connect();
  stuck.send(kGetHandoff);
  in_flight(a, 1);
  open(a, 2);
  a->start_drain(Handoff::live);
  EXPECT_TRUE(stuck.at_end());
  a->give_up_handoff();
  EXPECT_TRUE(waiting.at_end());  // long before timeouts.header
  EXPECT_TRUE(a.drained());
}

}  // namespace
}  // namespace lb
