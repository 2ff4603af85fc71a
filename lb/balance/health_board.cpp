#include "lb/balance/health_board.hpp"

#include <algorithm>
#include <limits>

#include "lb/base/result.hpp"

namespace lb {

HealthBoard::HealthBoard(std::span<const BackendTraits> traits, BackendStates states, double panic_threshold)
    : states_(states), panic_threshold_(panic_threshold) {
  LB_ASSERT(panic_threshold >= 0 && panic_threshold <= 1);
  members_.reserve(traits.size());
  for (const BackendTraits& backend : traits) {
    members_.push_back({backend.weight, backend.backup});
    weights_[backend.backup] += backend.weight;
  }
  // Ejections that are over already are forgotten when somebody looks.
  look_at_all(0);
}

void HealthBoard::set_down(std::uint32_t backend, bool down, Instant now) {
  LB_ASSERT(backend < states_.size());
  const std::scoped_lock lock{mutex_};
  BackendState& state = states_[backend];
  const std::int64_t now_ns = now.time_since_epoch().count();
  if (state.down.load(std::memory_order_relaxed) == down) return;  // whoever changed it has noted that
  if (!down) state.up_since_ns.store(now_ns, std::memory_order_relaxed);
  state.down.store(down, std::memory_order_relaxed);
  count_down(backend, down);
  note_change();
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
  note_change();
  appraise(now.time_since_epoch().count());
}

Availability HealthBoard::availability(Instant now) const {
  const std::int64_t now_ns = now.time_since_epoch().count();
  const std::scoped_lock lock{mutex_};
  if (behind()) look_at_all(now_ns);
  return {
      .weight = weights_[0],
      .available_weight = available(now_ns)[0],
      .down = down_count_,
      .ejected = static_cast<std::size_t>(
          std::ranges::count_if(ejections_, [&](const Ejection& e) { return e.until_ns > now_ns; })),
      .panic = now_ns < panic_until_ns_.load(std::memory_order_relaxed),
  };
}

/// Of several threads one looks; the others go by what was known.
void HealthBoard::catch_up(std::int64_t now_ns) const noexcept {
  const std::unique_lock lock{mutex_, std::try_to_lock};
  if (lock.owns_lock() && behind()) look_at_all(now_ns);
}

void HealthBoard::look_at_all(std::int64_t now_ns) const {
  // Before the states: what changes meanwhile is looked at again.
  seen_changes_.store(states_.shared().health_changes.load(std::memory_order_acquire),
                      std::memory_order_relaxed);
  look_again_ns_.store(now_ns + kLookEvery.count(), std::memory_order_relaxed);
  ejections_.clear();
  for (std::uint32_t i = 0; i < states_.size(); ++i) {
    count_down(i, states_[i].down.load(std::memory_order_relaxed));
    const std::int64_t until_ns = states_[i].ejected_until_ns.load(std::memory_order_relaxed);
    if (until_ns > now_ns) ejections_.push_back({until_ns, i});
  }
  appraise(now_ns);
}

void HealthBoard::count_down(std::uint32_t backend, bool down) const {
  Member& member = members_[backend];
  if (member.down == down) return;
  member.down = down;
  if (down) {
    down_weights_[member.backup] += member.weight;
    ++down_count_;
  } else {
    down_weights_[member.backup] -= member.weight;
    --down_count_;
  }
}

/// Tells the others. Our own change is known already, unless one of theirs came between.
void HealthBoard::note_change() const noexcept {
  const std::uint64_t seen = states_.shared().health_changes.fetch_add(1, std::memory_order_acq_rel);
  if (seen == seen_changes_.load(std::memory_order_relaxed))
    seen_changes_.store(seen + 1, std::memory_order_relaxed);
}

void HealthBoard::forget_ended(std::int64_t now_ns) const {
  std::erase_if(ejections_, [&](const Ejection& ejection) { return ejection.until_ns <= now_ns; });
}

bool HealthBoard::enough(const Weights& available) const noexcept {
  const auto at_least = [&](std::size_t tier) {
    return static_cast<double>(available[tier]) >= panic_threshold_ * static_cast<double>(weights_[tier]);
  };
  return at_least(0) || (available[1] > 0 && at_least(1));
}

HealthBoard::Weights HealthBoard::available(std::int64_t now_ns) const {
  Weights available{weights_[0] - down_weights_[0], weights_[1] - down_weights_[1]};
  for (const auto& [until_ns, backend] : ejections_) {
    if (until_ns > now_ns && !members_[backend].down)
      available[members_[backend].backup] -= members_[backend].weight;
  }
  return available;
}

void HealthBoard::appraise(std::int64_t now_ns) const {
  forget_ended(now_ns);
  Weights then = available(now_ns);
  std::int64_t until_ns = 0;
  if (!enough(then)) {
    until_ns = std::numeric_limits<std::int64_t>::max();
    std::ranges::sort(ejections_, {}, &Ejection::until_ns);
    for (const auto& [ends_ns, backend] : ejections_) {
      if (members_[backend].down) continue;
      then[members_[backend].backup] += members_[backend].weight;
      if (!enough(then)) continue;
      until_ns = ends_ns;
      break;
    }
  }
  panic_until_ns_.store(until_ns, std::memory_order_relaxed);
}

}  // namespace lb
