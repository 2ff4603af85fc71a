// Slow start: the ramp itself, and the share of requests under every algorithm.
#include "lb/balance/slow_start.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <thread>

#include "lb/balance/testing.hpp"

namespace lb {
namespace {

using std::chrono::nanoseconds;
using std::chrono::seconds;
using testing::Fleet;
using testing::kNow;

TEST(SlowStartShare, GrowsEvenlyFromATenthToTheWhole) {
  const SlowStart slow_start{seconds{10}};
  BackendState state;
  const auto share = [&](Instant now) { return slow_start.share(state, now); };
  EXPECT_EQ(share(kNow), SlowStart::kFull) << "never away";
  state.up_since_ns = kNow.time_since_epoch().count();
  EXPECT_EQ(share(kNow), SlowStart::kLeast);
  EXPECT_EQ(share(kNow - seconds{1}), SlowStart::kLeast) << "another thread's clock may be a turn behind";
  EXPECT_EQ(share(kNow + seconds{1}), 102U);
  EXPECT_EQ(share(kNow + seconds{5}), 512U);
  EXPECT_EQ(share(kNow + seconds{9}), 921U);
  EXPECT_EQ(share(kNow + seconds{10} - nanoseconds{1}), 1023U);
  EXPECT_EQ(share(kNow + seconds{10}), SlowStart::kFull);
}

TEST(SlowStartShare, OfZeroIsNone) {
  BackendState state;
  state.up_since_ns = kNow.time_since_epoch().count();
  EXPECT_EQ(SlowStart{seconds{0}}.share(state, kNow), SlowStart::kFull);
}

TEST(SlowStartShare, ADayIsNotTooLong) {
  const SlowStart slow_start{std::chrono::hours{24}};
  BackendState state;
  state.up_since_ns = kNow.time_since_epoch().count();
  EXPECT_EQ(slow_start.share(state, kNow + std::chrono::hours{12}), 512U);
  EXPECT_EQ(slow_start.share(state, kNow + std::chrono::hours{24} - nanoseconds{1}), 1023U);
}

TEST(SlowStartShare, BeginsWhereAnEjectionEnds) {
  const SlowStart slow_start{seconds{10}};
  BackendState state;
  state.ejected_until_ns = kNow.time_since_epoch().count();
  EXPECT_EQ(slow_start.share(state, kNow + seconds{5}), 512U);
  state.up_since_ns = (kNow - seconds{5}).time_since_epoch().count();
  EXPECT_EQ(slow_start.share(state, kNow + seconds{5}), 512U) << "the later of the two counts";
}

TEST(SlowStartShare, WhatASmallShareTakesALargerOneTakesToo) {
  const SlowStart slow_start{seconds{10}};
  BackendState state;
  state.up_since_ns = kNow.time_since_epoch().count();
  int taken = 0;
  for (std::uint64_t chance = 0; chance < 10'000; ++chance) {
    bool before = false;
    for (int second = 0; second <= 10; ++second) {
      const bool takes = slow_start.takes(state, kNow + seconds{second}, chance);
      ASSERT_TRUE(takes || !before) << chance;
      before = takes;
      taken += second == 3 && takes ? 1 : 0;
    }
    ASSERT_TRUE(before);
  }
  EXPECT_NEAR(taken, 3000, 140);
}

class SlowStartUnder : public ::testing::TestWithParam<BalanceAlgorithm> {
 protected:
  static Fleet fleet(const std::vector<std::uint32_t>& weights) {
    return Fleet{
        Fleet::FromTraits{}, GetParam(), testing::with_weights(weights), {.slow_start = seconds{100}}};
  }
  /// Of backend b, in picks at `now`, each released at once.
  static double share_of_b(Fleet& f, Instant now) {
    constexpr int kPicks = 40'000;
    int count = 0;
    for (int i = 0; i < kPicks; ++i) {
      const Pick pick = f.pick(now);
      if (pick.result != PickResult::picked) return -1;
      count += pick.backend == 1 ? 1 : 0;
      f.balancer->release(pick.backend);
    }
    return count / static_cast<double>(kPicks);
  }
};

std::string name_of(const ::testing::TestParamInfo<BalanceAlgorithm>& algorithm) {
  return testing::kAlgorithmNames[static_cast<std::size_t>(algorithm.param)];
}
INSTANTIATE_TEST_SUITE_P(Balancer, SlowStartUnder, ::testing::ValuesIn(testing::kAllAlgorithms), name_of);

TEST_P(SlowStartUnder, ABackendThatComesBackGetsItsShareByAndBy) {
  Fleet f = fleet({1, 1, 1, 1});
  EXPECT_NEAR(share_of_b(f, kNow), 0.25, 0.02);
  f.balancer->set_down(1, true, kNow);
  EXPECT_EQ(share_of_b(f, kNow), 0);
  f.balancer->set_down(1, false, kNow);
  // What it declines goes to the others and, by a second draw, a little to itself: s/(3+s), or s/4.
  for (const int second : {0, 10, 30, 60, 90}) {
    const double part = std::max(0.1, second / 100.0);
    const double share = share_of_b(f, kNow + seconds{second});
    EXPECT_GE(share, part / 4 - 0.02) << second;
    EXPECT_LE(share, part / (3 + part) + 0.02) << second;
  }
  EXPECT_NEAR(share_of_b(f, kNow + seconds{100}), 0.25, 0.02);
  EXPECT_EQ(f.balancer->share(1, kNow + seconds{50}), 0.5);
  EXPECT_EQ(f.balancer->share(0, kNow + seconds{50}), 1);
}

TEST_P(SlowStartUnder, AlsoAfterAnEjectionAndAfterFailuresToConnect) {
  Fleet f = fleet({1, 1, 1, 1});
  f.balancer->eject(1, kNow + seconds{7}, kNow);
  EXPECT_NEAR(share_of_b(f, kNow + seconds{7}), 0.03, 0.02);
  EXPECT_NEAR(share_of_b(f, kNow + seconds{107}), 0.25, 0.02);
  f.balancer->report_failure(1, kNow + seconds{200});
  f.balancer->report_success(1, kNow + seconds{202});
  EXPECT_NEAR(share_of_b(f, kNow + seconds{202}), 0.03, 0.02);
  EXPECT_NEAR(share_of_b(f, kNow + seconds{302}), 0.25, 0.02);
}

TEST_P(SlowStartUnder, AllAtOnceServeAsEver) {
  Fleet f = fleet({1, 1, 1, 1});
  for (std::uint32_t i = 0; i < 4; ++i) f.balancer->set_down(i, true, kNow);
  for (std::uint32_t i = 0; i < 4; ++i) f.balancer->set_down(i, false, kNow);
  EXPECT_NEAR(share_of_b(f, kNow), 0.25, 0.03);
}

TEST_P(SlowStartUnder, TheOnlyOneServesEverything) {
  Fleet f = fleet({0, 1});
  f.balancer->set_down(1, true, kNow);
  f.balancer->set_down(1, false, kNow);
  EXPECT_EQ(share_of_b(f, kNow), 1);
}

TEST_P(SlowStartUnder, HeldRequestsAreKeptSmallToo) {
  Fleet f = fleet({1, 1, 1, 1});
  f.balancer->set_down(1, true, kNow);
  f.balancer->set_down(1, false, kNow);
  for (int i = 0; i < 4000; ++i) ASSERT_EQ(f.pick(kNow + seconds{20}).result, PickResult::picked);
  EXPECT_NEAR(f.states[1].in_flight(), 0.2 / 3.2 * 4000, 60);
}

TEST_P(SlowStartUnder, ThreadsPickWhileBackendsComeAndGo) {
  Fleet f = fleet({2, 1, 3, 1});
  std::atomic<bool> stop = false;
  std::atomic<std::uint64_t> picked = 0;
  {
    std::vector<std::jthread> threads;
    for (std::uint64_t t = 0; t < 2; ++t) {
      threads.emplace_back([&, t] {
        Random random{t};
        while (!stop.load()) {
          const Pick pick = f.balancer->pick({.now = kNow, .client_hash = random(), .random = random()});
          if (pick.result != PickResult::picked) continue;
          picked.fetch_add(1);
          f.balancer->release(pick.backend);
        }
      });
    }
    Random random{9};
    for (int i = 0; i < 3000 || picked < 3000; ++i) {
      const std::uint32_t backend = random.below(4);
      f.balancer->set_down(backend, random.below(2) == 0, kNow - seconds{random.below(120)});
      static_cast<void>(f.balancer->share(backend, kNow));
    }
    stop = true;
  }
  for (const BackendState& state : f.states) EXPECT_EQ(state.in_flight(), 0U);
}

TEST(SlowStartOfKeys, TheyComeHomeOnceAndStay) {
  for (const BalanceAlgorithm algorithm : {BalanceAlgorithm::ip_hash, BalanceAlgorithm::consistent_hash}) {
    Fleet f{Fleet::FromTraits{}, algorithm, testing::with_weights({1, 1, 1}), {.slow_start = seconds{10}}};
    std::vector<std::uint32_t> homes;
    for (std::uint64_t key = 0; key < 3000; ++key) homes.push_back(f.pick_for(key).backend);
    f.balancer->set_down(1, true, kNow - seconds{1});
    std::vector<std::uint32_t> away;
    for (std::uint64_t key = 0; key < 3000; ++key) away.push_back(f.pick_for(key).backend);
    f.balancer->set_down(1, false, kNow);
    std::vector<bool> home(3000);
    for (int second = 0; second <= 10; ++second) {
      for (std::uint64_t key = 0; key < 3000; ++key) {
        const Pick pick =
            f.balancer->pick({.now = kNow + seconds{second}, .client_hash = key, .random = f.random()});
        const bool is_home = pick.backend == homes[key];
        ASSERT_TRUE(is_home || pick.backend == away[key] || algorithm == BalanceAlgorithm::consistent_hash);
        ASSERT_TRUE(is_home || !home[key]) << "key " << key << " left again at " << second;
        home[key] = is_home;
      }
    }
    EXPECT_EQ(std::ranges::count(home, true), 3000);
  }
}

}  // namespace
}  // namespace lb
