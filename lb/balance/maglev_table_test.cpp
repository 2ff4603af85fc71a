#include "lb/balance/maglev_table.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "lb/balance/load_bound.hpp"
#include "lb/balance/testing.hpp"
#include "lb/base/sanitized.hpp"

namespace lb {
namespace {

using testing::Fleet;
using testing::kNow;

std::vector<MaglevTable::Contender> contenders(const std::vector<std::uint32_t>& weights) {
  std::vector<MaglevTable::Contender> result;
  for (std::uint32_t i = 0; i < weights.size(); ++i) result.push_back({mix64(i), weights[i], i});
  std::ranges::sort(result, {}, &MaglevTable::Contender::key);
  return result;
}

std::vector<double> shares(const MaglevTable& table, std::size_t backends) {
  std::vector<double> result(backends);
  for (const std::uint32_t backend : table.slots()) result[backend] += 1.0 / table.size();
  return result;
}

bool is_prime(std::uint32_t n) {
  for (std::uint32_t d = 2; d * d <= n; ++d) {
    if (n % d == 0) return false;
  }
  return n > 1;
}

TEST(MaglevTable, ItsSizeIsPrimeAndAHundredSlotsABackendUpToAMaximum) {
  for (const std::size_t backends : {1UL, 655UL, 656UL, 1311UL, 1312UL, 5243UL, 10'486UL, 20'971UL}) {
    const std::uint32_t size = MaglevTable::size_for(backends);
    EXPECT_TRUE(is_prime(size)) << size;
    EXPECT_GE(size, 100 * backends);
  }
  EXPECT_EQ(MaglevTable::size_for(1), 65'537U);
  EXPECT_EQ(MaglevTable::size_for(655), 65'537U);
  EXPECT_EQ(MaglevTable::size_for(656), 131'101U);
  EXPECT_EQ(MaglevTable::size_for(20'972), 2'097'169U);
  EXPECT_EQ(MaglevTable::size_for(100'000), 2'097'169U);
  EXPECT_TRUE(is_prime(MaglevTable::size_for(100'000)));
}

TEST(MaglevTable, OfNobodyIsEmpty) {
  EXPECT_TRUE(MaglevTable{{}}.empty());
}

TEST(MaglevTable, OfOneIsItsOwn) {
  const MaglevTable table{contenders({7})};
  EXPECT_TRUE(std::ranges::all_of(table.slots(), [](std::uint32_t backend) { return backend == 0; }));
}

TEST(MaglevTable, EqualsHaveTheSameToOneSlot) {
  for (const std::size_t count : {2UL, 3UL, 10UL, 655UL, 2000UL}) {
    const MaglevTable table{contenders(std::vector<std::uint32_t>(count, 3))};
    std::vector<std::uint32_t> slots(count);
    for (const std::uint32_t backend : table.slots()) ++slots[backend];
    const auto [least, most] = std::ranges::minmax(slots);
    EXPECT_LE(most - least, 1U) << count;
  }
}

TEST(MaglevTable, SharesFollowTheWeights) {
  const std::vector<std::uint32_t> weights = {1, 2, 3, 10, 100, 10'000};
  const MaglevTable table{contenders(weights)};
  const auto found = shares(table, weights.size());
  for (std::size_t i = 0; i < weights.size(); ++i) {
    EXPECT_NEAR(found[i], weights[i] / 10'116.0, 0.0002) << weights[i];
  }
}

TEST(MaglevTable, TheMostBackendsOfVeryDifferentWeightsAllHaveASlot) {
  if (kSanitized) GTEST_SKIP() << "slow with a sanitizer; the plain build covers it";
  std::vector<std::uint32_t> weights(kBackendsMax, 1);
  weights[17] = 10'000;
  const MaglevTable table{contenders(weights)};
  const auto found = shares(table, weights.size());
  EXPECT_GT(std::ranges::min(found), 0);
  EXPECT_NEAR(found[17], 10'000 / 109'999.0, 0.006);
}

TEST(MaglevTable, StaysTheSameInAllVersions) {
  // Two generations of different builds serve the same keys during a reload: what is pinned here may change
  // only with a good reason, and then every key may move.
  Fleet f{BalanceAlgorithm::consistent_hash, {1, 2, 1, 1, 3, 1, 1, 1}};
  std::string letters;
  for (std::uint64_t key = 0; key < 16; ++key) letters += static_cast<char>('a' + f.pick_for(key).backend);
  EXPECT_EQ(letters, "bdghbebfhhhahcfg");
}

TEST(MaglevTable, EqualIdentitiesAllServe) {
  auto traits = testing::with_weights({1, 1, 1, 1});
  traits[2].identity = traits[0].identity;
  traits[3].identity = traits[0].identity;
  Fleet f{Fleet::FromTraits{}, BalanceAlgorithm::consistent_hash, traits};
  for (const std::uint64_t count : f.counts(10'000)) EXPECT_NEAR(static_cast<double>(count), 2500, 250);
}

Fleet bounded(const std::vector<std::uint32_t>& weights, double factor) {
  return Fleet{Fleet::FromTraits{},
               BalanceAlgorithm::consistent_hash,
               testing::with_weights(weights),
               {.balance_factor = factor}};
}

TEST(LoadBound, OneHotKeySpillsOverInsteadOfFloodingItsHome) {
  Fleet f = bounded({1, 1, 1, 1}, 1.25);
  for (int i = 0; i < 400; ++i) ASSERT_EQ(f.pick_for(42).result, PickResult::picked);
  for (const BackendState& state : f.states) EXPECT_LE(state.in_flight(), 126U) << "a fair share is 100";
  Fleet unbounded{BalanceAlgorithm::consistent_hash, {1, 1, 1, 1}};
  for (int i = 0; i < 400; ++i) ASSERT_EQ(unbounded.pick_for(42).result, PickResult::picked);
  EXPECT_TRUE(std::ranges::any_of(unbounded.states, [](const auto& s) { return s.in_flight() == 400; }));
}

TEST(LoadBound, IsByWeight) {
  Fleet f = bounded({1, 3}, 1.1);
  for (std::uint64_t i = 0; i < 400; ++i) ASSERT_EQ(f.pick_for(i % 2).result, PickResult::picked);
  EXPECT_LE(f.states[0].in_flight(), 111U);
  EXPECT_LE(f.states[1].in_flight(), 331U);
}

TEST(LoadBound, AKeyIsAtHomeWhileThereIsRoomAndAgainWhenThereIs) {
  Fleet f = bounded({1, 1, 1, 1}, 2);
  const std::uint32_t home = f.pick_for(42).backend;
  f.balancer->release(home);
  for (std::uint64_t key = 0; key < 100; ++key) static_cast<void>(f.pick_for(mix64(key)));
  EXPECT_EQ(f.pick_for(42).backend, home);
  std::vector<std::uint32_t> held;
  for (int i = 0; i < 100; ++i) held.push_back(f.pick_for(42).backend);
  EXPECT_NE(std::ranges::count(held, home), 100) << "no room for all of them";
  for (const std::uint32_t backend : held) f.balancer->release(backend);
  EXPECT_EQ(f.pick_for(42).backend, home);
}

TEST(LoadBound, NeverTurnsAnybodyAway) {
  Fleet f = bounded({1, 1, 1}, 1.01);
  f.balancer->set_down(0, true, kNow);
  f.balancer->set_down(1, true, kNow);
  for (int i = 0; i < 100; ++i) ASSERT_EQ(f.pick_for(42).backend, 2U) << "the only one left takes all";
}

}  // namespace
}  // namespace lb
