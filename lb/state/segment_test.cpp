#include "lb/state/segment.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "lb/base/random.hpp"
#include "lb/base/time.hpp"

namespace lb::state {
namespace {

/// Zeroed memory that children of this process share.
class Memory {
 public:
  explicit Memory(std::size_t bytes)
      : bytes_(bytes),
        at_(static_cast<std::byte*>(::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                                           MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))) {
    EXPECT_NE(static_cast<void*>(at_), MAP_FAILED);
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory() { ::munmap(at_, bytes_); }
  [[nodiscard]] std::span<std::byte> bytes() const { return {at_, bytes_}; }

 private:
  std::size_t bytes_;
  std::byte* at_;
};

Identity backend(int i) {
  return identity_of("b" + std::to_string(i), "10.0.0.1:" + std::to_string(i));
}

std::vector<Identity> backends(int from, int to) {
  std::vector<Identity> list;
  for (int i = from; i < to; ++i) list.push_back(backend(i));
  return list;
}

class SegmentTest : public testing::Test {
 protected:
  Memory memory_{kMainBytes};
  Segment segment_ = Segment::format(memory_.bytes(), 77);
};

TEST_F(SegmentTest, IsTakenByAnotherProcessOfTheSameVersion) {
  const auto other = Segment::attach(memory_.bytes());
  ASSERT_TRUE(other) << other.error().message;
  EXPECT_EQ(other->header().bucket_seed.load(), 77U);
  EXPECT_EQ(&other->entry(5), &segment_.entry(5));
}

TEST_F(SegmentTest, DamageIsFound) {
  EXPECT_FALSE(Segment::attach(memory_.bytes().first(100)));
  EXPECT_FALSE(Segment::attach(memory_.bytes().first(kMainBytes - 1)));
  for (const std::size_t at : {std::size_t{0}, std::size_t{9}, std::size_t{17}, std::size_t{25},
                               offsetof(Header, catalogue) + 3, offsetof(Header, catalogue) + 60}) {
    memory_.bytes()[at] ^= std::byte{1};
    EXPECT_FALSE(Segment::attach(memory_.bytes())) << "byte " << at;
    segment_ = Segment::format(memory_.bytes(), 77);
  }
  EXPECT_TRUE(Segment::attach(memory_.bytes()));
}

TEST_F(SegmentTest, ABackendKeepsItsEntryAsLongAsAnyGenerationConfiguresIt) {
  const auto first = segment_.admit(1);
  const auto a = segment_.claim(backends(0, 3), *first);
  EXPECT_TRUE(std::ranges::all_of(a, &Segment::Claim::fresh));
  segment_.entry(a[1].entry).state.down = true;
  const auto second = segment_.admit(2);
  const auto b = segment_.claim(backends(1, 4), *second);  // another order, another position
  EXPECT_EQ(b[0].entry, a[1].entry);
  EXPECT_EQ(b[1].entry, a[2].entry);
  EXPECT_FALSE(b[0].fresh);
  EXPECT_TRUE(b[2].fresh);
  EXPECT_TRUE(segment_.entry(b[0].entry).state.down) << "what the first knew the second knows";
  segment_.release(*first);
  const auto third = segment_.admit(3);
  const auto c = segment_.claim(backends(0, 4), *third);
  EXPECT_TRUE(c[0].fresh) << "nobody configured it any more";
  EXPECT_FALSE(c[1].fresh || c[2].fresh || c[3].fresh);
  EXPECT_EQ(c[0].entry, a[0].entry) << "the place is used again";
  EXPECT_FALSE(segment_.entry(c[0].entry).state.down);
}

TEST_F(SegmentTest, AHashThatTwoBackendsHaveMakesThemNotOne) {
  const auto slot = segment_.admit(1);
  const Identity a = backend(1);
  const Identity b{a.key, a.check + 1};
  const auto claims = segment_.claim(std::vector{a, b}, *slot);
  EXPECT_NE(claims[0].entry, claims[1].entry);
  const auto again = segment_.claim(std::vector{b, a}, *slot);
  EXPECT_EQ(again[0].entry, claims[1].entry);
  EXPECT_EQ(again[1].entry, claims[0].entry);
}

TEST_F(SegmentTest, TheNameAndTheAddressAreTheIdentity) {
  EXPECT_EQ(identity_of("a", "h:1"), identity_of("a", "h:1"));
  EXPECT_NE(identity_of("a", "h:1"), identity_of("a", "h:2"));
  EXPECT_NE(identity_of("a", "h:1"), identity_of("b", "h:1"));
  EXPECT_NE(identity_of("ab", "c"), identity_of("a", "bc"));
  EXPECT_NE(identity_of("", "").key, 0U);
}

TEST_F(SegmentTest, WhenEveryEntryIsTakenTheRestIsTold) {
  const auto slot = segment_.admit(1);
  std::vector<Identity> many;
  for (std::uint64_t i = 1; i < kEntriesMax; ++i) many.push_back({i, i});
  EXPECT_EQ(std::ranges::count(segment_.claim(many, *slot), kNoEntry, &Segment::Claim::entry), 0);
  EXPECT_EQ(segment_.claim(std::vector{Identity{kEntriesMax, 1}}, *slot)[0].entry, kEntriesMax - 1);
  const auto claims = segment_.claim(std::vector{Identity{kEntriesMax + 1, 1}, Identity{5, 5}}, *slot);
  EXPECT_EQ(claims[0].entry, kNoEntry);
  EXPECT_EQ(claims[1].entry, 4U) << "who has a place keeps it";
  const auto other = segment_.admit(2);
  segment_.claim(std::vector{Identity{5, 5}}, *other);
  segment_.release(*slot);
  EXPECT_EQ(segment_.entries_used(), 5U);
}

TEST_F(SegmentTest, GenerationsHaveSlotsAndAtFirstLanesOfTheirOwn) {
  std::set<std::uint64_t> lanes;
  for (std::uint32_t i = 0; i < kSlots; ++i) {
    const auto slot = segment_.admit(i);
    ASSERT_TRUE(slot);
    lanes.insert(segment_.header().slots[*slot].lane.load());
    EXPECT_EQ(segment_.header().balance.lanes_used.load(), i + 1);
    EXPECT_EQ(lanes.size(), std::min(i + 1, kLoadLanes));
  }
  EXPECT_FALSE(segment_.admit(99));
  segment_.release(3);
  EXPECT_EQ(segment_.admit(99), 3U);
}

TEST_F(SegmentTest, TheLoadOfOneThatWasKilledIsCleared) {
  const auto dead = segment_.admit(1);
  const auto other = segment_.admit(2);
  const std::uint32_t at = segment_.claim(backends(0, 1), *dead)[0].entry;
  segment_.claim(backends(0, 1), *other);
  segment_.entry(at).state.lanes[segment_.header().slots[*dead].lane] = 5;
  segment_.entry(at).state.lanes[segment_.header().slots[*other].lane] = 2;
  EXPECT_EQ(segment_.entry(at).state.in_flight(), 7U);
  segment_.release(*dead);
  EXPECT_EQ(segment_.entry(at).state.in_flight(), 2U);
}

TEST_F(SegmentTest, WhenTheOnlyGenerationDiesWhatIsKnownStays) {
  const auto slot = segment_.admit(1);
  const std::uint32_t at = segment_.claim(backends(0, 1), *slot)[0].entry;
  segment_.entry(at).state.down = true;
  segment_.release(*slot);
  const auto next = segment_.admit(2);
  EXPECT_FALSE(segment_.claim(backends(0, 1), *next)[0].fresh);
  EXPECT_TRUE(segment_.entry(at).state.down);
}

// ---- totals ----

class FoldTest : public SegmentTest {
 protected:
  static constexpr std::uint32_t kWorkers = 2;

