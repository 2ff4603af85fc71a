// What is known about one backend: its traits, fixed by the configuration, and its state, which changes all
// the time. Values and atomics; any thread, and any process where the memory is shared (lb/state).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace lb {

/// Generations whose load is counted apart from each other's. More than that share the last lane.
inline constexpr unsigned kLoadLanes = 8;

/// Load and standing of one backend, read by the algorithms at every pick. One cache line each, so that
/// workers do not disturb each other. Written through Balancer only. Times are Instants as ns. Several
/// generations may use it at once: what is true of the backend holds for all of them, and each counts its
/// load in a lane of its own, so that the load of one that was killed can be cleared.
struct alignas(64) BackendState {
  std::array<std::atomic<std::uint32_t>, kLoadLanes> lanes{};  // requests and tunnels now, over all workers
  std::atomic<std::int64_t> aside_until_ns{0};                 // not picked before, unless all are aside
  std::atomic<std::int64_t> ejected_until_ns{0};  // an outlier: not picked before, unless in panic
  std::atomic<std::int64_t> up_since_ns{0};       // when it was last seen to come back; 0: never away
  std::atomic<std::uint32_t> failures_in_row{0};  // to connect, since the last success; a burst counts once
  std::atomic<bool> down{false};                  // failed its health checks: not picked, unless in panic

  /// Over all generations.
  [[nodiscard]] std::uint32_t in_flight(std::memory_order order = std::memory_order_relaxed) const noexcept {
    std::uint32_t sum = 0;
    for (const auto& lane : lanes) sum += lane.load(order);
    return sum;
  }
};
static_assert(sizeof(BackendState) == 64);

/// What the balancers of all generations share beyond single backends.
struct SharedBalance {
  /// Lanes that are in use. While it is one, only that lane is looked at.
  std::atomic<std::uint32_t> lanes_used{1};
  /// Grows whenever a backend goes down, comes up or is ejected, whoever says so.
  std::atomic<std::uint64_t> health_changes{0};
  /// Whose turn it is: a reload does not turn the wheel back.
  alignas(64) std::atomic<std::uint64_t> primary_turns{0};
  alignas(64) std::atomic<std::uint64_t> backup_turns{0};
};

/// 22 bits: with a share in slow start (10 bits) and a load (32) the product fits into 64.
inline constexpr std::uint32_t kWeightMax = (1U << 22U) - 1;

struct BackendTraits {
  std::uint32_t weight = 1;           // at most kWeightMax; 0: never picked
  std::uint32_t max_connections = 0;  // 0: no limit
  bool backup = false;                // picked only when no other is available
  std::uint64_t identity = 0;         // hash of the name: hashing algorithms go by this, never by position
};

}  // namespace lb
