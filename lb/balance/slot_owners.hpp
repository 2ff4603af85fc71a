// SlotOwners: which backend owns each of a fixed number of slots, onto which clients are hashed. A weighted
// rendezvous: every backend reaches every slot at a moment of an imaginary time, which depends on the
// backend's key and weight and on the slot alone; whoever is first owns it. Therefore a backend that leaves
// gives up its own slots and moves no other, one whose weight grows only gains, and the list's order
// does not matter. Immutable but for a memo of atomics: any thread may use it.
//
//   turn:  each key shuffles the slots; the turn is the slot's place in that order
//   time:  -ln(1 - turn / slots) / weight, exponentially distributed, so that shares follow the weights
//
// A slot can be decided by comparing all backends, O(n). Because a shuffle can also be run backward
// (from turn to slot), all slots can be decided at once by letting the backends take their turns until every
// slot is taken, O(slots log slots). Both give the same owners: few backends are compared when a slot is
// first asked for, many have the table made beforehand. Sources: Thaler and Ravishankar, "Using name-based
// mappings to increase hit rates" (1998); weights by Schindelhauer and Schomaker, "Weighted distributed hash
// tables" (2005).
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "lb/base/random.hpp"

namespace lb {

class SlotOwners final {
 public:
  /// 2^20 slots. With 100,000 backends that is ten each, so that their shares spread by about 30 %.
  static constexpr unsigned kSlotBits = 20;
  static constexpr std::size_t kContendersMax = 1U << 20U;
  static constexpr std::size_t kComparedMax = 1024;
  static constexpr std::uint32_t kNobody = ~0U;

  struct Contender {
    std::uint64_t key = 0;  // a hash, different for each
    std::uint32_t weight = 1;
  };

  /// `contenders` are sorted by key, so that their positions decide ties whatever the list's order. With more
  /// than `compared_max` of them it takes about 0.3 s. `slot_bits` is even, at most 20.
  explicit SlotOwners(std::span<const Contender> contenders, std::size_t compared_max = kComparedMax,
                      unsigned slot_bits = kSlotBits);

  [[nodiscard]] std::uint32_t slot_of(std::uint64_t hash) const noexcept {
    return static_cast<std::uint32_t>(hash) & mask_;
  }

  /// The position of the slot's owner among the contenders, of whom there must be one.
  [[nodiscard]] std::uint32_t owner(std::uint32_t slot) const noexcept {
    const std::atomic_ref known{owners_.get()[slot]};
    std::uint32_t owner_plus_one = known.load(std::memory_order_relaxed);
    if (owner_plus_one == 0) {
      owner_plus_one = first_among(slot, [](std::uint32_t) { return true; }) + 1;
      known.store(owner_plus_one, std::memory_order_relaxed);
    }
    return owner_plus_one - 1;
  }

  /// The first to reach the slot of those that `accept(position)`; kNobody when there is none. O(n).
  template <class Accept>
  [[nodiscard]] std::uint32_t first_among(std::uint32_t slot, Accept accept) const noexcept {
    std::uint64_t first = kNever;
    double first_time = HUGE_VAL;
    for (std::uint32_t i = 0; i < shuffles_.size(); ++i) {
      const std::uint32_t turn = turn_of(shuffles_[i], slot);
      // -ln(1 - x) >= x: most need no logarithm. The tiny margin covers what rounding may do.
      if (turn * slot_share_ * shuffles_[i].pace * (1 - 1e-6) > first_time) continue;
      if (!accept(i)) continue;
      const std::uint64_t moment = pack(time_of(shuffles_[i], turn, log_of(turn), log_of(turn + 1)), i);
      if (moment >= first) continue;
      first = moment;
      first_time = std::bit_cast<double>(first);
    }
    return first == kNever ? kNobody : static_cast<std::uint32_t>(first & kPositionMask);
  }

 private:
  /// What a contender's turns are made from.
  struct Shuffle {
    std::uint64_t key = 0;
    double pace = 1;  // 1 / weight
  };
  struct Free {
    void operator()(void* memory) const noexcept { std::free(memory); }
  };

  static constexpr std::uint64_t kNever = ~std::uint64_t{0};
  static constexpr std::uint64_t kPositionMask = kContendersMax - 1;

  // A shuffle is four rounds of xor with a part of the key, multiplication by an odd constant and xor with
  // the upper half; each step can be undone.
  static constexpr unsigned kRounds = 4;
  static constexpr std::uint32_t kFactor = 0x2c1b3c6dU;
  static constexpr std::uint32_t kInverse = 0x64ea2d65U;
  static_assert(kFactor * kInverse == 1U);

  [[nodiscard]] std::uint32_t round_key(const Shuffle& shuffle, unsigned round) const noexcept {
    return static_cast<std::uint32_t>(shuffle.key >> (round * 14U));
  }
  [[nodiscard]] std::uint32_t turn_of(const Shuffle& shuffle, std::uint32_t slot) const noexcept {
    for (unsigned round = 0; round < kRounds; ++round) {
      slot = ((slot ^ round_key(shuffle, round)) * kFactor) & mask_;
      slot ^= slot >> half_bits_;
    }
    return slot;
  }
  [[nodiscard]] std::uint32_t slot_at(const Shuffle& shuffle, std::uint32_t turn) const noexcept {
    for (unsigned round = kRounds; round-- > 0;) {
      turn ^= turn >> half_bits_;
      turn = ((turn * kInverse) ^ round_key(shuffle, round)) & mask_;
    }
    return turn;
  }

  /// -ln(1 - turn / slots). Beyond the last turn, where it has no value, a large one.
  [[nodiscard]] double log_of(std::uint32_t turn) const noexcept {
    return turn <= mask_ ? -std::log1p(-(turn * slot_share_)) : 2 * std::log(static_cast<double>(mask_) + 1);
  }
  /// A moment between those of this turn and the next, so that those with equal turns are first by chance.
  [[nodiscard]] static double time_of(const Shuffle& shuffle, std::uint32_t turn, double log,
                                      double next_log) noexcept {
    const auto chance = static_cast<double>(mix64(shuffle.key + turn) >> 32U) * 0x1p-32;
    return (log + chance * (next_log - log)) * shuffle.pace;
  }
  /// Time and position in one word that compares like the time: a positive double's bits do, and the lowest
  /// of them make room.
  [[nodiscard]] static std::uint64_t pack(double time, std::uint32_t position) noexcept {
    return (std::bit_cast<std::uint64_t>(time) & ~kPositionMask) | position;
  }

  void decide_all();

  std::uint32_t mask_;
  unsigned half_bits_;
  double slot_share_;
  std::vector<Shuffle> shuffles_;
  // Owner's position plus one, or 0 where it has not been asked for. From calloc, so that the
  // pages of slots nobody is hashed onto stay unused.
  std::unique_ptr<std::uint32_t, Free> owners_;
};

}  // namespace lb
