#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numeric>

#include "lb/balance/slot_race.hpp"
#include "lb/balance/testing.hpp"

namespace lb {
namespace {

using std::chrono::seconds;
using testing::Fleet;

constexpr std::uint64_t kClients = 20'000;

std::vector<BackendTraits> named(std::size_t count, std::uint64_t first = 0) {
  std::vector<BackendTraits> traits;
  for (std::uint64_t i = 0; i < count; ++i) traits.push_back({.identity = mix64(first + i)});
  return traits;
}

/// For each client the identity of its backend.
std::vector<std::uint64_t> assignment(const std::vector<BackendTraits>& traits,
                                      std::uint64_t clients = kClients) {
  Fleet f{Fleet::FromTraits{}, BalanceAlgorithm::ip_hash, traits};
  std::vector<std::uint64_t> result;
  for (std::uint64_t client = 0; client < clients; ++client) {
    const Pick pick = f.pick_for(client);
    result.push_back(pick.result == PickResult::picked ? traits[pick.backend].identity : 0);
  }
  return result;
}

/// Both forms: scored, and above 1024 backends slots.
class IpHash : public ::testing::TestWithParam<std::size_t> {};
INSTANTIATE_TEST_SUITE_P(Sizes, IpHash, ::testing::Values(2, 10, 1000, 3000),
                         ::testing::PrintToStringParamName());

TEST_P(IpHash, TheOrderOfTheListDoesNotMatter) {
  auto traits = named(GetParam());
  for (std::size_t i = 0; i < traits.size(); ++i) traits[i].weight = static_cast<std::uint32_t>(1 + i % 3);
  const auto before = assignment(traits);
  Random random{3};
  std::ranges::shuffle(traits, random);
  EXPECT_EQ(assignment(traits), before);
}

TEST_P(IpHash, ALeavingBackendMovesOnlyItsOwnClients) {
  for (const bool weighted : {false, true}) {
    auto traits = named(GetParam());
    if (weighted) {
      for (std::size_t i = 0; i < traits.size(); ++i)
        traits[i].weight = static_cast<std::uint32_t>(1 + i % 5);
    }
    const auto before = assignment(traits);
    const std::uint64_t leaving = traits[1].identity;
    traits.erase(traits.begin() + 1);
    const auto after = assignment(traits);
    for (std::size_t i = 0; i < before.size(); ++i) {
      if (before[i] != leaving) {
        ASSERT_EQ(after[i], before[i]) << "client " << i;
      } else {
        ASSERT_NE(after[i], leaving);
      }
    }
  }
}

TEST_P(IpHash, AGrowingWeightOnlyGainsClients) {
  auto traits = named(GetParam());
  const auto before = assignment(traits);
  traits[0].weight = 4;
  const auto after = assignment(traits);
  std::size_t gained = 0;
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (after[i] == before[i]) continue;
    ASSERT_EQ(after[i], traits[0].identity) << "client " << i;
    ++gained;
  }
  EXPECT_GT(gained, 0U);
}

TEST_P(IpHash, ClientsOfABackendAsideSpreadOverTheOthersAndComeBack) {
  Fleet f{Fleet::FromTraits{}, BalanceAlgorithm::ip_hash, named(GetParam())};
  std::vector<std::uint32_t> before;
  for (std::uint64_t client = 0; client < kClients; ++client) before.push_back(f.pick_for(client).backend);
  f.set_aside(0, seconds{1});
  std::map<std::uint32_t, int> heirs;
  for (std::uint64_t client = 0; client < kClients; ++client) {
    const std::uint32_t now = f.pick_for(client).backend;
    if (before[client] == 0) {
      ++heirs[now];
      ASSERT_EQ(f.pick_for(client).backend, now) << "the second choice is as steady as the first";
    } else {
      ASSERT_EQ(now, before[client]);
    }
  }
  EXPECT_FALSE(heirs.contains(0));
  if (GetParam() == 10) {
    EXPECT_EQ(heirs.size(), 9U);
  }
  f.set_aside(0, seconds{-1});
  for (std::uint64_t client = 0; client < kClients; ++client)
    ASSERT_EQ(f.pick_for(client).backend, before[client]);
}

TEST(IpHashShares, FollowTheWeights) {
  for (const std::size_t repeats : {1UL, 400UL}) {  // 4 backends, scored; 1,600, slots
    std::vector<BackendTraits> traits = named(4 * repeats);
    for (std::size_t i = 0; i < traits.size(); ++i) traits[i].weight = std::array{1U, 2U, 3U, 10U}[i % 4];
    Fleet f{Fleet::FromTraits{}, BalanceAlgorithm::ip_hash, traits};
    constexpr std::uint64_t kMany = 400'000;
    std::vector<double> shares(4);
    for (std::uint64_t client = 0; client < kMany; ++client) {
      shares[f.pick_for(client).backend % 4] += 16.0 / kMany;
    }
    EXPECT_NEAR(shares[0], 1, 0.03);
    EXPECT_NEAR(shares[1], 2, 0.05);
    EXPECT_NEAR(shares[2], 3, 0.06);
    EXPECT_NEAR(shares[3], 10, 0.1);
  }
}

TEST(IpHashShares, AreEvenAmongEquals) {
  Fleet f{Fleet::FromTraits{}, BalanceAlgorithm::ip_hash, named(10)};
  std::vector<int> counts(10);
  for (std::uint64_t client = 0; client < 100'000; ++client) ++counts[f.pick_for(client).backend];
  for (const int count : counts) EXPECT_NEAR(count, 10'000, 400);  // four standard deviations
}

TEST(IpHashShares, OfManyBackendsSpreadAsSlotsDo) {
  // 2^20 slots over 10,000 backends: 105 each, standard deviation 10 %.
  std::vector<SlotRace::Racer> racers;
  for (std::uint64_t i = 0; i < 10'000; ++i) racers.push_back({mix64(i), 1});
  std::ranges::sort(racers, {}, &SlotRace::Racer::key);
  const SlotRace race{racers};
  std::vector<int> slots(racers.size());
  for (std::uint64_t slot = 0; slot < SlotRace::kSlots; ++slot) ++slots[race.owner(slot)];
  double deviation = 0;
  const double mean = static_cast<double>(SlotRace::kSlots) / 10'000;
  for (const int count : slots) deviation += (count - mean) * (count - mean);
  deviation = std::sqrt(deviation / 10'000) / mean;
  EXPECT_LT(deviation, 0.11);
  EXPECT_GT(*std::ranges::min_element(slots), 50);
}

TEST(IpHashTwins, EqualIdentitiesBothServe) {
  auto traits = named(4);
  traits[2].identity = traits[0].identity;
  traits[3].identity = traits[0].identity;
  Fleet f{Fleet::FromTraits{}, BalanceAlgorithm::ip_hash, traits};
  std::vector<int> counts(4);
  for (std::uint64_t client = 0; client < 10'000; ++client) ++counts[f.pick_for(client).backend];
  for (const int count : counts) EXPECT_NEAR(count, 2500, 250);
}

TEST(IpHashCache, ClientsThatShareACachePlaceKeepTheirBackends) {
  // Far more clients than places, twice, in different orders.
  Fleet f{Fleet::FromTraits{}, BalanceAlgorithm::ip_hash, named(50)};
  constexpr std::uint64_t kMany = 300'000;
  std::vector<std::uint32_t> before;
  for (std::uint64_t client = 0; client < kMany; ++client) before.push_back(f.pick_for(client).backend);
  for (std::uint64_t client = kMany; client-- > 0;) ASSERT_EQ(f.pick_for(client).backend, before[client]);
}

TEST(IpHashCache, StaysTheSameInAllVersions) {
  // Two generations of different builds serve the same clients during a reload: what is pinned here may
  // change only with a good reason, and then every client may move.
  Fleet f{BalanceAlgorithm::ip_hash, {1, 1, 1, 1, 1, 1, 1, 1}};
  std::string letters;
  for (std::uint64_t client = 0; client < 16; ++client)
    letters += static_cast<char>('a' + f.pick_for(client).backend);
  EXPECT_EQ(letters, "cbfcageebhfhfghg");
}

}  // namespace
}  // namespace lb
