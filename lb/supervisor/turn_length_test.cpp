#include "lb/supervisor/turn_length.hpp"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <thread>

namespace lb {
namespace {

/// sched_attr of the kernel.
struct SchedAttributes {
  std::uint32_t size;
  std::uint32_t policy;
  std::uint64_t flags;
  std::int32_t nice;
  std::uint32_t priority;
  std::uint64_t runtime_ns;
  std::uint64_t deadline_ns;
  std::uint64_t period_ns;
};

SchedAttributes of_this_thread() {
  SchedAttributes attributes{};
  EXPECT_EQ(::syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0), 0);
  return attributes;
}

TEST(TurnLength, ChangesNothingElseAndIsInheritedByThreads) {
  std::thread{[] {
    const SchedAttributes before = of_this_thread();
    ask_for_turns_of(kLoadingTurn);
    const SchedAttributes after = of_this_thread();
    EXPECT_EQ(after.policy, before.policy);
    EXPECT_EQ(after.nice, before.nice);
    if (after.runtime_ns == before.runtime_ns) GTEST_SKIP() << "this kernel does not let a thread ask";
    EXPECT_EQ(after.runtime_ns, 50'000'000U);
    std::thread{[] { EXPECT_EQ(of_this_thread().runtime_ns, 50'000'000U); }}.join();
    ask_for_turns_of(Duration{0});
    EXPECT_EQ(of_this_thread().runtime_ns, before.runtime_ns);
  }}.join();
}

TEST(TurnLength, LeavesAnotherSchedulingClassAlone) {
  std::thread{[] {
    const sched_param none{};
    ASSERT_EQ(::sched_setscheduler(0, SCHED_BATCH, &none), 0);
    const SchedAttributes before = of_this_thread();
    ask_for_turns_of(kLoadingTurn);
    EXPECT_EQ(of_this_thread().policy, before.policy);
    EXPECT_EQ(of_this_thread().runtime_ns, before.runtime_ns);
  }}.join();
}

}  // namespace
}  // namespace lb