  /// What generation in `slot` counts: `n` times some.
  void count(std::uint32_t slot, const std::vector<Segment::Claim>& claims, std::uint64_t n) {
    std::memset(block_.bytes().data(), 0, kBlockCountersBytes);
    const Block block{block_.bytes()};
    segment_.header().slots[slot].workers = kWorkers;
    for (std::uint32_t worker = 0; worker < kWorkers; ++worker) {
      Counters& counters = block.counters(worker);
      counters.requests = 10 * n;
      counters.connections_open = 3;
      counters.drain_force_closed = n;
      for (const auto& claim : claims) {
        BackendCounts& row = block.rows(worker)[claim.entry];
        row.requests = n;
        row.failures = 2 * n;
        row.latency_sum_us = 1000 * n;
        row.latency[7] = n;
      }
    }
  }
  static void die_when_storing(void* where) {
    constexpr std::uintptr_t kPage = 4096;
    constexpr rlimit kNoCore{0, 0};
    ::setrlimit(RLIMIT_CORE, &kNoCore);
    std::signal(SIGSEGV, SIG_DFL);
    void* page = reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(where) & ~(kPage - 1));
    if (::mprotect(page, kPage, PROT_READ) != 0) ::_exit(1);
  }
  void expect_totals(const std::vector<Segment::Claim>& claims, std::uint64_t n) {
    std::vector<std::uint64_t> words;
    CounterTotals{}.for_each([&](std::string_view name, std::string_view, std::uint64_t) {
      const std::uint64_t value = segment_.header().counters[words.size()].load();
      words.push_back(value);
      const std::uint64_t expected = name == "requests" ? 20 * n : name == "drain_force_closed" ? 2 * n : 0;
      EXPECT_EQ(value, expected) << name;
    });
    for (const auto& claim : claims) {
      const BackendTotals totals = segment_.totals(claim.entry);
      ASSERT_EQ(totals.requests, 2 * n) << claim.entry;
      ASSERT_EQ(totals.failures, 4 * n);
      ASSERT_EQ(totals.latency_sum_us, 2000 * n);
      ASSERT_EQ(totals.latency[7], 2 * n);
      ASSERT_EQ(totals.latency_count(), 2 * n);
    }
  }

