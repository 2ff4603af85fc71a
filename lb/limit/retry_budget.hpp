// RetryBudget: how many retries a worker may make, so that failing backends are not answered with a storm of
// further requests. Earned by requests (a share of one each) and by time (so many a second), spent by
// retries, and forgotten with a time constant of kMemory: what can be saved up is what kMemory earns. As in
// Finagle, but continuous. Looked at only when a retry is wanted, so ordinary requests cost nothing. Pure;
// one thread.
#pragma once

#include <cstdint>

#include "lb/base/time.hpp"

namespace lb {

class RetryBudget final {
 public:
  static constexpr Duration kMemory = std::chrono::seconds{10};

  /// Begins with what `per_second` earns in kMemory.
  RetryBudget(double share, double per_second, Instant now) noexcept;

  /// Whether one more retry may be made; then it is spent. `requests` counts all requests so far, never less
  /// than before.
  bool take(std::uint64_t requests, Instant now) noexcept;

  /// As of the last take().
  [[nodiscard]] double left() const noexcept { return left_; }

 private:
  double share_;
  double per_second_;
  double left_;
  std::uint64_t requests_ = 0;
  Instant seen_;
};

}  // namespace lb
