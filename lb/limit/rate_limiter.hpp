// RateLimiter: a token bucket per client address, shared by all workers of a generation. Thread-safe and
// lock-free: a bucket is a single 64-bit atomic (GCRA: the theoretical arrival time) in a fixed-size table
// (bucket_table.hpp) keyed by the hash of the address; the caller gives the time. When a key's part of the
// table is full the bucket nearest to full is recycled, and that is counted if it was not full yet.
// Source: ITU-T I.371 (GCRA), equivalent to a token bucket with rate `per_second` and depth `burst`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "lb/base/time.hpp"

namespace lb {

class RateLimiter final {
 public:
  static constexpr std::size_t kBucketsMax = 1U << 24U;  // 256 MiB

  /// `per_second` > 0, finite; `burst` >= 1; `buckets_max` is rounded up to a power of two and takes 16 bytes
  /// each, at most kBucketsMax. With a random `seed` nobody can find addresses that share a bucket.
  RateLimiter(double per_second, std::uint32_t burst, std::size_t buckets_max = 1U << 16U,
              std::uint64_t seed = 0);
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

  /// Buckets recycled although not yet full again: the table was too small for the clients.
  [[nodiscard]] std::uint64_t evictions() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lb
