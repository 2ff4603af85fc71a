#include "lb/base/timer_wheel.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "lb/base/random.hpp"

namespace lb {
namespace {

using std::chrono::hours;
using std::chrono::nanoseconds;
using std::chrono::seconds;

constexpr Instant kStart{hours{1000} + nanoseconds{1'234'567}};
constexpr Duration kTick = TimerWheel::kTick;
constexpr Duration kTurn = TimerWheel::kTick * TimerWheel::kSlots;

struct Timer {
  TimerNode node;
  int id = 0;
};

/// A wheel whose expirations are recorded by node.
class Wheel {
 public:
  explicit Wheel(Instant now) : wheel(now) {}
  std::vector<TimerNode*> advance(Instant now) {
    std::vector<TimerNode*> fired;
    wheel.advance(now, [&](TimerNode& node) { fired.push_back(&node); });
    return fired;
  }
  TimerWheel wheel;
};

using Fired = std::vector<TimerNode*>;

TEST(TimerWheel, FiresAtTheDeadlineAndNotANanosecondBefore) {
  for (const Duration ahead : {Duration{1}, kTick - Duration{1}, kTick, kTick + Duration{1}, kTurn - kTick,
                               kTurn, kTurn + Duration{1}, Duration{hours{30}}}) {
    Wheel w{kStart};
    TimerNode node;
    w.wheel.set(node, kStart + ahead);
    EXPECT_EQ(w.advance(kStart + ahead - Duration{1}), Fired{}) << ahead.count();
    EXPECT_EQ(w.advance(kStart + ahead), Fired{&node}) << ahead.count();
    EXPECT_FALSE(node.linked());
    EXPECT_EQ(node.deadline(), kNever);
  }
}

TEST(TimerWheel, APastDeadlineFiresAtTheNextAdvance) {
  Wheel w{kStart};
  TimerNode node;
  w.wheel.set(node, kStart - seconds{5});
  EXPECT_EQ(w.wheel.next(kStart), Instant{kTick * (kStart.time_since_epoch() / kTick + 1)});
  EXPECT_EQ(w.advance(kStart), Fired{&node});
}

TEST(TimerWheel, MovesLaterAndEarlier) {
  Wheel w{kStart};
  TimerNode node;
  w.wheel.set(node, kStart + seconds{1});
  w.wheel.set(node, kStart + seconds{2});
  EXPECT_EQ(w.advance(kStart + seconds{1}), Fired{});
  w.wheel.set(node, kStart + seconds{100});
  EXPECT_EQ(w.advance(kStart + seconds{50}), Fired{});
  w.wheel.set(node, kStart + seconds{51});
  EXPECT_EQ(w.advance(kStart + seconds{51}), Fired{&node});
}

TEST(TimerWheel, NeverDisarmsAndCanBeArmedAgain) {
  Wheel w{kStart};
  TimerNode node;
  w.wheel.set(node, kStart + seconds{1});
  w.wheel.set(node, kNever);
  EXPECT_EQ(w.advance(kStart + seconds{2}), Fired{});
  EXPECT_FALSE(node.linked());
  w.wheel.set(node, kStart + seconds{3});
  w.wheel.set(node, kNever);
  w.wheel.set(node, kStart + seconds{4});
  EXPECT_EQ(w.advance(kStart + seconds{4} - Duration{1}), Fired{});
  EXPECT_EQ(w.advance(kStart + seconds{4}), Fired{&node});
}

TEST(TimerWheel, NextIsNeverWhenEmptyAndAtMostATurnAway) {
  Wheel w{kStart};
  EXPECT_EQ(w.wheel.next(kStart), kNever);
  TimerNode node;
  w.wheel.set(node, kStart + hours{5});
  EXPECT_LE(w.wheel.next(kStart), kStart + kTurn + kTick);
  EXPECT_GT(w.wheel.next(kStart), kStart + kTurn - 2 * kTick);
  w.wheel.cancel(node);
  EXPECT_EQ(w.advance(w.wheel.next(kStart)), Fired{});  // the forgotten slot is seen once
  EXPECT_EQ(w.wheel.next(kStart + kTurn), kNever);
}

TEST(TimerWheel, CallbackMayCancelDestroyAndRearmOthersOfTheSameSlot) {
  TimerWheel wheel{kStart};
  const Instant due = kStart + seconds{1};
  TimerNode first;
  TimerNode cancelled;
  auto destroyed = std::make_unique<TimerNode>();
  TimerNode moved;
  TimerNode last;
  for (TimerNode* node : {&first, &cancelled, destroyed.get(), &moved, &last}) wheel.set(*node, due);
  Fired fired;
  wheel.advance(due, [&](TimerNode& node) {
    fired.push_back(&node);
    if (&node != &first) return;
    wheel.cancel(cancelled);
    destroyed.reset();
    wheel.set(moved, due + seconds{1});
    wheel.set(first, due + seconds{2});
  });
  EXPECT_EQ(fired, (Fired{&first, &last}));
  fired.clear();
  const auto note = [&](TimerNode& node) { fired.push_back(&node); };
  wheel.advance(due + seconds{1}, note);
  EXPECT_EQ(fired, Fired{&moved});
  fired.clear();
  wheel.advance(due + seconds{2}, note);
  EXPECT_EQ(fired, Fired{&first});
}

TEST(TimerWheel, CallbackThatRearmsInThePastDoesNotLoopForEver) {
  TimerWheel wheel{kStart};
  TimerNode node;
  wheel.set(node, kStart + seconds{1});
  int fired = 0;
  const auto rearm = [&](TimerNode& n) {
    ++fired;
    wheel.set(n, kStart);
  };
  wheel.advance(kStart + seconds{2}, rearm);
  EXPECT_GE(fired, 1);
  EXPECT_LE(fired, 2);
  const int before = fired;
  wheel.advance(kStart + seconds{2}, rearm);
  EXPECT_EQ(fired, before + 1);
}

// A worker without timers sleeps until a connection comes, however long that takes, and arms its deadlines
// before it advances the wheel.
TEST(TimerWheel, DeadlinesSetAfterALongIdleTimeFireOnTime) {
  for (const seconds idle : {seconds{30}, seconds{33}, seconds{40}, seconds{1000}}) {
    for (const seconds timeout : {seconds{1}, seconds{10}, seconds{31}, seconds{60}}) {
      Wheel w{kStart};
      TimerNode node;
      Instant now = kStart + idle;
      const Instant deadline = now + timeout;
      w.wheel.set(node, deadline);
      Fired fired;
      int wakes = 0;
      while (fired.empty()) {
        const Instant next = w.wheel.next(now);
        ASSERT_LE(next, deadline + kTick) << idle.count() << " idle, " << timeout.count();
        ASSERT_LT(++wakes, 10);
        now = next;
        fired = w.advance(now);
      }
      EXPECT_GE(now, deadline);
    }
  }
}

// The machine was suspended: one advance spans many turns, and what it arms counts from its own time.
TEST(TimerWheel, DeadlinesThatSurviveOrBeginInALongJumpFireOnTime) {
  for (const seconds jump : {seconds{20}, seconds{32}, seconds{33}, seconds{40}, seconds{1000}}) {
    for (const seconds timeout : {seconds{1}, seconds{10}, seconds{31}, seconds{60}}) {
      TimerWheel wheel{kStart};
      TimerNode due;
      TimerNode begun;
      TimerNode survivor;
      wheel.set(due, kStart + seconds{5});
      const Instant woken = kStart + jump;
      const Instant deadline = woken + timeout;
      wheel.set(survivor, deadline);
      int fired = 0;
      wheel.advance(woken, [&](TimerNode& node) {
        ASSERT_EQ(&node, &due);
        ++fired;
        wheel.set(begun, deadline);
      });
      ASSERT_EQ(fired, 1);
      ASSERT_LE(wheel.next(woken), deadline + kTick) << jump.count() << " jumped, " << timeout.count();
      fired = 0;
      const auto count = [&](TimerNode&) { ++fired; };
      wheel.advance(deadline - Duration{1}, count);
      EXPECT_EQ(fired, 0);
      wheel.advance(deadline, count);
      EXPECT_EQ(fired, 2) << jump.count() << " jumped, " << timeout.count();
    }
  }
}

/// A wheel beside a model of it: which timers are armed, and for when. Random operations on both.
class Comparison {
 public:
  explicit Comparison(std::uint64_t seed) : random_(seed), wheel_(kStart), now_(kStart) {
    for (int i = 0; i < 40; ++i) timers_.push_back(make_timer());
  }

