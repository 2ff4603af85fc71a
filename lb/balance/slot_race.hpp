// SlotRace: a table of slots for hashing clients onto very many backends, built once, read in O(1). Every
// backend claims slots at random moments of an imaginary time, at a pace proportional to its weight and by
// a sequence that depends on its identity alone; a slot belongs to whoever claimed it first. Therefore a
// backend that leaves gives up its own slots and moves no other, one whose weight grows only gains, and the
// order of the list does not matter. It is weighted rendezvous hashing of slots, computed
// for all slots at once in O(kSlots log kSlots) instead of O(kSlots * backends).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace lb {

class SlotRace final {
 public:
  /// With 100,000 backends about ten slots each, so that their shares spread by about 30 %.
  static constexpr std::uint64_t kSlots = 1U << 20U;

  struct Racer {
    std::uint64_t key = 0;  // different for each
    std::uint32_t weight = 1;
  };

  /// `racers` are sorted by key, so that their positions decide ties without regard to the list's order.
  /// At most 2^20, at least one. About 0.2 s.
  explicit SlotRace(std::span<const Racer> racers);

  /// The position in `racers` of the owner of the slot that `hash` (uniform) falls into.
  [[nodiscard]] std::uint32_t owner(std::uint64_t hash) const noexcept { return owners_[hash % kSlots]; }

 private:
  std::vector<std::uint32_t> owners_;
};

}  // namespace lb
