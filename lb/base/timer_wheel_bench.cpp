// Cost of the timers of a worker, by number of connections: each has one, and its deadline moves with every
// request.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "lb/base/random.hpp"
#include "lb/base/timer_wheel.hpp"

namespace lb {
namespace {

constexpr Instant kStart{std::chrono::hours{1}};
constexpr Duration kIdle = std::chrono::seconds{60};

struct Connections {
  explicit Connections(std::int64_t count)
      : wheel(std::make_unique<TimerWheel>(kStart)), timers(static_cast<std::size_t>(count)), random(1) {
    for (TimerNode& timer : timers) wheel->set(timer, kStart + Milliseconds{random.below(60'000)});
  }
  TimerNode& any() { return timers[random.below(static_cast<std::uint32_t>(timers.size()))]; }

  std::unique_ptr<TimerWheel> wheel;
  std::vector<TimerNode> timers;
  Random random;
};

/// A request on one of them: the idle deadline moves on.
void move_deadline(benchmark::State& state) {
  Connections connections{state.range(0)};
  Instant now = kStart;
  for (auto _ : state) {
    now += std::chrono::microseconds{1};
    connections.wheel->set(connections.any(), now + kIdle);
  }
}
BENCHMARK(move_deadline)->Arg(10)->Arg(1000)->Arg(100'000);

/// A connection that comes, and one that goes.
void arm_and_cancel(benchmark::State& state) {
  Connections connections{state.range(0)};
  for (auto _ : state) {
    TimerNode& timer = connections.any();
    connections.wheel->cancel(timer);
    connections.wheel->set(timer, kStart + Milliseconds{connections.random.below(30'000)});
  }
}
BENCHMARK(arm_and_cancel)->Arg(10)->Arg(1000)->Arg(100'000);

/// A turn of the loop 1 ms after the last: what is due expires and is set anew, 60 s ahead on average. Beside
/// the time of a turn, that of each timer that expired.
void turn_of_the_loop(benchmark::State& state) {
  Connections connections{state.range(0)};
  Instant now = kStart;
  std::int64_t expired = 0;
  for (auto _ : state) {
    now += Milliseconds{1};
    connections.wheel->advance(now, [&](TimerNode& timer) {
      ++expired;
      connections.wheel->set(timer, now + Milliseconds{connections.random.below(120'000)});
    });
    benchmark::DoNotOptimize(connections.wheel->next(now));
  }
  state.counters["expired"] =
      benchmark::Counter(static_cast<double>(expired), benchmark::Counter::kAvgIterations);
}
BENCHMARK(turn_of_the_loop)->Arg(10)->Arg(1000)->Arg(100'000);

}  // namespace
}  // namespace lb
