// Who gets how many requests, for every algorithm: exactly where an algorithm is exact, else by a chi-square
// test whose seed is fixed. And how many keys move when a backend leaves or comes.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <thread>

#include "lb/balance/testing.hpp"

namespace lb {
namespace {

using testing::Fleet;
using testing::kNow;

/// Chance alone leads to a greater value once in a thousand times, with `freedom` degrees of it (Wilson and
/// Hilferty, "The distribution of chi-square", 1931; good to a hundredth here).
double chi_square_limit(double freedom) {
  constexpr double kQuantile = 3.0902;  // of the normal distribution, at 0.999
  const double ninth = 2 / (9 * freedom);
  return freedom * std::pow(1 - ninth + kQuantile * std::sqrt(ninth), 3);
}

double chi_square(const std::vector<double>& counts, const std::vector<std::uint32_t>& weights) {
  const double picks = std::accumulate(counts.begin(), counts.end(), 0.0);
  const double weight = std::accumulate(weights.begin(), weights.end(), 0.0);
  double sum = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const double expected = picks * weights[i] / weight;
    if (expected > 0) sum += (counts[i] - expected) * (counts[i] - expected) / expected;
  }
  return sum;
}

std::vector<double> numbers(const std::vector<std::uint64_t>& counts) {
  return {counts.begin(), counts.end()};
}

std::vector<std::uint32_t> weights_for(BalanceAlgorithm algorithm, std::vector<std::uint32_t> weights) {
  const bool equal = algorithm == BalanceAlgorithm::round_robin;
  for (std::uint32_t& weight : weights) weight = equal ? 1 : weight;
  return weights;
}

class Distribution : public ::testing::TestWithParam<BalanceAlgorithm> {};

INSTANTIATE_TEST_SUITE_P(Balancer, Distribution, ::testing::ValuesIn(testing::kAllAlgorithms),
                         testing::kAlgorithmName);

/// Requests one at a time: nobody is ever busy.
TEST_P(Distribution, OfAnIdleSetFollowsTheWeights) {
  const std::vector<std::uint32_t> weights = {5, 1, 3, 2, 9, 4, 1, 7};
  Fleet f{GetParam(), weights};
  const auto counts = numbers(f.counts(64'000));
  // least_connections rotates among those that are equally idle: that is what the weighted one is for.
  const bool even = GetParam() == BalanceAlgorithm::least_connections;
  const auto expected = even ? std::vector<std::uint32_t>(8, 1) : weights_for(GetParam(), weights);
  // ip_hash and consistent_hash give each key a home, so that here keys are what is counted.
  EXPECT_LT(chi_square(counts, expected), chi_square_limit(7));
  const bool exact = GetParam() == BalanceAlgorithm::round_robin ||
                     GetParam() == BalanceAlgorithm::weighted_round_robin || even;
  if (exact) {
    EXPECT_EQ(chi_square(counts, expected), 0);
  }
}

/// Requests that all stay: what a set under load comes to.
TEST_P(Distribution, OfHeldRequestsFollowsTheWeights) {
  const std::vector<std::uint32_t> weights = {5, 1, 3, 2, 9, 4, 1, 7};
  Fleet f{GetParam(), weights};
  for (int i = 0; i < 32'000; ++i) ASSERT_EQ(f.pick().result, PickResult::picked);
  std::vector<double> held;
  for (const BackendState& state : f.states) held.push_back(state.in_flight());
  const auto expected = weights_for(GetParam(), weights);
  EXPECT_LT(chi_square(held, expected), chi_square_limit(7));
  const bool by_load = GetParam() == BalanceAlgorithm::least_connections ||
                       GetParam() == BalanceAlgorithm::weighted_least_connections;
  if (by_load) {
    for (std::size_t i = 0; i < held.size(); ++i) EXPECT_NEAR(held[i], 1000 * weights[i], 1) << i;
  }
  if (GetParam() == BalanceAlgorithm::power_of_two) {
    for (std::size_t i = 0; i < held.size(); ++i) {
      EXPECT_NEAR(held[i], 1000.0 * weights[i], 8.0 + weights[i]) << "by chance alone it would be about 80";
    }
  }
}

TEST_P(Distribution, WithOneBackendOutFollowsTheWeightsOfTheOthers) {
  const std::vector<std::uint32_t> weights = {5, 1, 3, 2, 9, 4, 1, 7};
  Fleet f{GetParam(), weights};
  f.balancer->set_down(4, true, kNow);
  auto expected = GetParam() == BalanceAlgorithm::least_connections ? std::vector<std::uint32_t>(8, 1)
                                                                    : weights_for(GetParam(), weights);
  expected[4] = 0;
  const auto counts = numbers(f.counts(64'000));
  EXPECT_EQ(counts[4], 0);
  EXPECT_LT(chi_square(counts, expected), chi_square_limit(6));
}

TEST_P(Distribution, OfManyEqualsIsEven) {
  const std::vector<std::uint32_t> weights(300, 1);  // more than least_connections compares
  Fleet f{GetParam(), weights};
  const auto counts = numbers(f.counts(60'000));
  EXPECT_LT(chi_square(counts, weights), chi_square_limit(299) * 1.1);
}

TEST_P(Distribution, FromSeveralThreadsFollowsTheWeights) {
  const std::vector<std::uint32_t> weights = {5, 1, 3, 2, 9, 4, 1, 7};
  constexpr int kThreads = 4;
  constexpr int kPicks = 16'000;
  Fleet f{GetParam(), weights};
  std::vector<std::vector<std::uint64_t>> counts(kThreads, std::vector<std::uint64_t>(8));
  {
    std::vector<std::jthread> threads;
    for (std::uint64_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        Random random{100 + t};
        for (int i = 0; i < kPicks; ++i) {
          const Pick pick = f.balancer->pick({.now = kNow, .client_hash = random(), .random = random()});
          ++counts[t][pick.backend];
          f.balancer->release(pick.backend);
        }
      });
    }
  }
  std::vector<double> sum(8);
  for (const auto& of_thread : counts) {
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += static_cast<double>(of_thread[i]);
  }
  EXPECT_EQ(std::accumulate(sum.begin(), sum.end(), 0.0), kThreads * kPicks);
  for (const BackendState& state : f.states) EXPECT_EQ(state.in_flight(), 0U);
  // Those that go by load answer to how the threads happened to run; they stay in between even and weighted.
  const bool by_load = GetParam() == BalanceAlgorithm::least_connections ||
                       GetParam() == BalanceAlgorithm::weighted_least_connections ||
                       GetParam() == BalanceAlgorithm::power_of_two;
  if (by_load) return;
  EXPECT_LT(chi_square(sum, weights_for(GetParam(), weights)), chi_square_limit(7));
}

/// For each key the identity of its backend.
class Disruption : public ::testing::TestWithParam<BalanceAlgorithm> {
 protected:
  static constexpr std::uint64_t kKeys = 20'000;
  static std::vector<BackendTraits> named(std::size_t count, bool weighted) {
    std::vector<BackendTraits> traits;
    for (std::uint64_t i = 0; i < count; ++i) {
      const auto weight = static_cast<std::uint32_t>(weighted ? 1 + i % 5 : 1);
      traits.push_back({.weight = weight, .identity = mix64(i)});
    }
    return traits;
  }
  static std::vector<std::uint64_t> homes(const std::vector<BackendTraits>& traits) {
    Fleet f{Fleet::FromTraits{}, GetParam(), traits};
    std::vector<std::uint64_t> result;
    for (std::uint64_t key = 0; key < kKeys; ++key)
      result.push_back(traits[f.pick_for(key).backend].identity);
    return result;
  }
  /// The share of keys that moved, over what cannot be avoided: the share that belonged to `changed` in
  /// either.
  static double excess(const std::vector<std::uint64_t>& a, const std::vector<std::uint64_t>& b,
                       std::uint64_t changed) {
    double moved = 0;
    double ideal = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      moved += a[i] != b[i] ? 1 : 0;
      ideal += a[i] == changed || b[i] == changed ? 1 : 0;
    }
    return (moved - ideal) / static_cast<double>(a.size());
  }
};
INSTANTIATE_TEST_SUITE_P(Balancer, Disruption,
                         ::testing::Values(BalanceAlgorithm::ip_hash, BalanceAlgorithm::consistent_hash),
                         name_of);

TEST_P(Disruption, ABackendThatLeavesOrComesMovesHardlyMoreThanItsOwnKeys) {
  for (const std::size_t count : {3UL, 10UL, 100UL}) {
    for (const bool weighted : {false, true}) {
      const auto all = named(count, weighted);
      auto fewer = all;
      fewer.erase(fewer.begin() + 1);
      const double more = excess(homes(all), homes(fewer), all[1].identity);
      RecordProperty("excess_" + std::to_string(count) + (weighted ? "_weighted" : ""), std::to_string(more));
      // ip_hash moves none at all. Maglev's own measurement is a few percent of the keys at this ratio of
      // slots to backends.
      EXPECT_LE(more, GetParam() == BalanceAlgorithm::ip_hash ? 0 : 0.03) << count << " backends";
    }
  }
}

TEST_P(Disruption, ANewWeightMovesFewKeysThatItIsNotAbout) {
  auto traits = named(10, false);
  const auto before = homes(traits);
  traits[3].weight = 2;
  const double more = excess(before, homes(traits), traits[3].identity);
  EXPECT_LE(more, GetParam() == BalanceAlgorithm::ip_hash ? 0 : 0.06);
}

TEST_P(Disruption, TheOrderOfTheListMovesNothing) {
  auto traits = named(57, true);
  const auto before = homes(traits);
  Random random{3};
  std::ranges::shuffle(traits, random);
  EXPECT_EQ(homes(traits), before);
}

TEST_P(Disruption, OfABackendThatIsDownOnlyItsOwnKeysMoveAndTheyComeBack) {
  Fleet f{Fleet::FromTraits{}, GetParam(), named(10, true)};
  std::vector<std::uint32_t> before;
  for (std::uint64_t key = 0; key < kKeys; ++key) before.push_back(f.pick_for(key).backend);
  f.balancer->set_down(7, true, kNow);
  std::vector<double> heirs(10);
  for (std::uint64_t key = 0; key < kKeys; ++key) {
    const std::uint32_t backend = f.pick_for(key).backend;
    if (before[key] == 7) {
      ++heirs[backend];
      ASSERT_EQ(f.pick_for(key).backend, backend) << "the second choice is as steady as the first";
    } else {
      ASSERT_EQ(backend, before[key]);
    }
  }
  std::vector<std::uint32_t> weights;
  for (const BackendTraits& backend : named(10, true)) weights.push_back(backend.weight);
  weights[7] = 0;
  EXPECT_LT(chi_square(heirs, weights), chi_square_limit(8)) << "its keys spread over all others";
  f.balancer->set_down(7, false, kNow);
  for (std::uint64_t key = 0; key < kKeys; ++key) ASSERT_EQ(f.pick_for(key).backend, before[key]);
}

}  // namespace
}  // namespace lb
