// Connections that wander: a chain of generations, each of which hands its idle connections to the next while
// clients never stop asking: single requests, pipelines, bodies, all in ragged pieces. Every request must be
// answered, in order, on a connection that stays. Seeded and bounded; the seed is printed.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <deque>
#include <iostream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "lb/base/random.hpp"
#include "lb/proxy/proxy.hpp"
#include "lb/proxy/wire_test_kit.hpp"

namespace lb {
namespace {

using wire::ListenerWishes;
using wire::ProxyUnderTest;
using wire::ScriptedBackend;
using wire::Wire;

constexpr int kClients = 16;
constexpr int kGenerations = 25;

std::uint64_t seed_of_run() {
  const char* given = std::getenv("LB_TEST_SEED");
  const std::uint64_t seed = given != nullptr
                                 ? std::strtoull(given, nullptr, 0)
                                 : static_cast<std::uint64_t>(monotonic_now().time_since_epoch().count());
  std::cout << "LB_TEST_SEED=" << seed << std::endl;  // flushed: a crash must not swallow it
  return seed;
}

class Dice final {
 public:
  explicit Dice(std::uint64_t seed) : random_(seed) {}
  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
  bool one_in(std::uint64_t n) { return below(n) == 0; }
  void pause(std::uint64_t us_max) { std::this_thread::sleep_for(std::chrono::microseconds{below(us_max)}); }

 private:
  Random random_;
};

/// Answers with the request's X-Id as the body, sometimes late.
ScriptedBackend::Script echo(std::uint64_t seed, std::atomic<std::uint64_t>& serial) {
  return [seed, &serial](Wire& wire) {
    Dice dice{mix64(seed + serial.fetch_add(1))};
    for (;;) {
      const std::string request = wire.read_message();
      const std::size_t at = request.find("X-Id: ");
      if (at == std::string::npos) return;
      const std::string id = request.substr(at + 6, request.find('\r', at) - at - 6);
      if (dice.one_in(6)) dice.pause(5'000);
      if (!wire.send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(id.size()) + "\r\n\r\n" + id))
        return;
    }
  };
}

struct Tally {
  std::atomic<bool> over{false};
  std::atomic<std::uint64_t> answered{0};
  std::atomic<std::uint64_t> told_to_go{0};
  std::atomic<std::uint64_t> lost{0};
  std::mutex mutex;
  std::string first_loss;