  Memory block_{block_bytes(kWorkers)};
};

TEST_F(FoldTest, WhatEndedGenerationsCountedIsAddedUp) {
  const auto keeper = segment_.admit(100);
  const auto claims = segment_.claim(backends(0, 3), *keeper);
  for (std::uint64_t n = 1; n <= 5; ++n) {
    const auto slot = segment_.admit(static_cast<std::int64_t>(n));
    ASSERT_EQ(segment_.claim(backends(0, 3), *slot)[1].entry, claims[1].entry);
    count(*slot, claims, 1);
    segment_.fold(*slot, Block{block_.bytes()});
    segment_.fold(*slot, Block{block_.bytes()});  // another supervisor, who does not know
    segment_.release(*slot);
    expect_totals(claims, n);
  }
}

TEST_F(FoldTest, WhoeverGoesOnAfterOneThatWasKilledCountsNothingTwice) {
  constexpr int kBackends = 300;
  const auto keeper = segment_.admit(100);
  const auto claims = segment_.claim(backends(0, kBackends), *keeper);
  Random random{20261130};
  constexpr int kRounds = 40;
  for (int n = 1; n <= kRounds; ++n) {
    const auto slot = segment_.admit(n);
    segment_.claim(backends(0, kBackends), *slot);
    count(*slot, claims, 1);
    const std::uint32_t at = claims[random.below(kBackends)].entry;
    const pid_t child = ::fork();
    if (child == 0) {
      // It dies at its first store into this page: the new value is noted, and the total is still the old
      // one.
      die_when_storing(&segment_.entry(at).totals);
      segment_.fold(*slot, Block{block_.bytes()});
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << "round " << n;
    segment_.fold(*slot, Block{block_.bytes()});
    segment_.release(*slot);
    ASSERT_NO_FATAL_FAILURE(expect_totals(claims, static_cast<std::uint64_t>(n))) << "round " << n;
  }
}

TEST_F(SegmentTest, AGenerationKilledAtAnyStepLeavesItUsable) {
  Random random{7};
  const auto keeper = segment_.admit(1000);
  segment_.claim(backends(0, 50), *keeper);
  for (int round = 0; round < 25; ++round) {
    const auto slot = segment_.admit(round);
    ASSERT_TRUE(slot);
    const std::uint64_t seed = random();
    const pid_t child = ::fork();
    if (child == 0) {
      Random choose{seed};
      for (;;) {
        const int from = static_cast<int>(choose.below(80));
        for (const auto& claim : segment_.claim(backends(from, from + 40), *slot)) {
          Entry& entry = segment_.entry(claim.entry);
          entry.state.lanes[segment_.header().slots[*slot].lane].fetch_add(1);
          entry.down_reason.set("connection refused");
          entry.ejection_reason.set(std::to_string(choose.below(1000)) + " requests in a row failed");
        }
      }
    }
    const Instant until = monotonic_now() + std::chrono::microseconds{500 + random.below(3000)};
    while (monotonic_now() < until) {
    }
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    segment_.release(*slot);
    std::set<std::uint64_t> keys;
    for (std::uint32_t i = 0; i < segment_.entries_used(); ++i) {
      const Entry& entry = segment_.entry(i);
      if (entry.key == 0) continue;
      EXPECT_TRUE(keys.insert(entry.key).second) << "a backend has two entries";
      EXPECT_EQ(entry.state.in_flight(), 0U);
      const std::string reason = entry.down_reason.get();
      EXPECT_TRUE(reason.empty() || reason == "connection refused") << reason;
      const std::string ejection = entry.ejection_reason.get();
      EXPECT_TRUE(ejection.empty() || ejection.ends_with(" requests in a row failed")) << ejection;
    }
    EXPECT_EQ(keys.size(), 50U) << "what only the dead one configured is free again";
  }
}

// ---- another layout ----

/// A version that has less, in another order, and with entries of another size.
struct OldEntry {
  std::uint64_t unknown_here[3];
  std::uint64_t check;
  std::uint64_t key;
  std::int64_t ejected_until_ns;
  std::uint32_t failures_in_row;
};

class OldLayout {
 public:
  static constexpr std::uint32_t kEntries = 10;
  OldLayout() {
    add("entry.check", kAt + offsetof(OldEntry, check), 8, sizeof(OldEntry), kEntries);
    add("entry.key", kAt + offsetof(OldEntry, key), 8, sizeof(OldEntry), kEntries);
    add("entry.ejected_until_ns", kAt + offsetof(OldEntry, ejected_until_ns), 8, sizeof(OldEntry), kEntries);
    add("entry.failures_in_row", kAt + offsetof(OldEntry, failures_in_row), 4, sizeof(OldEntry), kEntries);
    add("entry.of_yore", kAt, 8, sizeof(OldEntry), kEntries);
    add("counter.requests", kAt - 8, 8);
    add("counter.of_yore", kAt - 16, 8);
    add("rate_limit.seed", kAt - 24, 4);  // was shorter then
    add("live.entries_used", kAt - 32, 8);
    seal_catalogue(header());
    put(kAt - 8, std::uint64_t{12345});
    put(kAt - 32, std::uint64_t{kEntries});
    for (std::uint32_t i = 0; i < kEntries; ++i) {
      const Identity identity = backend(static_cast<int>(i));
      const OldEntry entry{.unknown_here = {9, 9, 9},
                           .check = i == 4 ? 0 : identity.check,
                           .key = i == 4 ? 0 : identity.key,
                           .ejected_until_ns = 1000 + i,
                           .failures_in_row = i};
      std::memcpy(bytes_.data() + kAt + i * sizeof entry, &entry, sizeof entry);
    }
  }
  Header& header() { return *reinterpret_cast<Header*>(bytes_.data()); }
  [[nodiscard]] std::span<std::byte> bytes() {
    return {reinterpret_cast<std::byte*>(bytes_.data()), bytes_.size()};
  }

 private:
  static constexpr std::size_t kAt = sizeof(Header) + 64;
  template <class T>
  void put(std::size_t at, T value) {
    std::memcpy(bytes_.data() + at, &value, sizeof value);
  }
  void add(const char* name, std::size_t offset, std::uint32_t bytes, std::uint32_t stride = 0,
           std::uint32_t count = 1) {
    Field& field = header().catalogue[header().fields++];
    std::strncpy(field.name, name, sizeof field.name - 1);
    field.offset = offset;
    field.bytes = bytes;
    field.stride = stride;
    field.count = count;
  }
  std::vector<char> storage_ = std::vector<char>(kAt + kEntries * sizeof(OldEntry) + 64);
  std::span<char> bytes_{reinterpret_cast<char*>((reinterpret_cast<std::uintptr_t>(storage_.data()) + 63U) &
                                                 ~std::uintptr_t{63}),
                         kAt + kEntries * sizeof(OldEntry)};
};

TEST_F(SegmentTest, WhatAnotherLayoutKnowsByNameIsCarriedOverAndTheRestIsTold) {
  OldLayout old;
  EXPECT_FALSE(Segment::attach(old.bytes())) << "it cannot be used as it is";
  const auto afresh = segment_.carry_over(old.bytes());
  ASSERT_TRUE(afresh) << afresh.error().message;
  const auto is_afresh = [&](const char* name) { return std::ranges::find(*afresh, name) != afresh->end(); };
  for (const char* name : {"entry.down", "counter.responses_5xx", "rate_limit.buckets", "rate_limit.seed"})
    EXPECT_TRUE(is_afresh(name)) << name;
  for (const char* name :
       {"entry.key", "entry.ejected_until_ns", "counter.requests", "live.slots", "block.rows"})
    EXPECT_FALSE(is_afresh(name)) << name;
  EXPECT_EQ(segment_.header().bucket_seed.load(), 77U) << "it keeps its own";
  std::size_t requests = 0;  // its place among the counters
  std::size_t place = 0;
  CounterTotals{}.for_each([&](std::string_view name, std::string_view, std::uint64_t) {
    if (name == "requests") requests = place;
    ++place;
  });
  EXPECT_EQ(segment_.header().counters[requests].load(), 12345U);
  const auto slot = segment_.admit(1);
  const auto claims = segment_.claim(backends(0, 12), *slot);
  for (std::uint32_t i = 0; i < 12; ++i) {
    const bool known = i < OldLayout::kEntries && i != 4;
    EXPECT_EQ(claims[i].fresh, !known) << i;
    EXPECT_EQ(segment_.entry(claims[i].entry).state.ejected_until_ns.load(), known ? 1000 + i : 0U);
    EXPECT_EQ(segment_.entry(claims[i].entry).state.failures_in_row.load(), known ? i : 0U);
  }
}

TEST_F(SegmentTest, OfTheSameLayoutAllIsCarriedOver) {
  const auto slot = segment_.admit(1);
  const std::uint32_t at = segment_.claim(backends(0, 2), *slot)[1].entry;
  segment_.entry(at).state.down = true;
  segment_.entry(at).down_reason.set("connection refused");
  segment_.buckets()[3].tags = 9;
  Memory other{kMainBytes};
  const Segment fresh = Segment::format(other.bytes(), 1);
  const auto afresh = fresh.carry_over(memory_.bytes());
  ASSERT_TRUE(afresh);
  EXPECT_TRUE(afresh->empty());
  EXPECT_TRUE(fresh.entry(at).state.down);
  EXPECT_EQ(fresh.entry(at).down_reason.get(), "connection refused");
  EXPECT_EQ(fresh.header().bucket_seed.load(), 77U);
  EXPECT_EQ(fresh.buckets()[3].tags.load(), 9U);
  EXPECT_EQ(fresh.entries_used(), 2U);
  EXPECT_EQ(fresh.header().slots[*slot].state.load(), Slot::free) << "nobody lives here yet";
}

TEST_F(SegmentTest, ADamagedOneCarriesNothingOver) {
  for (int kind = 0; kind < 3; ++kind) {
    OldLayout old;
    if (kind == 0) old.header().catalogue[1].offset += 8;
    if (kind == 1) {
      old.header().catalogue[1].count = 1U << 30U;  // far outside, and the sum is right
      seal_catalogue(old.header());
    }
    if (kind == 2) old.header().magic ^= 1;
    EXPECT_FALSE(segment_.carry_over(old.bytes())) << kind;
    EXPECT_EQ(segment_.header().counters[6].load(), 0U);
    EXPECT_EQ(segment_.entries_used(), 0U);
  }
}

}  // namespace
}  // namespace lb::state
