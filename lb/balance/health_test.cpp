// Backends that are down or ejected, and panic: for every algorithm, and the board by itself.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "lb/balance/testing.hpp"

namespace lb {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;
using testing::Fleet;
using testing::kNow;

class Health : public ::testing::TestWithParam<BalanceAlgorithm> {
 protected:
  static Fleet fleet(const std::vector<std::uint32_t>& weights, double panic_threshold = 0.25,
                     std::uint32_t max_connections = 0) {
    auto traits = testing::with_weights(weights);
    for (BackendTraits& backend : traits) backend.max_connections = max_connections;
    return Fleet{Fleet::FromTraits{}, GetParam(), std::move(traits), {.panic_threshold = panic_threshold}};
  }
  /// The backends picked in many picks at `now`, each released at once.
  static std::string seen(Fleet& f, Instant now = kNow, std::span<const std::uint32_t> tried = {}) {
    std::string letters(f.states.size(), '.');
    for (int i = 0; i < 500; ++i) {
      const Pick pick = f.pick(now, tried);
      if (pick.result != PickResult::picked) return pick.result == PickResult::busy ? "busy" : "none";
      letters[pick.backend] = static_cast<char>('a' + pick.backend);
      f.balancer->release(pick.backend);
    }
    return letters;
  }
};

INSTANTIATE_TEST_SUITE_P(Balancer, Health, ::testing::ValuesIn(testing::kAllAlgorithms),
                         testing::kAlgorithmName);

TEST_P(Health, ADownBackendIsNotPickedUntilItIsUp) {
  Fleet f = fleet({1, 1, 1});
  f.balancer->set_down(1, true, kNow);
  EXPECT_EQ(seen(f), "a.c");
  EXPECT_EQ(f.balancer->standing(1, kNow), Standing::down);
  f.balancer->set_down(1, false, kNow);
  EXPECT_EQ(seen(f), "abc");
  EXPECT_EQ(f.balancer->standing(1, kNow), Standing::up);
}

TEST_P(Health, AnEjectedBackendIsNotPickedUntilItsTimeEnds) {
  Fleet f = fleet({1, 1, 1});
  f.balancer->eject(2, kNow + seconds{5}, kNow);
  EXPECT_EQ(seen(f), "ab.");
  EXPECT_EQ(seen(f, kNow + seconds{5} - nanoseconds{1}), "ab.");
  EXPECT_EQ(f.balancer->standing(2, kNow + seconds{4}), Standing::ejected);
  EXPECT_EQ(seen(f, kNow + seconds{5}), "abc");
  EXPECT_EQ(f.balancer->standing(2, kNow + seconds{5}), Standing::up);
  f.balancer->eject(2, kNow + seconds{20}, kNow + seconds{10});
  EXPECT_EQ(seen(f, kNow + seconds{12}), "ab.");
  f.balancer->eject(2, kNow + seconds{12}, kNow + seconds{12});
  EXPECT_EQ(seen(f, kNow + seconds{12}), "abc") << "an ejection can be ended early";
}

TEST_P(Health, OnlyTheLastOfFourServesAlone) {
  Fleet f = fleet({1, 1, 1, 1});
  for (const std::uint32_t backend : {0U, 1U, 3U}) f.balancer->set_down(backend, true, kNow);
  EXPECT_EQ(seen(f), "..c.");
  const std::uint32_t tried[] = {2};
  EXPECT_EQ(seen(f, kNow, tried), "none") << "no request goes to a backend that is known to be down";
}

TEST_P(Health, WithNobodyLeftAllServe) {
  Fleet f = fleet({1, 1, 1});
  for (const std::uint32_t backend : {0U, 1U, 2U}) f.balancer->set_down(backend, true, kNow);
  EXPECT_TRUE(f.balancer->panic(kNow));
  EXPECT_EQ(seen(f), "abc");
  f.balancer->set_down(1, false, kNow);
  EXPECT_FALSE(f.balancer->panic(kNow));
  EXPECT_EQ(seen(f), ".b.");
}

TEST_P(Health, APanicThresholdOfZeroNeverPanics) {
  Fleet f = fleet({1, 1}, 0);
  f.balancer->set_down(0, true, kNow);
  f.balancer->eject(1, kNow + seconds{1}, kNow);
  EXPECT_EQ(seen(f), "none");
  EXPECT_EQ(seen(f, kNow + seconds{1}), ".b");
}

TEST_P(Health, PanicIsAboutWeightAtTheBoundary) {
  // Of ten a half is asked for.
  Fleet f = fleet({4, 1, 3, 2}, 0.5);
  f.balancer->set_down(0, true, kNow);  // 6 of 10
  EXPECT_FALSE(f.balancer->panic(kNow));
  f.balancer->eject(1, kNow + seconds{1}, kNow);  // 5 of 10
  EXPECT_FALSE(f.balancer->panic(kNow));
  EXPECT_EQ(seen(f), "..cd");
  f.balancer->eject(3, kNow + seconds{2}, kNow);  // 3 of 10
  EXPECT_TRUE(f.balancer->panic(kNow));
  EXPECT_EQ(seen(f), "abcd");
}

TEST_P(Health, PanicEndsByItselfWhenEnoughEjectionsHaveEnded) {
  Fleet f = fleet({1, 1, 1, 1, 1}, 0.5);  // three of them are needed
  f.balancer->eject(0, kNow + seconds{3}, kNow);
  f.balancer->eject(1, kNow + seconds{1}, kNow);
  f.balancer->eject(2, kNow + seconds{2}, kNow);
  f.balancer->eject(3, kNow + seconds{4}, kNow);
  EXPECT_EQ(seen(f, kNow + seconds{2} - nanoseconds{1}), "abcde");
  EXPECT_EQ(seen(f, kNow + seconds{2}), ".bc.e");
  EXPECT_EQ(seen(f, kNow + seconds{3}), "abc.e");
  EXPECT_FALSE(f.balancer->panic(kNow + seconds{3}));
}

TEST_P(Health, InPanicTimesAsideAndLimitsStillHold) {
  Fleet f = fleet({1, 1, 1}, 0.5, 1);
  for (const std::uint32_t backend : {0U, 1U}) f.balancer->set_down(backend, true, kNow);
  f.set_aside(0, seconds{1});
  EXPECT_EQ(seen(f), ".bc");
  EXPECT_EQ(f.pick().result, PickResult::picked);
  EXPECT_EQ(f.pick().result, PickResult::picked);
  EXPECT_EQ(f.pick().result, PickResult::busy);
}

TEST_P(Health, AllAsideMeansTheFirstToReturnOfThoseThatAreNotOut) {
  Fleet f = fleet({1, 1, 1});
  f.set_aside(0, seconds{1});
  f.set_aside(1, seconds{3});
  f.set_aside(2, seconds{2});
  f.balancer->set_down(0, true, kNow);
  EXPECT_EQ(f.letters(3), "ccc");
  EXPECT_EQ(f.balancer->standing(0, kNow), Standing::down) << "the gravest counts";
  EXPECT_EQ(f.balancer->standing(1, kNow), Standing::aside);
}

TEST_P(Health, AFullHealthyBackendMeansBusyNotARequestToOneThatIsDown) {
  Fleet f = fleet({1, 1}, 0.25, 1);
  f.balancer->set_down(1, true, kNow);
  EXPECT_EQ(f.pick().backend, 0U);
  EXPECT_EQ(f.pick().result, PickResult::busy);
}

TEST_P(Health, SuccessOfAConnectionChangesNeitherDownNorEjected) {
  Fleet f = fleet({1, 1, 1, 1});
  f.balancer->report_failure(0, kNow);
  f.balancer->set_down(0, true, kNow);
  f.balancer->eject(1, kNow + seconds{9}, kNow);
  f.balancer->report_success(0, kNow);
  f.balancer->report_success(1, kNow);
  EXPECT_EQ(seen(f), "..cd");
}

TEST_P(Health, ChangesWhileThreadsPickAreSeenAndNothingIsLost) {
  constexpr int kThreads = 3;
  Fleet f = fleet({3, 1, 2, 5, 1, 1, 1, 1}, 0.5);
  std::atomic<bool> stop = false;
  std::atomic<std::uint64_t> failed = 0;
  {
    std::vector<std::jthread> threads;
    for (std::uint64_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        Random random{t};
        while (!stop.load()) {
          const Pick pick = f.balancer->pick({.now = kNow, .client_hash = random(), .random = random()});
          if (pick.result != PickResult::picked) {
            failed.fetch_add(1);
          } else {
            f.balancer->release(pick.backend);
          }
        }
      });
    }
    Random random{77};
    for (int i = 0; i < 5000; ++i) {
      const std::uint32_t backend = random.below(8);
      if (random.below(2) == 0) {
        f.balancer->set_down(backend, random.below(2) == 0, kNow);
      } else {
        f.balancer->eject(backend, kNow + milliseconds{random.below(2)}, kNow);
      }
    }
    stop = true;
  }
  // Between a change and what it means for panic a picker may see everyone out; that is one pick in very
  // many.
  EXPECT_LE(failed, 200U);
  for (std::uint32_t i = 0; i < 8; ++i) {
    EXPECT_EQ(f.states[i].in_flight(), 0U);
    f.balancer->set_down(i, false, kNow);
    f.balancer->eject(i, kNow, kNow);
  }
  const Availability all = f.balancer->availability(kNow);
  EXPECT_EQ(all.available_weight, all.weight);
  EXPECT_EQ(all.down, 0U);
  EXPECT_EQ(all.ejected, 0U);
  EXPECT_FALSE(all.panic);
}