  void lose(std::string how) {
    const std::scoped_lock lock{mutex};
    if (lost.fetch_add(1) == 0) first_loss = std::move(how);
  }
};

bool send_ragged(Wire& wire, Dice& dice, std::string_view bytes) {
  while (!bytes.empty()) {
    const std::size_t n =
        dice.one_in(3) ? 1 + static_cast<std::size_t>(dice.below(bytes.size())) : bytes.size();
    if (!wire.send(bytes.substr(0, n))) return false;
    bytes.remove_prefix(n);
    if (!bytes.empty() && dice.one_in(2)) dice.pause(2'000);
  }
  return true;
}

std::string request(Dice& dice, const std::string& id) {
  if (!dice.one_in(4)) return "GET /g HTTP/1.1\r\nHost: h\r\nX-Id: " + id + "\r\n\r\n";
  const std::string body(static_cast<std::size_t>(dice.below(dice.one_in(4) ? 100'000 : 500)), 'p');
  return "POST /p HTTP/1.1\r\nHost: h\r\nX-Id: " + id + "\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body;
}

/// Lives on one connection for as long as that may be. False: it ended, in order or not.
bool ask(Wire& wire, Dice& dice, Tally& tally, const std::string& name, std::uint64_t& serial) {
  const std::uint64_t count = dice.one_in(4) ? 1 + dice.below(5) : 1;
  const std::uint64_t first = serial;
  std::string bytes;
  for (std::uint64_t i = 0; i < count; ++i) bytes += request(dice, name + "-" + std::to_string(serial++));
  // Told to go in the middle of a pipeline the client may find that nobody reads any more: the answers tell.
  send_ragged(wire, dice, bytes);
  for (std::uint64_t i = first; i < serial; ++i) {
    const std::string wanted = name + "-" + std::to_string(i);
    const std::string answer = wire.read_message();
    if (!answer.ends_with("\r\n\r\n" + wanted)) {
      tally.lose("instead of " + wanted + ": \"" + answer + "\"");
      return false;
    }
    ++tally.answered;
    if (answer.find("Connection: close") == std::string::npos) continue;
    ++tally.told_to_go;
    return false;
  }
  return true;
}

void live(std::uint16_t port, Tally& tally, std::uint64_t seed, int number) {
  Dice dice{mix64(seed ^ (0x9e3779b9ULL + static_cast<std::uint64_t>(number)))};
  const std::string name = "c" + std::to_string(number);
  std::uint64_t serial = 0;
  while (!tally.over) {
    Wire wire = Wire::connect_to(port);
    while (!tally.over && ask(wire, dice, tally, name, serial)) {
      if (dice.one_in(3)) dice.pause(4'000);
      if (dice.one_in(200)) break;
    }
  }
}

/// The generations that live, the oldest first; each hands over to the one behind it.
class Chain final {
 public:
  Chain(Config config, Dice& dice) : config_(std::move(config)), dice_(dice) {
    config_.workers = 2;
    living_.push_back(std::make_unique<ProxyUnderTest>(config_, ListenerWishes{.keep_open = true}));
  }
  void reload() {
    config_.workers = 1 + static_cast<std::uint32_t>(dice_.below(3));
    living_.push_back(std::make_unique<ProxyUnderTest>(config_, *living_.back()));
    (*living_[living_.size() - 2])->start_drain(Handoff::live);
  }
  /// As when the relay breaks: what is queued goes back, and a further attempt is made.
  void stumble() {
    const ProxyUnderTest* const draining = living_.front().get();
    (*living_.front())->give_up_handoff();
    relay_for(Milliseconds{10});
    if (living_.front().get() == draining) (*living_.front())->start_drain(Handoff::live);
  }
  void relay_for(Duration time) {
    const Instant until = monotonic_now() + time;
    do {
      relay();
      std::this_thread::sleep_for(std::chrono::microseconds{300});
    } while (monotonic_now() < until);
  }
  /// Until the newest is alone.
  bool finish() {
    const Instant until = monotonic_now() + Milliseconds{wire::kPatienceMs};
    while (living_.size() > 1 && monotonic_now() < until) relay_for(Milliseconds{1});
    return living_.size() == 1;
  }
  [[nodiscard]] std::size_t size() const { return living_.size(); }
  [[nodiscard]] std::uint16_t port() const { return living_.front()->port(); }
  [[nodiscard]] ProxyUnderTest& newest() { return *living_.back(); }
  std::uint64_t handed_over = 0;
  std::uint64_t force_closed = 0;

 private:
  void relay() {
    for (std::size_t i = 0; i + 1 < living_.size(); ++i)
      (*living_[i + 1])->adopt((*living_[i])->take_handed());
    while (living_.size() > 1 && living_.front()->drained_now()) {
      Proxy& gone = **living_.front();
      EXPECT_EQ(gone.counters().connections_open, 0U);
      handed_over += gone.counters().handed_over;
      force_closed += gone.drain_report().force_closed + gone.drain_report().closed_idle;
      living_.pop_front();
    }
  }
  Config config_;
  Dice& dice_;
  std::deque<std::unique_ptr<ProxyUnderTest>> living_;
};

void wander(bool stumbling) {
  const std::uint64_t seed = seed_of_run();
  Dice dice{seed};
  std::atomic<std::uint64_t> serial{0};
  ScriptedBackend backend{echo(seed, serial)};
  Config config = wire::to_backend(backend.port());
  config.timeouts.quiet = Milliseconds{60'000};  // a close for being quiet may cross a request: not here
  config.drain_timeout = Milliseconds{60'000};
  Chain chain{config, dice};
  const std::uint16_t port = chain.port();
  Tally tally;
  std::vector<std::thread> clients;
  for (int i = 0; i < kClients; ++i) {
    clients.emplace_back([&, i] { live(port, tally, seed, i); });
  }
  for (int i = 0; i < kGenerations; ++i) {
    chain.relay_for(Milliseconds{dice.below(40)});
    chain.reload();
    chain.relay_for(Milliseconds{dice.below(15)});
    if (stumbling && chain.size() > 1 && dice.one_in(2)) chain.stumble();
    // Or the next reload comes while this one lasts.
    if (dice.one_in(2)) {
      EXPECT_TRUE(chain.finish());
    }
  }
  EXPECT_TRUE(chain.finish());
  tally.over = true;
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(tally.lost, 0U) << tally.first_loss;
  EXPECT_EQ(chain.force_closed, 0U);
  if (!stumbling) {
    EXPECT_EQ(tally.told_to_go, 0U);
  }
  EXPECT_GT(chain.handed_over, static_cast<std::uint64_t>(kClients));
  EXPECT_TRUE(chain.newest().counted([](const CounterTotals& c) { return c.connections_open == 0; }));
  std::cout << "answered " << tally.answered << ", handed over " << chain.handed_over << ", told to go "
            << tally.told_to_go << "\n";
}

TEST(ProxyHandoffStorm, NoRequestIsLostAndNobodyIsToldToGo) {
  wander(false);
}

TEST(ProxyHandoffStorm, NoRequestIsLostWhenHandingOverIsGivenUpNowAndThen) {
  wander(true);
}

}  // namespace
}  // namespace lb
