// LoadBound: how much above the average a backend's load may be before consistent_hash passes it over, and
// the count of requests that the average is made from. Part of a Balancer; any thread. Source: Mirrokni,
// Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads" (2018).
#pragma once

#include <atomic>
#include <cmath>
#include <cstdint>

namespace lb {

class LoadBound final {
 public:
  /// `factor` is 0 for no bound, else above 1.
  explicit LoadBound(double factor) noexcept : factor_(factor) {}

  [[nodiscard]] bool on() const noexcept { return factor_ > 0; }
  void picked() noexcept {
    if (on()) in_flight_.fetch_add(1, std::memory_order_relaxed);
  }
  void released() noexcept {
    if (on()) in_flight_.fetch_sub(1, std::memory_order_relaxed);
  }
  /// Whether a backend with this share of all weight, 0 to 1, may take one more request.
  [[nodiscard]] bool allows(std::uint32_t backend_in_flight, double share) const noexcept {
    const double all = in_flight_.load(std::memory_order_relaxed) + 1.0;
    return backend_in_flight < std::ceil(all * share * factor_);
  }

 private:
  double factor_;
  alignas(64) std::atomic<std::uint32_t> in_flight_{0};  // over all backends; counted only when on()
};

}  // namespace lb