  void step() {
    const std::uint32_t action = random_.below(10);
    if (action < 6) {
      touch_any();
    } else if (action < 9) {
      advance(now_ + random_ahead());
    } else {
      advance(std::min(wheel_.next(now_), now_ + hours{1}));
    }
    check_next();
  }

  [[nodiscard]] const std::string& failure() const { return failure_; }

 private:
  std::unique_ptr<Timer> make_timer() {
    auto timer = std::make_unique<Timer>();
    timer->id = next_id_++;
    return timer;
  }

  Duration random_ahead() {
    switch (random_.below(7)) {
      case 0:
        return Duration{0};
      case 1:
        return Duration{random_.below(1'000'000)};
      case 2:
        return kTick * random_.below(4);
      case 3:
        return Duration{random_.below(2'000'000'000)};
      case 4:
        return seconds{random_.below(60)} + Duration{random_.below(1'000'000'000)};
      case 5:
        return kTurn + kTick * random_.below(3) - kTick;
      default:
        return kTurn * random_.below(5) + Duration{random_.below(1'000'000'000)};
    }
  }

  void arm(Timer& timer, Instant deadline) {
    disarm(timer);
    wheel_.set(timer.node, deadline);
    if (deadline == kNever) return;
    armed_.emplace(deadline, timer.id);
    if (advancing_) set_meanwhile_.insert(timer.id);
  }

  void disarm(const Timer& timer) {
    set_meanwhile_.erase(timer.id);
    std::erase_if(armed_, [&](const auto& entry) { return entry.second == timer.id; });
  }

  void touch_any() {
    std::unique_ptr<Timer>& timer = timers_[random_.below(static_cast<std::uint32_t>(timers_.size()))];
    switch (random_.below(8)) {
      case 0:
        disarm(*timer);
        wheel_.cancel(timer->node);
        break;
      case 1:
        arm(*timer, kNever);
        break;
      case 2:
        disarm(*timer);
        if (timer.get() != firing_) timer = make_timer();  // destroys it while it may be linked
        break;
      case 3:
        arm(*timer, now_ - random_ahead());
        break;
      default:
        arm(*timer, now_ + random_ahead());
    }
  }

  void advance(Instant to) {
    now_ = to;
    advancing_ = true;
    wheel_.advance(now_, [&](TimerNode& node) {
      auto& timer = reinterpret_cast<Timer&>(node);  // its first member
      const auto entry = std::ranges::find_if(armed_, [&](const auto& e) { return e.second == timer.id; });
      if (entry == armed_.end()) return fail("a timer that is not armed fired", timer.id);
      if (entry->first > now_) return fail("a timer fired early", timer.id);
      disarm(timer);
      firing_ = &timer;
      for (std::uint32_t i = random_.below(3); i > 0; --i) touch_any();
      firing_ = nullptr;
    });
    advancing_ = false;
    // What a callback armed for a time already past may wait for the next advance; nothing else may.
    for (const auto& [deadline, id] : armed_) {
      if (deadline <= now_ && !set_meanwhile_.contains(id)) fail("a timer that is due did not fire", id);
    }
    set_meanwhile_.clear();
    if (wheel_.next(now_) <= now_) fail("next() asks for an advance that was just made", -1);
  }

  void check_next() {
    const Instant next = wheel_.next(now_);
    if (next != kNever && next > now_ + kTurn + kTick) fail("next() is more than a turn away", -1);
    if (next < now_) fail("next() is in the past", -1);
    if (armed_.empty()) return;
    const Instant earliest = std::max(armed_.begin()->first, now_);
    if (next > earliest + kTick) fail("next() is later than a deadline and a tick", armed_.begin()->second);
  }

  void fail(const char* what, int id) {
    if (failure_.empty()) failure_ = std::string{what} + ", timer " + std::to_string(id);
  }

  Random random_;
  TimerWheel wheel_;
  Instant now_;
  int next_id_ = 0;
  std::vector<std::unique_ptr<Timer>> timers_;
  std::multimap<Instant, int> armed_;
  std::set<int> set_meanwhile_;
  bool advancing_ = false;
  const Timer* firing_ = nullptr;
  std::string failure_;
};

TEST(TimerWheel, BehavesLikeAMultimapUnderRandomOperations) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    auto comparison = std::make_unique<Comparison>(seed);
    for (int step = 0; step < 600; ++step) {
      comparison->step();
      ASSERT_EQ(comparison->failure(), "") << "seed " << seed << ", step " << step;
    }
  }
}

TEST(TimerWheel, MayDieBeforeItsNodes) {
  TimerNode a;
  TimerNode b;
  {
    TimerWheel wheel{kStart};
    wheel.set(a, kStart + seconds{1});
    wheel.set(b, kStart + seconds{1});
  }
}

}  // namespace
}  // namespace lb
