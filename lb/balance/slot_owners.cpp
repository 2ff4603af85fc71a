#include "lb/balance/slot_owners.hpp"

#include <array>
#include <new>

#include "lb/base/result.hpp"

namespace lb {

SlotOwners::SlotOwners(std::span<const Contender> contenders, std::size_t compared_max, unsigned slot_bits)
    : mask_((1U << slot_bits) - 1),
      half_bits_(slot_bits / 2),
      slot_share_(1.0 / (mask_ + 1.0)),
      owners_(static_cast<std::uint32_t*>(std::calloc(mask_ + std::size_t{1}, sizeof(std::uint32_t)))) {
  LB_ASSERT(slot_bits % 2 == 0 && slot_bits <= kSlotBits);
  LB_ASSERT(contenders.size() <= kContendersMax);
  if (owners_ == nullptr) throw std::bad_alloc{};
  shuffles_.reserve(contenders.size());
  for (const Contender& contender : contenders) {
    LB_ASSERT(contender.weight > 0);
    shuffles_.push_back({contender.key, 1.0 / contender.weight});
  }
  if (contenders.size() > compared_max) decide_all();
}

void SlotOwners::decide_all() {
  double weight_sum = 0;
  for (const Shuffle& shuffle : shuffles_) weight_sum += 1 / shuffle.pace;
  std::vector<double> logs;
  logs.reserve(mask_ + std::size_t{2});
  for (std::uint32_t turn = 0; turn <= mask_ + 1; ++turn) logs.push_back(log_of(turn));

  std::vector<std::uint64_t> first(mask_ + std::size_t{1}, kNever);
  std::vector<std::uint32_t> turns(shuffles_.size(), 0);
  std::uint64_t open = first.size();
  const auto take_turn = [&](std::uint32_t i, std::uint32_t turn, std::uint64_t& best) {
    const Shuffle& shuffle = shuffles_[i];
    if (best < pack(logs[turn] * shuffle.pace, 0)) return;  // too late already when the turn begins
    open -= best == kNever ? 1 : 0;
    best = std::min(best, pack(time_of(shuffle, turn, logs[turn], logs[turn + 1]), i));
  };
  const auto take_turns_before = [&](double end) {
    for (std::uint32_t i = 0; i < shuffles_.size(); ++i) {
      const Shuffle& shuffle = shuffles_[i];
      std::uint32_t& turn = turns[i];
      const auto due = [&](std::uint32_t t) { return t <= mask_ && logs[t] * shuffle.pace < end; };
      // The slots lie all over memory: asking for a few at once is twice as fast.
      std::array<std::uint64_t*, 16> slots;
      while (due(turn)) {
        std::uint32_t count = 0;
        for (; count < slots.size() && due(turn + count); ++count) {
          slots[count] = &first[slot_at(shuffle, turn + count)];
          __builtin_prefetch(slots[count], 1);
        }
        for (std::uint32_t k = 0; k < count; ++k) take_turn(i, turn + k, *slots[k]);
        turn += count;
      }
    }
  };
  // Each lap leaves about 1/e of the slots that were still open. Once none is, those turns are left that
  // begin before the last slot was reached: one of them may have been faster.
  const double lap = 1 / weight_sum;
  double end = 0;
  while (open > 0) take_turns_before(end += lap);
  const std::uint64_t last = *std::ranges::max_element(first) | kPositionMask;
  take_turns_before(std::nextafter(std::bit_cast<double>(last), HUGE_VAL));

  for (std::size_t slot = 0; slot < first.size(); ++slot) {
    owners_.get()[slot] = static_cast<std::uint32_t>(first[slot] & kPositionMask) + 1;
  }
}

}  // namespace lb
