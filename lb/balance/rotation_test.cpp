#include <gtest/gtest.h>

#include <algorithm>
#include <barrier>
#include <cmath>
#include <numeric>
#include <thread>

#include "lb/balance/smooth_schedule.hpp"
#include "lb/balance/testing.hpp"

namespace lb {
namespace {

using std::chrono::seconds;
using testing::Fleet;

/// The textbook algorithm, O(n) a turn: the model.
std::vector<std::uint32_t> smooth_model(const std::vector<std::uint32_t>& weights, std::size_t turns) {
  std::vector<std::int64_t> current(weights.size());
  const std::int64_t sum = std::accumulate(weights.begin(), weights.end(), std::int64_t{0});
  std::vector<std::uint32_t> result;
  for (std::size_t turn = 0; turn < turns; ++turn) {
    std::size_t best = weights.size();
    for (std::size_t i = 0; i < weights.size(); ++i) {
      if (weights[i] == 0) continue;
      current[i] += weights[i];
      if (best == weights.size() || current[i] > current[best]) best = i;
    }
    current[best] -= sum;
    result.push_back(static_cast<std::uint32_t>(best));
  }
  return result;
}

SmoothSchedule schedule_of(const std::vector<std::uint32_t>& weights) {
  std::vector<std::uint32_t> backends;
  for (std::uint32_t i = 0; i < weights.size(); ++i) {
    if (weights[i] > 0) backends.push_back(i);
  }
  return SmoothSchedule{backends, testing::with_weights(weights)};
}

TEST(RoundRobin, TakesTurnsWhateverTheWeights) {
  Fleet f{BalanceAlgorithm::round_robin, {1, 7, 0, 2}};
  EXPECT_EQ(f.letters(7), "abdabda");
}

TEST(RoundRobin, TheOthersShareEquallyWhatABackendAsideWouldTake) {
  Fleet f{BalanceAlgorithm::round_robin, {1, 1, 1, 1}};
  f.set_aside(1, seconds{1});
  EXPECT_EQ(f.letters(9), "acdacdacd");
}

TEST(WeightedRoundRobin, IsSmooth) {
  EXPECT_EQ((Fleet{BalanceAlgorithm::weighted_round_robin, {3, 2}}.letters(10)), "ababaababa");
  EXPECT_EQ((Fleet{BalanceAlgorithm::weighted_round_robin, {5, 1, 1}}.letters(14)), "aabacaaaabacaa");
  EXPECT_EQ((Fleet{BalanceAlgorithm::weighted_round_robin, {1}}.letters(3)), "aaa");
  EXPECT_EQ((Fleet{BalanceAlgorithm::weighted_round_robin, {500, 100, 100}}.letters(7)), "aabacaa");
}

TEST(WeightedRoundRobin, TheOthersKeepTheirProportionsWhenOneIsAside) {
  Fleet f{BalanceAlgorithm::weighted_round_robin, {10, 3, 1}};
  f.set_aside(0, seconds{1});
  const auto counts = f.counts(4000);
  EXPECT_EQ(counts[0], 0U);
  EXPECT_EQ(counts[1], 3000U);
  EXPECT_EQ(counts[2], 1000U);
}

TEST(WeightedRoundRobin, KeepsProportionsBehindAnOverwhelmingBackendThatIsAside) {
  Fleet f{BalanceAlgorithm::weighted_round_robin, {1'000'000, 3, 1}};
  f.set_aside(0, seconds{1});
  const auto counts = f.counts(4000);
  EXPECT_EQ(counts[1] + counts[2], 4000U);
  EXPECT_NEAR(static_cast<double>(counts[1]), 3000, 150);
}

TEST(WeightedRoundRobin, IsExactOverFourThreads) {
  const std::vector<std::uint32_t> weights{5, 1, 3, 7, 0, 2};  // a period of 18
  Fleet f{BalanceAlgorithm::weighted_round_robin, weights};
  constexpr std::uint64_t kPeriods = 40'000;
  std::vector<std::vector<std::uint64_t>> counts(4, std::vector<std::uint64_t>(weights.size()));
  {
    std::barrier together{4};
    std::vector<std::jthread> threads;
    for (std::size_t t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        together.arrive_and_wait();
        for (std::uint64_t i = 0; i < 18 * kPeriods / 4; ++i) {
          const Pick pick = f.balancer->pick({.now = testing::kNow});
          ++counts[t][pick.backend];
          f.balancer->release(pick.backend);
        }
      });
    }
  }
  for (std::size_t i = 0; i < weights.size(); ++i) {
    EXPECT_EQ(counts[0][i] + counts[1][i] + counts[2][i] + counts[3][i], weights[i] * kPeriods) << i;
  }
}

