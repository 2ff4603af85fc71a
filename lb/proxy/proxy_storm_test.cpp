// Everybody misbehaves at once: clients that reset, half-close, pipeline, dawdle and upgrade, backends that
// cut, stall, lie and refuse, and a reload in the middle. What each of them sees is not predictable; that
// nothing is left behind is. Seeded and bounded; the seed is printed.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <cstdlib>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "lb/base/random.hpp"
#include "lb/proxy/proxy.hpp"
#include "lb/proxy/wire_test_kit.hpp"

namespace lb {
namespace {

using wire::backend_at;
using wire::ListenerWishes;
using wire::ProxyUnderTest;
using wire::ScriptedBackend;
using wire::Wire;

constexpr Milliseconds kCalm{900};   // before the reload
constexpr Milliseconds kAfter{700};  // clients go on for so long after it
constexpr int kClients = 24;

std::uint64_t seed_of_run() {
  const char* given = std::getenv("LB_TEST_SEED");
  const std::uint64_t seed = given != nullptr
                                 ? std::strtoull(given, nullptr, 0)
                                 : static_cast<std::uint64_t>(monotonic_now().time_since_epoch().count());
  std::cout << "LB_TEST_SEED=" << seed << "\n";
  return seed;
}

class Dice final {
 public:
  explicit Dice(std::uint64_t seed) : random_(seed) {}
  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
  bool one_in(std::uint64_t n) { return below(n) == 0; }
  std::size_t size() { return static_cast<std::size_t>(one_in(8) ? below(600'000) : below(3'000)); }

