// Cost of a pick (and its release), of making a balancer, and of picking when little is left to pick from.
#include <benchmark/benchmark.h>

#include <atomic>

#include "lb/balance/testing.hpp"

namespace lb {
namespace {

using testing::Fleet;
using testing::kNow;

std::vector<std::uint32_t> weights_of(std::int64_t count) {
  std::vector<std::uint32_t> weights;
  for (std::int64_t i = 0; i < count; ++i) weights.push_back(static_cast<std::uint32_t>(1 + i % 5));
  return weights;
}

void pick_and_release(benchmark::State& state, Fleet& fleet) {
  Random random{static_cast<std::uint64_t>(state.thread_index())};
  for (auto _ : state) {
    const std::uint64_t number = random();
    const Pick pick = fleet.balancer->pick({.now = kNow, .client_hash = number & 0x3fff, .random = number});
    benchmark::DoNotOptimize(pick.backend);
    if (pick.result == PickResult::picked) fleet.balancer->release(pick.backend);
  }
}

void pick(benchmark::State& state, BalanceAlgorithm algorithm) {
  Fleet fleet{algorithm, weights_of(state.range(0))};
  pick_and_release(state, fleet);
}

/// Two workers on one balancer: what the shared counter costs.
void pick_by_two(benchmark::State& state, BalanceAlgorithm algorithm) {
  static std::unique_ptr<Fleet> fleet;
  if (state.thread_index() == 0) fleet = std::make_unique<Fleet>(algorithm, weights_of(state.range(0)));
  Random random{static_cast<std::uint64_t>(state.thread_index())};
  for (auto _ : state) {
    const std::uint64_t number = random();
    const Pick pick = fleet->balancer->pick({.now = kNow, .client_hash = number & 0x3fff, .random = number});
    fleet->balancer->release(pick.backend);
  }
}

/// One backend in ten can serve; the others are aside.
void pick_among_few(benchmark::State& state, BalanceAlgorithm algorithm) {
  Fleet fleet{algorithm, weights_of(state.range(0))};
  for (std::uint32_t i = 0; i < fleet.states.size(); ++i) {
    if (i % 10 != 3) fleet.set_aside(i, std::chrono::hours{1});
  }
  pick_and_release(state, fleet);
}

/// Everyone came back a moment ago: a tenth of their weight is offered.
void pick_in_slow_start(benchmark::State& state, BalanceAlgorithm algorithm) {
  Fleet fleet{Fleet::FromTraits{},
              algorithm,
              testing::with_weights(weights_of(state.range(0))),
              {.slow_start = std::chrono::hours{1}}};
  for (BackendState& backend : fleet.states) backend.up_since_ns = kNow.time_since_epoch().count();
  pick_and_release(state, fleet);
}

/// None can: the worst case, a pass over all of them.
void pick_in_vain(benchmark::State& state, BalanceAlgorithm algorithm) {
  auto traits = testing::with_weights(weights_of(state.range(0)));
  for (BackendTraits& backend : traits) backend.max_connections = 1;
  Fleet fleet{Fleet::FromTraits{}, algorithm, std::move(traits)};
  for (BackendState& backend : fleet.states) backend.lanes[0] = 1;
  pick_and_release(state, fleet);
}

void create(benchmark::State& state, BalanceAlgorithm algorithm) {
  const auto traits = testing::with_weights(weights_of(state.range(0)));
  std::vector<BackendState> states(traits.size());
  for (auto _ : state) benchmark::DoNotOptimize(Balancer::create(algorithm, traits, states));
}

/// 100,000 weights without a small common sum: laid out instead of listed.
void pick_laid_out(benchmark::State& state) {
  auto weights = weights_of(state.range(0));
  for (std::size_t i = 0; i < weights.size(); ++i)
    weights[i] = static_cast<std::uint32_t>(1000 + mix64(i) % 9000);
  weights[0] = 2'000'003;
  Fleet fleet{BalanceAlgorithm::weighted_round_robin, weights};
  pick_and_release(state, fleet);
}

#define LB_FOR_ALL(function, ...)                                                                        \
  BENCHMARK_CAPTURE(function, round_robin, BalanceAlgorithm::round_robin) __VA_ARGS__;                   \
  BENCHMARK_CAPTURE(function, weighted, BalanceAlgorithm::weighted_round_robin) __VA_ARGS__;             \
  BENCHMARK_CAPTURE(function, least, BalanceAlgorithm::least_connections) __VA_ARGS__;                   \
  BENCHMARK_CAPTURE(function, ip_hash, BalanceAlgorithm::ip_hash) __VA_ARGS__;                           \
  BENCHMARK_CAPTURE(function, random, BalanceAlgorithm::random) __VA_ARGS__;                             \
  BENCHMARK_CAPTURE(function, weighted_least, BalanceAlgorithm::weighted_least_connections) __VA_ARGS__; \
  BENCHMARK_CAPTURE(function, power_of_two, BalanceAlgorithm::power_of_two) __VA_ARGS__;                 \
  BENCHMARK_CAPTURE(function, consistent_hash, BalanceAlgorithm::consistent_hash) __VA_ARGS__

LB_FOR_ALL(pick, ->Arg(10)->Arg(1000)->Arg(100'000));
LB_FOR_ALL(pick_by_two, ->Arg(10)->Threads(2)->UseRealTime());
LB_FOR_ALL(pick_among_few, ->Arg(10)->Arg(1000)->Arg(100'000));
LB_FOR_ALL(pick_in_slow_start, ->Arg(10)->Arg(1000)->Arg(100'000)->MinTime(0.1));
LB_FOR_ALL(pick_in_vain, ->Arg(10)->Arg(1000)->Arg(100'000)->MinTime(0.1));
LB_FOR_ALL(create, ->Arg(10)->Arg(1000)->Arg(100'000)->Unit(benchmark::kMillisecond)->MinTime(0.1));
BENCHMARK(pick_laid_out)->Arg(10)->Arg(1000)->Arg(100'000);

}  // namespace
}  // namespace lb
