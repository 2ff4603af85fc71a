#include "lb/supervisor/recent_traffic.hpp"

#include <algorithm>

namespace lb {

void RecentTraffic::Counts::add(std::int64_t step, std::uint64_t requests) {
  const auto past = static_cast<std::int64_t>(kSteps);
  // Steps since the newest are of nothing; what was there is older than all that is kept.
  for (std::int64_t s = std::max(newest + 1, step - past + 1); s <= step; ++s)
    steps[static_cast<std::size_t>(s) % kSteps] = 0;
  newest = std::max(newest, step);
  steps[static_cast<std::size_t>(step) % kSteps] += requests;
}

RecentTraffic::Window RecentTraffic::Counts::window(std::int64_t now_step) const {
  constexpr auto kMinute = std::chrono::minutes{1} / kStep;
  Window window;
  for (std::size_t age = 0; age < kSteps; ++age) {
    const std::int64_t step = now_step - static_cast<std::int64_t>(age);
    if (step > newest || step < 0 || step <= newest - static_cast<std::int64_t>(kSteps)) continue;
    const std::uint64_t count = steps[static_cast<std::size_t>(step) % kSteps];
    if (static_cast<std::int64_t>(age) <= kMinute) window.last_minute += count;
    window.last_five_minutes += count;
  }
  return window;
}

void RecentTraffic::observe(Instant now, GenerationId id, bool adopted, const StatusMessage& status) {
  const std::int64_t step = step_of(now);
  since_ = std::min(since_, now);
  const auto [known, first] = last_.try_emplace(id);
  std::map<Name, std::uint64_t> counts;
  for (const BackendEntry& backend : status.backends) {
    Name name{backend.name, backend.endpoint};
    const auto before = known->second.find(name);
    // It counts from nothing again when it takes over the backends of its successor.
    const std::uint64_t old =
        before == known->second.end() || before->second > backend.requests ? 0 : before->second;
    const std::uint64_t grown = first && adopted ? 0 : backend.requests - old;
    if (grown > 0) {
      total_.add(step, grown);
      if (!backends_.contains(name)) make_room(step);
      if (backends_.size() < kBackendsMax || backends_.contains(name)) backends_[name].add(step, grown);
    }
    counts.emplace(std::move(name), backend.requests);
  }
  known->second = std::move(counts);
}

/// Backends of which nothing was seen for five minutes are forgotten.
void RecentTraffic::make_room(std::int64_t step) {
  if (backends_.size() < kBackendsMax) return;
  std::erase_if(backends_, [&](const auto& entry) {
    return entry.second.newest <= step - static_cast<std::int64_t>(kSteps);
  });
}

void RecentTraffic::forget(GenerationId id) {
  last_.erase(id);
}

RecentTraffic::Window RecentTraffic::of(Instant now, const std::string& name,
                                        const std::string& endpoint) const {
  const auto found = backends_.find({name, endpoint});
  return found == backends_.end() ? Window{} : found->second.window(step_of(now));
}

RecentTraffic::Window RecentTraffic::total(Instant now) const {
  return total_.window(step_of(now));
}

Duration RecentTraffic::observed(Instant now) const {
  if (since_ == kNever) return Duration{0};
  return std::min<Duration>(now - since_, kStep * kSteps);
}

}  // namespace lb
