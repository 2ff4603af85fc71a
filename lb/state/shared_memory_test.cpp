#include "lb/state/shared_memory.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <thread>
#include <vector>

#include "lb/balance/balancer.hpp"
#include "lb/base/file.hpp"
#include "lb/state/generation_state.hpp"

namespace lb::state {
namespace {

Fd copy_of(const SharedMemory& memory) {
  return Fd{::fcntl(memory.fd(), F_DUPFD_CLOEXEC, 0)};
}

TEST(SharedMemory, IsTheSameForWhoeverMapsIt) {
  auto made = SharedMemory::create();
  ASSERT_TRUE(made) << made.error().message;
  const Segment segment = Segment::format(made->main(), 5);
  auto opened = SharedMemory::open(copy_of(*made));
  ASSERT_TRUE(opened) << opened.error().message;
  const auto other = Segment::attach(opened->main());
  ASSERT_TRUE(other);
  EXPECT_NE(&segment.header(), &other->header());
  segment.header().served = 3;
  EXPECT_EQ(other->header().served.load(), 3U);
}

TEST(SharedMemory, TakesLittleMemoryAndNobodyCanShrinkIt) {
  auto made = SharedMemory::create();
  ASSERT_TRUE(made);
  Segment::format(made->main(), 5);
  struct stat about{};
  ASSERT_EQ(::fstat(made->fd(), &about), 0);
  EXPECT_LT(about.st_blocks * 512, 1 << 20U);
  EXPECT_NE(::ftruncate(made->fd(), 4096), 0);
}

TEST(SharedMemory, WhatIsNoSuchFileIsRefused) {
  EXPECT_FALSE(SharedMemory::open(Fd{}));
  auto sealed = memory_file("x", "short");
  ASSERT_TRUE(sealed);
  const auto opened = SharedMemory::open(std::move(*sealed));
  if (opened) {
    EXPECT_FALSE(Segment::attach(opened->main()));
  }
  Fd plain{::memfd_create("x", MFD_CLOEXEC)};
  ASSERT_EQ(::ftruncate(plain.get(), static_cast<off_t>(kFileBytes)), 0);
  EXPECT_FALSE(SharedMemory::open(std::move(plain))) << "whoever made it could shrink it under us";
}

TEST(SharedMemory, TheBlockOfAnEndedGenerationIsEmptyAgain) {
  auto made = SharedMemory::create();
  ASSERT_TRUE(made);
  auto block = made->map_block(2, 3);
  ASSERT_TRUE(block);
  Block{block->bytes()}.counters(2).requests = 5;
  Block{block->bytes()}.rows(2)[kEntriesMax - 1].requests = 7;
  ASSERT_TRUE(made->clear_block(2));
  EXPECT_EQ(Block{block->bytes()}.counters(2).requests.load(), 0U);
  EXPECT_EQ(Block{block->bytes()}.rows(2)[kEntriesMax - 1].requests.load(), 0U);
}

TEST(SharedMemory, ALockIsHadByOneAndEndsWithItsHolder) {
  auto made = SharedMemory::create();
  ASSERT_TRUE(made);
  auto other = SharedMemory::open(copy_of(*made));
  ASSERT_TRUE(other);
  ASSERT_TRUE(made->lock(Duration{0}));
  EXPECT_FALSE(other->lock(Duration{0}));
  made->unlock();
  EXPECT_TRUE(other->lock(Duration{0}));
  other = std::unexpected(Error{});  // gone without a word
  EXPECT_TRUE(made->lock(Duration{0}));
}

TEST(SharedMemory, WhoLivesIsKnownUntilItIsKilled) {
  auto made = SharedMemory::create();
  ASSERT_TRUE(made);
  int ready[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    auto mine = SharedMemory::open(copy_of(*made));
    const char said = mine && mine->hold(4) ? 'y' : 'n';
    [[maybe_unused]] const auto n = ::write(ready[1], &said, 1);
    for (;;) ::pause();
  }
  char said = 0;
  ASSERT_EQ(::read(ready[0], &said, 1), 1);
  EXPECT_EQ(said, 'y');
  EXPECT_TRUE(made->held(4));
  EXPECT_FALSE(made->held(5));
  // Copies that are passed on and closed say nothing about who lives.
  {
    const Fd copy = copy_of(*made);
  }
  EXPECT_TRUE(made->held(4));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_FALSE(made->held(4));
  ::close(ready[0]);
  ::close(ready[1]);
}

// ---- generations ----

std::vector<Identity> two() {
  return {identity_of("a", "h:1"), identity_of("b", "h:2")};
}

TEST(GenerationState, TwoGenerationsUseItAtOnce) {
  auto made = SharedMemory::create();
  ASSERT_TRUE(made);
  const Segment segment = Segment::format(made->main(), 5);
  auto a = GenerationState::join(copy_of(*made), *segment.admit(1), 1, 2);
  auto b = GenerationState::join(copy_of(*made), *segment.admit(2), 2, 2);
  ASSERT_TRUE(a && b);
  auto of_a = (*a)->claim(two());
  auto of_b = (*b)->claim(std::vector{two()[1], two()[0]});
  EXPECT_EQ(of_a.numbers[0], of_b.numbers[1]);
  EXPECT_NE(of_a.states.lane, of_b.states.lane);
  EXPECT_NE(&(*a)->counters(0), &(*b)->counters(0));

  const auto balancer = [](GenerationState::Backends& backends) {
    std::vector<BackendTraits> traits(2);
    for (auto& backend : traits) backend.max_connections = 3;
    return Balancer::create(BalanceAlgorithm::least_connections, traits, backends.states);
  };
  const auto first = balancer(of_a);
  const auto second = balancer(of_b);
  const Instant now{std::chrono::hours{1}};
  // The first one fills its backend 0 with what lasts; the second, whose backend 1 that is, knows.
  first->set_down(1, true, now);
  for (int i = 0; i < 3; ++i) ASSERT_EQ(first->pick({.now = now}).result, PickResult::picked);
  EXPECT_EQ(second->in_flight(1), 3U);
  EXPECT_EQ(second->standing(0, now), Standing::down);
  EXPECT_EQ(second->pick({.now = now}).result, PickResult::busy);
  first->set_down(1, false, now);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(second->pick({.now = now}).backend, 0U);
  EXPECT_EQ(second->pick({.now = now}).result, PickResult::busy) << "max_connections is for both together";
  first->release(0);
  EXPECT_EQ(second->pick({.now = now}).backend, 1U);
}

TEST(GenerationState, AnotherGenerationsHealthDecidesAboutPanicToo) {
  auto made = SharedMemory::create();
  ASSERT_TRUE(made);
  const Segment segment = Segment::format(made->main(), 5);
  auto a = GenerationState::join(copy_of(*made), *segment.admit(1), 1, 1);
  auto b = GenerationState::join(copy_of(*made), *segment.admit(2), 2, 1);
  ASSERT_TRUE(a && b);
  std::vector<Identity> four;
  for (const char* name : {"a", "b", "c", "d"}) four.push_back(identity_of(name, "h:1"));
  auto of_a = (*a)->claim(four);
  auto of_b = (*b)->claim(four);
  const std::vector<BackendTraits> traits(4);
  const auto first =
      Balancer::create(BalanceAlgorithm::random, traits, of_a.states, {.panic_threshold = 0.5});
  const auto second =
      Balancer::create(BalanceAlgorithm::random, traits, of_b.states, {.panic_threshold = 0.5});
  Instant now{std::chrono::hours{1}};
  first->set_down(0, true, now);
  first->eject(1, now + std::chrono::seconds{10}, now);
  EXPECT_FALSE(second->panic(now));
  EXPECT_EQ(second->availability(now).down, 1U);
  EXPECT_EQ(second->availability(now).ejected, 1U);
  first->set_down(2, true, now);
  EXPECT_TRUE(second->availability(now).panic);
  EXPECT_TRUE(second->panic(now));
  second->set_down(0, false, now);
  EXPECT_FALSE(second->panic(now));
  now += std::chrono::milliseconds{20};
  EXPECT_FALSE(first->panic(now));
  EXPECT_EQ(first->availability(now).down, 1U);
}

TEST(GenerationState, WorkersOfTwoGenerationsNeverPassALimitTogether) {
  auto made = SharedMemory::create();
  ASSERT_TRUE(made);
  const Segment segment = Segment::format(made->main(), 5);
  constexpr std::uint32_t kLimit = 3;
  constexpr int kGenerations = 3;
  std::vector<std::shared_ptr<GenerationState>> states;
  std::vector<std::unique_ptr<Balancer>> balancers;
  for (int i = 0; i < kGenerations; ++i) {
    auto joined = GenerationState::join(copy_of(*made), *segment.admit(i), i, 1);
    ASSERT_TRUE(joined);
    states.push_back(*joined);
    std::vector<BackendTraits> traits(2);
    for (auto& backend : traits) backend.max_connections = kLimit;
    balancers.push_back(
        Balancer::create(BalanceAlgorithm::power_of_two, traits, states.back()->claim(two()).states));
  }
  std::atomic<int> in_flight{0};
  std::atomic<int> most{0};
  {
    std::vector<std::jthread> workers;
    for (int i = 0; i < kGenerations; ++i) {
      workers.emplace_back([&, i] {
        Random random{static_cast<std::uint64_t>(i)};
        for (int n = 0; n < 30'000; ++n) {
          const Pick pick = balancers[i]->pick({.now = Instant{}, .random = random()});
          if (pick.result != PickResult::picked) continue;
          const int now = ++in_flight;
          int before = most.load();
          while (now > before && !most.compare_exchange_weak(before, now)) {
          }
          --in_flight;
          balancers[i]->release(pick.backend);
        }
      });
    }
  }
  EXPECT_LE(most.load(), static_cast<int>(2 * kLimit));
  EXPECT_EQ(balancers[0]->in_flight(0) + balancers[0]->in_flight(1), 0U);
}

TEST(GenerationState, TurnsGoOnOverAReload) {
  auto made = SharedMemory::create();
  ASSERT_TRUE(made);
  const Segment segment = Segment::format(made->main(), 5);
  std::string letters;
  for (int i = 0; i < 5; ++i) {
    auto joined = GenerationState::join(copy_of(*made), *segment.admit(i), i, 1);
    ASSERT_TRUE(joined);
    const std::vector<BackendTraits> traits{{.weight = 3}, {.weight = 2}};
    const auto balancer =
        Balancer::create(BalanceAlgorithm::weighted_round_robin, traits, (*joined)->claim(two()).states);
    for (int n = 0; n <= i; ++n) {
      const Pick pick = balancer->pick({.now = Instant{}});
      letters += static_cast<char>('a' + pick.backend);
      balancer->release(pick.backend);
    }
  }
  EXPECT_EQ(letters, "ababaababaababa");
}

TEST(GenerationState, OneWithoutOthersHasAllOfItToItself) {
  auto a = GenerationState::alone(2, 1);
  auto b = GenerationState::alone(2, 1);
  ASSERT_TRUE(a && b);
  EXPECT_FALSE((*a)->shared());
  auto of_a = (*a)->claim(two());
  EXPECT_FALSE(of_a.fresh[0]) << "nothing was before: all start alike";
  of_a.entries[0]->state.down = true;
  EXPECT_FALSE((*b)->claim(two()).entries[0]->state.down);
}

}  // namespace
}  // namespace lb::state
