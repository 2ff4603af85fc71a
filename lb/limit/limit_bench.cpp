// Cost of a decision, by number of clients (10, 1,000, 100,000) and for new clients only.
#include <benchmark/benchmark.h>

#include <memory>

#include "lb/base/random.hpp"
#include "lb/limit/rate_limiter.hpp"

namespace lb {
namespace {

void take(benchmark::State& state) {
  RateLimiter limiter{100, 20, 1U << 18U};
  Random random{1};
  Instant now{std::chrono::hours{1}};
  const auto clients = static_cast<std::uint32_t>(state.range(0));
  for (auto _ : state) {
    now += std::chrono::microseconds{1};
    benchmark::DoNotOptimize(limiter.take(random.below(clients), now));
  }
  state.counters["evictions"] = static_cast<double>(limiter.evictions());
}
BENCHMARK(take)->Arg(10)->Arg(1000)->Arg(100'000);

void take_for_new_clients(benchmark::State& state) {
  RateLimiter limiter{100, 20};
  Random random{1};
  Instant now{std::chrono::hours{1}};
  for (auto _ : state) {
    now += std::chrono::microseconds{1};
    benchmark::DoNotOptimize(limiter.take(random(), now));
  }
  state.counters["evictions"] = static_cast<double>(limiter.evictions());
}
BENCHMARK(take_for_new_clients);

/// Two workers and one client: the worst contention there is.
void take_by_two(benchmark::State& state) {
  static std::unique_ptr<RateLimiter> limiter;
  if (state.thread_index() == 0) limiter = std::make_unique<RateLimiter>(1e6, 20U);
  Instant now{std::chrono::hours{1}};
  for (auto _ : state) {
    now += std::chrono::microseconds{1};
    benchmark::DoNotOptimize(limiter->take(1, now));
  }
}
BENCHMARK(take_by_two)->Threads(2)->UseRealTime();

}  // namespace
}  // namespace lb
