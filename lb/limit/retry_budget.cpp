#include "lb/limit/retry_budget.hpp"

#include <algorithm>
#include <cmath>

namespace lb {
namespace {

constexpr double kMemorySeconds = std::chrono::duration<double>{RetryBudget::kMemory}.count();

}  // namespace

RetryBudget::RetryBudget(double share, double per_second, Instant now) noexcept
    : share_(share), per_second_(per_second), left_(per_second * kMemorySeconds), seen_(now) {}

/// The exact solution of left' = earned - left / memory for requests that came evenly since the last look.
bool RetryBudget::take(std::uint64_t requests, Instant now) noexcept {
  const double elapsed = std::max(0.0, std::chrono::duration<double>{now - seen_}.count());
  const double earned = share_ * static_cast<double>(requests - requests_);
  const double kept = std::exp(-elapsed / kMemorySeconds);
  // The share of what was earned meanwhile that is not forgotten again; 1 in the limit of no time at all.
  const double fresh = elapsed > 1e-6 ? (1 - kept) * kMemorySeconds / elapsed : 1;
  left_ = left_ * kept + earned * fresh + per_second_ * kMemorySeconds * (1 - kept);
  requests_ = requests;
  seen_ = std::max(seen_, now);
  if (left_ < 1) return false;
  left_ -= 1;
  return true;
}

}  // namespace lb
