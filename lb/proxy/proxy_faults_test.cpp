// What can go wrong on either side of the proxy, as conversations on the wire. Each test is named after the
// fault that it once showed.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <fstream>
#include <future>
#include <sstream>
#include <string>
#include <thread>

#include "lb/proxy/proxy.hpp"
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
using wire::ListenerWishes;
using wire::ProxyUnderTest;
using wire::ScriptedBackend;
using wire::to_backend;
using wire::Wire;

constexpr std::string_view kGetFaults = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
constexpr std::string_view kHelloFaults = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// A port on which nobody listens; the kernel does not give it away while `holder` lives.
std::uint16_t refusing_port(Fd& holder) {
  holder = Fd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::bind(holder.get(), reinterpret_cast<sockaddr*>(&any), sizeof any), 0);
  socklen_t size = sizeof any;
  EXPECT_EQ(::getsockname(holder.get(), reinterpret_cast<sockaddr*>(&any), &size), 0);
  return ntohs(any.sin_port);
}

/// Waits until the peer's kernel has everything that was sent.
bool wait_until_delivered(const Wire& wire) {
  const Instant until = monotonic_now() + Milliseconds{wire::kPatienceMs};
  int waiting = 1;
  while (::ioctl(wire.fd(), SIOCOUTQ, &waiting) == 0 && waiting > 0) {
    if (monotonic_now() > until) return false;
    std::this_thread::yield();
  }
  return waiting == 0;
}

std::string file_text(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream{path}.rdbuf();
  return text.str();
}

std::string temporary_path(const char* name) {
  return ::testing::TempDir() + "lb_faults_" + std::to_string(::getpid()) + "_" + name;
}

