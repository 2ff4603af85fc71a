// MaglevTable: which backend each of a prime number of slots belongs to, onto which keys are hashed. The
// backends take turns in filling it, each going through all slots in an order of its own and taking the first
// that is free; a backend of half the weight has half the turns. So every backend has its share of the slots
// almost to one slot, and when one leaves little more than its own slots change hands. Immutable.
// Source: Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, 3.4.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace lb {

class MaglevTable final {
 public:
  struct Contender {
    std::uint64_t key = 0;  // a hash, different for each
    std::uint32_t weight = 1;
    std::uint32_t backend = 0;
  };

  /// Slots for that many backends: the first prime of a short list that is at least 100 times as many. The
  /// list's last (2,097,169: 8 MiB, filled in some 0.3 s) is for more than 20,971 backends as well.
  static std::uint32_t size_for(std::size_t backends) noexcept;

  /// `contenders` are sorted by key, so that the order in which backends are listed makes no difference.
  explicit MaglevTable(std::span<const Contender> contenders);

  [[nodiscard]] bool empty() const noexcept { return slots_.empty(); }
  [[nodiscard]] std::uint32_t size() const noexcept { return static_cast<std::uint32_t>(slots_.size()); }
  /// The backend of a key; `hash` is uniform over 64 bits. The table must not be empty.
  [[nodiscard]] std::uint32_t at(std::uint64_t hash) const noexcept {
    return slots_[((hash >> 32U) * slots_.size()) >> 32U];
  }
  [[nodiscard]] std::span<const std::uint32_t> slots() const noexcept { return slots_; }

 private:
  std::vector<std::uint32_t> slots_;
};

}  // namespace lb
