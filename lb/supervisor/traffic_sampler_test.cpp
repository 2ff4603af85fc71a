#include "lb/supervisor/traffic_sampler.hpp"

#include <gtest/gtest.h>

namespace lb {
namespace {

using std::chrono::seconds;

StatusMessage status(std::uint64_t token, std::vector<BackendEntry> backends) {
  return {.token = token, .backends = std::move(backends)};
}
BackendEntry backend(const char* name, const char* endpoint, std::uint64_t requests, std::uint64_t failures) {
  return {.name = name, .endpoint = endpoint, .requests = requests, .failures = failures};
}

class TrafficSamplerTest : public testing::Test {
 protected:
  TrafficSampler sampler_;
  Instant now_{seconds{100}};
};

TEST_F(TrafficSamplerTest, BeforeReachesBackOnlySoFar) {
  sampler_.switched(1, 0, true);
  EXPECT_TRUE(sampler_.sample().empty());
  for (int i = 0; i <= 20; ++i) {
    const auto n = static_cast<std::uint64_t>(i) * 10;
    sampler_.observe(now_ + seconds{5 * i}, 1, status(1, {backend("a", "x:1", n, i < 10 ? n : 90)}));
  }
  sampler_.switched(2, 1, true);
  sampler_.observe(now_ + seconds{101}, 2,
                   status(2, {backend("a", "x:1", 7, 3), backend("new", "x:2", 1, 0)}));
  const auto sample = sampler_.sample();
  ASSERT_EQ(sample.size(), 2U);
  EXPECT_EQ(sample[0].name, "a");
  EXPECT_EQ(sample[0].before, (RequestCount{60, 0})) << "the last 30 s, in which nothing failed";
  EXPECT_EQ(sample[0].after, (RequestCount{7, 3}));
  EXPECT_EQ(sample[1].before, RequestCount{});
}

TEST_F(TrafficSamplerTest, AnotherAddressIsAnotherServer) {
  sampler_.switched(1, 0, true);
  sampler_.observe(now_, 1, status(1, {backend("a", "x:1", 100, 100)}));
  sampler_.switched(2, 1, true);
  sampler_.observe(now_, 1, status(2, {backend("a", "x:2", 50, 50)}));
  sampler_.observe(now_, 2, status(2, {backend("a", "x:2", 9, 0)}));
  ASSERT_EQ(sampler_.sample().size(), 1U);
  EXPECT_EQ(sampler_.sample()[0].before, RequestCount{});
  EXPECT_EQ(sampler_.sample()[0].meanwhile_old, RequestCount{});
}

TEST_F(TrafficSamplerTest, WhatDrainsCountsSinceTheSwitch) {
  sampler_.switched(1, 0, true);
  sampler_.observe(now_, 1, status(1, {backend("a", "x:1", 100, 0)}));
  sampler_.switched(2, 5, true);
  sampler_.observe(now_, 1, status(5, {backend("a", "x:1", 120, 0)}));  // asked for before the switch
  sampler_.observe(now_, 2, status(6, {backend("a", "x:1", 9, 0)}));
  EXPECT_EQ(sampler_.sample()[0].meanwhile_old, RequestCount{});
  sampler_.observe(now_, 1, status(6, {backend("a", "x:1", 4, 4)}));
  sampler_.observe(now_, 0, status(6, {backend("a", "x:1", 1, 0)}));  // an older one that drains too
  EXPECT_EQ(sampler_.sample()[0].meanwhile_old, (RequestCount{5, 4}));
  sampler_.forget(0);
  EXPECT_EQ(sampler_.sample()[0].meanwhile_old, (RequestCount{4, 4}));
}

TEST_F(TrafficSamplerTest, OneBadConfigurationIsNoMeasureForTheNext) {
  sampler_.switched(1, 0, true);
  sampler_.observe(now_, 1, status(1, {backend("a", "x:1", 100, 1)}));
  sampler_.switched(2, 1, true);
  sampler_.observe(now_, 2, status(2, {backend("a", "x:1", 100, 99)}));
  sampler_.switched(3, 2, false);
  sampler_.observe(now_, 3, status(3, {backend("a", "x:1", 50, 49)}));
  EXPECT_EQ(sampler_.sample()[0].before, (RequestCount{100, 1}));
}

TEST(TrafficSampler, KeepsLittleHoweverOftenItIsAsked) {
  TrafficSampler sampler;
  sampler.switched(1, 0, true);
  Instant now{std::chrono::seconds{1000}};
  for (std::uint64_t i = 1; i <= 10'000; ++i) {
    now += std::chrono::milliseconds{10};
    sampler.observe(now, 1, {.token = i, .backends = {{.name = "b1", .endpoint = "e", .requests = i}}});
    ASSERT_LE(sampler.kept(), 35U);
    ASSERT_EQ(sampler.sample().front().after.requests, i) << "the newest counts";
  }
  sampler.switched(2, 10'000, true);
  sampler.observe(now, 2, {.token = 10'001, .backends = {{.name = "b1", .endpoint = "e"}}});
  EXPECT_NEAR(static_cast<double>(sampler.sample().front().before.requests), 3000.0, 200.0);
}

}  // namespace
}  // namespace lb
