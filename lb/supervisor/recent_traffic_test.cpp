#include "lb/supervisor/recent_traffic.hpp"

#include <gtest/gtest.h>

namespace lb {
namespace {

using std::chrono::seconds;

constexpr Instant kBegin{std::chrono::hours{5}};

StatusMessage status(std::initializer_list<std::pair<const char*, std::uint64_t>> counts) {
  StatusMessage message;
  for (const auto& [name, requests] : counts) {
    message.backends.push_back({.name = name, .endpoint = "e", .requests = requests});
  }
  return message;
}

TEST(RecentTraffic, KnowsNothingAtFirst) {
  const RecentTraffic traffic;
  EXPECT_EQ(traffic.of(kBegin, "a", "e").last_five_minutes, 0U);
  EXPECT_EQ(traffic.total(kBegin).last_minute, 0U);
  EXPECT_EQ(traffic.observed(kBegin), Duration{0});
}

TEST(RecentTraffic, CountsWhatWasAddedInTheLastMinutes) {
  RecentTraffic traffic;
  for (int i = 0; i <= 120; ++i) {  // ten requests in each five seconds, for ten minutes
    traffic.observe(kBegin + seconds{5 * i}, 1, false, status({{"a", 10U * static_cast<unsigned>(i)}}));
  }
  const Instant now = kBegin + seconds{600};
  EXPECT_EQ(traffic.of(now, "a", "e").last_minute, 130U) << "twelve steps and the one that runs";
  EXPECT_EQ(traffic.of(now, "a", "e").last_five_minutes, 600U);
  EXPECT_EQ(traffic.of(now, "a", "elsewhere").last_five_minutes, 0U);
  EXPECT_EQ(traffic.total(now).last_five_minutes, 600U);
  EXPECT_EQ(traffic.observed(now), seconds{300});
  EXPECT_EQ(traffic.of(now + seconds{61}, "a", "e").last_minute, 10U);
  EXPECT_EQ(traffic.of(now + seconds{66}, "a", "e").last_minute, 0U);
  EXPECT_EQ(traffic.of(now + seconds{301}, "a", "e").last_five_minutes, 0U);
}

TEST(RecentTraffic, SilenceIsNotCountedTwice) {
  RecentTraffic traffic;
  traffic.observe(kBegin, 1, false, status({{"a", 7}}));
  traffic.observe(kBegin + seconds{400}, 1, false, status({{"a", 8}}));
  EXPECT_EQ(traffic.of(kBegin + seconds{400}, "a", "e").last_five_minutes, 1U);
}

TEST(RecentTraffic, AddsUpTheGenerations) {
  RecentTraffic traffic;
  traffic.observe(kBegin, 1, false, status({{"a", 5}, {"b", 2}}));
  traffic.observe(kBegin + seconds{1}, 2, false, status({{"a", 3}}));
  traffic.observe(kBegin + seconds{2}, 1, false, status({{"a", 6}}));
  EXPECT_EQ(traffic.of(kBegin + seconds{2}, "a", "e").last_minute, 9U);
  traffic.forget(1);
  EXPECT_EQ(traffic.total(kBegin + seconds{2}).last_minute, 11U);
}

TEST(RecentTraffic, OneThatCountsFromNothingAgainIsCountedFromThere) {
  RecentTraffic traffic;
  traffic.observe(kBegin, 1, false, status({{"a", 100}}));
  traffic.observe(kBegin + seconds{1}, 1, false, status({{"a", 4}}));  // with its successor's backends
  EXPECT_EQ(traffic.of(kBegin + seconds{1}, "a", "e").last_minute, 104U);
}

TEST(RecentTraffic, OfAnAdoptedGenerationThePastIsNotCounted) {
  RecentTraffic traffic;
  traffic.observe(kBegin, 0, true, status({{"a", 1'000'000}}));
  traffic.observe(kBegin + seconds{1}, 0, true, status({{"a", 1'000'003}}));
  EXPECT_EQ(traffic.of(kBegin + seconds{1}, "a", "e").last_minute, 3U);
}

TEST(RecentTraffic, RemembersABoundedNumberOfBackends) {
  RecentTraffic traffic;
  for (std::size_t i = 0; i < RecentTraffic::kBackendsMax + 10; ++i) {
    traffic.observe(kBegin, static_cast<GenerationId>(i), false, status({{std::to_string(i).c_str(), 1}}));
  }
  EXPECT_EQ(traffic.of(kBegin, std::to_string(RecentTraffic::kBackendsMax - 1), "e").last_minute, 1U);
  EXPECT_EQ(traffic.of(kBegin, std::to_string(RecentTraffic::kBackendsMax), "e").last_minute, 0U);
  EXPECT_EQ(traffic.total(kBegin).last_minute, RecentTraffic::kBackendsMax + 10);
  const Instant later = kBegin + seconds{400};
  traffic.observe(later, -1, false, status({{"new", 1}}));
  EXPECT_EQ(traffic.of(later, "new", "e").last_minute, 1U) << "those of before have made room";
}

}  // namespace
}  // namespace lb
