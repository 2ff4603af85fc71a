#include "lb/balance/health_board.hpp"

#include <algorithm>
#include <limits>

#include "lb/base/result.hpp"

namespace lb {

HealthBoard::HealthBoard(std::span<const BackendTraits> traits, std::span<BackendState> states,
                         double panic_threshold)
    : states_(states), panic_threshold_(panic_threshold) {
  LB_ASSERT(panic_threshold >= 0 && panic_threshold <= 1);
  weights_.reserve(traits.size());
  for (const BackendTraits& backend : traits) {
    weights_.push_back(backend.weight);
    weight_ += backend.weight;
  }
}

void HealthBoard::set_down(std::uint32_t backend, bool down, Instant now) {
  LB_ASSERT(backend < states_.size());
  const std::scoped_lock lock{mutex_};
  BackendState& state = states_[backend];
  if (state.down.load(std::memory_order_relaxed) == down) return;
  const std::int64_t now_ns = now.time_since_epoch().count();
  if (down) {
    down_weight_ += weights_[backend];
    ++down_count_;
  } else {
    down_weight_ -= weights_[backend];
    --down_count_;
    state.up_since_ns.store(now_ns, std::memory_order_relaxed);
  }
  state.down.store(down, std::memory_order_relaxed);
  appraise(now_ns);
}

void HealthBoard::eject(std::uint32_t backend, Instant until, Instant now) {
  LB_ASSERT(backend < states_.size());
  const std::scoped_lock lock{mutex_};
  const std::int64_t until_ns = until.time_since_epoch().count();
  const auto known = std::ranges::find(ejections_, backend, &Ejection::backend);
  if (known != ejections_.end()) {
    known->until_ns = until_ns;
  } else {
    ejections_.push_back({until_ns, backend});
  }
  states_[backend].ejected_until_ns.store(until_ns, std::memory_order_relaxed);
  appraise(now.time_since_epoch().count());
}

Availability HealthBoard::availability(Instant now) const {
  const std::int64_t now_ns = now.time_since_epoch().count();
  const std::scoped_lock lock{mutex_};
  return {
      .weight = weight_,
      .available_weight = available_weight(now_ns),
      .down = down_count_,
      .ejected = static_cast<std::size_t>(
          std::ranges::count_if(ejections_, [&](const Ejection& e) { return e.until_ns > now_ns; })),
      .panic = panic(now),
  };
}

void HealthBoard::forget_ended(std::int64_t now_ns) {
  std::erase_if(ejections_, [&](const Ejection& ejection) { return ejection.until_ns <= now_ns; });
}

std::uint64_t HealthBoard::available_weight(std::int64_t now_ns) const {
  std::uint64_t available = weight_ - down_weight_;
  for (const Ejection& ejection : ejections_) {
    const bool down = states_[ejection.backend].down.load(std::memory_order_relaxed);
    if (ejection.until_ns > now_ns && !down) available -= weights_[ejection.backend];
  }
  return available;
}

void HealthBoard::appraise(std::int64_t now_ns) {
  forget_ended(now_ns);
  std::uint64_t available = available_weight(now_ns);
  std::int64_t until_ns = 0;
  if (!enough(available)) {
    until_ns = std::numeric_limits<std::int64_t>::max();
    std::ranges::sort(ejections_, {}, &Ejection::until_ns);
    for (const Ejection& ejection : ejections_) {
      if (states_[ejection.backend].down.load(std::memory_order_relaxed)) continue;
      available += weights_[ejection.backend];
      if (!enough(available)) continue;
      until_ns = ejection.until_ns;
      break;
    }
  }
  panic_until_ns_.store(until_ns, std::memory_order_relaxed);
}

}  // namespace lb
