#include "harness/traffic/statistics.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace lb::traffic {
namespace {

/// P(at most k of n) at rate p, summed term by term: the definition, slow and plain.
double binomial_cdf(std::uint64_t k, std::uint64_t n, double p) {
  double sum = 0;
  const auto trials = static_cast<double>(n);
  for (std::uint64_t i = 0; i <= k; ++i) {
    const auto hits = static_cast<double>(i);
    sum += std::exp(std::lgamma(trials + 1) - std::lgamma(hits + 1) - std::lgamma(trials - hits + 1) +
                    hits * std::log(p) + (trials - hits) * std::log1p(-p));
  }
  return sum;
}

TEST(ClopperPearson, FulfilsItsDefinition) {
  for (const std::uint64_t n : {10ULL, 100ULL, 5000ULL, 5'000'000ULL}) {
    for (const std::uint64_t k : {0ULL, 1ULL, 2ULL, 7ULL, 9ULL}) {
      const double upper = clopper_pearson_upper(k, n);
      EXPECT_NEAR(binomial_cdf(k, n, upper), 0.05, 1e-6) << k << " of " << n;
    }
  }
}

TEST(ClopperPearson, KnownValuesAndEdges) {
  EXPECT_NEAR(clopper_pearson_upper(0, 100), 1 - std::pow(0.05, 0.01), 1e-12);
  EXPECT_EQ(clopper_pearson_upper(5, 5), 1);
  EXPECT_EQ(clopper_pearson_upper(0, 0), 1);
  EXPECT_GT(clopper_pearson_upper(1, 100), clopper_pearson_upper(0, 100));
  EXPECT_GT(clopper_pearson_upper(1, 100, 0.99), clopper_pearson_upper(1, 100, 0.95));
}

TEST(RateBound, RuleOfThreeForZero) {
  const RateBound none = bound_rate(0, 5'000'000);
  EXPECT_TRUE(none.rule_of_three);
  EXPECT_DOUBLE_EQ(none.upper_95, 3.0 / 5'000'000);
  EXPECT_NEAR(none.upper_95, clopper_pearson_upper(0, 5'000'000), 2e-9) << "and it is nearly exact";
  const RateBound some = bound_rate(36, 190'000);
  EXPECT_FALSE(some.rule_of_three);
  EXPECT_DOUBLE_EQ(some.observed, 36.0 / 190'000);
  EXPECT_GT(some.upper_95, some.observed);
  EXPECT_EQ(bound_rate(0, 1).upper_95, 1) << "never beyond 1";
}

TEST(Percentiles, NearestRank) {
  std::vector<std::uint64_t> values;
  for (std::uint64_t i = 1; i <= 100; ++i) values.push_back(i);
  EXPECT_EQ(nearest_rank(values, 0.5), 50U);
  EXPECT_EQ(nearest_rank(values, 0.99), 99U);
  EXPECT_EQ(nearest_rank(values, 0.999), 100U);
  EXPECT_EQ(nearest_rank(values, 1.0), 100U);
  EXPECT_EQ(nearest_rank({7}, 0.5), 7U);
}

TEST(Percentiles, SummaryOfUnsortedValues) {
  std::vector<std::uint64_t> values = {3000, 1000, 2000};
  const LatencySummary s = summarize(values);
  EXPECT_EQ(s.n, 3U);
  EXPECT_DOUBLE_EQ(s.mean_us, 2);
  EXPECT_DOUBLE_EQ(s.p50_us, 2);
  EXPECT_DOUBLE_EQ(s.max_us, 3);
  values.clear();
  EXPECT_EQ(summarize(values).n, 0U);
}

}  // namespace
}  // namespace lb::traffic
