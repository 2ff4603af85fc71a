#include "lb/observe/counters.hpp"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <thread>
#include <vector>

namespace lb {
namespace {

TEST(Counters, AreSummedByName) {
  std::vector<Counters> workers(3);
  bump(workers[0].requests);
  bump(workers[1].requests, 5);
  bump(workers[2].connections_open, 3);
  drop(workers[2].connections_open);
  CounterTotals totals;
  for (const Counters& worker : workers) totals.add(worker);
  EXPECT_EQ(totals.requests, 6U);
  EXPECT_EQ(totals.connections_open, 2U);

  std::map<std::string, std::uint64_t> by_name;
  totals.for_each([&](std::string_view name, std::string_view help, std::uint64_t value) {
    EXPECT_FALSE(help.empty());
    EXPECT_TRUE(by_name.emplace(name, value).second) << name;
  });
  EXPECT_EQ(by_name.at("requests"), 6U);
  EXPECT_EQ(by_name.at("connections_open"), 2U);
  EXPECT_EQ(by_name.at("tunnels"), 0U);
}

TEST(Counters, AGaugeMayBeDroppedByOneWorkerAndBumpedByAnother) {
  // A connection handed from one worker to another: each part wraps, the sum does not.
  std::vector<Counters> workers(2);
  bump(workers[0].connections_open);
  drop(workers[1].connections_open);
  CounterTotals totals;
  for (const Counters& worker : workers) totals.add(worker);
  EXPECT_EQ(totals.connections_open, 0U);
}

TEST(Counters, MayBeReadWhileTheOwnerWrites) {
  Counters counters;
  std::jthread owner{[&] {
    for (int i = 0; i < 100'000; ++i) bump(counters.requests);
  }};
  std::uint64_t last = 0;
  while (last < 100'000) {
    CounterTotals totals;
    totals.add(counters);
    ASSERT_GE(totals.requests, last);
    last = totals.requests;
  }
}

TEST(Counters, OfTwoWorkersShareNoCacheLine) {
  EXPECT_EQ(alignof(Counters), 64U);
  EXPECT_EQ(sizeof(Counters) % 64, 0U);
}

}  // namespace
}  // namespace lb
