// What lies where in the memory that all generations of a service share. Plain structs of atomics on words
// and no pointers, so that it means the same in every process, and whoever is killed at any step leaves it
// usable. segment.hpp has the operations.
//
//   0         Header: what this is, the totals, the slots of generations, the catalogue of all fields
//   64 KiB    Entry[kEntriesMax]: one a backend, by identity; dense from the first
//   then      BucketSet[kBucketSets]: the buckets of the rate limit
//   then      a block a slot: what the workers of that generation count: Counters[kWorkersMax], then for each
//             worker BackendCounts[kEntriesMax]
//
// The file is sparse: what nobody has written takes no memory.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "lb/balance/backend_state.hpp"
#include "lb/limit/bucket_table.hpp"
#include "lb/observe/backend_counts.hpp"
#include "lb/observe/counters.hpp"
#include "lb/state/text_cell.hpp"

namespace lb::state {

inline constexpr std::uint64_t kMagic = 0x31'65'74'61'74'53'62'4cULL;  // "LbState1"
inline constexpr std::uint32_t kSlots = 64;                            // of generations at once
inline constexpr std::uint32_t kEntriesMax = 1U << 17U;  // of backends: 100,000 and what a reload replaces
inline constexpr std::uint32_t kNoEntry = ~0U;
inline constexpr std::size_t kBucketSets = (1U << 16U) / kBucketsPerSet;
inline constexpr std::uint32_t kWorkersMax = 1024;
inline constexpr std::size_t kCountersMax = 96;
inline constexpr std::size_t kFieldsMax = 160;
inline constexpr std::size_t kTotalsPerEntry = 4 + kLatencyBuckets;

using Word = std::atomic<std::uint64_t>;

/// One backend. The first line is what a pick reads.
struct alignas(64) Entry {
  BackendState state;
  Word key{0};          // of its identity; 0: free
  Word check{0};        // a second hash of it: two backends with one key are told apart
  Word users{0};        // a bit for each slot whose generation configures it
  Word check_rules{0};  // the health check by which it is down; 0: none
  Word down_since_ns{0};
  Word ejection_ns{0};  // how long its last ejection was meant to last
  Word spare[2]{};
  TextCell<15> down_reason;
  TextCell<15> ejection_reason;
  std::array<Word, kTotalsPerEntry + 1> totals{};  // of generations that have ended; see BackendTotals
};
static_assert(sizeof(Entry) == 576);

/// One generation that shares this memory.
struct alignas(64) Slot {
  enum State : std::uint64_t { free, live, folding };
  Word state{free};
  Word number{0};   // of the generation
  Word workers{0};  // that count; 0: it has not joined
  Word lane{0};     // of BackendState; the last one is for all for whom none was left
  // How far its block has been added to the totals: see Segment::fold.
  Word folded{0};
  std::array<Word, 2> folded_value{};
  Word spare{0};
};

struct Field {
  char name[48];
  std::uint64_t offset;  // from the begin; of block.* within a block
  std::uint32_t stride;
  std::uint32_t count;
  std::uint32_t bytes;
  std::uint32_t reserved;
};

struct Header {
  // Written once, covered by the sum. These and the catalogue lie there whatever the version of the rest is.
  std::uint64_t magic = 0;
  std::uint64_t layout = 0;  // hash of the catalogue: equal means the same memory
  std::uint64_t fields = 0;
  std::uint64_t sum = 0;  // of these and the catalogue
  std::uint64_t reserved[4]{};
  std::array<Field, kFieldsMax> catalogue{};

  alignas(64) Word entries_used{0};  // entries from there on are free
  Word served{0};                    // generations that came to serve
  Word checker{0};                   // the generation whose health checks count
  Word bucket_seed{0};
  Word bucket_depth{0};  // what a full bucket holds, in the units of the rate limiter; 0: none so far
  std::array<Word, kCountersMax> counters{};  // totals of generations that have ended
  SharedBalance balance;
  std::array<Slot, kSlots> slots{};
};

inline constexpr std::size_t kEntriesOffset = 64U << 10U;
static_assert(sizeof(Header) <= kEntriesOffset && std::is_standard_layout_v<Header>);
inline constexpr std::size_t kBucketsOffset = kEntriesOffset + std::size_t{kEntriesMax} * sizeof(Entry);
/// Of what every process maps.
inline constexpr std::size_t kMainBytes = kBucketsOffset + kBucketSets * sizeof(BucketSet);

inline constexpr std::size_t kBlockCountersBytes = kWorkersMax * sizeof(Counters);
inline constexpr std::size_t kBlockRowsBytes = std::size_t{kEntriesMax} * sizeof(BackendCounts);  // a worker
constexpr std::size_t block_bytes(std::uint32_t workers) noexcept {
  return kBlockCountersBytes + workers * kBlockRowsBytes;
}
inline constexpr std::size_t kBlockStride = block_bytes(kWorkersMax);
constexpr std::size_t block_offset(std::uint32_t slot) noexcept {
  return kMainBytes + slot * kBlockStride;
}
inline constexpr std::size_t kFileBytes = kMainBytes + kSlots * kBlockStride;
static_assert(kMainBytes % 4096 == 0 && kBlockStride % 4096 == 0 && kBlockCountersBytes % 4096 == 0);

}  // namespace lb::state
