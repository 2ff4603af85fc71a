#include "lb/balance/roster.hpp"

#include <utility>

#include "lb/base/random.hpp"
#include "lb/base/result.hpp"

namespace lb {

Roster::Roster(std::vector<BackendTraits> traits, BackendStates states, const HealthBoard& health,
               SlowStart slow_start, std::atomic<std::uint64_t>& turns)
    : traits_(std::move(traits)), states_(states), health_(health), slow_start_(slow_start), turns_(&turns) {
  LB_ASSERT(traits_.size() == states_.size());
  LB_ASSERT(traits_.size() <= kBackendsMax);
  for (std::uint32_t i = 0; i < traits_.size(); ++i) {
    if (traits_[i].weight > 0) eligible_.push_back(i);
  }
}

Roster::Survey Roster::survey(const PickContext& context) const noexcept {
  Survey result;
  std::int64_t first_back_ns = 0;
  for (const std::uint32_t backend : eligible_) {
    if (tried(backend, context) || out(backend, context)) continue;
    const bool room = has_room(backend);
    if (!aside(backend, context)) {
      if (room) result.usable_weight += present_weight(backend, context.now);
      result.any_full |= !room;
      continue;
    }
    result.any_aside_full |= !room;
    if (!room) continue;
    const std::int64_t back_ns = states_[backend].aside_until_ns.load(std::memory_order_relaxed);
    if (result.first_back == kNoBackend || back_ns < first_back_ns) {
      result.first_back = backend;
      first_back_ns = back_ns;
    }
  }
  return result;
}

std::uint32_t Roster::usable_at(std::uint64_t position, const PickContext& context) const noexcept {
  std::uint32_t last = kNoBackend;
  for (const std::uint32_t backend : eligible_) {
    if (!may_serve(backend, context) || !has_room(backend)) continue;
    const std::uint64_t weight = present_weight(backend, context.now);
    if (position < weight) return backend;
    position -= weight;
    last = backend;  // others may have become full since the survey
  }
  return last;
}

Pick Roster::pick_among_all(const PickContext& context, Aside aside, std::uint64_t spread) const noexcept {
  // Between the survey and the claim another worker may take the last place; look again a few times.
  constexpr int kSurveysMax = 4;
  for (int i = 0; i < kSurveysMax; ++i) {
    const Survey found = survey(context);
    if (found.usable_weight > 0) {
      spread = mix64(spread);
      const std::uint32_t backend = usable_at(scale_to(spread, found.usable_weight), context);
      if (backend != kNoBackend && claim(backend, context)) return {PickResult::picked, backend};
      continue;
    }
    if (found.any_full) return {PickResult::busy, kNoBackend};
    if (aside == Aside::refused) return {};
    if (found.first_back == kNoBackend) {
      return {found.any_aside_full ? PickResult::busy : PickResult::none, kNoBackend};
    }
    if (acquire(found.first_back)) return {PickResult::picked, found.first_back};
  }
  for (const std::uint32_t backend : eligible_) {
    if (claim(backend, context)) return {PickResult::picked, backend};
  }
  return {PickResult::busy, kNoBackend};
}

}  // namespace lb
