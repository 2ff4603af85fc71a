#include "lb/limit/rate_limiter.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "lb/base/random.hpp"
#include "lb/base/result.hpp"

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

std::uint64_t units_of(Instant now) noexcept {
  const std::int64_t now_ns = std::max<std::int64_t>(now.time_since_epoch().count(), 0);
  return static_cast<std::uint64_t>(now_ns) * kUnitsPerNs;
}

}  // namespace

struct RateLimiter::Impl {
  Impl(double per_second, std::uint32_t burst, std::span<BucketSet> sets_, std::uint64_t seed_)
      : interval(interval_of(per_second)),
        depth(depth_of(interval_of(per_second), burst)),
        seed(seed_),
        sets(sets_),
        table(sets_) {
    LB_ASSERT(std::has_single_bit(sets_.size()));
  }

  std::atomic<std::uint64_t> interval;  // a token's worth of time
  std::atomic<std::uint64_t> depth;     // of a full bucket
  std::uint64_t seed;
  std::vector<BucketSet> own;  // where nobody gave us any
  std::span<BucketSet> sets;
  BucketTable table;
  std::atomic<std::uint64_t> evictions{0};
};

RateLimiter::RateLimiter(double per_second, std::uint32_t burst, std::size_t buckets_max,
                         std::uint64_t seed) {
  std::vector<BucketSet> own(sets_of(buckets_max));
  impl_ = std::make_unique<Impl>(per_second, burst, own, seed);
  impl_->own = std::move(own);  // they stay where they are
}
RateLimiter::RateLimiter(double per_second, std::uint32_t burst, std::span<BucketSet> sets,
                         std::uint64_t seed)
    : impl_(std::make_unique<Impl>(per_second, burst, sets, seed)) {}
RateLimiter::~RateLimiter() = default;

RateLimiter::Decision RateLimiter::take(std::uint64_t client_hash, Instant now) noexcept {
  const std::uint64_t at = units_of(now);
  const auto [full_at, evicted] = impl_->table.find(mix64(client_hash ^ impl_->seed), at);
  if (evicted) impl_->evictions.fetch_add(1, std::memory_order_relaxed);

  const std::uint64_t interval = impl_->interval.load(std::memory_order_relaxed);
  const std::uint64_t latest = at + impl_->depth.load(std::memory_order_relaxed);
  std::uint64_t seen = full_at.load(std::memory_order_relaxed);
  for (;;) {
    const std::uint64_t taken = std::max(seen, at) + interval;
    if (taken > latest) {
      const std::uint64_t wait_s = (taken - latest + kUnitsPerSecond - 1) / kUnitsPerSecond;
      return {.allowed = false,
              .retry_after_s = static_cast<std::uint32_t>(std::min<std::uint64_t>(wait_s, ~0U))};
    }
    if (full_at.compare_exchange_weak(seen, taken, std::memory_order_relaxed)) return {};
  }
}

void RateLimiter::retune(double per_second, std::uint32_t burst) noexcept {
  const std::uint64_t interval = interval_of(per_second);
  impl_->interval.store(interval, std::memory_order_relaxed);
  impl_->depth.store(depth_of(interval, burst), std::memory_order_relaxed);
}

std::uint64_t RateLimiter::depth() const noexcept {
  return impl_->depth.load(std::memory_order_relaxed);
}

void RateLimiter::rescale(std::uint64_t depth_before, Instant now) noexcept {
  const std::uint64_t depth = impl_->depth.load(std::memory_order_relaxed);
  if (depth_before == 0 || depth_before == depth) return;
  const std::uint64_t at = units_of(now);
  for (BucketSet& set : impl_->sets) {
    for (auto& full_at : set.full_at) {
      std::uint64_t seen = full_at.load(std::memory_order_relaxed);
      if (seen <= at) continue;  // full
      const auto lacking = static_cast<double>(std::min(seen - at, depth_before));
      const double scaled = lacking / static_cast<double>(depth_before) * static_cast<double>(depth);
      // Rounded up; a request that comes between is forgotten rather than the change of all.
      const std::uint64_t lacks = std::min(static_cast<std::uint64_t>(scaled) + 1, depth);
      full_at.compare_exchange_strong(seen, at + lacks, std::memory_order_relaxed);
    }
  }
}

std::uint64_t RateLimiter::evictions() const noexcept {
  return impl_->evictions.load(std::memory_order_relaxed);
}

}  // namespace lb
