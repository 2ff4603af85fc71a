// LeastLoaded: keeps the backend with the least in_flight/weight of those offered to it. A weight that is in
// slow start counts with its present share. On the stack of one pick. Private to balance.
#pragma once

#include <cstdint>

#include "lb/balance/roster.hpp"
#include "lb/base/random.hpp"

namespace lb {

class LeastLoaded final {
 public:
  /// Of equally loaded ones the first is kept, or with `ties_by_weight` each by chance, in proportion to its
  /// whole weight; the numbers for that are derived from `random`.
  LeastLoaded(bool ties_by_weight, std::uint64_t random) noexcept
      : random_(random), ties_by_weight_(ties_by_weight) {}

  void offer(std::uint32_t backend, const Roster& roster, Instant now) noexcept {
    const std::uint64_t in_flight = roster.in_flight(backend);
    const std::uint64_t weight = roster.present_weight(backend, now);
    if (backend_ != kNoBackend) {
      const std::uint64_t load = in_flight * weight_;  // fits: see kWeightMax
      const std::uint64_t least = in_flight_ * weight;
      if (load > least) return;
      if (load < least) tied_weight_ = 0;
    }
    if (!wins_tie(roster.traits(backend).weight)) return;
    backend_ = backend;
    in_flight_ = in_flight;
    weight_ = weight;
  }
  /// kNoBackend when none was offered.
  [[nodiscard]] std::uint32_t backend() const noexcept { return backend_; }

 private:
  bool wins_tie(std::uint64_t weight) noexcept {
    tied_weight_ += weight;
    if (tied_weight_ == weight) return true;  // the first, or less loaded than all before
    if (!ties_by_weight_) return false;
    random_ = mix64(random_);
    return scale_to(random_, tied_weight_) < weight;
  }

  std::uint32_t backend_ = kNoBackend;
  std::uint64_t in_flight_ = 0;
  std::uint64_t weight_ = 1;
  std::uint64_t tied_weight_ = 0;  // of all that are as little loaded as the one kept
  std::uint64_t random_;
  bool ties_by_weight_;
};

}  // namespace lb
