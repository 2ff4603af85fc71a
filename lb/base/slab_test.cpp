#include "lb/base/slab.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "lb/base/random.hpp"

namespace lb {
namespace {

/// Counts its living instances and can do something when it dies.
struct Thing {
  Thing(int& alive_, int value_) : alive(alive_), value(value_) { ++alive; }
  Thing(const Thing&) = delete;
  Thing& operator=(const Thing&) = delete;
  ~Thing() {
    --alive;
    if (at_end) at_end();
  }
  int& alive;
  int value;
  std::function<void()> at_end;
};

TEST(Slab, FindsWhatWasMadeAndForgetsWhatWasRetired) {
  int alive = 0;
  Slab<Thing> slab{10};
  const auto [thing, handle] = slab.emplace(alive, 7);
  ASSERT_NE(thing, nullptr);
  EXPECT_TRUE(handle);
  EXPECT_EQ(slab.get(handle), thing);
  EXPECT_EQ(slab.get(handle)->value, 7);
  EXPECT_EQ(slab.size(), 1U);
  slab.retire(handle);
  EXPECT_EQ(slab.get(handle), nullptr);
  EXPECT_EQ(slab.size(), 0U);
  EXPECT_EQ(thing->value, 7) << "lives until reap()";
  EXPECT_EQ(alive, 1);
  slab.reap();
  EXPECT_EQ(alive, 0);
}

TEST(Slab, AHandleNeverResolvesToALaterObjectInTheSamePlace) {
  int alive = 0;
  Slab<Thing> slab{1};
  const Handle old = slab.emplace(alive, 1).second;
  slab.retire(old);
  slab.reap();
  const auto [thing, handle] = slab.emplace(alive, 2);
  ASSERT_NE(thing, nullptr);
  EXPECT_EQ(handle.index, old.index);
  EXPECT_NE(handle, old);
  EXPECT_EQ(slab.get(old), nullptr);
}

TEST(Slab, HandlesOfNobodyResolveToNothing) {
  int alive = 0;
  Slab<Thing> slab{4};
  EXPECT_FALSE(Handle{});
  EXPECT_EQ(slab.get(Handle{}), nullptr);
  EXPECT_EQ(slab.get(Handle{0, 1}), nullptr);
  slab.emplace(alive, 1);
  EXPECT_EQ(slab.get(Handle{0, 0}), nullptr);
  EXPECT_EQ(slab.get(Handle{1, 1}), nullptr);
  EXPECT_EQ(slab.get(Handle{100'000, 1}), nullptr);
}

TEST(Slab, CapacityCountsLivingAndRetired) {
  for (const std::uint32_t capacity : {1U, 255U, 256U, 257U, 600U}) {
    int alive = 0;
    Slab<Thing> slab{capacity};
    std::vector<Handle> handles;
    for (std::uint32_t i = 0; i < capacity; ++i) {
      const auto [thing, handle] = slab.emplace(alive, 0);
      ASSERT_NE(thing, nullptr) << i << " of " << capacity;
      handles.push_back(handle);
    }
    EXPECT_EQ(slab.emplace(alive, 0).first, nullptr);
    slab.retire(handles[0]);
    EXPECT_EQ(slab.emplace(alive, 0).first, nullptr) << "retired, not yet reaped";
    slab.reap();
    EXPECT_NE(slab.emplace(alive, 0).first, nullptr);
    EXPECT_EQ(slab.emplace(alive, 0).first, nullptr);
  }
}

TEST(Slab, CapacityZeroHoldsNothing) {
  int alive = 0;
  Slab<Thing> slab{0};
  EXPECT_EQ(slab.emplace(alive, 0).first, nullptr);
}

TEST(Slab, AddressesAreStableWhileItGrows) {
  int alive = 0;
  Slab<Thing> slab{10'000};
  std::vector<std::pair<Thing*, Handle>> things;
  for (int i = 0; i < 10'000; ++i) things.push_back(slab.emplace(alive, i));
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_EQ(slab.get(things[static_cast<std::size_t>(i)].second),
              things[static_cast<std::size_t>(i)].first);
    ASSERT_EQ(things[static_cast<std::size_t>(i)].first->value, i);
  }
}

TEST(Slab, DestructorsMayRetireAndEmplace) {
  int alive = 0;
  Slab<Thing> slab{10};
  const Handle partner = slab.emplace(alive, 1).second;
  const auto [thing, handle] = slab.emplace(alive, 2);
  thing->at_end = [&] {
    slab.retire(partner);
    slab.emplace(alive, 3);
  };
  slab.retire(handle);
  slab.reap();
  EXPECT_EQ(alive, 2) << "the partner waits for the next reap";
  EXPECT_EQ(slab.get(partner), nullptr);
  slab.reap();
  EXPECT_EQ(alive, 1);
}

TEST(Slab, ItsEndDestroysEverythingOnceAlsoWhatDestructorsRetire) {
  int alive = 0;
  {
    Slab<Thing> slab{10};
    const auto [first, first_handle] = slab.emplace(alive, 0);
    const auto [second, second_handle] = slab.emplace(alive, 1);
    const auto [third, third_handle] = slab.emplace(alive, 2);
    const auto [retired, retired_handle] = slab.emplace(alive, 3);
    const auto [late, late_handle] = slab.emplace(alive, 4);
    // A tunnel's two sides that bury each other, in either direction, and one already retired.
    const auto retire_if_living = [&slab](Handle handle) {
      if (slab.get(handle) != nullptr) slab.retire(handle);
    };
    first->at_end = [=] { retire_if_living(third_handle); };
    third->at_end = [=] { retire_if_living(second_handle); };
    retired->at_end = [=] { retire_if_living(late_handle); };
    static_cast<void>(first_handle);
    static_cast<void>(second);
    static_cast<void>(late);
    slab.retire(retired_handle);
  }
  EXPECT_EQ(alive, 0);
}

/// Makes one of its own kind while it is being made, as a session that opens its exchange would.
struct Nested {
  Nested(Slab<Nested>& slab, int depth_) : depth(depth_) {
    if (depth > 0) slab.emplace(slab, depth - 1);
  }
  int depth;
};

TEST(Slab, ConstructorsMayEmplace) {
  Slab<Nested> slab{600};
  const auto [top, handle] = slab.emplace(slab, 400);
  ASSERT_NE(top, nullptr);
  EXPECT_EQ(slab.size(), 401U);
  std::set<int> depths;
  slab.for_each([&](Nested& nested, Handle) { depths.insert(nested.depth); });
  EXPECT_EQ(depths.size(), 401U);
  EXPECT_EQ(slab.get(handle)->depth, 400);
}

TEST(Slab, ForEachVisitsTheLivingAndMayRetireThem) {
  int alive = 0;
  Slab<Thing> slab{1000};
  std::vector<Handle> handles;
  for (int i = 0; i < 700; ++i) handles.push_back(slab.emplace(alive, i).second);
  for (std::size_t i = 0; i < handles.size(); i += 3) slab.retire(handles[i]);
  int visited = 0;
  slab.for_each([&](Thing& thing, Handle handle) {
    EXPECT_NE(thing.value % 3, 0);
    ++visited;
    slab.retire(handle);
  });
  EXPECT_EQ(visited, 466);
  EXPECT_EQ(slab.size(), 0U);
  slab.reap();
  EXPECT_EQ(alive, 0);
}

TEST(SlabDeath, RetiringTwiceIsAProgrammersError) {
  int alive = 0;
  Slab<Thing> slab{2};
  const Handle handle = slab.emplace(alive, 1).second;
  slab.retire(handle);
  EXPECT_DEATH(slab.retire(handle), "assertion failed");
}

TEST(Slab, BehavesLikeAMapUnderRandomOperations) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Random random{seed};
    int alive = 0;
    const std::uint32_t capacity = 1 + random.below(700);
    Slab<Thing> slab{capacity};
    std::vector<std::pair<Handle, int>> living;
    std::vector<Handle> gone;
    std::uint32_t retired = 0;
    for (int step = 0; step < 5000; ++step) {
      const std::uint32_t action = random.below(20);
      if (action < 11) {
        const auto [thing, handle] = slab.emplace(alive, step);
        ASSERT_EQ(thing != nullptr, living.size() + retired < capacity)
            << "seed " << seed << " step " << step;
        if (thing != nullptr) living.emplace_back(handle, step);
      } else if (action < 19 && !living.empty()) {
        const std::size_t i = random.below(static_cast<std::uint32_t>(living.size()));
        slab.retire(living[i].first);
        gone.push_back(living[i].first);
        living.erase(living.begin() + static_cast<std::ptrdiff_t>(i));
        ++retired;
      } else {
        slab.reap();
        retired = 0;
      }
      ASSERT_EQ(slab.size(), living.size());
      ASSERT_EQ(static_cast<std::size_t>(alive), living.size() + retired);
      if (!living.empty()) {
        const auto& [handle, value] = living[random.below(static_cast<std::uint32_t>(living.size()))];
        ASSERT_EQ(slab.get(handle)->value, value);
      }
      if (!gone.empty()) {
        ASSERT_EQ(slab.get(gone[random.below(static_cast<std::uint32_t>(gone.size()))]), nullptr);
      }
    }
  }
}

}  // namespace
}  // namespace lb
