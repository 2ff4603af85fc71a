#include "lb/balance/slot_owners.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <thread>
#include <vector>

#include "lb/base/random.hpp"
#include "lb/base/sanitized.hpp"

namespace lb {
namespace {

using Contender = SlotOwners::Contender;

std::vector<Contender> contenders(std::uint64_t count, std::uint32_t weight_max = 1) {
  std::vector<Contender> all;
  for (std::uint64_t i = 0; i < count; ++i) {
    all.push_back({mix64(i), static_cast<std::uint32_t>(1 + i % weight_max)});
  }
  std::ranges::sort(all, {}, &Contender::key);
  return all;
}

enum class Way : std::uint8_t { compared, all_at_once };

/// The key of each slot's owner.
std::vector<std::uint64_t> owners(const std::vector<Contender>& all, Way way, unsigned slot_bits = 12) {
  const SlotOwners slots{all, way == Way::compared ? ~std::size_t{0} : 0, slot_bits};
  std::vector<std::uint64_t> keys;
  for (std::uint32_t slot = 0; slot < 1U << slot_bits; ++slot) keys.push_back(all[slots.owner(slot)].key);
  return keys;
}

TEST(SlotOwners, BothWaysOfDecidingAgree) {
  // This is what lets a configuration grow past kComparedMax without moving anybody.
  for (const std::uint64_t count : {1U, 2U, 3U, 10U, 300U, kSanitized ? 500U : 3000U}) {
    for (const std::uint32_t weight_max : {1U, 2U, 100U}) {
      const auto all = contenders(count, weight_max);
      ASSERT_EQ(owners(all, Way::compared), owners(all, Way::all_at_once))
          << count << " up to " << weight_max;
    }
  }
  // Few slots, many times: who reaches the last of them is decided in most turns.
  Random random{6};
  for (int round = 0; round < 3000; ++round) {
    std::vector<Contender> all(1 + random.below(12));
    for (Contender& contender : all) contender = {random(), 1 + random.below(5)};
    std::ranges::sort(all, {}, &Contender::key);
    ASSERT_EQ(owners(all, Way::compared, 4), owners(all, Way::all_at_once, 4)) << "round " << round;
  }
}

TEST(SlotOwners, AContenderThatLeavesGivesUpItsOwnSlotsAndNoOther) {
  for (const std::uint64_t count : {2U, 3U, 50U, 1000U, 20'000U}) {
    auto all = contenders(count, 7);
    const auto before = owners(all, Way::all_at_once);
    const std::uint64_t leaving = before[0];
    std::erase_if(all, [&](const Contender& contender) { return contender.key == leaving; });
    const auto after = owners(all, Way::all_at_once);
    for (std::size_t slot = 0; slot < before.size(); ++slot) {
      if (before[slot] == leaving) {
        ASSERT_NE(after[slot], leaving);
      } else {
        ASSERT_EQ(after[slot], before[slot]) << "slot " << slot << " of " << count << " contenders";
      }
    }
  }
}

TEST(SlotOwners, AGrowingWeightOnlyGains) {
  auto all = contenders(300, 3);
  const auto before = owners(all, Way::all_at_once);
  all[5].weight = 40;
  const auto after = owners(all, Way::all_at_once);
  int gained = 0;
  for (std::size_t slot = 0; slot < before.size(); ++slot) {
    if (after[slot] == before[slot]) continue;
    ASSERT_EQ(after[slot], all[5].key);
    ++gained;
  }
  EXPECT_NEAR(gained, 4096.0 * 40 / 640, 60);
}

TEST(SlotOwners, SharesFollowTheWeights) {
  for (std::uint64_t trial = 0; trial < 20; ++trial) {
    std::vector<Contender> all;
    for (const std::uint32_t weight : {1U, 2U, 3U, 10U}) all.push_back({mix64(trial * 100 + weight), weight});
    std::ranges::sort(all, {}, &Contender::key);
    const SlotOwners slots{all, 0, 16};
    for (std::uint32_t i = 0; i < all.size(); ++i) {
      int count = 0;
      for (std::uint32_t slot = 0; slot < 1U << 16U; ++slot) count += slots.owner(slot) == i ? 1 : 0;
      const double share = all[i].weight / 16.0;
      EXPECT_NEAR(count, 65'536 * share, 4.5 * std::sqrt(65'536 * share * (1 - share))) << trial;
    }
  }
}

TEST(SlotOwners, SharesOfManySpreadLikeChanceOrBetter) {
  // About 105 slots each: by chance a standard deviation of 10 %.
  const auto all = contenders(625);
  const SlotOwners slots{all, 0, 16};
  std::vector<int> counts(all.size());
  for (std::uint32_t slot = 0; slot < 1U << 16U; ++slot) ++counts[slots.owner(slot)];
  const double mean = 65'536.0 / 625;
  double variance = 0;
  for (const int count : counts) variance += (count - mean) * (count - mean) / 625;
  EXPECT_LT(std::sqrt(variance) / mean, 0.11);
  EXPECT_GT(*std::ranges::min_element(counts), 60);
}

TEST(SlotOwners, SecondChoicesSpreadByWeightToo) {
  auto all = contenders(5);
  all[4].weight = 4;
  const SlotOwners slots{all, ~std::size_t{0}, 16};
  std::vector<double> heirs(5);
  double lost = 0;
  for (std::uint32_t slot = 0; slot < 1U << 16U; ++slot) {
    if (slots.owner(slot) != 0) continue;
    ++lost;
    ++heirs[slots.first_among(slot, [](std::uint32_t i) { return i != 0; })];
  }
  EXPECT_EQ(heirs[0], 0);
  for (const std::size_t i : {1UL, 2UL, 3UL}) EXPECT_NEAR(heirs[i] / lost, 1 / 7.0, 0.02);
  EXPECT_NEAR(heirs[4] / lost, 4 / 7.0, 0.03);
  EXPECT_EQ(slots.first_among(9, [](std::uint32_t) { return false; }), SlotOwners::kNobody);
}

TEST(SlotOwners, ExtremeWeights) {
  const std::vector<Contender> one{{5, ~0U}};
  const std::vector<Contender> giant{{5, 1}, {6, ~0U}};
  for (const Way way : {Way::compared, Way::all_at_once}) {
    EXPECT_EQ(owners(one, way), std::vector<std::uint64_t>(4096, 5));
    EXPECT_GE(std::ranges::count(owners(giant, way), 6U), 4095);
  }
}

TEST(SlotOwners, FourThreadsAskingForTheFirstTimeAgree) {
  const auto all = contenders(100, 3);
  const auto expected = owners(all, Way::all_at_once);
  const SlotOwners slots{all, ~std::size_t{0}, 12};
  std::atomic<int> wrong = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (std::uint32_t slot = 0; slot < 4096; ++slot)
          wrong += all[slots.owner(slot)].key != expected[slot] ? 1 : 0;
      });
    }
  }
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace lb
