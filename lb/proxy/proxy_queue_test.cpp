// Requests that wait because every backend is at its max_connections, at the wire.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "lb/proxy/backend_queue.hpp"
#include "lb/proxy/wire_test_kit.hpp"

namespace lb {
namespace {

using namespace wire;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string get(const std::string& path) {
  return "GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n";
}

/// A backend that answers each request with its path, once it is told to; and says how many it had at once.
class Gated {
 public:
  explicit Gated(std::string name = "")
      : name_(std::move(name)), backend_([this](Wire& wire) {
          for (;;) {
            const std::string request = wire.read_message();
            if (request.empty()) return;
            const std::string body = name_ + request.substr(4, request.find(' ', 4) - 4);
            wait_for_turn();
            if (!wire.send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
                           body)) {
              return;
            }
          }
        }) {}
  ~Gated() { open(1'000'000); }

  void open(int requests) {
    {
      const std::scoped_lock lock{mutex_};
      allowed_ += requests;
    }
    changed_.notify_all();
  }
  [[nodiscard]] int most_at_once() {
    const std::scoped_lock lock{mutex_};
    return most_;
  }
  [[nodiscard]] std::uint16_t port() const { return backend_.port(); }

 private:
  void wait_for_turn() {
    std::unique_lock lock{mutex_};
    most_ = std::max(most_, ++busy_);
    changed_.wait(lock, [this] { return allowed_ > 0; });
    --allowed_;
    --busy_;
  }
  std::string name_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int allowed_ = 0;
  int busy_ = 0;
  int most_ = 0;
  ScriptedBackend backend_;
};

class ProxyQueue : public ::testing::Test {
 protected:
  Gated backend_;
  Config config_ = [this] {
    Config config = to_backend(backend_.port());
    config.backends[0].max_connections = 1;
    return config;
  }();

