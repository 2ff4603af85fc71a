// Tunnels that wander: a chain of generations, each of which hands its tunnels to the next while both ends
// talk without a pause, in pieces of all sizes, fast and slow. Every byte must arrive once and in order.
// Seeded and bounded; the seed is printed.
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "lb/base/random.hpp"
#include "lb/proxy/proxy.hpp"
#include "lb/proxy/wire_test_kit.hpp"

namespace lb::wire {
namespace {

constexpr int kTunnels = 12;
constexpr int kGenerations = 20;

std::uint64_t seed_of_run() {
  const char* given = std::getenv("LB_TEST_SEED");
  const std::uint64_t seed = given != nullptr
                                 ? std::strtoull(given, nullptr, 0)
                                 : static_cast<std::uint64_t>(monotonic_now().time_since_epoch().count());
  std::cout << "LB_TEST_SEED=" << seed << std::endl;
  return seed;
}

/// The byte at a place of a stream: each direction of each tunnel has a stream of its own.
char byte_at(std::uint64_t stream, std::uint64_t place) {
  return static_cast<char>(mix64(stream ^ (place >> 3U)) >> ((place & 7U) * 8U));
}

struct Tally {
  std::atomic<bool> over{false};
  std::atomic<std::uint64_t> bytes{0};
  std::atomic<std::uint64_t> wrong{0};

  void complain(std::uint64_t stream, std::uint64_t place, std::string_view what) {
    ++wrong;
    std::cout << "stream " << stream << ", byte " << place << ": " << what << std::endl;
  }
};

/// Sends its stream until told to stop, then its end.
void speak(const Wire& wire, std::uint64_t stream, const Tally& tally, Random random) {
  std::string piece;
  std::uint64_t place = 0;
  while (!tally.over) {
    const std::uint64_t size = 1 + random() % (random() % 8 == 0 ? 300'000 : 3'000);
    piece.resize(size);
    for (char& c : piece) c = byte_at(stream, place++);
    std::string_view left = piece;
    while (!left.empty()) {
      const ssize_t n = ::send(wire.fd(), left.data(), left.size(), MSG_NOSIGNAL);
      if (n <= 0) return;
      left.remove_prefix(static_cast<std::size_t>(n));
    }
    if (random() % 2 == 0) std::this_thread::sleep_for(std::chrono::microseconds{random() % 3'000});
  }
  ::shutdown(wire.fd(), SHUT_WR);
}

/// Reads the other's stream to its end, sometimes slowly.
void listen(const Wire& wire, std::uint64_t stream, Tally& tally, Random random) {
  std::string bytes(100'000, 0);
  std::uint64_t place = 0;
  const timeval patience{.tv_sec = 60, .tv_usec = 0};  // one core may have to carry it all under a sanitizer
  ::setsockopt(wire.fd(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  ::setsockopt(wire.fd(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  for (;;) {
    const ssize_t n = ::recv(wire.fd(), bytes.data(), 1 + random() % bytes.size(), 0);
    if (n < 0) tally.complain(stream, place, std::strerror(errno));
    if (n <= 0) return;
    for (ssize_t i = 0; i < n; ++i) {
      if (bytes[static_cast<std::size_t>(i)] == byte_at(stream, place++)) continue;
      return tally.complain(stream, place, "another byte");
    }
    tally.bytes += static_cast<std::uint64_t>(n);
    if (random() % 4 == 0) std::this_thread::sleep_for(std::chrono::microseconds{random() % 4'000});
  }
}

TEST(ProxyTunnelStorm, EveryByteArrivesOnceAndInOrderWhateverMoves) {
  const std::uint64_t seed = seed_of_run();
  Random dice{seed};
  Tally tally;
  std::atomic<std::uint64_t> accepted{0};
  // A client begins with the number of its tunnel.
  ScriptedBackend backend{[&](Wire& wire) {
    std::string name(8, 0);  // and not a byte more, as Wire would take
    if (::recv(wire.fd(), name.data(), name.size(), MSG_WAITALL) != 8) return;
    const std::uint64_t number = std::stoull(name);
    ++accepted;
    std::thread speaker{[&] { speak(wire, seed + 2 * number, tally, Random{seed ^ (number << 8U)}); }};
    listen(wire, seed + 2 * number + 1, tally, Random{seed ^ (number << 9U)});
    speaker.join();
  }};
  Config config;
  config.listen.push_back({{.host = "127.0.0.1"}, ListenMode::tcp});
  config.backends = {backend_at(backend.port())};
  config.workers = 2;
  auto current = std::make_unique<ProxyUnderTest>(config);
  std::vector<std::thread> clients;
  for (std::uint64_t i = 0; i < kTunnels; ++i) {
    auto wire = std::make_shared<Wire>(current->connect());
    char name[16];
    std::snprintf(name, sizeof name, "%08u", static_cast<unsigned>(i));
    ASSERT_TRUE(wire->send({name, 8}));
    clients.emplace_back([=, &tally] { speak(*wire, seed + 2 * i + 1, tally, Random{seed ^ (i << 10U)}); });
    clients.emplace_back([=, &tally] { listen(*wire, seed + 2 * i, tally, Random{seed ^ (i << 11U)}); });
  }
  ASSERT_TRUE(current->counted([&](const CounterTotals&) { return accepted == kTunnels; }));
  std::uint64_t moved = 0;
  for (int i = 0; i < kGenerations; ++i) {
    std::this_thread::sleep_for(Milliseconds{dice() % 30});
    config.workers = 1 + static_cast<std::uint32_t>(dice() % 3);
    auto next = std::make_unique<ProxyUnderTest>(config);
    reload_start_drain(**current, std::make_shared<const Config>(config), Handoff::live);
    while (!current->drained_now()) {
      auto taken = (*current)->take_handed();
      if (taken.empty()) {
        std::this_thread::yield();
        continue;
      }
      // Some come back first, as when the successor was late.
      if (dice() % 3 == 0) {
        (*current)->adopt(std::move(taken));
        continue;
      }
      moved += taken.size();
      (*next)->adopt(std::move(taken));
    }
    EXPECT_EQ((*current)->counters().connections_open, 0U);
    EXPECT_EQ((*current)->drain_report().force_closed, 0U);
    current = std::move(next);
  }
  tally.over = true;
  for (std::thread& client : clients) client.join();
  EXPECT_TRUE(current->counted([](const CounterTotals& c) { return c.connections_open == 0; }));
  EXPECT_EQ(tally.wrong, 0U);
  EXPECT_GE(moved, static_cast<std::uint64_t>(kTunnels));
  std::cout << tally.bytes / 1024 << " KiB, " << moved << " moves\n";
}

}  // namespace
}  // namespace lb::wire
