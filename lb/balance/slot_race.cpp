#include "lb/balance/slot_race.hpp"

#include <algorithm>
#include <bit>

#include "lb/base/random.hpp"
#include "lb/base/result.hpp"

namespace lb {
namespace {

constexpr unsigned kRacerBits = 20;
constexpr std::uint64_t kUnclaimed = ~std::uint64_t{0};

/// The n-th claim of a racer comes at (n + a fraction) / weight. Slot and fraction are taken from one hash
/// of key and n. Slots repeat: only so is the chance to be first in proportion to the weight.
struct Claim {
  std::uint64_t slot;
  double time;
};

Claim claim_of(const SlotRace::Racer& racer, std::uint64_t n, double pace) noexcept {
  const std::uint64_t hash = mix64(racer.key + n * 0x9e3779b97f4a7c15ULL);
  const double fraction = static_cast<double>(hash >> 32U) * 0x1p-32;
  return {hash % SlotRace::kSlots, (static_cast<double>(n) + fraction) * pace};
}

}  // namespace

SlotRace::SlotRace(std::span<const Racer> racers) {
  LB_ASSERT(!racers.empty() && racers.size() <= (1U << kRacerBits));
  double weight_sum = 0;
  for (const Racer& racer : racers) weight_sum += racer.weight;

  // First claims are kept as (time, racer) in one word, time first, so that the smaller word wins: a
  // positive double's bits compare like its value, and its lowest bits make room for the racer.
  constexpr std::uint64_t kRacerMask = (1U << kRacerBits) - 1;
  std::vector<std::uint64_t> first(kSlots, kUnclaimed);
  std::vector<std::uint64_t> claims(racers.size(), 0);
  std::uint64_t unclaimed = kSlots;
  // A lap is the time in which all racers together make kSlots claims; after ln(kSlots) laps, about 14,
  // hardly a slot is left. Laps go on until none is: the outcome does not depend on their length.
  const double lap = static_cast<double>(kSlots) / weight_sum;
  for (double lap_end = lap; unclaimed > 0; lap_end += lap) {
    for (std::uint32_t i = 0; i < racers.size(); ++i) {
      const double pace = 1.0 / racers[i].weight;
      for (;; ++claims[i]) {
        const Claim claim = claim_of(racers[i], claims[i], pace);
        if (claim.time >= lap_end) break;
        const std::uint64_t word = (std::bit_cast<std::uint64_t>(claim.time) & ~kRacerMask) | i;
        std::uint64_t& best = first[claim.slot];
        unclaimed -= best == kUnclaimed ? 1 : 0;
        best = std::min(best, word);
      }
    }
  }
  owners_.reserve(kSlots);
  for (const std::uint64_t word : first) {
    owners_.push_back(static_cast<std::uint32_t>(word & kRacerMask));
  }
}

}  // namespace lb