TEST(SmoothSchedule, ListsTheSameTurnsAsTheTextbook) {
  Random random{11};
  for (int round = 0; round < 200; ++round) {
    std::vector<std::uint32_t> weights(1 + random.below(20));
    const std::uint32_t most = 1 + random.below(30);
    for (std::uint32_t& weight : weights) weight = random.below(most + 1);
    weights[random.below(static_cast<std::uint32_t>(weights.size()))] = most;
    const SmoothSchedule schedule = schedule_of(weights);
    ASSERT_TRUE(schedule.listed());
    const auto model = smooth_model(weights, 2 * schedule.period() + 3);
    for (std::size_t turn = 0; turn < model.size(); ++turn) {
      ASSERT_EQ(schedule.at(turn), model[turn]) << "round " << round << " turn " << turn;
    }
  }
}

TEST(SmoothSchedule, IsListedUpToThePeriodMax) {
  const auto limit = static_cast<std::uint32_t>(SmoothSchedule::kListedPeriodMax);
  EXPECT_TRUE(schedule_of({limit - 2, 1}).listed());
  EXPECT_TRUE(schedule_of({limit - 1, 1}).listed());
  EXPECT_FALSE(schedule_of({limit, 1}).listed());
  EXPECT_TRUE(schedule_of({4'000'000'000, 2'000'000'000}).listed()) << "a common divisor";
  EXPECT_EQ(schedule_of({4'000'000'000, 2'000'000'000}).period(), 3U);
  EXPECT_EQ(schedule_of({}).period(), 0U);
}

/// The longest and shortest distance between two turns of a backend, and how many it has, in one period.
struct Spread {
  std::uint64_t turns = 0;
  std::uint64_t last = 0;
  std::uint64_t longest = 0;
};

TEST(SmoothSchedule, LaidOutItIsExactOverAPeriodAndEvenWithin) {
  Random random{5};
  std::vector<std::uint32_t> weights(1000);
  for (std::uint32_t& weight : weights) weight = 500 + random.below(1500);
  weights[3] = 0;
  weights[7] = 300'000;
  const SmoothSchedule schedule = schedule_of(weights);
  ASSERT_FALSE(schedule.listed());
  std::vector<Spread> spreads(weights.size());
  for (std::uint64_t turn = 0; turn < schedule.period(); ++turn) {
    Spread& spread = spreads[schedule.at(turn)];
    ++spread.turns;
    spread.longest = std::max(spread.longest, turn - spread.last);
    spread.last = turn;
  }
  for (std::size_t i = 0; i < weights.size(); ++i) {
    ASSERT_EQ(spreads[i].turns, weights[i]) << i;
    if (weights[i] == 0) continue;
    const double mean = static_cast<double>(schedule.period()) / weights[i];
    EXPECT_LT(static_cast<double>(spreads[i].longest), 4 * mean + 2) << i;
  }
}

TEST(SmoothSchedule, LaidOutItWorksAtTheExtremes) {
  // The greatest weights and the most backends; and one backend beside a giant.
  const SmoothSchedule most = schedule_of(std::vector<std::uint32_t>(2, ~0U));
  EXPECT_EQ(most.period(), 2U);
  std::vector<std::uint32_t> weights(kBackendsMax, ~0U);
  weights[5] = ~0U - 1;
  const SmoothSchedule many = schedule_of(weights);
  ASSERT_FALSE(many.listed());
  std::vector<int> seen(kBackendsMax);
  for (std::uint64_t turn = 0; turn < 4 * kBackendsMax; ++turn) ++seen[many.at(turn)];
  EXPECT_GE(*std::ranges::min_element(seen), 2);
  EXPECT_LE(*std::ranges::max_element(seen), 6);
  EXPECT_LT(many.at(~std::uint64_t{0}), kBackendsMax);

  const SmoothSchedule giant = schedule_of({1, ~0U, 1});
  ASSERT_FALSE(giant.listed());
  int small = 0;
  for (std::uint64_t turn = 0; turn < 1'000'000; ++turn) small += giant.at(turn) != 1 ? 1 : 0;
  EXPECT_LE(small, 2);
}

}  // namespace
}  // namespace lb
