#include "lb/limit/rate_limiter.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "lb/base/random.hpp"
#include "lb/limit/bucket_table.hpp"

namespace lb {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

constexpr Instant kStart{hours{100}};

int grants(RateLimiter& limiter, std::uint64_t client, Instant now, int attempts) {
  int granted = 0;
  for (int i = 0; i < attempts; ++i) granted += limiter.take(client, now).allowed ? 1 : 0;
  return granted;
}

TEST(RateLimiter, GrantsTheBurstAndNoMore) {
  for (const std::uint32_t burst : {1U, 2U, 20U}) {
    RateLimiter limiter{10, burst};
    for (std::uint32_t i = 0; i < burst; ++i) {
      const auto decision = limiter.take(1, kStart);
      EXPECT_TRUE(decision.allowed) << i + 1 << " of " << burst;
      EXPECT_EQ(decision.retry_after_s, 0U);
    }
    EXPECT_FALSE(limiter.take(1, kStart).allowed);
    EXPECT_FALSE(limiter.take(1, kStart).allowed) << "a refusal takes nothing and gives nothing";
    EXPECT_TRUE(limiter.take(2, kStart).allowed) << "another client";
  }
}

TEST(RateLimiter, RefillsToTheNanosecond) {
  RateLimiter limiter{10, 3};
  EXPECT_EQ(grants(limiter, 1, kStart, 5), 3);
  EXPECT_EQ(grants(limiter, 1, kStart + milliseconds{100} - nanoseconds{1}, 5), 0);
  EXPECT_EQ(grants(limiter, 1, kStart + milliseconds{100}, 5), 1);
  EXPECT_EQ(grants(limiter, 1, kStart + milliseconds{300}, 5), 2);
  EXPECT_EQ(grants(limiter, 1, kStart + milliseconds{600}, 5), 3);
  EXPECT_EQ(grants(limiter, 1, kStart + hours{1}, 5), 3) << "never more than the burst";
}

TEST(RateLimiter, SlowRates) {
  RateLimiter limiter{0.1, 2};
  EXPECT_EQ(grants(limiter, 1, kStart, 3), 2);
  EXPECT_EQ(limiter.take(1, kStart).retry_after_s, 10U);
  EXPECT_EQ(limiter.take(1, kStart + milliseconds{1}).retry_after_s, 10U);
  EXPECT_EQ(limiter.take(1, kStart + seconds{1}).retry_after_s, 9U);
  EXPECT_EQ(limiter.take(1, kStart + seconds{10} - nanoseconds{1}).retry_after_s, 1U);
  EXPECT_TRUE(limiter.take(1, kStart + seconds{10}).allowed);
}

TEST(RateLimiter, RetryAfterIsAtLeastOneAndRoundsUp) {
  RateLimiter limiter{1000, 1};
  EXPECT_TRUE(limiter.take(1, kStart).allowed);
  EXPECT_EQ(limiter.take(1, kStart).retry_after_s, 1U);
  RateLimiter half{0.5, 1};
  EXPECT_TRUE(half.take(1, kStart).allowed);
  EXPECT_EQ(half.take(1, kStart).retry_after_s, 2U);
  EXPECT_EQ(half.take(1, kStart + nanoseconds{1}).retry_after_s, 2U);
  EXPECT_EQ(half.take(1, kStart + seconds{1}).retry_after_s, 1U);
}

TEST(RateLimiter, WaitingAsLongAsToldIsEnough) {
  Random random{9};
  for (int round = 0; round < 2000; ++round) {
    const double rate = std::exp(static_cast<double>(random.below(2000)) / 100.0 - 8);  // 0.0003 to 160,000
    const std::uint32_t burst = 1 + random.below(5);
    RateLimiter limiter{rate, burst, 64};
    grants(limiter, 1, kStart, static_cast<int>(burst));
    const auto refused = limiter.take(1, kStart);
    ASSERT_FALSE(refused.allowed) << rate;
    ASSERT_GE(refused.retry_after_s, 1U);
    EXPECT_LE(refused.retry_after_s, std::ceil(1 / rate) + 1);
    ASSERT_TRUE(limiter.take(1, kStart + seconds{refused.retry_after_s}).allowed) << rate << " a second";
  }
}

TEST(RateLimiter, FastRates) {
  RateLimiter limiter{1e6, 10};
  EXPECT_EQ(grants(limiter, 1, kStart, 20), 10);
  EXPECT_EQ(grants(limiter, 1, kStart + microseconds{1}, 20), 1);
  int granted = 0;
  for (int us = 2; us <= 100'001; ++us) granted += grants(limiter, 1, kStart + microseconds{us}, 2);
  EXPECT_EQ(granted, 100'000);
  RateLimiter odd{700'000, 1};  // 1428.57 ns: the rounding of the interval must not add up
  granted = 0;
  for (int us = 0; us < 1'000'000; ++us) granted += grants(odd, 1, kStart + microseconds{us}, 1);
  EXPECT_LE(granted, 700'001);
  EXPECT_GE(granted, 499'999) << "arrivals each microsecond can use every second one only, or better";
}

TEST(RateLimiter, ExtremesSaturateInsteadOfOverflowing) {
  RateLimiter never{1e-300, std::numeric_limits<std::uint32_t>::max()};
  EXPECT_TRUE(never.take(1, kStart).allowed);
  const auto refused = never.take(1, kStart);
  EXPECT_FALSE(refused.allowed);
  EXPECT_GE(refused.retry_after_s, 1U);
  RateLimiter always{1e300, 1};
  EXPECT_TRUE(always.take(1, kStart).allowed);
  EXPECT_TRUE(always.take(1, kStart + nanoseconds{1}).allowed);
  RateLimiter deep{0.001, std::numeric_limits<std::uint32_t>::max()};
  EXPECT_EQ(grants(deep, 1, kStart, 1000), 1000);
  RateLimiter early{1, 1};
  EXPECT_TRUE(early.take(1, Instant{}).allowed);
  EXPECT_FALSE(early.take(1, Instant{seconds{-5}}).allowed);
}

TEST(RateLimiter, AClockThatIsBehindGrantsNothingExtra) {
  RateLimiter limiter{10, 5};
  EXPECT_EQ(grants(limiter, 1, kStart, 10), 5);
  EXPECT_EQ(grants(limiter, 1, kStart - milliseconds{50}, 10), 0);
  EXPECT_EQ(grants(limiter, 1, kStart + milliseconds{100}, 10), 1);
  EXPECT_EQ(grants(limiter, 1, kStart + milliseconds{99}, 10), 0);
  EXPECT_EQ(grants(limiter, 1, kStart - seconds{50}, 10), 0);
  EXPECT_EQ(grants(limiter, 1, kStart + milliseconds{200}, 10), 1);
}

/// A bucket that is filled by the clock, in long doubles: the model.
class TokenBucket {
 public:
  TokenBucket(double per_second, std::uint32_t burst)
      : per_second_(per_second), burst_(burst), tokens_(burst) {}
  /// How many tokens there are; more than 1 means granted. Close to 1 rounding decides.
  long double tokens_at(Instant now) {
    const auto elapsed = static_cast<long double>((now - last_).count()) / 1e9L;
    tokens_ = std::min(tokens_ + elapsed * per_second_, static_cast<long double>(burst_));
    last_ = now;
    return tokens_;
  }
  void take() { tokens_ -= 1; }

 private:
  double per_second_;
  std::uint32_t burst_;
  long double tokens_;
  Instant last_ = kStart;
};

TEST(RateLimiter, BehavesLikeATokenBucket) {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    Random random{seed};
    const double rates[] = {0.1, 1, 3, 100, 12'345.678, 1e6};
    const double rate = rates[random.below(6)];
    const std::uint32_t burst = 1 + random.below(30);
    RateLimiter limiter{rate, burst, 1024};
    std::map<std::uint64_t, TokenBucket> model;
    Instant now = kStart;
    for (int step = 0; step < 2000; ++step) {
      now += nanoseconds{static_cast<std::int64_t>(1e9 / rate * random.below(2000) / 1000.0)};
      const std::uint64_t client = random.below(5);
      TokenBucket& bucket = model.try_emplace(client, rate, burst).first->second;
      const long double tokens = bucket.tokens_at(now);
      const bool allowed = limiter.take(client, now).allowed;
      if (std::abs(tokens - 1) > 1e-3L) {
        ASSERT_EQ(allowed, tokens > 1) << "seed " << seed << " step " << step;
      }
      if (allowed) bucket.take();
    }
    EXPECT_EQ(limiter.evictions(), 0U);
  }
}

/// Lets two threads go within some ten nanoseconds of each other, again and again: what they do in a round
/// is shorter than waking a thread takes.
class StartingLine {
 public:
  void wait_for_both(int round) {
    arrived_.fetch_add(1);
    for (int spins = 0; arrived_.load() < 2 * (round + 1); ++spins) {
      if (spins > 2000) std::this_thread::yield();
    }
  }

 private:
  std::atomic<int> arrived_ = 0;
};

/// Two threads, each doing work(thread, round) in every round.
template <class Work>
void race(int rounds, Work work) {
  StartingLine line;
  std::vector<std::jthread> threads;
  for (std::size_t thread = 0; thread < 2; ++thread) {
    threads.emplace_back([&, thread] {
      Random random{thread};
      for (int round = 0; round < rounds; ++round) {
        line.wait_for_both(round);
        // Who arrives last goes first, by the time a cache line needs to travel: make up for it, more or
        // less.
        for (std::atomic<std::uint32_t> spins = random.below(64); spins.load() > 0; spins.fetch_sub(1)) {
        }
        work(thread, round);
      }
    });
  }
}

constexpr int kRaces = 20'000;

/// Clients that are new: none has the tag of one of the last few, whose bucket it would be given. (A client
/// that comes back just when its bucket is taken over may get a token too many; see bucket_table.hpp.)
std::vector<std::uint64_t> clients_with_tags_of_their_own(std::size_t count, std::uint64_t seed) {
  std::vector<std::uint64_t> clients;
  const auto tag = [&](std::uint64_t client) { return mix64(client ^ seed) >> 48U; };
  for (std::uint64_t client = 0; clients.size() < count; ++client) {
    const auto recent = clients.end() - std::min<std::ptrdiff_t>(8, std::ssize(clients));
    const auto same = [&](std::uint64_t earlier) { return tag(earlier) == tag(client); };
    if (std::none_of(recent, clients.end(), same)) clients.push_back(client);
  }
  return clients;
}

TEST(RateLimiter, NewClientsMetByTwoThreadsAtOnceGetOneBucketEach) {
  // Two new clients a round in a table of one set, which has full buckets to give away.
  constexpr std::uint32_t kBurst = 4;
  constexpr std::uint64_t kSeed = 1;
  RateLimiter limiter{1, kBurst, 4, kSeed};
  const auto clients = clients_with_tags_of_their_own(2 * std::size_t{kRaces}, kSeed);
  std::vector<std::array<std::atomic<int>, 2>> granted(kRaces);
  race(kRaces, [&](std::size_t thread, int round) {
    const Instant now = kStart + hours{round};
    for (const std::size_t which : {thread, 1 - thread, thread, 1 - thread}) {
      const std::uint64_t client = clients[2 * static_cast<std::size_t>(round) + which];
      granted[static_cast<std::size_t>(round)][which] += grants(limiter, client, now, kBurst / 2);
    }
  });
  for (const auto& round : granted) {
    ASSERT_EQ(round[0], static_cast<int>(kBurst));
    ASSERT_EQ(round[1], static_cast<int>(kBurst));
  }
  EXPECT_EQ(limiter.evictions(), 0U);
}

TEST(RateLimiter, ANewClientThatTakesOverADebtorsBucketGetsNoMoreThanTheBurst) {
  constexpr std::uint32_t kBurst = 6;
  RateLimiter limiter{1, kBurst, 4};
  std::vector<std::atomic<int>> granted(kRaces);
  race(kRaces, [&](std::size_t, int round) {
    const Instant now = kStart + seconds{round};  // the buckets of the rounds before are half empty
    granted[static_cast<std::size_t>(round)] +=
        grants(limiter, static_cast<std::uint64_t>(round), now, kBurst);
  });
  for (const auto& round : granted) ASSERT_LE(round, static_cast<int>(kBurst));
  EXPECT_GT(limiter.evictions(), 10'000U);
}

TEST(RateLimiter, ThreadsNeverGetMoreThanRateTimesTimePlusBurst) {
  // Each thread has a clock of its own that is up to 1 ms behind the others'.
  constexpr double kRate = 1000;
  constexpr std::uint32_t kBurst = 50;
  RateLimiter limiter{kRate, kBurst, 64};
  std::atomic<std::int64_t> clock_us = 0;
  std::atomic<std::uint32_t> granted = 0;
  constexpr std::int64_t kEndUs = 2'000'000;
  {
    std::vector<std::jthread> threads;
    for (std::uint64_t t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        Random random{t};
        for (;;) {
          const std::int64_t us = clock_us.fetch_add(random.below(100));
          if (us >= kEndUs) return;
          const Instant now = kStart + microseconds{us} - microseconds{random.below(1000)};
          if (limiter.take(7, now).allowed) granted.fetch_add(1);
        }
      });
    }
  }
  EXPECT_LE(granted, kBurst + 2001U);
  EXPECT_GE(granted, 1900U) << "and they do get it";
}

TEST(BucketTable, RecyclesFullBucketsSilentlyAndOthersCounted) {
  RateLimiter limiter{1, 2, 4};  // one set
  for (std::uint64_t client = 0; client < 4; ++client) EXPECT_TRUE(limiter.take(client, kStart).allowed);
  EXPECT_EQ(limiter.evictions(), 0U);
  // A second later all four are full again: any of them may go.
  EXPECT_EQ(grants(limiter, 10, kStart + seconds{1}, 3), 2);
  EXPECT_EQ(limiter.evictions(), 0U);
  for (std::uint64_t client = 11; client < 14; ++client) grants(limiter, client, kStart + seconds{1}, 2);
  EXPECT_EQ(limiter.evictions(), 0U);
  // Now none is: the newcomer gets a full bucket at the cost of another.
  EXPECT_EQ(grants(limiter, 20, kStart + seconds{1}, 3), 2);
  EXPECT_EQ(limiter.evictions(), 1U);
}

TEST(BucketTable, TheBucketNearestToFullIsRecycled) {
  std::vector<BucketSet> sets(1);
  BucketTable table{sets};
  const auto key = [](std::uint64_t tag) { return tag << 48U; };
  for (std::uint64_t tag = 1; tag <= 4; ++tag) table.find(key(tag), 100).full_at = 200 + tag;
  table.find(key(3), 100).full_at = 150;
  const auto found = table.find(key(9), 100);
  EXPECT_TRUE(found.evicted);
  EXPECT_EQ(found.full_at, 100U) << "full";
  EXPECT_EQ(table.find(key(1), 100).full_at, 201U);
  EXPECT_EQ(table.find(key(2), 100).full_at, 202U);
  EXPECT_EQ(table.find(key(4), 100).full_at, 204U);
}

TEST(BucketTable, ANewKeysBucketIsNotTakenOverBeforeItsFirstUse) {
  std::vector<BucketSet> sets(1);
  BucketTable table{sets};
  const auto key = [](std::uint64_t tag) { return tag << 48U; };
  for (std::uint64_t tag = 1; tag <= 4; ++tag) table.find(key(tag), 100).full_at = 100 + tag;
  // All are full by now; four new keys, none of them used yet, take one each.
  std::set<const void*> buckets;
  for (std::uint64_t tag = 11; tag <= 14; ++tag) buckets.insert(&table.find(key(tag), 1000).full_at);
  EXPECT_EQ(buckets.size(), 4U);
  for (std::uint64_t tag = 11; tag <= 14; ++tag) {
    const auto found = table.find(key(tag), 1000);
    EXPECT_FALSE(found.evicted);
    EXPECT_TRUE(buckets.contains(&found.full_at));
  }
}

TEST(BucketTable, KeysWithTagZeroHaveBucketsToo) {
  std::vector<BucketSet> sets(2);
  BucketTable table{sets};
  table.find(0, 5).full_at = 77;
  table.find(1, 5).full_at = 78;
  EXPECT_EQ(table.find(0, 5).full_at, 77U);
  EXPECT_EQ(table.find(1, 5).full_at, 78U);
}

TEST(BucketTable, HoldsAsManyClientsAsPromised) {
  RateLimiter limiter{1, 1, 1U << 16U};
  for (std::uint64_t client = 0; client < (1U << 14U); ++client) limiter.take(client, kStart);
  EXPECT_LT(limiter.evictions(), 100U) << "a quarter full";
  int limited = 0;
  for (std::uint64_t client = 0; client < (1U << 14U); ++client)
    limited += 1 - grants(limiter, client, kStart, 1);
  EXPECT_GT(limited, 16'000);
}

TEST(BucketTable, ASecretSeedChoosesWhoShares) {
  // Two clients in a table of four buckets whose tags are equal share under one seed, not under another.
  const auto key = [](std::uint64_t client, std::uint64_t seed) { return mix64(client ^ seed) >> 48U; };
  std::uint64_t twin = 1;
  while (key(twin, 0) != key(0, 0)) ++twin;
  RateLimiter plain{1, 1, 4};
  EXPECT_TRUE(plain.take(0, kStart).allowed);
  EXPECT_FALSE(plain.take(twin, kStart).allowed);
  RateLimiter seeded{1, 1, 4, 12345};
  EXPECT_TRUE(seeded.take(0, kStart).allowed);
  EXPECT_TRUE(seeded.take(twin, kStart).allowed);
}

TEST(BucketTable, ManyClientsAndThreadsOnATinyTableStaySane) {
  RateLimiter limiter{1000, 3, 8};
  std::atomic<std::int64_t> clock_us = 0;
  std::vector<std::jthread> threads;
  for (std::uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      Random random{t};
      for (int i = 0; i < 50'000; ++i) {
        const Instant now = kStart + microseconds{clock_us.fetch_add(random.below(50))};
        const auto decision = limiter.take(random.below(40), now);
        // A thread that was interrupted comes with a time long past: up to the whole test's 5 s.
        ASSERT_TRUE(decision.allowed ? decision.retry_after_s == 0
                                     : decision.retry_after_s >= 1 && decision.retry_after_s <= 6);
      }
    });
  }
  threads.clear();
  EXPECT_GT(limiter.evictions(), 0U);
}

TEST(RateLimiterDeath, NonsenseIsAProgrammersError) {
  EXPECT_DEATH(RateLimiter(0, 1), "assertion failed");
  EXPECT_DEATH(RateLimiter(-1, 1), "assertion failed");
  EXPECT_DEATH(RateLimiter(std::numeric_limits<double>::quiet_NaN(), 1), "assertion failed");
  EXPECT_DEATH(RateLimiter(std::numeric_limits<double>::infinity(), 1), "assertion failed");
  EXPECT_DEATH(RateLimiter(1, 0), "assertion failed");
}

// ---- buckets that outlive a limiter ----

int granted(RateLimiter& limiter, std::uint64_t client, Instant now) {
  int count = 0;
  while (limiter.take(client, now).allowed) ++count;
  return count;
}

TEST(SharedBuckets, AnotherLimiterGoesOnWhereTheFirstStopped) {
  const Instant now{std::chrono::hours{1}};
  std::vector<BucketSet> sets(64);
  RateLimiter before{1, 10, sets, 7};
  EXPECT_EQ(granted(before, 42, now), 10);
  RateLimiter after{1, 10, sets, 7};
  after.rescale(before.depth(), now);
  EXPECT_EQ(granted(after, 42, now), 0) << "it has none left, whoever asks";
  EXPECT_EQ(granted(after, 42, now + std::chrono::seconds{3}), 3);
  EXPECT_EQ(granted(before, 42, now + std::chrono::seconds{3}), 0) << "both use the same buckets";
}

TEST(SharedBuckets, AChangeOfRateOrBurstRefillsNone) {
  const Instant now{std::chrono::hours{1}};
  for (const auto& [rate, burst] :
       {std::pair{1.0, 40U}, {100.0, 10U}, {0.01, 10U}, {50.0, 400U}, {1.0, 2U}}) {
    std::vector<BucketSet> sets(64);
    RateLimiter before{1, 10, sets, 7};
    EXPECT_EQ(granted(before, 1, now), 10);
    for (int i = 0; i < 5; ++i) EXPECT_TRUE(before.take(2, now).allowed);
    RateLimiter after{rate, burst, sets, 7};
    after.rescale(before.depth(), now);
    EXPECT_EQ(granted(after, 1, now), 0) << "an empty one stays empty: " << rate << ", " << burst;
    EXPECT_NEAR(granted(after, 2, now), burst / 2.0, 1) << "half a bucket stays half a bucket";
    EXPECT_EQ(granted(after, 3, now), static_cast<int>(burst)) << "a full one is full by the new measure";
  }
}

TEST(SharedBuckets, GoingBackGivesNothing) {
  const Instant now{std::chrono::hours{1}};
  std::vector<BucketSet> sets(64);
  RateLimiter limiter{1, 10, sets, 7};
  EXPECT_EQ(granted(limiter, 1, now), 10);
  for (int i = 0; i < 20; ++i) {
    const std::uint64_t depth = limiter.depth();
    limiter.retune(i % 2 == 0 ? 17 : 1, i % 2 == 0 ? 3 : 10);
    limiter.rescale(depth, now);
    ASSERT_EQ(granted(limiter, 1, now), 0);
  }
  EXPECT_LE(granted(limiter, 1, now + std::chrono::seconds{10}), 10);
}

}  // namespace
}  // namespace lb