TEST(HealthBoard, CountsWhoIsOut) {
  Fleet f{BalanceAlgorithm::random, {3, 0, 2, 5}};
  f.balancer->set_down(0, true, kNow);
  f.balancer->set_down(0, true, kNow);
  f.balancer->set_down(1, true, kNow);
  f.balancer->eject(0, kNow + seconds{1}, kNow);
  f.balancer->eject(2, kNow + seconds{2}, kNow);
  f.balancer->eject(2, kNow + seconds{3}, kNow);
  Availability found = f.balancer->availability(kNow);
  EXPECT_EQ(found.weight, 10U);
  EXPECT_EQ(found.available_weight, 5U);
  EXPECT_EQ(found.down, 2U);
  EXPECT_EQ(found.ejected, 2U);
  found = f.balancer->availability(kNow + seconds{3});
  EXPECT_EQ(found.available_weight, 7U);
  EXPECT_EQ(found.ejected, 0U);
}

TEST(HealthBoard, OnlyDownBackendsMakeAPanicThatTimeDoesNotEnd) {
  Fleet f{BalanceAlgorithm::random, {1, 1, 1}};
  for (const std::uint32_t backend : {0U, 1U, 2U}) f.balancer->set_down(backend, true, kNow);
  f.balancer->eject(0, kNow + seconds{1}, kNow);
  EXPECT_TRUE(f.balancer->panic(kNow + std::chrono::years{50}));
}

TEST(HealthBoard, ComingBackIsNoted) {
  Fleet f{BalanceAlgorithm::random, {1, 1}};
  f.balancer->set_down(0, false, kNow);
  EXPECT_EQ(f.states[0].up_since_ns, 0) << "it was never away";
  f.balancer->set_down(0, true, kNow);
  f.balancer->set_down(0, false, kNow + seconds{2});
  EXPECT_EQ(f.states[0].up_since_ns, (kNow + seconds{2}).time_since_epoch().count());
}

TEST(HealthBoardDeath, ABackendThatDoesNotExistIsRefused) {
  Fleet f{BalanceAlgorithm::random, {1, 1}};
  EXPECT_DEATH(f.balancer->set_down(2, true, kNow), "assertion failed");
}

}  // namespace
}  // namespace lb