 private:
  Random random_;
};

/// Short enough for a storm: nobody waits for anybody longer than this.
Wire impatient(Wire wire) {
  const timeval patience{.tv_sec = 0, .tv_usec = 60'000};
  ::setsockopt(wire.fd(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  ::setsockopt(wire.fd(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  return wire;
}

/// Sends in pieces of random sizes, sometimes pausing; sometimes not all of it.
bool send_ragged(Wire& wire, Dice& dice, std::string_view bytes) {
  if (dice.one_in(12)) bytes = bytes.substr(0, static_cast<std::size_t>(dice.below(bytes.size() + 1)));
  while (!bytes.empty()) {
    const std::size_t n =
        dice.one_in(3) ? 1 + static_cast<std::size_t>(dice.below(bytes.size())) : bytes.size();
    if (!wire.send(bytes.substr(0, n))) return false;
    bytes.remove_prefix(n);
    if (dice.one_in(4)) std::this_thread::sleep_for(std::chrono::microseconds{dice.below(2'000)});
  }
  return true;
}

std::string chunked(Dice& dice) {
  std::string body;
  for (std::uint64_t i = dice.below(6); i > 0; --i) {
    const std::size_t n = 1 + dice.size() / 4;
    char head[24];
    body.append(head, static_cast<std::size_t>(std::snprintf(head, sizeof head, "%zx\r\n", n)));
    body += std::string(n, 'c') + "\r\n";
  }
  return dice.one_in(15) ? body + "zz\r\n" : body + "0\r\n\r\n";
}

std::string random_response(Dice& dice) {
  const std::string ok =
      dice.one_in(6) ? "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n" : "HTTP/1.1 200 OK\r\n";
  const std::string body(dice.size(), 'b');
  switch (dice.below(10)) {
    case 0:
      return ok + "Transfer-Encoding: chunked\r\n\r\n" + chunked(dice);
    case 1:
      return "HTTP/1.0 200 OK\r\n\r\n" + body;
    case 2:
      return "nonsense\r\n\r\n";
    case 3:
      return ok + "Content-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    case 4:
      return "HTTP/1.1 204 No Content\r\n\r\n";
    case 5:
      return ok + "Content-Length: 2\r\nConnection: close\r\n\r\nok";
    default:
      return ok + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }
}

void tunnel_for_a_while(Wire& wire, Dice& dice) {
  for (std::uint64_t i = dice.below(6); i > 0; --i) {
    if (!wire.send(std::string(dice.size() + 1, 't'))) return;
    if (dice.one_in(2)) wire.read_exactly(1);
  }
  if (dice.one_in(2)) {
    wire.finish_sending();
    wire.read_to_end();
  }
}

ScriptedBackend::Script faulty_backend(std::uint64_t seed, std::atomic<std::uint64_t>& serial) {
  return [seed, &serial](Wire& raw) {
    Dice dice{mix64(seed + serial.fetch_add(1))};
    Wire wire = impatient(std::move(raw));
    for (;;) {
      if (dice.one_in(30)) return wire.reset();
      const std::string head = wire.read_until("\r\n\r\n");
      if (!head.ends_with("\r\n\r\n")) return;
      if (head.find("Upgrade: storm") != std::string::npos && !dice.one_in(4)) {
        wire.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: storm\r\nConnection: upgrade\r\n\r\n");
        return tunnel_for_a_while(wire, dice);
      }
      const std::size_t at = head.find("Content-Length: ");
      const bool early = dice.one_in(8);
      if (!early && at != std::string::npos) wire.read_exactly(std::stoul(head.substr(at + 16)));
      if (!early && head.find("Transfer-Encoding") != std::string::npos) wire.read_until("0\r\n\r\n");
      if (dice.one_in(20)) std::this_thread::sleep_for(Milliseconds{dice.below(120)});
      if (!send_ragged(wire, dice, random_response(dice))) return;
      if (early || dice.one_in(10)) return dice.one_in(2) ? wire.reset() : wire.close();
    }
  };
}

std::string random_request(Dice& dice) {
  const std::string tail = dice.one_in(8) ? "Connection: close\r\n" : "";
  switch (dice.below(9)) {
    case 0: {
      const std::size_t n = dice.size();
      return "POST /p HTTP/1.1\r\nHost: h\r\n" + tail + "Content-Length: " + std::to_string(n) + "\r\n\r\n" +
             std::string(n, 'p');
    }
    case 1:
      return "PUT /c HTTP/1.1\r\nHost: h\r\n" + tail + "Transfer-Encoding: chunked\r\n\r\n" + chunked(dice);
    case 2:
      return "GET /u HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: storm\r\n\r\n" +
             std::string(static_cast<std::size_t>(dice.below(50)), 'u');
    case 3:
      return "GET /o HTTP/1.0\r\n\r\n";
    case 4:
      return "HEAD /h HTTP/1.1\r\nHost: h\r\n" + tail + "\r\n";
    case 5:
      return dice.one_in(3) ? "GET bad HTTP/1.1\r\n\r\n" : "GET /e HTTP/1.1\r\nHost: h\r\n\r\n\r\n";
    default:
      return "GET /g HTTP/1.1\r\nHost: h\r\n" + tail + "\r\n";
  }
}

void rude_client(const ProxyUnderTest& proxy, Dice& dice) {
  Wire wire = impatient(proxy.connect());
  for (std::uint64_t i = dice.below(8); i > 0; --i) {
    std::string bytes;
    for (std::uint64_t k = 1 + (dice.one_in(3) ? dice.below(12) : 0); k > 0; --k)
      bytes += random_request(dice);
    if (!send_ragged(wire, dice, bytes)) break;
    if (dice.one_in(10)) return wire.reset();
    if (dice.one_in(10)) wire.finish_sending();
    if (dice.one_in(10)) std::this_thread::sleep_for(Milliseconds{dice.below(100)});
    if (dice.one_in(3)) continue;  // the answers wait: the proxy's buffers fill
    if (wire.read_until("\r\n\r\n").empty()) break;
  }
  if (dice.one_in(2)) wire.read_to_end();
}

struct Storm {
  explicit Storm(std::uint64_t seed_) : seed(seed_) {}
  std::uint64_t seed;
  std::atomic<bool> over{false};
  std::atomic<std::uint64_t> visits{0};
  std::vector<std::thread> clients;

  void begin(const ProxyUnderTest& proxy) {
    for (int i = 0; i < kClients; ++i) {
      clients.emplace_back([this, &proxy, i] {
        Dice dice{mix64(seed ^ (0x517cc1b7ULL + static_cast<std::uint64_t>(i)))};
        while (!over) {
          rude_client(proxy, dice);
          ++visits;
        }
      });
    }
  }
  void end() {
    over = true;
    for (std::thread& client : clients) client.join();
  }
};

Config stormy(std::vector<std::uint16_t> ports) {
  Config config;
  for (std::size_t i = 0; i < ports.size(); ++i) {
    config.backends.push_back(backend_at(ports[i], "b" + std::to_string(i)));
  }
  config.workers = 2;
  config.algorithm = Algorithm::least_connections;
  config.pool.max_size = 4;
  config.pool.ttl = Milliseconds{200};
  config.timeouts.header = Milliseconds{100};
  config.timeouts.idle = Milliseconds{300};
  config.timeouts.connect = Milliseconds{100};
  config.timeouts.response = Milliseconds{50};
  config.timeouts.body = Milliseconds{30};
  config.timeouts.tunnel = Milliseconds{30};
  config.timeouts.quiet = Milliseconds{100};
  config.drain_timeout = Milliseconds{1'500};
  config.max_connections = 20;  // fewer than clients: accepting pauses all the time
  return config;
}

void expect_nothing_left(ProxyUnderTest& proxy) {
  const CounterTotals counters = proxy->counters();
  EXPECT_EQ(counters.connections_open, 0U);
  EXPECT_EQ(counters.requests_in_flight, 0U);
  EXPECT_EQ(counters.tunnels_open, 0U);
  for (const Proxy::BackendStatus& backend : proxy->backends())
    EXPECT_EQ(backend.in_flight, 0U) << backend.name;
}

TEST(ProxyStorm, NothingIsLeftBehindWhenAReloadEndsIt) {
  const std::uint64_t seed = seed_of_run();
  std::atomic<std::uint64_t> serial{0};
  ScriptedBackend first{faulty_backend(seed, serial)};
  ScriptedBackend second{faulty_backend(seed, serial)};
  ScriptedBackend third{faulty_backend(seed, serial)};
  Config config = stormy({first.port(), second.port(), 1});  // on port 1 nobody listens
  Config next = stormy({third.port(), second.port()});
  config.access_log = next.access_log = "/dev/null";
  // Long enough for everybody, or so short that many are cut off.
  config.drain_timeout = seed % 2 == 0 ? Milliseconds{1'500} : Milliseconds{seed / 2 % 100};
  ProxyUnderTest proxy{config, ListenerWishes{.keep_open = true}};
  Storm storm{seed};
  storm.begin(proxy);
  std::this_thread::sleep_for(kCalm);  // the length of the storm
  proxy->set_successor(std::make_shared<const Config>(next));
  std::this_thread::sleep_for(kAfter / 4);
  proxy->start_drain();
  const Instant began = monotonic_now();
  EXPECT_TRUE(proxy.drained());
  EXPECT_LT(to_ms(monotonic_now() - began), to_ms(config.drain_timeout) + 1'500);
  storm.end();
  expect_nothing_left(proxy);
  EXPECT_GT(proxy->counters().requests, 20U);  // on the slowest machine; otherwise it was no storm
  std::cout << "requests " << proxy->counters().requests << ", tunnels " << proxy->counters().tunnels
            << ", visits " << storm.visits << ", force-closed " << proxy->drain_report().force_closed << "\n";
}

TEST(ProxyStorm, NothingIsLeftBehindWhenItPasses) {
  const std::uint64_t seed = mix64(seed_of_run());
  std::atomic<std::uint64_t> serial{0};
  ScriptedBackend first{faulty_backend(seed, serial)};
  ScriptedBackend second{faulty_backend(seed, serial)};
  Config config = stormy({first.port(), second.port()});
  config.max_connections = 1'000;
  ProxyUnderTest proxy{config, ListenerWishes{.keep_open = true}};
  Storm storm{seed};
  storm.begin(proxy);
  std::this_thread::sleep_for(kCalm);
  storm.end();
  // Without any drain each connection ends by its own time-outs.
  EXPECT_TRUE(proxy.counted([](const CounterTotals& c) { return c.connections_open == 0; }));
  expect_nothing_left(proxy);
}

}  // namespace
}  // namespace lb
