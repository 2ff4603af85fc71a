#include "lb/limit/rate_limiter.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "lb/base/random.hpp"
#include "lb/base/result.hpp"
#include "lb/limit/bucket_table.hpp"

namespace lb {
namespace {

// Time is counted in sixteenths of a nanosecond, so that an interval of a microsecond is exact to 6e-5 and
// 64 bits last for a machine's life. Intervals are rounded up: the rate is never exceeded.
constexpr std::uint64_t kUnitsPerNs = 16;
constexpr std::uint64_t kUnitsPerSecond = kUnitsPerNs * 1'000'000'000U;
// Nine years. The sum of a time and a depth stays far below 2^64.
constexpr std::uint64_t kDepthMax = std::uint64_t{1} << 62U;

std::uint64_t interval_of(double per_second) noexcept {
  LB_ASSERT(std::isfinite(per_second) && per_second > 0);
  const double units = std::ceil(static_cast<double>(kUnitsPerSecond) / per_second);
  if (units >= static_cast<double>(kDepthMax)) return kDepthMax;
  return std::max(static_cast<std::uint64_t>(units), std::uint64_t{1});
}

std::uint64_t depth_of(std::uint64_t interval, std::uint32_t burst) noexcept {
  LB_ASSERT(burst >= 1);
  return interval > kDepthMax / burst ? kDepthMax : interval * burst;
}

std::size_t sets_of(std::size_t buckets) noexcept {
  return std::bit_ceil(std::clamp<std::size_t>(buckets, kBucketsPerSet, RateLimiter::kBucketsMax)) /
         kBucketsPerSet;
}

}  // namespace

struct RateLimiter::Impl {
  Impl(double per_second, std::uint32_t burst, std::size_t buckets_max, std::uint64_t seed_)
      : interval(interval_of(per_second)),
        depth(depth_of(interval, burst)),
        seed(seed_),
        sets(sets_of(buckets_max)),
        table(sets) {}

  std::uint64_t interval;  // a token's worth of time
  std::uint64_t depth;     // of a full bucket
  std::uint64_t seed;
  std::vector<BucketSet> sets;
  BucketTable table;
  std::atomic<std::uint64_t> evictions{0};
};

RateLimiter::RateLimiter(double per_second, std::uint32_t burst, std::size_t buckets_max, std::uint64_t seed)
    : impl_(std::make_unique<Impl>(per_second, burst, buckets_max, seed)) {}
RateLimiter::~RateLimiter() = default;

RateLimiter::Decision RateLimiter::take(std::uint64_t client_hash, Instant now) noexcept {
  const std::int64_t now_ns = std::max<std::int64_t>(now.time_since_epoch().count(), 0);
  const std::uint64_t at = static_cast<std::uint64_t>(now_ns) * kUnitsPerNs;
  const auto [full_at, evicted] = impl_->table.find(mix64(client_hash ^ impl_->seed), at);
  if (evicted) impl_->evictions.fetch_add(1, std::memory_order_relaxed);

  std::uint64_t seen = full_at.load(std::memory_order_relaxed);
  for (;;) {
    const std::uint64_t taken = std::max(seen, at) + impl_->interval;
    const std::uint64_t latest = at + impl_->depth;
    if (taken > latest) {
      const std::uint64_t wait_s = (taken - latest + kUnitsPerSecond - 1) / kUnitsPerSecond;
      return {.allowed = false,
              .retry_after_s = static_cast<std::uint32_t>(std::min<std::uint64_t>(wait_s, ~0U))};
    }
    if (full_at.compare_exchange_weak(seen, taken, std::memory_order_relaxed)) return {};
  }
}

std::uint64_t RateLimiter::evictions() const noexcept {
  return impl_->evictions.load(std::memory_order_relaxed);
}

}  // namespace lb
