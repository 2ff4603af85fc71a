// Backups: who is asked when, for every algorithm.
#include <gtest/gtest.h>

#include "lb/balance/testing.hpp"

namespace lb {
namespace {

using std::chrono::seconds;
using testing::Fleet;
using testing::kNow;

class Backup : public ::testing::TestWithParam<BalanceAlgorithm> {
 protected:
  /// `kinds`: a letter a backend, p or b.
  static Fleet fleet(std::string_view kinds, std::uint32_t max_connections = 0,
                     double panic_threshold = kPanicThresholdDefault) {
    auto traits = testing::with_weights(std::vector<std::uint32_t>(kinds.size(), 2));
    for (std::size_t i = 0; i < kinds.size(); ++i) {
      traits[i].backup = kinds[i] == 'b';
      traits[i].max_connections = max_connections;
    }
    return Fleet{Fleet::FromTraits{}, GetParam(), std::move(traits), {.panic_threshold = panic_threshold}};
  }
  static std::string seen(Fleet& f, std::span<const std::uint32_t> tried = {}) {
    std::string letters(f.states.size(), '.');
    for (int i = 0; i < 300; ++i) {
      const Pick pick = f.pick(kNow, tried);
      if (pick.result != PickResult::picked) return pick.result == PickResult::busy ? "busy" : "none";
      letters[pick.backend] = static_cast<char>('a' + pick.backend);
      f.balancer->release(pick.backend);
    }
    return letters;
  }
};

std::string name_of(const ::testing::TestParamInfo<BalanceAlgorithm>& algorithm) {
  return testing::kAlgorithmNames[static_cast<std::size_t>(algorithm.param)];
}
INSTANTIATE_TEST_SUITE_P(Balancer, Backup, ::testing::ValuesIn(testing::kAllAlgorithms), name_of);

TEST_P(Backup, IsNotUsedWhileAPrimaryIsAvailable) {
  Fleet f = fleet("pbpb");
  EXPECT_EQ(seen(f), "a.c.");
  f.balancer->set_down(0, true, kNow);
  EXPECT_EQ(seen(f), "..c.");
}

TEST_P(Backup, IsUsedWhenEveryPrimaryIsOutUntilOneIsBack) {
  Fleet f = fleet("pbpb");
  f.balancer->set_down(0, true, kNow);
  f.balancer->eject(2, kNow + seconds{1}, kNow);
  EXPECT_EQ(seen(f), ".b.d");
  f.balancer->set_down(0, false, kNow);
  EXPECT_EQ(seen(f), "a...");
}

TEST_P(Backup, IsUsedWhenEveryPrimaryIsAside) {
  Fleet f = fleet("ppb");
  f.set_aside(0, seconds{1});
  EXPECT_EQ(seen(f), ".b.");
  f.set_aside(1, seconds{1});
  EXPECT_EQ(seen(f), "..c");
}

TEST_P(Backup, ServesARequestThatEveryPrimaryFailed) {
  Fleet f = fleet("ppb");
  const std::uint32_t one[] = {0};
  EXPECT_EQ(seen(f, one), ".b.");
  const std::uint32_t two[] = {0, 1};
  EXPECT_EQ(seen(f, two), "..c");
  const std::uint32_t all[] = {0, 1, 2};
  EXPECT_EQ(seen(f, all), "none");
}

TEST_P(Backup, IsNotForPrimariesThatAreMerelyFull) {
  Fleet f = fleet("pb", 1);
  EXPECT_EQ(f.pick().backend, 0U);
  EXPECT_EQ(f.pick().result, PickResult::busy);
  f.balancer->set_down(0, true, kNow);
  EXPECT_EQ(f.pick().backend, 1U);
  EXPECT_EQ(f.pick().result, PickResult::busy);
}

TEST_P(Backup, AsideTooIsTriedAfterThePrimariesAside) {
  Fleet f = fleet("ppb");
  f.set_aside(0, seconds{3});
  f.set_aside(1, seconds{2});
  f.set_aside(2, seconds{1});
  EXPECT_EQ(seen(f), ".b.");
  const std::uint32_t primaries[] = {0, 1};
  EXPECT_EQ(seen(f, primaries), "..c");
}

TEST_P(Backup, StandsInForAPanic) {
  Fleet f = fleet("ppppppbb");
  for (std::uint32_t i = 1; i < 6; ++i) f.balancer->set_down(i, true, kNow);
  EXPECT_FALSE(f.balancer->panic(kNow)) << "the backups are there";
  EXPECT_EQ(seen(f), "a.......");
  f.balancer->set_down(0, true, kNow);
  EXPECT_EQ(seen(f), "......gh");
  f.balancer->set_down(6, true, kNow);
  EXPECT_EQ(seen(f), ".......h");
  f.balancer->eject(7, kNow + seconds{1}, kNow);
  EXPECT_TRUE(f.balancer->panic(kNow)) << "nobody is left";
  EXPECT_EQ(seen(f), "abcdef..") << "in panic health is ignored, so primaries are available";
  EXPECT_FALSE(f.balancer->panic(kNow + seconds{1})) << "a backup is back";
}

TEST_P(Backup, WithoutPanicNobodyIsNobody) {
  Fleet f = fleet("pb", 0, 0);
  f.balancer->set_down(0, true, kNow);
  EXPECT_EQ(seen(f), ".b");
  f.balancer->set_down(1, true, kNow);
  EXPECT_EQ(seen(f), "none");
}

TEST_P(Backup, WithoutWeightIsNone) {
  auto traits = testing::with_weights({1, 0});
  traits[1].backup = true;
  Fleet f{Fleet::FromTraits{}, GetParam(), traits, {.panic_threshold = 0}};
  f.balancer->set_down(0, true, kNow);
  EXPECT_EQ(seen(f), "none");
}

TEST_P(Backup, ServesAloneWhenThePrimariesHaveNoWeight) {
  auto traits = testing::with_weights({0, 1});
  traits[1].backup = true;
  Fleet f{Fleet::FromTraits{}, GetParam(), traits};
  EXPECT_EQ(seen(f), ".b");
}

}  // namespace
}  // namespace lb
