#include "lb/balance/key_moves.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "lb/balance/testing.hpp"
#include "lb/base/hash.hpp"
#include "lb/base/random.hpp"
#include "lb/base/sanitized.hpp"

namespace lb {
namespace {

using Traits = std::vector<BackendTraits>;

Traits backends(std::initializer_list<std::pair<const char*, std::uint32_t>> list) {
  Traits traits;
  for (const auto& [name, weight] : list) traits.push_back({.weight = weight, .identity = hash_bytes(name)});
  return traits;
}

/// By asking two balancers for the same keys.
double asked(KeyedAlgorithm keyed, const Traits& before, const Traits& after, int keys) {
  const auto algorithm =
      keyed == KeyedAlgorithm::ip_hash ? BalanceAlgorithm::ip_hash : BalanceAlgorithm::consistent_hash;
  std::vector<BackendState> first_states(before.size());
  std::vector<BackendState> second_states(after.size());
  const auto first = Balancer::create(algorithm, before, first_states);
  const auto second = Balancer::create(algorithm, after, second_states);
  int moved = 0;
  for (int key = 0; key < keys; ++key) {
    const PickContext context{.now = testing::kNow,
                              .client_hash = mix64(static_cast<std::uint64_t>(key)),
                              .random = 0,
                              .tried = {}};
    const Pick a = first->pick(context);
    const Pick b = second->pick(context);
    if (before[a.backend].identity != after[b.backend].identity) ++moved;
    first->release(a.backend);
    second->release(b.backend);
  }
  return static_cast<double>(moved) / keys;
}

class KeyMoves : public ::testing::TestWithParam<KeyedAlgorithm> {};

TEST_P(KeyMoves, AreNoneWithoutAChangeAndInAnyOrder) {
  EXPECT_EQ(share_of_keys_moved(GetParam(), {}, {}), 0);
  const Traits some = backends({{"a", 3}, {"b", 1}, {"c", 2}});
  EXPECT_EQ(share_of_keys_moved(GetParam(), some, some), 0);
  EXPECT_EQ(share_of_keys_moved(GetParam(), some, backends({{"c", 2}, {"a", 3}, {"b", 1}})), 0);
}

TEST_P(KeyMoves, AreAllFromOrToNobody) {
  EXPECT_EQ(share_of_keys_moved(GetParam(), backends({{"a", 1}}), {}), 1);
  EXPECT_EQ(share_of_keys_moved(GetParam(), backends({{"a", 0}}), backends({{"a", 1}})), 1);
  EXPECT_EQ(share_of_keys_moved(GetParam(), backends({{"a", 1}}), backends({{"b", 1}})), 1);
}

TEST_P(KeyMoves, AreWhatTheBalancersThemselvesSay) {
  const Traits four = backends({{"a", 1}, {"b", 1}, {"c", 1}, {"d", 1}});
  const Traits three = backends({{"a", 1}, {"b", 1}, {"c", 1}});
  const Traits heavier = backends({{"a", 1}, {"b", 3}, {"c", 1}, {"d", 1}});
  Traits backup = four;
  backup[3].backup = true;
  constexpr int kKeys = kSanitized ? 10'000 : 100'000;
  for (const auto& [before, after] :
       {std::pair{four, three}, {three, four}, {four, heavier}, {four, backup}}) {
    const double share = share_of_keys_moved(GetParam(), before, after);
    EXPECT_NEAR(share, asked(GetParam(), before, after, kKeys), 4 * std::sqrt(0.25 / kKeys));
    EXPECT_GT(share, 0.2);
    EXPECT_LT(share, 0.4);
  }
}

TEST_P(KeyMoves, CompareTablesOfDifferentSizes) {
  Traits many;
  for (int i = 0; i < 655; ++i)
    many.push_back({.weight = 1, .identity = hash_bytes("backend " + std::to_string(i))});
  Traits more = many;
  more.push_back({.weight = 1, .identity = hash_bytes("one more")});
  const double share = share_of_keys_moved(GetParam(), many, more);
  constexpr int kKeys = kSanitized ? 2'000 : 20'000;
  EXPECT_NEAR(share, asked(GetParam(), many, more, kKeys), 4 * std::sqrt(0.25 / kKeys));
}

INSTANTIATE_TEST_SUITE_P(Hashing, KeyMoves,
                         ::testing::Values(KeyedAlgorithm::ip_hash, KeyedAlgorithm::consistent_hash));

}  // namespace
}  // namespace lb
