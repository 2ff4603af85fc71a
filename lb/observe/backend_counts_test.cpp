#include "lb/observe/backend_counts.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace lb {
namespace {

TEST(BackendCounts, LatenciesFallIntoBucketsByPowersOfTwo) {
  EXPECT_EQ(latency_bucket(0), 0U);
  for (std::size_t i = 0; i + 1 < kLatencyBuckets; ++i) {
    const std::uint64_t bound = kLatencyFirstUs << i;
    EXPECT_EQ(latency_bucket(bound - 1), i);
    EXPECT_EQ(latency_bucket(bound), i + 1);
  }
}

TEST(BackendCounts, AreSummedOverWorkers) {
  std::vector<BackendCounts> workers(2);
  bump(workers[0].requests, 2);
  bump(workers[1].requests, 3);
  bump(workers[1].failures);
  count_latency(workers[0], 40);
  count_latency(workers[1], 50);
  count_latency(workers[1], 10'000'000);
  BackendTotals totals;
  for (const BackendCounts& worker : workers) totals.add(worker);
  EXPECT_EQ(totals.requests, 5U);
  EXPECT_EQ(totals.failures, 1U);
  EXPECT_EQ(totals.latency_sum_us, 10'000'090U);
  EXPECT_EQ(totals.latency_count(), 3U);
  EXPECT_EQ(totals.latency[1], 2U);
  EXPECT_EQ(totals.latency[kLatencyBuckets - 1], 1U);
}

}  // namespace
}  // namespace lb
