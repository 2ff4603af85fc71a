#include "lb/health/health_monitor.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "lb/base/open_fds.hpp"

namespace lb {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kPatience = seconds{10};

SocketAddress loopback(std::uint16_t port) {
  return *SocketAddress::from_literal(Endpoint{.host = "127.0.0.1", .port = port});
}

/// Answers every connection with the present text, once something was received, and closes it.
class Server final {
 public:
  explicit Server(std::string answer) : answer_(std::move(answer)) {
    fd_ = Fd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    const sockaddr_in any{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any), 0);
    EXPECT_EQ(::listen(fd_.get(), 4096), 0);
    sockaddr_in bound{};
    socklen_t size = sizeof bound;
    ::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&bound), &size);
    port_ = ntohs(bound.sin_port);
    thread_ = std::thread{[this] { serve(); }};
  }
  ~Server() {
    stop_ = true;
    thread_.join();
  }
  [[nodiscard]] std::uint16_t port() const { return port_; }
  void answer_with(std::string answer) {
    const std::scoped_lock lock{mutex_};
    answer_ = std::move(answer);
  }
  [[nodiscard]] std::string last_request() {
    const std::scoped_lock lock{mutex_};
    return request_;
  }

 private:
  void serve() {
    while (!stop_) {
      pollfd ready{fd_.get(), POLLIN, 0};
      if (::poll(&ready, 1, 5) != 1) continue;
      const Fd peer{::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
      char buffer[4096];
      const ssize_t n = ::recv(peer.get(), buffer, sizeof buffer, 0);
      const std::scoped_lock lock{mutex_};
      if (n > 0) request_.assign(buffer, static_cast<std::size_t>(n));
      if (!answer_.empty()) ::send(peer.get(), answer_.data(), answer_.size(), MSG_NOSIGNAL);
    }
  }
  Fd fd_;
  std::uint16_t port_ = 0;
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::string answer_;
  std::string request_;
  std::thread thread_;
};

/// A monitor and the changes that it told.
class Watch final {
 public:
  Watch(HealthCheckConfig check, std::vector<SocketAddress> addresses, std::vector<SendProxy> send_proxy = {})
      : addresses_(std::move(addresses)) {
    HealthMonitor::Options options{.check = std::move(check),
                                   .hosts = std::vector<std::string>(addresses_.size(), "b"),
                                   .send_proxy = std::move(send_proxy),
                                   .address = [this](std::uint32_t i) { return addresses_[i]; },
                                   .on_change =
                                       [this](const HealthMonitor::Change& change) {
                                         const std::scoped_lock lock{mutex_};
                                         story_ += std::to_string(change.target) + (change.up ? "+" : "-") +
                                                   std::string{change.reason} + "\n";
                                         changed_.notify_all();
                                       },
                                   .seed = 1};
    auto made = HealthMonitor::create(std::move(options));
    EXPECT_TRUE(made);
    monitor = std::move(*made);
  }
  [[nodiscard]] bool wait_for(const std::string& story) {
    std::unique_lock lock{mutex_};
    return changed_.wait_for(lock, kPatience, [&] { return story_ == story; });
  }
  [[nodiscard]] std::string story() {
    const std::scoped_lock lock{mutex_};
    return story_;
  }

 private:
  std::vector<SocketAddress> addresses_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string story_;

 public:
  std::unique_ptr<HealthMonitor> monitor;
};

HealthCheckConfig quick() {
  HealthCheckConfig check;
  check.interval = milliseconds{10};
  check.timeout = milliseconds{5000};
  check.rise = 2;
  check.fall = 2;
  return check;
}

constexpr const char* kGood = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
constexpr const char* kBad = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

std::uint16_t dead_port() {
  std::uint16_t port = 0;
  {
    const Server gone{""};
    port = gone.port();
  }
  return port;
}

TEST(HealthMonitor, FollowsTheAnswers) {
  Server server{kGood};
  HealthCheckConfig check = quick();
  check.path = "/health";
  check.host = "app";
  Watch watch{check, {loopback(server.port())}};
  watch.monitor->start();
  ASSERT_TRUE(watch.monitor->wait_tested(kPatience));
  EXPECT_EQ(watch.monitor->finding(0).health, Health::up);
  EXPECT_EQ(watch.story(), "") << "up is no news at the start";
  EXPECT_TRUE(server.last_request().starts_with("GET /health HTTP/1.1\r\nHost: app\r\n"));
  server.answer_with(kBad);
  ASSERT_TRUE(watch.wait_for("0-status 503, expected 200-399\n")) << watch.story();
  server.answer_with(kGood);
  ASSERT_TRUE(watch.wait_for("0-status 503, expected 200-399\n0+\n")) << watch.story();
}

