// BucketTable: the memory of a RateLimiter. A fixed array of sets of four buckets, each set one cache line:
// one word with the four buckets' tags (16 bits of the key; 0 is free) and a word of time a bucket (GCRA's
// theoretical arrival time). Only atomics on 64-bit words and no pointers: it may live in memory that
// several processes share, and one that is killed at any step leaves it usable.
//
// A key is looked for in one set. Two keys of one set with equal tags share a bucket: with a full table
// fewer than 1 client in 10,000. A new key takes over the bucket that is nearest to full. That is one
// exchange of the tag word, so that two workers that bring the same key at once cannot make two
// buckets of it, and when the bucket was full there is nothing else to do. A key that returns in the very
// nanoseconds in which its full bucket is taken over may be granted a token that is not counted.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

namespace lb {

inline constexpr unsigned kBucketsPerSet = 4;

struct alignas(64) BucketSet {
  std::atomic<std::uint64_t> tags{0};
  std::array<std::atomic<std::uint64_t>, kBucketsPerSet> full_at{};  // in GcraUnits; past: the bucket is full
};
static_assert(std::is_standard_layout_v<BucketSet> && sizeof(BucketSet) == 64);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

class BucketTable final {
 public:
  /// `sets` hold zeros or the buckets of an earlier table of the same length; a power of two of them.
  explicit BucketTable(std::span<BucketSet> sets) noexcept : sets_(sets) {}

  struct Found {
    std::atomic<std::uint64_t>& full_at;
    bool evicted;  // another key's bucket was taken over although it was not full
  };
  /// The bucket of `key`, a uniform hash; a full one when the key is new.
  [[nodiscard]] Found find(std::uint64_t key, std::uint64_t now) noexcept {
    BucketSet& set = sets_[key & (sets_.size() - 1)];
    const std::uint64_t tag = std::max<std::uint64_t>(key >> 48U, 1);
    std::uint64_t tags = set.tags.load(std::memory_order_acquire);
    for (;;) {
      for (unsigned way = 0; way < kBucketsPerSet; ++way) {
        if (tag_of(tags, way) == tag) return {set.full_at[way], false};
      }
      const unsigned way = victim(set, tags);
      const bool free = tag_of(tags, way) == 0;
      std::uint64_t full_at = set.full_at[way].load(std::memory_order_relaxed);
      const bool full = full_at <= now;
      // A bucket that is full stays so, but from now on it is not the one that has been full longest: who
      // brings another new key before this one is used must not take the same.
      if (full) set.full_at[way].compare_exchange_strong(full_at, now, std::memory_order_relaxed);
      const std::uint64_t renamed = (tags & ~(kTagMask << (way * kTagBits))) | tag << (way * kTagBits);
      // On failure another worker renamed a bucket of this set, perhaps to our key: look again.
      if (!set.tags.compare_exchange_weak(tags, renamed, std::memory_order_acq_rel)) continue;
      const bool evicted = !free && !full;
      // Fill it. Should this fail, a request was counted meanwhile and the new key inherits the debt,
      // which lets nobody exceed the rate.
      if (!full) set.full_at[way].compare_exchange_strong(full_at, now, std::memory_order_relaxed);
      return {set.full_at[way], evicted};
    }
  }

 private:
  static constexpr unsigned kTagBits = 16;
  static constexpr std::uint64_t kTagMask = (1U << kTagBits) - 1;

  static std::uint64_t tag_of(std::uint64_t tags, unsigned way) noexcept {
    return tags >> (way * kTagBits) & kTagMask;
  }
  static unsigned victim(const BucketSet& set, std::uint64_t tags) noexcept {
    unsigned best = 0;
    std::uint64_t earliest = ~std::uint64_t{0};
    for (unsigned way = 0; way < kBucketsPerSet; ++way) {
      if (tag_of(tags, way) == 0) return way;
      const std::uint64_t full_at = set.full_at[way].load(std::memory_order_relaxed);
      if (full_at < earliest) {
        earliest = full_at;
        best = way;
      }
    }
    return best;
  }

  std::span<BucketSet> sets_;
};

}  // namespace lb
