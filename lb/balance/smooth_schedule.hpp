// SmoothSchedule: which backend has the n-th turn under smooth weighted round robin. Immutable and therefore
// shared by all workers; the caller keeps the counter. Exact: in any `period()` turns in a row each backend
// has as many turns as its weight, divided by the greatest common divisor of all.
//
// Two forms. When the period is at most kListedPeriodMax (and few different weights are involved) the turns
// are listed: precisely nginx's order. Otherwise turn n is the point (n * stride) mod period on a line on
// which each backend occupies its weight: stride and period have no common divisor, so a period visits each
// point once, and stride/period is close to the golden ratio, so each backend's turns are spread
// evenly (the three-gap theorem). Source of the order: nginx, "Upstream: smooth weighted round-robin
// balancing", commit 52327e0627f4 of 2012; of the stride: Knuth, TAOCP vol. 3, section 6.4.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lb/balance/backend_state.hpp"

namespace lb {

class SmoothSchedule final {
 public:
  static constexpr std::uint64_t kListedPeriodMax = 1U << 20U;
  static constexpr std::uint64_t kListingStepsMax = 1U << 25U;  // period times different weights: 50 ms

  /// `backends` are positions in `traits`, each with a weight above 0.
  SmoothSchedule(std::span<const std::uint32_t> backends, std::span<const BackendTraits> traits);

  /// 0 when there are no backends; at() must not be called then.
  [[nodiscard]] std::uint64_t period() const noexcept { return period_; }
  [[nodiscard]] bool listed() const noexcept { return !listed_.empty(); }
  [[nodiscard]] std::uint32_t at(std::uint64_t turn) const noexcept {
    // Dividing 32-bit numbers is several times cheaper on many machines.
    if (((turn | period_) >> 32U) == 0) {
      turn = static_cast<std::uint32_t>(turn) % static_cast<std::uint32_t>(period_);
    } else {
      turn %= period_;
    }
    return listed() ? listed_[turn] : at_point(turn);
  }

 private:
  void list(std::span<const std::uint32_t> backends, std::span<const std::uint64_t> weights);
  void lay_out(std::span<const std::uint32_t> backends, std::span<const std::uint64_t> weights);
  [[nodiscard]] std::uint32_t at_point(std::uint64_t turn) const noexcept;

  std::uint64_t period_ = 0;
  std::vector<std::uint32_t> listed_;

  std::uint64_t stride_ = 0;
  std::vector<std::uint32_t> backends_;
  std::vector<std::uint64_t> ends_;   // ends_[k]: where backends_[k]'s part of the line ends
  std::vector<std::uint32_t> guide_;  // for each block of the line, the first k that may own a point of it
  unsigned guide_shift_ = 0;
};

}  // namespace lb
