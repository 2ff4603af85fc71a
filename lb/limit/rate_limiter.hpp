// RateLimiter: a token bucket per client address, shared by all workers of a generation, and by all
// generations of a service where the buckets lie in memory that they share. Thread-safe and
// lock-free: a bucket is a single 64-bit atomic (GCRA: the theoretical arrival time) in a fixed-size table
// (bucket_table.hpp) keyed by the hash of the address; the caller gives the time. When a key's part of the
// table is full the bucket nearest to full is recycled, and that is counted if it was not full yet.
// Source: ITU-T I.371 (GCRA), equivalent to a token bucket with rate `per_second` and depth `burst`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "lb/base/time.hpp"
#include "lb/limit/bucket_table.hpp"

namespace lb {

class RateLimiter final {
 public:
  static constexpr std::size_t kBucketsMax = 1U << 24U;  // 256 MiB

  /// `per_second` > 0, finite; `burst` >= 1; `buckets_max` is rounded up to a power of two and takes 16 bytes
  /// each, at most kBucketsMax. With a random `seed` nobody can find addresses that share a bucket.
  RateLimiter(double per_second, std::uint32_t burst, std::size_t buckets_max = 1U << 16U,
              std::uint64_t seed = 0);
  /// The same over buckets that live elsewhere, and outlive it: a power of two of sets, of zeros or as
  /// another limiter with the same `seed` left them.
  RateLimiter(double per_second, std::uint32_t burst, std::span<BucketSet> sets, std::uint64_t seed);
  ~RateLimiter();
  RateLimiter(const RateLimiter&) = delete;
  RateLimiter& operator=(const RateLimiter&) = delete;

  struct Decision {
    bool allowed = true;
    std::uint32_t retry_after_s = 0;  // when refused: at least 1, until a request would be allowed
  };
  /// Takes one token from the bucket of `client_hash`, or refuses and takes none. However many threads call,
  /// and if their clocks disagree, a client is granted at most burst + per_second * (latest - earliest
  /// `now`), as long as its bucket is not recycled.
  Decision take(std::uint64_t client_hash, Instant now) noexcept;

  /// Another rate and depth from now on; any thread. Buckets stay as they are: see rescale.
  void retune(double per_second, std::uint32_t burst) noexcept;

  /// What a full bucket holds, in units of time of its own. Buckets of limiters with equal depths and rates
  /// mean the same.
  [[nodiscard]] std::uint64_t depth() const noexcept;
  /// The buckets were those of a limiter with `depth_before`: from now on each lacks the same share of this
  /// one's depth. So no change of rate or burst refills one, and an empty one stays empty. Requests that are
  /// counted meanwhile may be counted by the old measure.
  void rescale(std::uint64_t depth_before, Instant now) noexcept;

  /// Buckets recycled although not yet full again: the table was too small for the clients.
  [[nodiscard]] std::uint64_t evictions() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lb
