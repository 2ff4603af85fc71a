// What holds for every algorithm: limits, backends set aside, exclusion, back-off, and all of it with
// threads.
#include "lb/balance/balancer.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <numeric>
#include <thread>

#include "lb/balance/testing.hpp"
#include "lb/base/sanitized.hpp"

namespace lb {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;
using testing::Fleet;
using testing::kNow;

class EveryAlgorithm : public ::testing::TestWithParam<BalanceAlgorithm> {
 protected:
  static Fleet fleet(const std::vector<std::uint32_t>& weights, std::uint32_t max_connections = 0) {
    auto traits = testing::with_weights(weights);
    for (BackendTraits& backend : traits) backend.max_connections = max_connections;
    return Fleet{Fleet::FromTraits{}, GetParam(), std::move(traits)};
  }
};

INSTANTIATE_TEST_SUITE_P(Balancer, EveryAlgorithm, ::testing::ValuesIn(testing::kAllAlgorithms),
                         testing::kAlgorithmName);

TEST_P(EveryAlgorithm, NoBackendsIsNone) {
  Fleet f = fleet({});
  EXPECT_EQ(f.pick().result, PickResult::none);
  EXPECT_EQ(f.pick().backend, kNoBackend);
}

TEST_P(EveryAlgorithm, OnlyWeightZeroIsNone) {
  Fleet f = fleet({0, 0, 0});
  EXPECT_EQ(f.pick().result, PickResult::none);
}

TEST_P(EveryAlgorithm, WeightZeroIsNeverPickedNotEvenAsLastResort) {
  Fleet f = fleet({0, 1, 0, 2});
  for (const char letter : f.letters(500)) EXPECT_TRUE(letter == 'b' || letter == 'd') << letter;
  f.set_aside(1, seconds{5});
  f.set_aside(3, seconds{5});
  for (const char letter : f.letters(100)) EXPECT_TRUE(letter == 'b' || letter == 'd') << letter;
  const std::uint32_t tried[] = {1, 3};
  EXPECT_EQ(f.pick(kNow, tried).result, PickResult::none);
}

TEST_P(EveryAlgorithm, APickIsCountedUntilReleased) {
  Fleet f = fleet({1});
  EXPECT_EQ(f.pick().backend, 0U);
  EXPECT_EQ(f.pick().backend, 0U);
  EXPECT_EQ(f.states[0].in_flight(), 2U);
  f.balancer->release(0);
  EXPECT_EQ(f.states[0].in_flight(), 1U);
}

TEST_P(EveryAlgorithm, LimitsAreKeptAtTheBoundary) {
  for (const std::uint32_t limit : {1U, 2U, 7U}) {
    Fleet f = fleet({1, 1, 1}, limit);
    for (std::uint32_t i = 0; i < 3 * limit; ++i) ASSERT_EQ(f.pick().result, PickResult::picked) << i;
    for (const BackendState& state : f.states) EXPECT_EQ(state.in_flight(), limit);
    EXPECT_EQ(f.pick().result, PickResult::busy);
    f.balancer->release(1);
    EXPECT_EQ(f.pick().backend, 1U);
    EXPECT_EQ(f.pick().result, PickResult::busy);
  }
}

TEST_P(EveryAlgorithm, ABackendAsideIsSkippedUntilItsTimeEnds) {
  Fleet f = fleet({1, 1, 1});
  f.set_aside(1, seconds{1});
  const auto picked_at = [&](Instant now) {
    int count = 0;
    for (int i = 0; i < 300; ++i) {
      const Pick pick = f.pick(now);
      count += pick.backend == 1 ? 1 : 0;
      f.balancer->release(pick.backend);
    }
    return count;
  };
  EXPECT_EQ(picked_at(kNow), 0);
  EXPECT_EQ(picked_at(kNow + seconds{1} - nanoseconds{1}), 0);
  EXPECT_GT(picked_at(kNow + seconds{1}), 50);
}

TEST_P(EveryAlgorithm, WhenAllAreAsideTheFirstToReturnIsTried) {
  Fleet f = fleet({1, 5, 1});
  f.set_aside(0, seconds{3});
  f.set_aside(1, seconds{2});
  f.set_aside(2, milliseconds{2001});
  EXPECT_EQ(f.letters(5), "bbbbb");
  const std::uint32_t tried[] = {1};
  EXPECT_EQ(f.letters(3, tried), "ccc");
  const std::uint32_t all[] = {2, 1, 0};
  EXPECT_EQ(f.letters(1, all), "-");
}

TEST_P(EveryAlgorithm, AsideAndFullIsPassedOverForTheNextAside) {
  Fleet f = fleet({1, 1}, 1);
  f.set_aside(0, seconds{1});
  f.set_aside(1, seconds{2});
  EXPECT_EQ(f.pick().backend, 0U);
  EXPECT_EQ(f.pick().backend, 1U);
  EXPECT_EQ(f.pick().result, PickResult::busy);
}

TEST_P(EveryAlgorithm, AFullHealthyBackendMeansBusyNotARequestToAnAsideOne) {
  Fleet f = fleet({1, 1}, 1);
  f.set_aside(1, seconds{10});
  EXPECT_EQ(f.pick().backend, 0U);
  EXPECT_EQ(f.pick().result, PickResult::busy);
  const std::uint32_t tried[] = {0};
  EXPECT_EQ(f.pick(kNow, tried).backend, 1U) << "every untried one is aside";
}

TEST_P(EveryAlgorithm, TriedBackendsAreExcluded) {
  Fleet f = fleet({1, 1, 1, 1});
  const std::uint32_t one[] = {2};
  for (const char letter : f.letters(200, one)) EXPECT_NE(letter, 'c');
  const std::uint32_t three[] = {0, 3, 1};
  EXPECT_EQ(f.letters(4, three), "cccc");
  const std::uint32_t all[] = {3, 2, 1, 0};
  EXPECT_EQ(f.letters(2, all), "--");
  const std::uint32_t unknown[] = {77, kNoBackend};
  EXPECT_EQ(f.pick(kNow, unknown).result, PickResult::picked);
}

TEST_P(EveryAlgorithm, ThreadsNeverExceedALimitTogether) {
  constexpr std::uint32_t kLimit = 3;
  constexpr int kThreads = 4;
  for (const std::size_t backends : {4UL, 300UL}) {
    Fleet f = fleet(std::vector<std::uint32_t>(backends, 1), kLimit);
    std::vector<std::atomic<std::uint32_t>> held(backends);
    std::atomic<bool> exceeded = false;
    std::atomic<std::uint64_t> picked = 0;
    {
      std::vector<std::jthread> threads;
      for (std::uint64_t t = 0; t < kThreads; ++t) {
        threads.emplace_back([&, t] {
          Random random{t};
          std::vector<std::uint32_t> mine;
          for (int i = 0; i < (kSanitized ? 1000 : 10'000); ++i) {
            const Pick pick = f.balancer->pick({.now = kNow, .client_hash = random(), .random = random()});
            if (pick.result == PickResult::picked) {
              if (held[pick.backend].fetch_add(1) >= kLimit) exceeded = true;
              mine.push_back(pick.backend);
              picked.fetch_add(1);
            }
            if (mine.size() > kLimit * backends / 2 || (!mine.empty() && random.below(2) == 0)) {
              held[mine.back()].fetch_sub(1);
              f.balancer->release(mine.back());
              mine.pop_back();
            }
          }
          for (const std::uint32_t backend : mine) {
            held[backend].fetch_sub(1);
            f.balancer->release(backend);
          }
        });
      }
    }
    EXPECT_FALSE(exceeded);
    EXPECT_GT(picked, 1000U);
    for (const BackendState& state : f.states) EXPECT_EQ(state.in_flight(), 0U);
  }
}

TEST_P(EveryAlgorithm, ThreadsFillEveryLastPlaceBeforeBusy) {
  // Places free only before the threads start: exactly as many picks succeed as there are places.
  constexpr std::uint32_t kLimit = 50;
  Fleet f = fleet(std::vector<std::uint32_t>(10, 1), kLimit);
  std::atomic<std::uint32_t> picked = 0;
  {
    std::vector<std::jthread> threads;
    for (std::uint64_t t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        Random random{t};
        for (;;) {
          const Pick pick = f.balancer->pick({.now = kNow, .client_hash = random(), .random = random()});
          if (pick.result != PickResult::picked) return;
          picked.fetch_add(1);
        }
      });
    }
  }
  EXPECT_EQ(picked, 10 * kLimit);
}

