#include "lb/health/outlier_detector.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace lb {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const Instant kOutlierStart{std::chrono::hours{1}};

OutlierRules outlier_rules() {
  return {.failure_share = 0.5,
          .window = seconds{10},
          .requests_min = 20,
          .ejection = seconds{30},
          .ejection_max = seconds{100},
          .ejected_share_max = 0.5};
}

TEST(OutlierDetector, FailuresInARowEject) {
  OutlierDetector detector{outlier_rules(), 4, kOutlierStart};
  const Instant now = kOutlierStart;
  const auto out = detector.failed_in_row(1, 5, now);
  ASSERT_TRUE(out);
  EXPECT_EQ(out->backend, 1U);
  EXPECT_EQ(out->until, kOutlierStart + seconds{30});
  EXPECT_EQ(out->reason, "5 requests in a row failed");
  EXPECT_FALSE(detector.failed_in_row(1, 5, now + seconds{1})) << "it is out already";
  EXPECT_NE(detector.reason(1, now + seconds{1}), nullptr);
}

TEST(OutlierDetector, EachTimeOutIsTwiceTheLast) {
  OutlierDetector detector{outlier_rules(), 4, kOutlierStart};
  Instant now = kOutlierStart;
  for (const int expected_s : {30, 60, 100, 100}) {
    const auto out = detector.failed_in_row(0, 5, now);
    ASSERT_TRUE(out);
    EXPECT_EQ(out->until - now, seconds{expected_s});
    now = out->until + seconds{1};
  }
  now += seconds{100};  // it stayed in for longer than it was out last
  const auto out = detector.failed_in_row(0, 5, now);
  ASSERT_TRUE(out);
  EXPECT_EQ(out->until - now, seconds{30});
}

TEST(OutlierDetector, NeverTooManyAtOnce) {
  OutlierDetector detector{outlier_rules(), 5, kOutlierStart};
  EXPECT_TRUE(detector.failed_in_row(0, 5, kOutlierStart));
  EXPECT_TRUE(detector.failed_in_row(1, 5, kOutlierStart));
  EXPECT_FALSE(detector.failed_in_row(2, 5, kOutlierStart)) << "three of five are more than half";
  EXPECT_TRUE(detector.failed_in_row(2, 5, kOutlierStart + seconds{30})) << "the others are back";

  OutlierRules none = outlier_rules();
  none.ejected_share_max = 0;
  OutlierDetector strict{none, 3, kOutlierStart};
  EXPECT_TRUE(strict.failed_in_row(0, 5, kOutlierStart)) << "one may always be out";
  EXPECT_FALSE(strict.failed_in_row(1, 5, kOutlierStart));

  OutlierDetector alone{outlier_rules(), 1, kOutlierStart};
  EXPECT_FALSE(alone.failed_in_row(0, 5, kOutlierStart)) << "there is no other";
}

TEST(OutlierDetector, AShareOfFailuresOverTheWindow) {
  OutlierDetector detector{outlier_rules(), 3, kOutlierStart};
  std::vector<OutlierCounts> counts{{19, 19}, {40, 19}, {0, 0}};
  auto changes = detector.sample(counts, kOutlierStart + seconds{1});
  EXPECT_TRUE(changes.out.empty()) << "19 requests are too few; 19 of 40 are not half";
  counts = {{20, 19}, {40, 20}, {0, 0}};
  changes = detector.sample(counts, kOutlierStart + seconds{2});
  ASSERT_EQ(changes.out.size(), 1U) << "of two that are bad one may go";
  EXPECT_EQ(changes.out[0].backend, 0U);
  EXPECT_EQ(changes.out[0].reason, "19 of 20 requests failed");
}

TEST(OutlierDetector, AWindowBeginsAnew) {
  OutlierDetector detector{outlier_rules(), 3, kOutlierStart};
  std::vector<OutlierCounts> counts{{30, 10}, {0, 0}, {0, 0}};
  EXPECT_TRUE(detector.sample(counts, kOutlierStart + seconds{10}).out.empty());
  counts[0] = {45, 25};
  EXPECT_TRUE(detector.sample(counts, kOutlierStart + seconds{11}).out.empty()) << "15 requests in this one";
  counts[0] = {50, 30};
  EXPECT_EQ(detector.sample(counts, kOutlierStart + seconds{12}).out.size(), 1U);
}

TEST(OutlierDetector, WhoseTimeIsOverIsToldAndStartsWithNothing) {
  OutlierDetector detector{outlier_rules(), 3, kOutlierStart};
  std::vector<OutlierCounts> counts{{20, 20}, {0, 0}, {0, 0}};
  ASSERT_EQ(detector.sample(counts, kOutlierStart).out.size(), 1U);
  counts[0] = {60, 60};  // what was in flight
  EXPECT_TRUE(detector.sample(counts, kOutlierStart + seconds{29}).back.empty());
  const auto changes = detector.sample(counts, kOutlierStart + seconds{30});
  EXPECT_EQ(changes.back, std::vector<std::uint32_t>{0});
  EXPECT_TRUE(changes.out.empty());
  EXPECT_EQ(detector.reason(0, kOutlierStart + seconds{30}), nullptr);
  EXPECT_TRUE(detector.sample(counts, kOutlierStart + seconds{31}).back.empty()) << "once";
}

TEST(OutlierDetector, WithoutAShareOnlyRowsCount) {
  OutlierRules rows = outlier_rules();
  rows.failure_share = 0;
  OutlierDetector detector{rows, 3, kOutlierStart};
  const std::vector<OutlierCounts> counts{{1000, 1000}, {0, 0}, {0, 0}};
  EXPECT_TRUE(detector.sample(counts, kOutlierStart + milliseconds{1}).out.empty());
}

}  // namespace
}  // namespace lb
