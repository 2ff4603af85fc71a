// RateLimiter: a token bucket per client address, shared by all workers of a generation. Thread-safe and
// lock-free: buckets are single 64-bit atomics (GCRA: the theoretical arrival time) in a fixed-size table
// keyed by the hash of the address; the caller gives the time. When the table is full the least recently
// useful bucket near the key is recycled, and that is counted.
// Source: ITU-T I.371 (GCRA), equivalent to a token bucket with rate `per_ip` and depth `burst`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "lb/base/time.hpp"

namespace lb {

class RateLimiter final {
 public:
  /// `per_second` > 0, finite; `burst` >= 1; `buckets_max` is rounded up to a power of two.
  RateLimiter(double per_second, std::uint32_t burst, std::size_t buckets_max = 1U << 16U);
  ~RateLimiter();
  RateLimiter(const RateLimiter&) = delete;
  RateLimiter& operator=(const RateLimiter&) = delete;

  struct Decision {
    bool allowed = true;
    std::uint32_t retry_after_s = 0;  // when refused: at least 1, until a request would be allowed
  };
  /// Takes one token from the bucket of `client_hash`, or refuses and takes none.
  Decision take(std::uint64_t client_hash, Instant now) noexcept;

  /// Buckets recycled although not yet full again: the table was too small for the clients.
  [[nodiscard]] std::uint64_t evictions() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lb
