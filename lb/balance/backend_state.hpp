// What is known about one backend: its traits, fixed by the configuration, and its state, which changes all
// the time. Values and atomics; any thread.
#pragma once

#include <atomic>
#include <cstdint>

namespace lb {

/// Load and standing of one backend, read by the algorithms at every pick. One cache line each, so that
/// workers do not disturb each other. Written through Balancer only. Times are Instants as ns.
struct alignas(64) BackendState {
  std::atomic<std::uint32_t> in_flight{0};        // requests and tunnels now, over all workers
  std::atomic<std::uint32_t> failures_in_row{0};  // to connect, since the last success; a burst counts once
  std::atomic<std::int64_t> aside_until_ns{0};    // not picked before, unless all are aside
  std::atomic<std::int64_t> ejected_until_ns{0};  // an outlier: not picked before, unless in panic
  std::atomic<std::int64_t> up_since_ns{0};       // when it was last seen to come back; 0: never away
  std::atomic<bool> down{false};                  // failed its health checks: not picked, unless in panic
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
