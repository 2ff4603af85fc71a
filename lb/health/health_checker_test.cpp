#include "lb/health/health_checker.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>

namespace lb {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Change = HealthChecker::Change;

const Instant kStart{std::chrono::hours{1}};

HealthRules rules() {
  return {.interval = seconds{5}, .jitter = 0.1, .timeout = seconds{2}, .rise = 2, .fall = 3};
}

/// Moves to when something is due and starts the check of the one target.
Instant start_next(HealthChecker& checker, Instant now) {
  now = std::max(now, checker.next_wakeup());
  EXPECT_EQ(checker.start_due(now), 0U);
  return now;
}

/// "+" passes, "-" fails; the standing after each: u(p), d(own).
std::string standings(const std::string& results, HealthRules with = rules()) {
  HealthChecker checker{with, 1, 1, kStart};
  std::string out;
  Instant now = kStart;
  for (const char c : results) {
    now = start_next(checker, now);
    const Health before = checker.health(0);
    const Change change = checker.finish(0, c == '+');
    const Health after = checker.health(0);
    const bool was_down = before == Health::down;
    const bool is_down = after == Health::down;
    EXPECT_EQ(change, was_down == is_down ? Change::none : is_down ? Change::down : Change::up);
    out += is_down ? 'd' : 'u';
  }
  return out;
}

TEST(HealthChecker, RisesAndFallsByResultsInARow) {
  EXPECT_EQ(standings("+++"), "uuu");
  EXPECT_EQ(standings("-"), "d") << "the first result decides alone";
  EXPECT_EQ(standings("+--+--+---"), "uuuuuuuuud") << "a pass ends the row";
  EXPECT_EQ(standings("-+-++"), "ddddu") << "and a failure the row of passes";
  EXPECT_EQ(standings("-++--+---"),
            "ddu"
            "uuuuud");
  HealthRules quick = rules();
  quick.rise = quick.fall = 1;
  EXPECT_EQ(standings("+-+-", quick), "udud");
}

TEST(HealthChecker, IntervalsVaryByTheJitterAndNoMore) {
  HealthChecker checker{rules(), 1, 42, kStart};
  Instant before = start_next(checker, kStart);
  checker.finish(0, true);
  Instant now = start_next(checker, before);
  EXPECT_LE(now - before, seconds{5}) << "the second check is anywhere within the first interval";
  Duration least = seconds{100};
  Duration most{};
  for (int i = 0; i < 1000; ++i) {
    checker.finish(0, true);
    before = now;
    now = start_next(checker, before);
    least = std::min(least, now - before);
    most = std::max(most, now - before);
  }
  EXPECT_GE(least, milliseconds{4500});
  EXPECT_LT(least, milliseconds{4600});
  EXPECT_LE(most, milliseconds{5500});
  EXPECT_GT(most, milliseconds{5400});
}

TEST(HealthChecker, ASeedReplaysARun) {
  const auto times = [](std::uint64_t seed) {
    HealthChecker checker{rules(), 3, seed, kStart};
    std::vector<Instant> out;
    Instant now = kStart;
    while (out.size() < 30) {
      now = std::max(now, checker.next_wakeup());
      for (std::uint32_t t; (t = checker.start_due(now)) != HealthChecker::kNone;) {
        out.push_back(now);
        checker.finish(t, true);
      }
    }
    return out;
  };
  EXPECT_EQ(times(7), times(7));
  EXPECT_NE(times(7), times(8));
}

TEST(HealthChecker, TargetsDoNotStayInStep) {
  constexpr std::uint32_t kTargets = 1000;
  HealthRules wide = rules();
  wide.at_once_max = kTargets;
  HealthChecker checker{wide, kTargets, 3, kStart};
  std::map<std::int64_t, int> per_second;
  Instant now = kStart;
  while (now < kStart + seconds{6}) {
    for (std::uint32_t t; (t = checker.start_due(now)) != HealthChecker::kNone;) {
      if (now > kStart) ++per_second[(now - kStart) / seconds{1}];
      checker.finish(t, true);
    }
    now = std::max(now + milliseconds{1}, checker.next_wakeup());
  }
  for (int second = 0; second < 5; ++second) {
    EXPECT_NEAR(per_second[second], kTargets / 5, kTargets / 15) << "second " << second;
  }
}

TEST(HealthChecker, RunsAtMostSoManyAtOnce) {
  HealthRules few = rules();
  few.at_once_max = 2;
  HealthChecker checker{few, 3, 1, kStart};
  EXPECT_EQ(checker.untested(), 3U);
  const std::uint32_t first = checker.start_due(kStart);
  const std::uint32_t second = checker.start_due(kStart);
  EXPECT_NE(first, second);
  EXPECT_EQ(checker.start_due(kStart), HealthChecker::kNone);
  EXPECT_EQ(checker.next_wakeup(), kStart + seconds{2}) << "the deadline, as there is no room for the third";
  checker.finish(first, true);
  EXPECT_EQ(checker.next_wakeup(), kStart);
  EXPECT_NE(checker.start_due(kStart), HealthChecker::kNone);
  EXPECT_EQ(checker.untested(), 2U);
}

TEST(HealthChecker, TimeoutsComeInTime) {
  HealthChecker checker{rules(), 2, 1, kStart};
  const std::uint32_t a = checker.start_due(kStart);
  const Instant later = kStart + milliseconds{500};
  const std::uint32_t b = checker.start_due(later);
  EXPECT_EQ(checker.next_wakeup(), kStart + seconds{2});
  EXPECT_EQ(checker.expired(kStart + seconds{2} - Duration{1}), HealthChecker::kNone);
  EXPECT_EQ(checker.expired(kStart + seconds{2}), a);
  EXPECT_EQ(checker.finish(a, false), Change::down);
  EXPECT_EQ(checker.expired(kStart + seconds{2}), HealthChecker::kNone);
  checker.finish(b, true);
  EXPECT_EQ(checker.expired(later + seconds{2}), HealthChecker::kNone) << "ended in time";
}

TEST(HealthChecker, AnAbandonedCheckTellsNothing) {
  HealthChecker checker{rules(), 1, 1, kStart};
  Instant now = start_next(checker, kStart);
  checker.abandon(0);
  EXPECT_EQ(checker.health(0), Health::untested);
  EXPECT_EQ(checker.untested(), 1U);
  now = start_next(checker, now);
  EXPECT_EQ(checker.finish(0, false), Change::down);
}

TEST(HealthChecker, ATimeoutAboveTheIntervalDelaysTheNextCheck) {
  HealthRules slow = rules();
  slow.interval = seconds{1};
  HealthChecker checker{slow, 1, 1, kStart};
  start_next(checker, kStart);
  EXPECT_EQ(checker.start_due(kStart + milliseconds{1500}), HealthChecker::kNone) << "it still runs";
  checker.finish(0, false);
  EXPECT_EQ(checker.start_due(kStart + seconds{2}), 0U);
}

TEST(HealthChecker, NoTargetsNothingDue) {
  HealthChecker checker{rules(), 0, 1, kStart};
  EXPECT_EQ(checker.start_due(kStart), HealthChecker::kNone);
  EXPECT_EQ(checker.next_wakeup(), kNever);
}

}  // namespace
}  // namespace lb
