// What a worker counts of one backend: requests, failures and how long answers took. Each worker has its own
// for each backend, on its own cache lines, written with relaxed stores by that thread alone; anyone may
// read. Totals only grow.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "lb/observe/counters.hpp"

namespace lb {

/// A histogram by powers of two. Bucket i holds what took less than kLatencyFirstUs << i, the last one
/// whatever took longer (4 seconds and more).
inline constexpr std::size_t kLatencyBuckets = 19;
inline constexpr std::uint64_t kLatencyFirstUs = 32;

constexpr std::size_t latency_bucket(std::uint64_t us) noexcept {
  return std::min<std::size_t>(std::bit_width(us / kLatencyFirstUs), kLatencyBuckets - 1);
}
static_assert(latency_bucket(31) == 0 && latency_bucket(32) == 1 && latency_bucket(~0ULL) == 18);

/// Requests that were brought to an end there, well or badly, and how many of them failed: no connection, no
/// answer, a malformed or cut one, or a status of 500 and above. Latencies are of those that were answered:
/// from the turn in which a connection was looked for to the one in which the answer's head was there (in
/// TCP mode: the connection).
struct alignas(64) BackendCounts {
  std::atomic<std::uint64_t> requests{0};
  std::atomic<std::uint64_t> failures{0};
  std::atomic<std::uint64_t> gateway_failures{0};  // those but for statuses other than 502, 503 and 504
  std::atomic<std::uint64_t> latency_sum_us{0};
  std::array<std::atomic<std::uint64_t>, kLatencyBuckets> latency{};
  std::uint64_t gateway_failures_in_row = 0;  // that worker's alone
};
static_assert(sizeof(BackendCounts) == 192);

/// By the owning thread.
inline void count_latency(BackendCounts& counts, std::uint64_t us) noexcept {
  bump(counts.latency_sum_us, us);
  bump(counts.latency[latency_bucket(us)]);
}

/// A plain copy, summed over workers.
struct BackendTotals {
  std::uint64_t requests = 0;
  std::uint64_t failures = 0;
  std::uint64_t gateway_failures = 0;
  std::uint64_t latency_sum_us = 0;
  std::array<std::uint64_t, kLatencyBuckets> latency{};

  void add(const BackendCounts& counts) noexcept {
    requests += counts.requests.load(std::memory_order_relaxed);
    failures += counts.failures.load(std::memory_order_relaxed);
    gateway_failures += counts.gateway_failures.load(std::memory_order_relaxed);
    latency_sum_us += counts.latency_sum_us.load(std::memory_order_relaxed);
    for (std::size_t i = 0; i < kLatencyBuckets; ++i)
      latency[i] += counts.latency[i].load(std::memory_order_relaxed);
  }
  /// What `earlier` had counted already.
  void take_away(const BackendTotals& earlier) noexcept {
    requests -= earlier.requests;
    failures -= earlier.failures;
    gateway_failures -= earlier.gateway_failures;
    latency_sum_us -= earlier.latency_sum_us;
    for (std::size_t i = 0; i < kLatencyBuckets; ++i) latency[i] -= earlier.latency[i];
  }
  /// The sum of two.
  void add(const BackendTotals& other) noexcept {
    requests += other.requests;
    failures += other.failures;
    gateway_failures += other.gateway_failures;
    latency_sum_us += other.latency_sum_us;
    for (std::size_t i = 0; i < kLatencyBuckets; ++i) latency[i] += other.latency[i];
  }
  /// Of how many the latency is known.
  [[nodiscard]] std::uint64_t latency_count() const noexcept {
    std::uint64_t count = 0;
    for (const std::uint64_t n : latency) count += n;
    return count;
  }
  friend bool operator==(const BackendTotals&, const BackendTotals&) = default;
};

}  // namespace lb
