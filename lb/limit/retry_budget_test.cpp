#include "lb/limit/retry_budget.hpp"

#include <gtest/gtest.h>

namespace lb {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const Instant kBudgetStart{std::chrono::hours{1}};

/// Retries granted to `requests_per_second` requests that all want one, over `time`, looked at every
/// millisecond.
int granted(RetryBudget& budget, double requests_per_second, Duration time, Instant& now,
            std::uint64_t& requests) {
  int count = 0;
  double due = 0;
  for (const Instant end = now + time; now < end; now += milliseconds{1}) {
    for (due += requests_per_second / 1000; due >= 1; due -= 1) {
      ++requests;
      if (budget.take(requests, now)) ++count;
    }
  }
  return count;
}

TEST(RetryBudget, BeginsWithWhatTimeEarns) {
  RetryBudget budget{0, 3, kBudgetStart};
  int count = 0;
  while (budget.take(0, kBudgetStart)) ++count;
  EXPECT_EQ(count, 30);
  EXPECT_FALSE(budget.take(1'000'000, kBudgetStart)) << "a share of 0 earns nothing by requests";
}

TEST(RetryBudget, RequestsEarnAShareEach) {
  RetryBudget budget{0.2, 0, kBudgetStart};
  EXPECT_FALSE(budget.take(0, kBudgetStart));
  EXPECT_FALSE(budget.take(4, kBudgetStart)) << "0.8";
  EXPECT_TRUE(budget.take(5, kBudgetStart)) << "1.0";
  EXPECT_FALSE(budget.take(6, kBudgetStart));
}

TEST(RetryBudget, AStormGetsTheShareAndTheMinimum) {
  RetryBudget budget{0.2, 10, kBudgetStart};
  Instant now = kBudgetStart;
  std::uint64_t requests = 0;
  granted(budget, 1000, seconds{30}, now, requests);  // what was saved up is gone
  EXPECT_NEAR(granted(budget, 1000, seconds{10}, now, requests), 10 * (0.2 * 1000 + 10), 10);
}

TEST(RetryBudget, QuietTimesAreSavedUpForTheMemoryAndNoLonger) {
  RetryBudget budget{0.2, 0, kBudgetStart};
  const Instant later = kBudgetStart + seconds{1000};
  std::uint64_t requests = 1'000'000;  // a thousand a second
  int count = 0;
  while (budget.take(requests, later)) ++count;
  EXPECT_NEAR(count, 0.2 * 1000 * 10, 1);
}

TEST(RetryBudget, TheSameHoweverOftenItIsLookedAt) {
  RetryBudget often{0.1, 5, kBudgetStart};
  RetryBudget seldom{0.1, 5, kBudgetStart};
  ASSERT_TRUE(often.take(1, kBudgetStart));
  ASSERT_TRUE(seldom.take(1, kBudgetStart));
  for (int i = 1; i <= 10; ++i) ASSERT_TRUE(often.take(1 + 10 * i, kBudgetStart + seconds{i}));
  ASSERT_TRUE(seldom.take(101, kBudgetStart + seconds{10}));
  EXPECT_GT(seldom.left(), often.left());
  EXPECT_LT(seldom.left(), often.left() + 10) << "but for the nine that were not spent";
}

TEST(RetryBudget, AClockThatGoesBackEarnsNothing) {
  RetryBudget budget{0, 1, kBudgetStart};
  while (budget.take(0, kBudgetStart)) continue;
  EXPECT_FALSE(budget.take(0, kBudgetStart - seconds{100}));
  EXPECT_FALSE(budget.take(0, kBudgetStart));
  EXPECT_TRUE(budget.take(0, kBudgetStart + seconds{3}));
}

}  // namespace
}  // namespace lb