  /// A connection on which a request waits, or is served.
  static Wire asking(ProxyUnderTest& proxy, const std::string& path) {
    Wire client = proxy.connect();
    client.send(get(path));
    return client;
  }
  static bool waiting(ProxyUnderTest& proxy, std::uint64_t count) {
    return proxy.counted([&](const CounterTotals& c) { return c.queue_waiting == count; });
  }
};

TEST_F(ProxyQueue, FirstComeFirstServed) {
  ProxyUnderTest proxy{config_};
  std::vector<Wire> clients;
  for (int i = 0; i < 5; ++i) {
    clients.push_back(asking(proxy, "/" + std::to_string(i)));
    ASSERT_TRUE(
        proxy.counted([&](const CounterTotals& c) { return c.requests_in_flight == clients.size(); }));
    ASSERT_TRUE(waiting(proxy, static_cast<std::uint64_t>(i)));
  }
  for (int i = 0; i < 5; ++i) {
    backend_.open(1);
    EXPECT_THAT(clients[static_cast<std::size_t>(i)].read_message(), EndsWith("/" + std::to_string(i)));
    const auto left = static_cast<std::uint64_t>(std::max(0, 3 - i));
    EXPECT_TRUE(waiting(proxy, left));
  }
  EXPECT_EQ(backend_.most_at_once(), 1);
  EXPECT_EQ(proxy->counters().queued, 4U);
  clients[0].send(get("/again"));  // the connection lives on
  backend_.open(1);
  EXPECT_THAT(clients[0].read_message(), EndsWith("/again"));
}

TEST_F(ProxyQueue, AfterItsTimeItIs503AndMayComeAgain) {
  config_.queue.timeout = Milliseconds{250};
  ProxyUnderTest proxy{config_};
  Wire served = asking(proxy, "/1");
  ASSERT_TRUE(proxy.counted([](const CounterTotals& c) { return c.requests_in_flight == 1; }));
  Wire waits = asking(proxy, "/2");
  const std::string refused = waits.read_message();
  EXPECT_THAT(refused, StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(refused, HasSubstr("Retry-After: 1\r\n"));
  backend_.open(2);
  EXPECT_THAT(served.read_message(), EndsWith("/1"));
  waits.send(get("/3"));
  EXPECT_THAT(waits.read_message(), EndsWith("/3"));
  EXPECT_EQ(proxy->counters().queue_timeouts, 1U);
}

TEST_F(ProxyQueue, OneMoreThanItsSizeIs503AtOnce) {
  config_.queue.size = 2;
  ProxyUnderTest proxy{config_};
  std::vector<Wire> clients;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(asking(proxy, "/" + std::to_string(i)));
    ASSERT_TRUE(
        proxy.counted([&](const CounterTotals& c) { return c.requests_in_flight == clients.size(); }));
  }
  Wire refused = asking(proxy, "/refused");
  const std::string answer = refused.read_message();
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(answer, HasSubstr("Retry-After: 1\r\n"));
  backend_.open(3);
  for (Wire& client : clients) EXPECT_THAT(client.read_message(), StartsWith("HTTP/1.1 200 "));
}

TEST_F(ProxyQueue, AClientThatIsGoneLeavesItsPlace) {
  config_.queue.size = 2;
  ProxyUnderTest proxy{config_};
  Wire served = asking(proxy, "/1");
  ASSERT_TRUE(proxy.counted([](const CounterTotals& c) { return c.requests_in_flight == 1; }));
  Wire first = asking(proxy, "/gone");
  ASSERT_TRUE(waiting(proxy, 1));
  Wire second = asking(proxy, "/stays");
  ASSERT_TRUE(waiting(proxy, 2));
  first.reset();
  ASSERT_TRUE(waiting(proxy, 1));
  Wire third = asking(proxy, "/third");
  ASSERT_TRUE(waiting(proxy, 2));
  backend_.open(3);
  EXPECT_THAT(served.read_message(), EndsWith("/1"));
  EXPECT_THAT(second.read_message(), EndsWith("/stays"));
  EXPECT_THAT(third.read_message(), EndsWith("/third"));
}

TEST_F(ProxyQueue, ABodyThatComesWhileItsRequestWaitsArrives) {
  ProxyUnderTest proxy{config_};
  Wire served = asking(proxy, "/1");
  ASSERT_TRUE(proxy.counted([](const CounterTotals& c) { return c.requests_in_flight == 1; }));
  Wire waits = proxy.connect();
  waits.send("POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n01");
  ASSERT_TRUE(waiting(proxy, 1));
  waits.send("23456789");
  backend_.open(2);
  EXPECT_THAT(served.read_message(), EndsWith("/1"));
  EXPECT_THAT(waits.read_message(), StartsWith("HTTP/1.1 200 "));
}

TEST_F(ProxyQueue, ATcpConnectionWaitsToo) {
  ScriptedBackend echo{[](Wire& wire) { wire.send(wire.read_to_end()); }};
  config_.backends = to_backend(echo.port()).backends;
  config_.backends[0].max_connections = 1;
  config_.listen.push_back({{.host = "127.0.0.1"}, ListenMode::tcp});
  ProxyUnderTest proxy{config_};
  Wire first = proxy.connect();
  ASSERT_TRUE(proxy.counted([](const CounterTotals& c) { return c.tunnels_open == 1; }));
  Wire second = proxy.connect();
  second.send("late");
  second.finish_sending();
  ASSERT_TRUE(waiting(proxy, 1));
  first.finish_sending();
  EXPECT_TRUE(first.at_end());
  EXPECT_EQ(second.read_to_end(), "late");
}

TEST_F(ProxyQueue, WhoWaitsGoesToTheSuccessorsBackends) {
  Gated next{"next:"};
  ProxyUnderTest proxy{config_, {.keep_open = true}};
  Wire served = asking(proxy, "/1");
  ASSERT_TRUE(proxy.counted([](const CounterTotals& c) { return c.requests_in_flight == 1; }));
  Wire waits = asking(proxy, "/2");
  Wire waits_too = asking(proxy, "/3");
  ASSERT_TRUE(waiting(proxy, 2));
  Config successor = to_backend(next.port());
  successor.backends[0].max_connections = 1;
  reload_start_drain(*proxy, std::make_shared<const Config>(successor), Handoff::none);
  next.open(2);
  EXPECT_THAT(waits.read_message(), EndsWith("next:/2"));
  EXPECT_THAT(waits_too.read_message(), EndsWith("next:/3"));
  backend_.open(1);
  EXPECT_THAT(served.read_message(), EndsWith("/1"));
  EXPECT_TRUE(waiting(proxy, 0));
}

TEST_F(ProxyQueue, EveryWorkersRequestsGetTheirTurn) {
  constexpr int kClients = 16;
  constexpr int kRequests = 40;
  config_.workers = 4;
  config_.backends[0].max_connections = 2;
  ProxyUnderTest proxy{config_};
  backend_.open(kClients * kRequests);
  std::atomic<int> answered{0};
  std::vector<std::thread> threads;
  for (int c = 0; c < kClients; ++c) {
    threads.emplace_back([&, c] {
      Wire client = proxy.connect();
      for (int i = 0; i < kRequests; ++i) {
        client.send(get("/" + std::to_string(c)));
        if (client.read_message().ends_with("/" + std::to_string(c))) ++answered;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(answered, kClients * kRequests) << "nobody is forgotten and nobody waits for queue.timeout";
  EXPECT_LE(backend_.most_at_once(), 2);
  EXPECT_GT(proxy->counters().queued, 0U);
  EXPECT_TRUE(waiting(proxy, 0));
}

/// Nobody announces how many places a backend has that is up again: whoever finds one sends the next to look.
/// One at a time, every 100 ms, most of these would wait for longer than they may.
TEST_F(ProxyQueue, ABackendThatIsUpAgainServesAllThatWaitAtOnce) {
  constexpr std::size_t kClients = 120;
  std::atomic<bool> well{false};
  std::atomic<std::size_t> arrived{0};
  const auto until_all_are_there = [&] {
    const Instant until = monotonic_now() + Milliseconds{kPatienceMs / 2};
    while (arrived < kClients && monotonic_now() < until) std::this_thread::sleep_for(Milliseconds{1});
  };
  ScriptedBackend second{answering([&](const std::string& request) -> std::string {
    const bool check = request.starts_with("GET /check ");
    if (check && !well) return "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n";
    if (!check) ++arrived, until_all_are_there();
    return "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nup";
  })};
  ScriptedBackend first{answering([&](const std::string& request) -> std::string {
    if (!request.starts_with("GET /check ")) until_all_are_there();
    return "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
  })};
  Config config = to_backend(first.port());
  config.backends[0].max_connections = 1;
  config.backends.push_back(backend_at(second.port()));
  config.backends[1].max_connections = kClients;
  config.workers = 2;
  config.queue.timeout = Milliseconds{3000};
  config.health_check =
      HealthCheckConfig{.path = "/check", .interval = Milliseconds{10}, .rise = 1, .fall = 1};
  config.panic_threshold = 0;
  ProxyUnderTest proxy{config};
  std::vector<Wire> clients;
  for (std::size_t i = 0; i <= kClients; ++i) clients.push_back(asking(proxy, "/"));
  ASSERT_TRUE(waiting(proxy, kClients));
  well = true;
  for (Wire& client : clients) EXPECT_THAT(client.read_message(), StartsWith("HTTP/1.1 200 "));
  EXPECT_EQ(proxy->counters().queue_timeouts, 0U);
}

TEST(BackendQueue, TurnsGoRoundAmongThoseThatWait) {
  using Entry = BackendQueue::Entry;
  BackendQueue queue{3, 4};
  EXPECT_EQ(queue.next_turn(), std::nullopt);
  EXPECT_EQ(queue.enter(1), Entry::first);
  EXPECT_EQ(queue.enter(1), Entry::behind);
  EXPECT_EQ(queue.enter(3), Entry::behind);
  EXPECT_EQ(queue.enter(2), Entry::full);
  EXPECT_EQ(queue.waiting(), 3U);
  EXPECT_EQ(queue.next_turn(), 1U);
  EXPECT_EQ(queue.next_turn(), 3U);
  EXPECT_EQ(queue.next_turn(), 1U);
  queue.leave(1);
  queue.leave(1);
  EXPECT_EQ(queue.next_turn(), 3U);
  EXPECT_EQ(queue.next_turn(), 3U);
  queue.leave(3);
  EXPECT_EQ(queue.next_turn(), std::nullopt);
  EXPECT_EQ(queue.enter(0), Entry::first);
}

}  // namespace
}  // namespace lb
