#include "lb/limit/connection_counter.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace lb {
namespace {

TEST(ConnectionCounter, CountsEachClientForItself) {
  ConnectionCounter counter{2};
  EXPECT_TRUE(counter.try_add(1));
  EXPECT_TRUE(counter.try_add(1));
  EXPECT_FALSE(counter.try_add(1));
  EXPECT_TRUE(counter.try_add(65));  // the same shard
  EXPECT_EQ(counter.clients(), 2U);
  counter.remove(1);
  EXPECT_TRUE(counter.try_add(1));
  counter.add(1);  // adopted: counted, never refused
  counter.remove(1);
  EXPECT_FALSE(counter.try_add(1));
  counter.remove(1);
  counter.remove(1);
  counter.remove(65);
  EXPECT_EQ(counter.clients(), 0U);
}

TEST(ConnectionCounter, TheMaximumHoldsWhoeverCounts) {
  constexpr std::uint32_t kMax = 10;
  ConnectionCounter counter{kMax};
  std::atomic<std::uint32_t> open{0};
  std::atomic<bool> exceeded{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 5000; ++i) {
        if (!counter.try_add(7)) continue;
        if (open.fetch_add(1) >= kMax) exceeded = true;
        open.fetch_sub(1);
        counter.remove(7);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(exceeded);
  EXPECT_EQ(counter.clients(), 0U);
}

}  // namespace
}  // namespace lb
