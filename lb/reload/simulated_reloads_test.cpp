// Runs of the simulator: many seeds with the machine as it is, and each sabotage, which must be noticed.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#include "lb/reload/simulator.hpp"

namespace lb::simulator {
namespace {

std::uint64_t seeds() {
  const char* text = std::getenv("LB_SIM_SEEDS");
  const std::uint64_t n = text ? std::strtoull(text, nullptr, 10) : 0;
  return n > 0 ? n : 10'000;
}

TEST(ReloadSimulator, InvariantsHoldForManySeeds) {
  Report total;
  const char* first = std::getenv("LB_SIM_SEED");  // replays one run
  const std::uint64_t begin = first ? std::strtoull(first, nullptr, 10) : 1;
  const std::uint64_t end = first ? begin + 1 : begin + seeds();
  for (std::uint64_t seed = begin; seed < end; ++seed) {
    const Report report = run(seed);
    ASSERT_EQ(report.violation, "") << "seed " << seed << " (replay: LB_SIM_SEED=" << seed << ")\n"
                                    << report.story;
    total.steps += report.steps;
    total.reloads_applied += report.reloads_applied;
    total.reloads_rejected += report.reloads_rejected;
    total.restarts += report.restarts;
    total.callers += report.callers;
  }
  std::printf(
      "simulated %llu seeds: %llu steps, %llu reloads applied, %llu rejected, %llu restarts, %llu callers\n",
      static_cast<unsigned long long>(end - begin), static_cast<unsigned long long>(total.steps),
      static_cast<unsigned long long>(total.reloads_applied),
      static_cast<unsigned long long>(total.reloads_rejected),
      static_cast<unsigned long long>(total.restarts), static_cast<unsigned long long>(total.callers));
  if (!first) {  // the worlds are not all dull
    EXPECT_GT(total.reloads_applied, end - begin);
    EXPECT_GT(total.reloads_rejected, (end - begin) / 4);
    EXPECT_GT(total.restarts, (end - begin) / 10);
  }
}

TEST(ReloadSimulator, OneSeedIsOneStory) {
  for (std::uint64_t seed = 1; seed < 20; ++seed) EXPECT_EQ(run(seed).story, run(seed).story);
}

/// Positive controls: a detector that cannot fail proves nothing.
class ReloadSimulatorControl : public testing::TestWithParam<std::pair<Sabotage, const char*>> {};

TEST_P(ReloadSimulatorControl, IsCaught) {
  const auto& [sabotage, expected] = GetParam();
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    if (run(seed, sabotage).violation.find(expected) != std::string::npos) return;
  }
  FAIL() << "300 seeds did not notice: " << expected;
}

INSTANTIATE_TEST_SUITE_P(All, ReloadSimulatorControl,
                         testing::Values(std::pair{Sabotage::lose_answer, "without an answer"},
                                         std::pair{Sabotage::answer_twice, "answered twice"},
                                         std::pair{Sabotage::lose_kill, "was killed and still lives"},
                                         std::pair{Sabotage::lose_restart, "nobody restarts it"},
                                         std::pair{Sabotage::release_too_early, "not held"},
                                         std::pair{Sabotage::refuse_rollback, "nobody undoes it"}));

}  // namespace
}  // namespace lb::simulator
