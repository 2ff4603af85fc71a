#include "lb/supervisor/state_keeper.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <vector>

#include "lb/state/generation_state.hpp"

namespace lb {
namespace {

using state::GenerationState;

class StateKeeperTest : public testing::Test {
 protected:
  static Fd copy_of(int fd) { return Fd{::fcntl(fd, F_DUPFD_CLOEXEC, 0)}; }

  /// Generation `number` as its own process would have it.
  static std::shared_ptr<GenerationState> generation(StateKeeper& keeper, std::int64_t number) {
    const std::int64_t slot = keeper.admit(number);
    EXPECT_GE(slot, 0);
    auto joined = GenerationState::join(copy_of(keeper.fd()), static_cast<std::uint32_t>(slot), number, 2);
    EXPECT_TRUE(joined) << (joined ? "" : joined.error().message);
    return joined ? std::move(*joined) : nullptr;
  }
  static std::vector<state::Identity> one() { return {state::identity_of("a", "h:1")}; }

  std::unique_ptr<EventLog> log_ = *EventLog::open({.path = "/dev/null", .role = "test"});
  StateKeeper keeper_{*log_, 5};
};

TEST_F(StateKeeperTest, AddsUpWhatGenerationsCountedHoweverTheyEnded) {
  ASSERT_TRUE(keeper_.available());
  std::uint64_t expected = 0;
  for (std::int64_t number = 1; number <= 100; ++number) {  // more than there are places
    auto state = generation(keeper_, number);
    ASSERT_TRUE(state);
    EXPECT_TRUE(keeper_.shares(number));
    const auto backends = state->claim(one());
    bump(state->counters(1).requests, 7);
    bump(state->counters(0).connections_open);
    bump(backends.counts[1][0]->requests, 2);
    expected += 7;
    EXPECT_EQ(keeper_.counters().at("requests"), expected) << "while it lives";
    EXPECT_EQ(keeper_.counters().at("connections_open"), 1U);
    EXPECT_EQ(keeper_.backend(backends.numbers[0]).requests, static_cast<std::uint64_t>(2 * number));
    state.reset();
    keeper_.ended(number, std::nullopt);
    EXPECT_FALSE(keeper_.shares(number));
    EXPECT_EQ(keeper_.counters().at("requests"), expected) << "and when it does not";
    EXPECT_EQ(keeper_.counters().at("connections_open"), 0U);
  }
  EXPECT_EQ(keeper_.entries(), 1U);
}

TEST_F(StateKeeperTest, TheNextSupervisorGoesOnWithTheStateOfTheLast) {
  auto draining = generation(keeper_, 7);
  auto serving = generation(keeper_, 8);
  auto dead = generation(keeper_, 9);
  bump(draining->counters(0).requests, 1);
  bump(serving->counters(0).requests, 10);
  bump(dead->counters(0).requests, 100);
  dead->claim(one());
  dead.reset();  // nobody tells: its supervisor is gone too
  StateKeeper next{*log_, 6};
  EXPECT_TRUE(next.adopt(copy_of(keeper_.fd()), 8));
  EXPECT_TRUE(next.adopt(copy_of(keeper_.fd()), 7)) << "another one that has the same";
  EXPECT_TRUE(next.shares(7) && next.shares(8) && !next.shares(9));
  EXPECT_EQ(next.counters().at("requests"), 111U);
  draining.reset();
  next.ended(7, 8);
  auto last = generation(next, 10);
  bump(last->counters(0).requests, 1000);
  EXPECT_EQ(next.counters().at("requests"), 1111U);
  EXPECT_EQ(next.entries(), 0U) << "what only the dead one configured";
}

TEST_F(StateKeeperTest, WhatIsNoStateIsNotTakenOver) {
  EXPECT_FALSE(keeper_.adopt(Fd{::open("/dev/null", O_RDWR | O_CLOEXEC)}, 1));
  auto empty = state::SharedMemory::create();
  ASSERT_TRUE(empty);
  EXPECT_FALSE(keeper_.adopt(copy_of(empty->fd()), 1));
  EXPECT_GE(keeper_.admit(2), 0) << "and its own is as it was";
}

TEST_F(StateKeeperTest, TheChecksOfWhoServesCountWhenANewOneHasFailed) {
  auto serving = generation(keeper_, 1);
  serving->take_over_checks();
  auto fails = generation(keeper_, 2);
  fails->take_over_checks();
  EXPECT_FALSE(serving->checks_count());
  fails.reset();
  keeper_.ended(2, 1);
  EXPECT_TRUE(serving->checks_count());
}

TEST_F(StateKeeperTest, WhenAllPlacesAreTakenOneGenerationSharesNothing) {
  for (std::uint32_t i = 0; i < state::kSlots; ++i) EXPECT_GE(keeper_.admit(i), 0);
  // Those never came to life: nobody holds their places, but they are ours and not swept.
  EXPECT_LT(keeper_.admit(1000), 0);
  keeper_.ended(3, std::nullopt);
  EXPECT_GE(keeper_.admit(1001), 0);
}

}  // namespace
}  // namespace lb