TEST(HealthMonitor, TheFirstResultsAreThereWhenTheyWereWaitedFor) {
  Server server{kGood};
  Watch watch{quick(), {loopback(dead_port()), loopback(server.port()), SocketAddress{}}};
  watch.monitor->start();
  ASSERT_TRUE(watch.monitor->wait_tested(kPatience));
  EXPECT_EQ(watch.monitor->finding(0).health, Health::down);
  EXPECT_EQ(watch.monitor->finding(0).failure, "connection refused");
  EXPECT_EQ(watch.monitor->finding(1).health, Health::up);
  EXPECT_EQ(watch.monitor->finding(2).failure, "its name does not resolve");
  const std::string story = watch.story();
  EXPECT_NE(story.find("0-connection refused\n"), std::string::npos) << story;
}

TEST(HealthMonitor, WhoNeverAnswersTimesOut) {
  Fd silent{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  const sockaddr_in any{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  ASSERT_EQ(::bind(silent.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any), 0);
  ASSERT_EQ(::listen(silent.get(), 16), 0);
  sockaddr_in bound{};
  socklen_t size = sizeof bound;
  ::getsockname(silent.get(), reinterpret_cast<sockaddr*>(&bound), &size);
  HealthCheckConfig check = quick();
  check.timeout = milliseconds{50};
  Watch watch{check, {loopback(ntohs(bound.sin_port))}};
  EXPECT_FALSE(watch.monitor->wait_tested(Duration{0}));
  watch.monitor->start();
  ASSERT_TRUE(watch.wait_for("0-no answer within 0.05 s\n")) << watch.story();
}

TEST(HealthMonitor, TcpChecksAndAnotherPort) {
  Server server{"+PONG\r\n"};
  HealthCheckConfig check = quick();
  check.type = HealthCheckType::tcp;
  check.send = "PING\r\n";
  check.expect = "PONG";
  check.port = server.port();
  Watch watch{check, {loopback(dead_port())}};
  watch.monitor->start();
  ASSERT_TRUE(watch.monitor->wait_tested(kPatience));
  EXPECT_EQ(watch.monitor->finding(0).health, Health::up);
  server.answer_with("-LOADING\r\n");
  ASSERT_TRUE(watch.wait_for("0-the answer does not contain \"PONG\"\n")) << watch.story();
  EXPECT_EQ(server.last_request(), "PING\r\n");
}

TEST(HealthMonitor, BackendsThatExpectAProxyHeaderGetOneOfOurOwn) {
  Server first{kGood};
  Server second{kGood};
  Watch watch{quick(), {loopback(first.port()), loopback(second.port())}, {SendProxy::v1, SendProxy::v2}};
  watch.monitor->start();
  ASSERT_TRUE(watch.monitor->wait_tested(kPatience));
  EXPECT_TRUE(first.last_request().starts_with("PROXY UNKNOWN\r\nGET / HTTP/1.1\r\n"));
  EXPECT_EQ(second.last_request().find("GET / "), 16U);
  EXPECT_EQ(second.last_request()[12], 0x20) << "LOCAL";
}

/// More targets than checks at once: all have their turn, and nothing is left open.
TEST(HealthMonitor, ManyTargets) {
  const std::size_t before = open_fds();
  {
    constexpr std::size_t kTargets = 3 * kChecksAtOnceMax;
    HealthCheckConfig check = quick();
    check.interval = seconds{60};
    const SocketAddress dead = loopback(dead_port());
    Watch watch{check, std::vector<SocketAddress>(kTargets, dead)};
    watch.monitor->start();
    ASSERT_TRUE(watch.monitor->wait_tested(kPatience));
    for (std::uint32_t i = 0; i < kTargets; ++i) {
      ASSERT_EQ(watch.monitor->finding(i).health, Health::down) << i;
    }
  }
  EXPECT_EQ(open_fds(), before);
}

TEST(HealthMonitor, EndsWhileChecksRun) {
  const std::size_t before = open_fds();
  for (int round = 0; round < 20; ++round) {
    Server server{""};
    Watch watch{quick(), std::vector<SocketAddress>(50, loopback(server.port()))};
    watch.monitor->start();
    watch.monitor->wait_tested(milliseconds{round % 3});
  }
  EXPECT_EQ(open_fds(), before);
}

}  // namespace
}  // namespace lb
