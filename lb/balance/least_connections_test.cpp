#include <gtest/gtest.h>

#include <algorithm>

#include "lb/balance/testing.hpp"

namespace lb {
namespace {

using testing::Fleet;
using testing::kNow;

TEST(LeastConnections, TakesTheLeastLoaded) {
  Fleet f{BalanceAlgorithm::least_connections, {1, 1, 1}};
  f.states[0].lanes[0] = 3;
  f.states[1].lanes[0] = 2;
  f.states[2].lanes[0] = 4;
  EXPECT_EQ(f.letters(4), "bbbb");
}

TEST(LeastConnections, ComparesLoadByWeight) {
  Fleet f{BalanceAlgorithm::least_connections, {4, 1}};
  f.states[0].lanes[0] = 7;
  f.states[1].lanes[0] = 2;
  EXPECT_EQ(f.letters(3), "aaa");  // 7/4 < 2/1
  f.states[0].lanes[0] = 9;
  EXPECT_EQ(f.letters(3), "bbb");
}

TEST(LeastConnections, ExtremeLoadsDoNotOverflow) {
  Fleet f{BalanceAlgorithm::least_connections, {kWeightMax, kWeightMax - 1}};
  f.states[0].lanes[0] = ~0U - 2;
  f.states[1].lanes[0] = ~0U - 2;
  EXPECT_EQ(f.letters(2), "aa");
}

TEST(LeastConnections, TiesRotate) {
  Fleet f{BalanceAlgorithm::least_connections, {1, 1, 1}};
  EXPECT_EQ(f.letters(7), "abcabca");
}

TEST(LeastConnections, HeldRequestsSpreadByWeight) {
  Fleet f{BalanceAlgorithm::least_connections, {3, 1, 2}};
  for (int i = 0; i < 600; ++i) ASSERT_EQ(f.pick().result, PickResult::picked);
  EXPECT_NEAR(f.states[0].in_flight(), 300, 2);
  EXPECT_NEAR(f.states[1].in_flight(), 100, 2);
  EXPECT_NEAR(f.states[2].in_flight(), 200, 2);
}

TEST(LeastConnections, ManyBackendsAreSampledAndStayBalanced) {
  for (const std::size_t count : {256UL, 257UL, 5000UL}) {
    Fleet f{BalanceAlgorithm::least_connections, std::vector<std::uint32_t>(count, 1)};
    for (std::size_t i = 0; i < 10 * count; ++i) ASSERT_EQ(f.pick().result, PickResult::picked);
    std::uint32_t most = 0;
    for (const BackendState& state : f.states) most = std::max(most, state.in_flight());
    EXPECT_LE(most, 13U) << count << " backends with 10 each on average";
  }
}

TEST(LeastConnections, SamplesAreFreshInEveryRound) {
  // One backend in ten can serve. Were the draws of a pick few, the pass over all would often decide, and it
  // goes by weight alone.
  Fleet f{BalanceAlgorithm::least_connections, std::vector<std::uint32_t>(2000, 1)};
  for (std::uint32_t i = 0; i < 2000; ++i) {
    if (i % 10 != 3) f.set_aside(i, std::chrono::hours{1});
  }
  for (int i = 0; i < 2000; ++i) ASSERT_EQ(f.pick().backend % 10, 3U);
  std::uint32_t most = 0;
  for (const BackendState& state : f.states) most = std::max(most, state.in_flight());
  EXPECT_LE(most, 18U) << "10 on average, at random 20";
}

TEST(LeastConnections, SamplingRespectsWeights) {
  std::vector<std::uint32_t> weights(1000, 1);
  for (std::size_t i = 0; i < 100; ++i) weights[i] = 10;  // 1,900 in all
  Fleet f{BalanceAlgorithm::least_connections, weights};
  for (int i = 0; i < 19'000; ++i) ASSERT_EQ(f.pick().result, PickResult::picked);
  std::uint32_t heavy = 0;
  for (std::size_t i = 0; i < 100; ++i) heavy += f.states[i].in_flight();
  EXPECT_NEAR(heavy / 100.0, 100, 5);
}

}  // namespace
}  // namespace lb