// A read that brings more chunks than one gathered write can take leaves bytes over, and no event announces
// those.
TEST(ProxyFaults, ABodyOfManyChunksThatCameAtOnceIsForwardedWhole) {
  std::promise<void> gate;
  std::shared_future<void> opened = gate.get_future().share();
  ScriptedBackend backend{[opened](Wire& wire) {
    wire.read_until("\r\n\r\n");
    opened.wait();
    wire.send(kHelloFaults);
    wire.read_until("\r\n\r\n");
    const std::string body = wire.read_until("\r\n0\r\n\r\n");
    const std::string length = std::to_string(body.size());
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(length.size()) + "\r\n\r\n" + length);
  }};
  ProxyUnderTest proxy{to_backend(backend.port()), ListenerWishes{.receive_buffer_bytes = 400'000}};
  Wire client = proxy.connect();
  client.send(kGetFaults);
  ASSERT_TRUE(proxy.counted([](const CounterTotals& c) { return c.requests_in_flight == 1; }));
  std::string body;
  while (body.size() < 130'000) body += "1\r\nx\r\n";
  body += "0\r\n\r\n";
  client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + body);
  ASSERT_TRUE(wait_until_delivered(client));
  gate.set_value();
  ASSERT_THAT(client.read_message(), EndsWith("hello"));
  EXPECT_THAT(client.read_message(), EndsWith("\r\n\r\n" + std::to_string(body.size())));
}

TEST(ProxyFaults, PipelinedRequestsAreAnsweredInADrainThoughNoBackendIs) {
  Fd holder;
  ProxyUnderTest proxy{to_backend(refusing_port(holder))};
  Wire client = proxy.connect();
  client.send(kGetFaults);
  ASSERT_THAT(client.read_message(), StartsWith("HTTP/1.1 502 "));
  proxy->start_drain();
  client.send(std::string{kGetFaults} + std::string{kGetFaults} + std::string{kGetFaults});
  EXPECT_THAT(client.read_message(), Not(HasSubstr("Connection: close")));
  EXPECT_THAT(client.read_message(), Not(HasSubstr("Connection: close")));
  EXPECT_THAT(client.read_message(), HasSubstr("Connection: close"));
  EXPECT_TRUE(client.at_end());
  EXPECT_TRUE(proxy.drained());
}

// An exchange that ended still has its place until the end of the turn.
TEST(ProxyFaults, TheLastPlaceServesPipelinedRequests) {
  ScriptedBackend backend{always(kHelloFaults)};
  Config config = to_backend(backend.port());
  config.max_connections = 1;
  ProxyUnderTest proxy{config};
  Wire client = proxy.connect();
  client.send(std::string{kGetFaults} + std::string{kGetFaults} + std::string{kGetFaults});
  for (int i = 0; i < 3; ++i) ASSERT_THAT(client.read_message(), EndsWith("hello"));
}

// So has a client that went away: the one that takes its place within the turn must not be lost.
TEST(ProxyFaults, AClientThatTakesTheLastPlaceAtOnceIsServed) {
  ScriptedBackend backend{always(kHelloFaults)};
  Config config = to_backend(backend.port());
  config.max_connections = 1;
  ProxyUnderTest proxy{config};
  Wire before = proxy.connect();
  for (int i = 0; i < 300; ++i) {
    before.close();
    Wire client = proxy.connect();
    client.send(kGetFaults);
    ASSERT_THAT(client.read_message(), EndsWith("hello")) << i;
    before = std::move(client);
  }
}

TEST(ProxyFaults, AnAnswerToAFloodIsNotDestroyedByAReset) {
  ScriptedBackend backend{[](Wire& wire) {
    wire.read_until("\r\n\r\n");
    wire.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig");
    wire.close();
  }};
  ProxyUnderTest proxy{to_backend(backend.port()), ListenerWishes{.receive_buffer_bytes = 4'000'000}};
  for (int round = 0; round < 5; ++round) {
    Wire client = proxy.connect();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 40000000\r\n\r\n");
    const std::string piece(8'000'000, 'x');
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(client.send(piece)) << round << " " << i;
    client.finish_sending();
    EXPECT_THAT(client.read_until("big"), StartsWith("HTTP/1.1 413 "));
    EXPECT_TRUE(client.at_end());
  }
}

TEST(ProxyFaults, ABackendThatDoesNotTakeConnectionsCountsOnce) {
  Fd listener;
  const std::uint16_t port = refusing_port(listener);
  ASSERT_EQ(::listen(listener.get(), 0), 0);
  std::vector<Fd> fillers;
  for (int i = 0; i < 4; ++i) {
    fillers.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(port);
    ::connect(fillers.back().get(), reinterpret_cast<sockaddr*>(&to), sizeof to);
  }
  Config config = to_backend(port);
  config.timeouts.connect = Milliseconds{100};
  ProxyUnderTest proxy{config};
  Wire client = proxy.connect();
  client.send(kGetFaults);
  EXPECT_THAT(client.read_message(), StartsWith("HTTP/1.1 502 "));
  EXPECT_EQ(proxy->counters().upstream_connect_failures, 1U);
}

// The kernel says "writable" only when a third of its buffer is free again: a steady but slow reader makes
// progress for longer than timeouts.body without any event.
TEST(ProxyFaults, ASlowButSteadyReaderIsNotCutOff) {
  constexpr std::size_t kBytes = 8'000'000;
  ScriptedBackend backend{[](Wire& wire) {
    wire.read_until("\r\n\r\n");
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(kBytes) + "\r\n\r\n" +
              std::string(kBytes, 'x'));
  }};
  Config config = to_backend(backend.port());
  config.timeouts.body = Milliseconds{200};
  ProxyUnderTest proxy{config};
  Wire client = proxy.connect();
  client.send(kGetFaults);
  client.read_until("\r\n\r\n");
  std::size_t got = 0;
  for (; got < kBytes; got += 100'000) {
    ASSERT_EQ(client.read_exactly(100'000).size(), 100'000U) << "after " << got;
    std::this_thread::sleep_for(Milliseconds{20});  // this is what makes it slow
  }
}

TEST(ProxyFaults, AClientThatReadsNothingIsCutOff) {
  ScriptedBackend backend{[](Wire& wire) {
    wire.read_until("\r\n\r\n");
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n" + std::string(50'000'000, 'x'));
  }};
  Config config = to_backend(backend.port());
  config.timeouts.body = Milliseconds{200};
  ProxyUnderTest proxy{config};
  Wire client = proxy.connect();
  client.send(kGetFaults);
  ASSERT_TRUE(proxy.counted([](const CounterTotals& c) { return c.requests_in_flight == 1; }));
  EXPECT_TRUE(proxy.counted([](const CounterTotals& c) { return c.requests_in_flight == 0; }));
  EXPECT_EQ(proxy->backends()[0].in_flight, 0U);
}

TEST(ProxyFaults, ARefusedRequestIsOneLineOfTheAccessLog) {
  ScriptedBackend backend{always(kHelloFaults)};
  Config config = to_backend(backend.port());
  config.access_log = temporary_path("access.log");
  {
    ProxyUnderTest proxy{config};
    Wire client = proxy.connect();
    client.send("POST /chunks HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n");
    EXPECT_THAT(client.read_message(), StartsWith("HTTP/1.1 400 "));
    EXPECT_EQ(proxy->counters().bad_requests, 1U);
  }
  const std::string log = file_text(config.access_log);
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 1) << log;
  EXPECT_THAT(log, HasSubstr("\"POST /chunks\" 400 "));
  std::remove(config.access_log.c_str());
}

