// Runs of the simulator: many seeds with everything as it is, and each sabotage, which must be noticed.
#include "lb/supervisor/testing/simulator.hpp"

#include <gtest/gtest.h>

#include <cstdio>

#include "lb/base/sanitized.hpp"
#include "lb/supervisor/testing/handoff_simulator.hpp"

namespace lb::simulator {
namespace {

constexpr std::uint64_t kSeeds = kSanitized ? 300 : 3000;  // `make sim SEEDS=n` runs more

TEST(Simulator, InvariantsHoldForManySeeds) {
  Report total;
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    const Report report = run({.seed = seed});
    ASSERT_EQ(report.violation, "") << "seed " << seed << "\n" << shrink({.seed = seed}).story;
    total.count(report);
  }
  // The worlds are not all dull.
  EXPECT_GT(total.reloads_applied, kSeeds);
  EXPECT_GT(total.reloads_rejected, kSeeds / 4);
  EXPECT_GT(total.restarts, kSeeds / 10);
  EXPECT_GT(total.resumed, kSeeds / 10);
  EXPECT_GT(total.undone, kSeeds / 20);
  EXPECT_GT(total.supervisors, kSeeds + kSeeds / 20);
}

TEST(Simulator, OneSeedIsOneStory) {
  for (std::uint64_t seed = 1; seed < 20; ++seed) {
    EXPECT_EQ(run({.seed = seed, .story = true}).story, run({.seed = seed, .story = true}).story);
  }
}

/// Positive controls: a detector that cannot fail proves nothing. The number of seeds within which each is
/// found is the one that lb/README.md states.
struct Control {
  Sabotage sabotage;
  const char* expected;
  std::uint64_t seeds_max;
};
class SimulatorControl : public testing::TestWithParam<Control> {};

TEST_P(SimulatorControl, IsCaught) {
  const auto& [sabotage, expected, seeds_max] = GetParam();
  std::string others;
  for (std::uint64_t seed = 1; seed <= seeds_max; ++seed) {
    const std::string violation = run({.seed = seed, .sabotage = sabotage}).violation;
    if (violation.find(expected) != std::string::npos) {
      std::printf("%s: found by seed %llu\n", sabotage_name(sabotage), static_cast<unsigned long long>(seed));
      return;
    }
    if (!violation.empty() && others.size() < 1000)
      others += "seed " + std::to_string(seed) + ": " + violation + "\n";
  }
  FAIL() << seeds_max << " seeds did not notice: " << expected << "; instead:\n" << others;
}

INSTANTIATE_TEST_SUITE_P(
    All, SimulatorControl,
    testing::Values(Control{Sabotage::lose_answer, "was never answered", 300},
                    Control{Sabotage::answer_twice, "answered twice", 300},
                    Control{Sabotage::lose_kill, "was killed and still lives", 300},
                    Control{Sabotage::lose_restart, "nobody restarts it", 300},
                    Control{Sabotage::release_too_early, "is not held", 300},
                    Control{Sabotage::refuse_rollback, "nobody undoes it", 300},
                    Control{Sabotage::missing_acknowledge, "counts as parked and is not", 300},
                    Control{Sabotage::early_ready, "does not accept", 300},
                    Control{Sabotage::close_parked_sockets, "parked generation is not held", 300},
                    Control{Sabotage::park_drains, "counts as parked and is not", 300},
                    Control{Sabotage::release_needed, "let go while it is needed", 300},
                    Control{Sabotage::keep_parked, "parked for nothing", 600},
                    Control{Sabotage::resume_deaf, "does not accept", 300},
                    Control{Sabotage::resume_old_shards, "nobody polls one of the sockets", 300},
                    Control{Sabotage::resume_lost_backends, "backends of another configuration", 300},
                    Control{Sabotage::resume_unanswered, "does not know it", 300},
                    Control{Sabotage::ignore_probe, "one of its listeners does not accept", 300}),
    [](const auto& control) { return std::string{sabotage_name(control.param.sabotage)}; });

TEST(Simulator, AFailingSeedIsMadeShort) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    const Options options{.seed = seed, .sabotage = Sabotage::resume_deaf};
    const Report whole = run(options);
    if (whole.violation.empty() || whole.oddities.size() < 30) continue;
    const Report shortest = shrink(options);
    EXPECT_LT(shortest.oddities.size(), whole.oddities.size()) << shortest.story;
    EXPECT_FALSE(shortest.violation.empty());
    return;
  }
  FAIL() << "no seed failed";
}

TEST(HandoffSimulator, NothingIsOwnedByTwoOrByNone) {
  std::uint64_t moved = 0;
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    const HandoffReport report = run_handoff(seed);
    ASSERT_EQ(report.violation, "") << "seed " << seed << "\n"
                                    << run_handoff(seed, HandoffSabotage::none, true).story;
    moved += report.moved;
  }
  EXPECT_GT(moved, kSeeds);
}

TEST(HandoffSimulator, EachSabotageIsCaught) {
  for (int i = 1; i < kHandoffSabotages; ++i) {
    const auto sabotage = static_cast<HandoffSabotage>(i);
    std::uint64_t seed = 1;
    while (seed <= 300 && run_handoff(seed, sabotage).violation.empty()) ++seed;
    EXPECT_LE(seed, 300U) << handoff_sabotage_name(sabotage);
    std::printf("%s: found by seed %llu\n", handoff_sabotage_name(sabotage),
                static_cast<unsigned long long>(seed));
  }
}

}  // namespace
}  // namespace lb::simulator
