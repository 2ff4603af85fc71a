// SlowStart: which part of its weight a backend gets that came back a short while ago: its caches are cold
// and its pools empty. The part grows evenly from a tenth to the whole. A value; any thread.
#pragma once

#include <algorithm>
#include <cstdint>

#include "lb/balance/backend_state.hpp"
#include "lb/base/random.hpp"
#include "lb/base/time.hpp"

namespace lb {

class SlowStart final {
 public:
  static constexpr std::uint32_t kFull = 1024;
  static constexpr std::uint32_t kLeast = 102;

  /// 0: backends that come back get their whole weight at once.
  explicit SlowStart(Duration length) noexcept : length_ns_(length.count()) {}

  /// Of kFull. A backend comes back when it is up again, or when its ejection or its time aside has ended.
  [[nodiscard]] std::uint32_t share(const BackendState& backend, Instant now) const noexcept {
    if (length_ns_ == 0) return kFull;
    const std::int64_t now_ns = now.time_since_epoch().count();
    std::int64_t since_ns = backend.up_since_ns.load(std::memory_order_relaxed);
    const std::int64_t ejected_until_ns = backend.ejected_until_ns.load(std::memory_order_relaxed);
    if (ejected_until_ns <= now_ns) since_ns = std::max(since_ns, ejected_until_ns);
    if (since_ns == 0 || now_ns - since_ns >= length_ns_) return kFull;
    // Both differences are below length_ns_, a day at most: the product fits.
    const auto grown = (now_ns - since_ns) * std::int64_t{kFull} / length_ns_;
    return static_cast<std::uint32_t>(std::max(grown, std::int64_t{kLeast}));
  }

  /// Whether the backend takes a request offered to it: always, or in slow start for that share of all
  /// values of `chance`. With a larger share it takes those of a smaller one and more, so that a key which
  /// serves as chance does not come and go.
  [[nodiscard]] bool takes(const BackendState& backend, Instant now, std::uint64_t chance) const noexcept {
    const std::uint32_t now_share = share(backend, now);
    return now_share == kFull || (mix64(chance) >> 54U) < now_share;
  }

 private:
  std::int64_t length_ns_;
};

}  // namespace lb
