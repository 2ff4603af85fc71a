#include <gtest/gtest.h>

#include <cmath>

#include "lb/balance/alias_table.hpp"
#include "lb/balance/testing.hpp"

namespace lb {
namespace {

using std::chrono::seconds;
using testing::Fleet;

void expect_shares(const std::vector<std::uint64_t>& counts, const std::vector<double>& weights) {
  double weight_sum = 0;
  double count_sum = 0;
  for (const double weight : weights) weight_sum += weight;
  for (const std::uint64_t count : counts) count_sum += static_cast<double>(count);
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const double share = weights[i] / weight_sum;
    const double deviation = std::sqrt(count_sum * share * (1 - share));
    EXPECT_NEAR(static_cast<double>(counts[i]), count_sum * share, 4 * deviation + 1) << i;
  }
}

TEST(WeightedRandom, FollowsTheWeights) {
  Fleet f{BalanceAlgorithm::random, {1, 0, 2, 3, 10, 100}};
  expect_shares(f.counts(200'000), {1, 0, 2, 3, 10, 100});
}

TEST(WeightedRandom, FollowsTheWeightsOfThoseThatAreLeft) {
  Fleet f{BalanceAlgorithm::random, {1, 2, 3, 100}};
  f.set_aside(3, seconds{1});
  expect_shares(f.counts(100'000), {1, 2, 3, 0});
}

TEST(AliasTable, IsExactForAGridOfNumbers) {
  // Numbers evenly over the whole range stand for every random number: shares are then exact but for the
  // grid.
  const std::vector<std::uint32_t> weights{7, 1, 3, 0, 5};
  const AliasTable table{std::vector<std::uint32_t>{0, 1, 2, 4}, testing::with_weights(weights)};
  std::vector<int> counts(5);
  constexpr std::uint64_t kColumns = 64;
  constexpr std::uint64_t kSteps = 1024;
  for (std::uint64_t column = 0; column < kColumns; ++column) {
    for (std::uint64_t step = 0; step < kSteps; ++step) {
      ++counts[table.draw((column << 58U) | (step << 22U))];
    }
  }
  for (std::size_t i = 0; i < weights.size(); ++i) {
    EXPECT_NEAR(counts[i], weights[i] * kColumns * kSteps / 16.0, kColumns * 2.0) << i;
  }
}

TEST(AliasTable, ExtremeWeights) {
  std::vector<std::uint32_t> weights(kBackendsMax, 1);
  weights[9] = ~0U;
  std::vector<std::uint32_t> all(weights.size());
  for (std::uint32_t i = 0; i < all.size(); ++i) all[i] = i;
  const AliasTable table{all, testing::with_weights(weights)};
  Random random{2};
  int others = 0;
  for (int i = 0; i < 1'000'000; ++i) others += table.draw(random()) != 9 ? 1 : 0;
  EXPECT_NEAR(others, 23, 20);
}

}  // namespace
}  // namespace lb