TEST(ProxyFaults, AStalledReaderOfTheAccessLogStopsNoTraffic) {
  ScriptedBackend backend{always(kHelloFaults)};
  Config config = to_backend(backend.port());
  config.access_log = temporary_path("access.fifo");
  ASSERT_EQ(::mkfifo(config.access_log.c_str(), 0600), 0);
  const Fd reader{::open(config.access_log.c_str(), O_RDWR | O_CLOEXEC)};
  {
    ProxyUnderTest proxy{config};
    Wire client = proxy.connect();
    const std::string get = "GET /" + std::string(10'000, 'x') + " HTTP/1.1\r\nHost: h\r\n\r\n";
    for (int i = 0; i < 40; ++i) {
      client.send(get);
      const std::string answer = client.read_message();
      EXPECT_THAT(answer, EndsWith("hello")) << i;
      if (answer.empty()) break;
    }
    // Should the worker hang in write(2) after all, this lets it go and the test end.
    ::fcntl(reader.get(), F_SETFL, O_NONBLOCK);
    std::vector<char> sink(1U << 20U);
    while (::read(reader.get(), sink.data(), sink.size()) > 0) {
    }
  }
  std::remove(config.access_log.c_str());
}

// A client that always has a further request on its way would never be told of the drain, and be cut off in
// the middle of one at its end.
TEST(ProxyFaults, ADrainEndsForAClientThatNeverStopsPipelining) {
  ScriptedBackend backend{always(kHelloFaults)};
  Config config = to_backend(backend.port());
  config.drain_timeout = Milliseconds{1'000};
  ProxyUnderTest proxy{config};
  Wire client = proxy.connect();
  std::string ahead;
  for (int i = 0; i < 20; ++i) ahead += kGetFaults;
  client.send(ahead);
  ASSERT_THAT(client.read_message(), EndsWith("hello"));
  proxy->start_drain();
  bool told = false;
  while (!told && client.send(kGetFaults)) {
    const std::string response = client.read_message();
    if (response.empty()) break;
    ASSERT_THAT(response, EndsWith("hello"));
    told = response.find("Connection: close") != std::string::npos;
  }
  EXPECT_TRUE(told);
  client.close();
  EXPECT_TRUE(proxy.drained());
  EXPECT_EQ(proxy->drain_report().force_closed, 0U);
}

TEST(ProxyFaults, AnOldClientSeesThatItsAnswerWasCutShort) {
  ScriptedBackend backend{[](Wire& wire) {
    wire.read_until("\r\n\r\n");
    wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
  }};
  ProxyUnderTest proxy{to_backend(backend.port())};
  Wire client = proxy.connect();
  client.send("GET / HTTP/1.0\r\n\r\n");
  EXPECT_THAT(client.read_until("hello"), EndsWith("hello"));
  EXPECT_FALSE(client.at_end());  // a reset, not an end
}

TEST(ProxyFaults, BytesAfterTheLastRequestDoNotResetItsAnswer) {
  std::promise<void> gate;
  std::shared_future<void> opened = gate.get_future().share();
  ScriptedBackend backend{[opened](Wire& wire) {
    wire.read_until("\r\n\r\n");
    opened.wait();
    wire.send(kHelloFaults);
  }};
  ProxyUnderTest proxy{to_backend(backend.port())};
  Wire client = proxy.connect();
  client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  ASSERT_TRUE(proxy.counted([](const CounterTotals& c) { return c.requests_in_flight == 1; }));
  client.send("\r\n");
  ASSERT_TRUE(wait_until_delivered(client));
  gate.set_value();
  EXPECT_THAT(client.read_message(), EndsWith("hello"));
  EXPECT_TRUE(client.at_end());
}

/// While it lives the process cannot open another descriptor.
class NoDescriptorsLeft final {
 public:
  NoDescriptorsLeft() {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const rlimit low{.rlim_cur = 200, .rlim_max = before_.rlim_max};
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
    for (;;) {
      Fd fd{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
      if (!fd) break;
      fillers_.push_back(std::move(fd));
    }
  }
  ~NoDescriptorsLeft() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
  std::vector<Fd> fillers_;
};

TEST(ProxyFaults, OutOfDescriptorsItServesWhatItHasAndAcceptsTheRestLater) {
  ScriptedBackend backend{always(kHelloFaults)};
  ProxyUnderTest proxy{to_backend(backend.port())};
  Wire served = proxy.connect();
  served.send(kGetFaults);
  ASSERT_THAT(served.read_message(), EndsWith("hello"));
  Fd waiting{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_in to{};
  to.sin_family = AF_INET;
  socklen_t size = sizeof to;
  ASSERT_EQ(::getpeername(served.fd(), reinterpret_cast<sockaddr*>(&to), &size), 0);
  int connected = -1;
  bool refused = false;
  std::string answer;
  {
    const NoDescriptorsLeft none;
    connected = ::connect(waiting.get(), reinterpret_cast<sockaddr*>(&to), sizeof to);
    refused = proxy.counted([](const CounterTotals& c) { return c.accept_errors > 0; });
    served.send(kGetFaults);
    answer = served.read_message();
  }
  ASSERT_EQ(connected, 0);
  ASSERT_TRUE(refused);
  EXPECT_THAT(answer, EndsWith("hello"));
  Wire late{std::move(waiting)};
  late.send(kGetFaults);
  EXPECT_THAT(late.read_message(), EndsWith("hello"));
  EXPECT_FALSE(proxy->backends()[0].aside);
}

TEST(ProxyFaults, ABackendIsNotBlamedWhenDescriptorsAreOut) {
  ScriptedBackend backend{always(kHelloFaults)};
  ProxyUnderTest proxy{to_backend(backend.port())};
  Wire client = proxy.connect();
  ASSERT_TRUE(proxy.counted([](const CounterTotals& c) { return c.connections_accepted == 1; }));
  std::string answer;
  {
    // Nothing is expected in here: the undefined behaviour sanitizer needs descriptors to look at objects.
    const NoDescriptorsLeft none;
    client.send(kGetFaults);
    answer = client.read_message();
  }
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 503 "));
  EXPECT_FALSE(proxy->backends()[0].aside);
  EXPECT_EQ(proxy->backends()[0].in_flight, 0U);
  client.send(kGetFaults);
  EXPECT_THAT(client.read_message(), EndsWith("hello"));
}

}  // namespace
}  // namespace lb
