#include "lb/balance/balancer.hpp"

#include <algorithm>
#include <utility>

#include "lb/balance/algorithms.hpp"
#include "lb/base/result.hpp"

namespace lb {
namespace {

/// kAsideMin after the first failure in a row, doubled for each further one, at most kAsideMax.
Duration aside_for(std::uint32_t failures_in_row) noexcept {
  constexpr std::uint32_t kDoublingsMax = 5;  // 32 s, beyond kAsideMax already
  const std::uint32_t doublings = std::min(failures_in_row - 1, kDoublingsMax);
  return std::min(kAsideMin * (1U << doublings), kAsideMax);
}

std::unique_ptr<Chooser> make_chooser(BalanceAlgorithm algorithm, Roster roster, const LoadBound& bound) {
  switch (algorithm) {
    case BalanceAlgorithm::round_robin:
    case BalanceAlgorithm::weighted_round_robin:
      return make_rotation(std::move(roster));
    case BalanceAlgorithm::least_connections:
      return make_least_connections(std::move(roster), false);
    case BalanceAlgorithm::weighted_least_connections:
      return make_least_connections(std::move(roster), true);
    case BalanceAlgorithm::power_of_two:
      return make_power_of_two(std::move(roster));
    case BalanceAlgorithm::ip_hash:
      return make_ip_hash(std::move(roster));
    case BalanceAlgorithm::consistent_hash:
      return make_consistent_hash(std::move(roster), bound);
    case BalanceAlgorithm::random:
      return make_weighted_random(std::move(roster));
  }
  LB_ASSERT(false);
  std::unreachable();
}

/// All of them, so that positions stay what they are; those of the other kind have no weight.
std::vector<BackendTraits> only(bool backups, std::vector<BackendTraits> traits) {
  for (BackendTraits& backend : traits) {
    if (backend.backup != backups) backend.weight = 0;
  }
  return traits;
}

}  // namespace

Balancer::Balancer(std::span<const BackendTraits> traits, StatesInUse states, const BalanceOptions& options)
    : memory_(std::move(states)),
      states_(memory_.at, memory_.shared != nullptr ? *memory_.shared : own_, memory_.lane),
      slow_start_(options.slow_start),
      bound_(options.balance_factor),
      health_(traits, states_, options.panic_threshold) {}

std::unique_ptr<Balancer> Balancer::create(BalanceAlgorithm algorithm, std::vector<BackendTraits> traits,
                                           std::span<BackendState> states, const BalanceOptions& options) {
  StatesInUse own;
  for (BackendState& state : states) own.at.push_back(&state);
  return create(algorithm, std::move(traits), std::move(own), options);
}

std::unique_ptr<Balancer> Balancer::create(BalanceAlgorithm algorithm, std::vector<BackendTraits> traits,
                                           StatesInUse states, const BalanceOptions& options) {
  LB_ASSERT(traits.size() == states.at.size());
  LB_ASSERT(states.lane < kLoadLanes);
  LB_ASSERT(traits.size() <= kBackendsMax);
  LB_ASSERT(std::ranges::all_of(traits, [](const BackendTraits& b) { return b.weight <= kWeightMax; }));
  if (algorithm == BalanceAlgorithm::round_robin) {
    for (BackendTraits& backend : traits) backend.weight = std::min(backend.weight, 1U);
  }
  std::unique_ptr<Balancer> made{new Balancer(traits, std::move(states), options)};
  SharedBalance& shared = made->states_.shared();
  const auto chooser_of = [&](std::vector<BackendTraits> some, std::atomic<std::uint64_t>& turns) {
    return make_chooser(algorithm,
                        Roster{std::move(some), made->states_, made->health_, made->slow_start_, turns},
                        made->bound_);
  };
  const bool any_backup =
      std::ranges::any_of(traits, [](const BackendTraits& b) { return b.backup && b.weight > 0; });
  if (any_backup) made->backups_ = chooser_of(only(true, traits), shared.backup_turns);
  made->primaries_ = chooser_of(only(false, std::move(traits)), shared.primary_turns);
  return made;
}

Pick Balancer::pick_backup(const PickContext& context) noexcept {
  Pick pick = backups_->choose(context, Aside::refused);
  if (pick.result == PickResult::none) pick = primaries_->choose(context, Aside::last_resort);
  if (pick.result == PickResult::none) pick = backups_->choose(context, Aside::last_resort);
  if (pick.result == PickResult::picked) bound_.picked();
  return pick;
}

void Balancer::report_failure(std::uint32_t backend, Instant now) noexcept {
  BackendState& state = states_[backend];
  const std::int64_t now_ns = now.time_since_epoch().count();
  std::int64_t aside_until_ns = state.aside_until_ns.load(std::memory_order_relaxed);
  if (aside_until_ns > now_ns) return;
  const std::uint32_t failures = state.failures_in_row.load(std::memory_order_relaxed);
  const std::uint32_t in_row = failures + (failures < ~0U ? 1U : 0U);
  // Of several workers that report the same burst one wins the exchange and counts it.
  if (!state.aside_until_ns.compare_exchange_strong(aside_until_ns, now_ns + aside_for(in_row).count(),
                                                    std::memory_order_relaxed)) {
    return;
  }
  state.failures_in_row.store(in_row, std::memory_order_relaxed);
}

void Balancer::report_success(std::uint32_t backend, Instant now) noexcept {
  BackendState& state = states_[backend];
  // Almost always nothing to do: leave the cache line unwritten then.
  if (state.failures_in_row.load(std::memory_order_relaxed) == 0) return;
  state.failures_in_row.store(0, std::memory_order_relaxed);
  state.up_since_ns.store(now.time_since_epoch().count(), std::memory_order_relaxed);
  state.aside_until_ns.store(0, std::memory_order_relaxed);
}

Standing Balancer::standing(std::uint32_t backend, Instant now) const noexcept {
  const BackendState& state = states_[backend];
  const std::int64_t now_ns = now.time_since_epoch().count();
  if (state.down.load(std::memory_order_relaxed)) return Standing::down;
  if (state.ejected_until_ns.load(std::memory_order_relaxed) > now_ns) return Standing::ejected;
  if (state.aside_until_ns.load(std::memory_order_relaxed) > now_ns) return Standing::aside;
  return Standing::up;
}

}  // namespace lb
