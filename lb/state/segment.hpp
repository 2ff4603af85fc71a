// Segment: the operations on the memory that the generations of a service share (layout.hpp): who may use
// it, which entry is whose, adding up what ended generations counted, carrying over what another layout
// knows. Does not own the memory and makes no system call; a view that is copied freely.
//
// The supervisor alone admits and ends generations, and folds. Entries are claimed and freed under a lock
// that its caller holds (shared_memory.hpp). Everything else is atomics that anyone may use at any time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lb/base/result.hpp"
#include "lb/state/layout.hpp"

namespace lb::state {

/// What a backend is known by: its name and where it is, as two hashes.
struct Identity {
  std::uint64_t key = 0;  // never 0
  std::uint64_t check = 0;
  friend bool operator==(const Identity&, const Identity&) = default;
};
Identity identity_of(std::string_view name, std::string_view endpoint) noexcept;

/// What one generation counts.
class Block final {
 public:
  /// `bytes`: block_bytes(workers), or more.
  explicit Block(std::span<std::byte> bytes) noexcept : bytes_(bytes) {}
  [[nodiscard]] Counters& counters(std::uint32_t worker) const noexcept {
    return reinterpret_cast<Counters*>(bytes_.data())[worker];
  }
  /// By entry: kEntriesMax of them.
  [[nodiscard]] BackendCounts* rows(std::uint32_t worker) const noexcept {
    return reinterpret_cast<BackendCounts*>(bytes_.data() + kBlockCountersBytes + worker * kBlockRowsBytes);
  }

 private:
  std::span<std::byte> bytes_;
};

class Segment final {
 public:
  /// Makes zeroed memory of at least kMainBytes one that may be used. `seed`: of the rate limit's buckets.
  static Segment format(std::span<std::byte> memory, std::uint64_t seed);
  /// Takes one that is in use. Fails when it is none, is damaged, or has another layout: see carry_over.
  static Result<Segment> attach(std::span<std::byte> memory);

  [[nodiscard]] Header& header() const noexcept { return *reinterpret_cast<Header*>(memory_); }
  [[nodiscard]] Entry& entry(std::uint32_t i) const noexcept {
    return reinterpret_cast<Entry*>(memory_ + kEntriesOffset)[i];
  }
  [[nodiscard]] std::span<BucketSet> buckets() const noexcept {
    return {reinterpret_cast<BucketSet*>(memory_ + kBucketsOffset), kBucketSets};
  }
  [[nodiscard]] std::uint32_t entries_used() const noexcept;

  /// What `old`, of another layout, knows by the same name and size is copied; this one is fresh. Returns
  /// what was not: it starts afresh. Fails, and copies nothing, when `old` is no such memory or is damaged.
  [[nodiscard]] Result<std::vector<std::string>> carry_over(std::span<const std::byte> old) const;

  // ---- generations: the supervisor ----

  /// A slot for generation `number`, and a lane for its load; nothing when all are taken.
  [[nodiscard]] std::optional<std::uint32_t> admit(std::int64_t number) const noexcept;
  /// Adds what generation in `slot` counted to the totals, exactly once even if the caller is killed in the
  /// middle and another one does it again. The generation has ended.
  void fold(std::uint32_t slot, const Block& block) const noexcept;
  /// Clears what else it left, frees entries that nobody configures any more, then the slot. Under the lock;
  /// its block has been folded, and is zeroed by the caller before this.
  void release(std::uint32_t slot) const noexcept;

  // ---- backends ----

  struct Claim {
    std::uint32_t entry = kNoEntry;  // kNoEntry: there is no room
    bool fresh = false;              // nobody knew it
  };
  /// The entries of backends that the generation in `slot` configures, from now until it ends. Under the
  /// lock.
  std::vector<Claim> claim(std::span<const Identity> identities, std::uint32_t slot) const;

  /// What ended generations counted of it.
  [[nodiscard]] BackendTotals totals(std::uint32_t index) const noexcept;

 private:
  explicit Segment(std::byte* memory) noexcept : memory_(memory) {}
  [[nodiscard]] Word* total(std::uint64_t item) const noexcept;
  void write_catalogue() const;

  std::byte* memory_;
};

/// After the catalogue was written: makes it whole. Segment::format does so itself.
void seal_catalogue(Header& header) noexcept;

/// Counters that say how much there is now: they are not added up over generations.
bool is_gauge(std::string_view help) noexcept;

}  // namespace lb::state