TEST_P(EveryAlgorithm, WorksWithTheMostBackendsAndMostOfThemAside) {
  if (kSanitized) GTEST_SKIP() << "slow with a sanitizer; the plain build covers it";
  Fleet f = fleet(std::vector<std::uint32_t>(kBackendsMax, 1));
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(f.pick().result, PickResult::picked);
  for (std::uint32_t i = 0; i < kBackendsMax; ++i) {
    if (i % 10'000 != 7) f.set_aside(i, seconds{5});
  }
  for (int i = 0; i < 50; ++i) ASSERT_EQ(f.pick().backend % 10'000, 7U);
}

TEST(BalancerBackoff, DoublesFromOneSecondToThirtyAndStartsAgainAfterSuccess) {
  Fleet f{BalanceAlgorithm::round_robin, {1, 1}};
  Instant now = kNow;
  for (const int expected : {1, 2, 4, 8, 16, 30, 30, 30}) {
    f.balancer->report_failure(0, now);
    EXPECT_EQ(f.states[0].aside_until_ns, (now + seconds{expected}).time_since_epoch().count());
    now += seconds{expected};
  }
  EXPECT_EQ(f.states[0].failures_in_row, 8U);
  f.balancer->report_success(0, kNow);
  EXPECT_EQ(f.states[0].failures_in_row, 0U);
  EXPECT_EQ(f.states[0].aside_until_ns, 0);
  f.balancer->report_failure(0, now);
  EXPECT_EQ(f.states[0].aside_until_ns, (now + seconds{1}).time_since_epoch().count());
  EXPECT_EQ(f.states[1].failures_in_row, 0U);
}

TEST(BalancerBackoff, ABurstOfFailuresIsOne) {
  Fleet f{BalanceAlgorithm::round_robin, {1}};
  for (int i = 0; i < 40; ++i) f.balancer->report_failure(0, kNow + milliseconds{i});
  EXPECT_EQ(f.states[0].failures_in_row, 1U);
  EXPECT_EQ(f.states[0].aside_until_ns, (kNow + seconds{1}).time_since_epoch().count());
  f.balancer->report_failure(0, kNow + seconds{1} - nanoseconds{1});
  EXPECT_EQ(f.states[0].failures_in_row, 1U);
  f.balancer->report_failure(0, kNow + seconds{1});
  EXPECT_EQ(f.states[0].failures_in_row, 2U);
}

TEST(BalancerBackoff, ABurstFromSeveralThreadsIsOne) {
  for (int round = 0; round < 50; ++round) {
    Fleet f{BalanceAlgorithm::round_robin, {1}};
    {
      std::vector<std::jthread> threads;
      for (int t = 0; t < 4; ++t) threads.emplace_back([&] { f.balancer->report_failure(0, kNow); });
    }
    ASSERT_EQ(f.states[0].failures_in_row, 1U);
  }
}

TEST(BalancerBackoff, ManyFailuresNeverWrapRound) {
  Fleet f{BalanceAlgorithm::round_robin, {1}};
  f.states[0].failures_in_row = ~0U;
  f.balancer->report_failure(0, kNow);
  EXPECT_EQ(f.states[0].failures_in_row, ~0U);
  EXPECT_EQ(f.states[0].aside_until_ns, (kNow + kAsideMax).time_since_epoch().count());
}

TEST(BalancerBackoff, SuccessLeavesATimeAsideThatFailuresDidNotCause) {
  Fleet f{BalanceAlgorithm::round_robin, {1, 1}};
  f.set_aside(0, seconds{100});  // a failed health check, for example
  f.balancer->report_success(0, kNow);
  EXPECT_EQ(f.letters(3), "bbb");
}

TEST(BalancerDeath, TraitsAndStatesMustMatch) {
  std::vector<BackendState> states(2);
  EXPECT_DEATH(
      static_cast<void>(Balancer::create(BalanceAlgorithm::random, testing::with_weights({1}), states)),
      "assertion failed");
}

}  // namespace
}  // namespace lb
