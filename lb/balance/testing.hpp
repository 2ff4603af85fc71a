// What the tests and benchmarks of balance share: a set of backends with its states and a balancer over it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lb/balance/balancer.hpp"
#include "lb/base/random.hpp"

namespace lb::testing {

inline constexpr Instant kNow{std::chrono::hours{100}};

inline std::vector<BackendTraits> with_weights(const std::vector<std::uint32_t>& weights) {
  std::vector<BackendTraits> traits;
  for (std::uint32_t i = 0; i < weights.size(); ++i) {
    traits.push_back({.weight = weights[i], .max_connections = 0, .identity = mix64(1000 + i)});
  }
  return traits;
}

inline constexpr BalanceAlgorithm kAllAlgorithms[] = {BalanceAlgorithm::round_robin,
                                                      BalanceAlgorithm::weighted_round_robin,
                                                      BalanceAlgorithm::least_connections,
                                                      BalanceAlgorithm::ip_hash,
                                                      BalanceAlgorithm::random,
                                                      BalanceAlgorithm::weighted_least_connections,
                                                      BalanceAlgorithm::power_of_two,
                                                      BalanceAlgorithm::consistent_hash};
inline constexpr const char* kAlgorithmNames[] = {
    "round_robin", "weighted_round_robin",       "least_connections", "ip_hash",
    "random",      "weighted_least_connections", "power_of_two",      "consistent_hash"};

/// The name of a test that runs with each of them.
inline constexpr auto kAlgorithmName = [](const auto& info) -> std::string {
  return kAlgorithmNames[static_cast<std::size_t>(info.param)];
};

class Fleet {
 public:
  Fleet(BalanceAlgorithm algorithm, const std::vector<std::uint32_t>& weights)
      : Fleet(FromTraits{}, algorithm, with_weights(weights)) {}
  struct FromTraits {};
  Fleet(FromTraits, BalanceAlgorithm algorithm, std::vector<BackendTraits> traits,
        const BalanceOptions& options = {})
      : states(traits.size()), balancer(Balancer::create(algorithm, std::move(traits), states, options)) {}

  Pick pick(Instant now = kNow, std::span<const std::uint32_t> tried = {}) {
    return balancer->pick({.now = now, .client_hash = client(), .random = random(), .tried = tried});
  }
  Pick pick_for(std::uint64_t client_hash, std::span<const std::uint32_t> tried = {}) {
    return balancer->pick({.now = kNow, .client_hash = client_hash, .random = random(), .tried = tried});
  }
  /// Picks `count` times, each released at once: the backends' letters, "a" for the first.
  std::string letters(int count, std::span<const std::uint32_t> tried = {}) {
    std::string result;
    for (int i = 0; i < count; ++i) {
      const Pick pick_made = pick(kNow, tried);
      if (pick_made.result != PickResult::picked) {
        result += pick_made.result == PickResult::busy ? '!' : '-';
        continue;
      }
      result += static_cast<char>('a' + pick_made.backend);
      balancer->release(pick_made.backend);
    }
    return result;
  }
  std::vector<std::uint64_t> counts(std::uint64_t picks) {
    std::vector<std::uint64_t> result(states.size());
    for (std::uint64_t i = 0; i < picks; ++i) {
      const Pick pick_made = pick();
      if (pick_made.result != PickResult::picked) continue;
      ++result[pick_made.backend];
      balancer->release(pick_made.backend);
    }
    return result;
  }
  void set_aside(std::uint32_t backend, Duration length) {
    states[backend].aside_until_ns = (kNow + length).time_since_epoch().count();
  }

  std::vector<BackendState> states;
  std::unique_ptr<Balancer> balancer;
  Random random{1};

 private:
  std::uint64_t client() { return mix64(++clients_); }
  std::uint64_t clients_ = 0;
};

}  // namespace lb::testing
