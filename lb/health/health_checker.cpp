#include "lb/health/health_checker.hpp"

#include <algorithm>

#include "lb/base/result.hpp"

namespace lb {
namespace {

/// Uniform in [0, 1).
double unit(Random& random) noexcept {
  constexpr int kMantissaBits = 53;
  return static_cast<double>(random() >> (64 - kMantissaBits)) / static_cast<double>(1ULL << kMantissaBits);
}

Duration scaled(Duration duration, double factor) noexcept {
  return Duration{static_cast<Duration::rep>(static_cast<double>(duration.count()) * factor)};
}

}  // namespace

HealthChecker::HealthChecker(const HealthRules& rules, std::uint32_t targets, std::uint64_t seed, Instant now)
    : rules_(rules), random_(seed), targets_(targets), untested_(targets) {
  LB_ASSERT(rules_.interval > Duration::zero() && rules_.timeout > Duration::zero());
  LB_ASSERT(rules_.rise > 0 && rules_.fall > 0 && rules_.at_once_max > 0);
  LB_ASSERT(rules_.jitter >= 0 && rules_.jitter <= 1);
  for (std::uint32_t i = 0; i < targets; ++i) due_.push({now, i});
}

void HealthChecker::begin_down(std::uint32_t index) {
  Target& target = targets_[index];
  LB_ASSERT(target.health == Health::untested && target.round == 0);
  target.health = Health::down;
  --untested_;
}

std::uint32_t HealthChecker::start_due(Instant now) {
  if (running_ >= rules_.at_once_max || due_.empty() || due_.top().at > now) return kNone;
  const std::uint32_t index = due_.top().target;
  due_.pop();
  Target& target = targets_[index];
  target.running = true;
  target.began = now;
  ++target.round;
  ++running_;
  forget_finished();
  deadlines_.push_back({now + rules_.timeout, index, target.round});
  return index;
}

std::uint32_t HealthChecker::expired(Instant now) {
  forget_finished();
  if (deadlines_.empty() || deadlines_.front().at > now) return kNone;
  return deadlines_.front().target;
}

void HealthChecker::forget_finished() {
  while (!deadlines_.empty()) {
    const Deadline& first = deadlines_.front();
    const Target& target = targets_[first.target];
    if (target.running && target.round == first.round) return;
    deadlines_.pop_front();
  }
}

/// From begin to begin. A timeout above the interval may leave that point behind: then it is due at once.
void HealthChecker::plan(std::uint32_t index) {
  const Target& target = targets_[index];
  const double factor = target.round == 1 ? unit(random_) : 1 + rules_.jitter * (2 * unit(random_) - 1);
  due_.push({target.began + scaled(rules_.interval, factor), index});
}

void HealthChecker::abandon(std::uint32_t index) {
  Target& target = targets_[index];
  LB_ASSERT(target.running);
  target.running = false;
  --running_;
  plan(index);
}

HealthChecker::Change HealthChecker::finish(std::uint32_t index, bool passed) {
  abandon(index);
  Target& target = targets_[index];
  const Health seen = passed ? Health::up : Health::down;
  if (target.health == Health::untested) {
    --untested_;
    target.health = seen;
    return passed ? Change::none : Change::down;
  }
  if (target.health == seen) {
    target.in_row = 0;
    return Change::none;
  }
  if (++target.in_row < (passed ? rules_.rise : rules_.fall)) return Change::none;
  target.in_row = 0;
  target.health = seen;
  return passed ? Change::up : Change::down;
}

Instant HealthChecker::next_wakeup() {
  forget_finished();
  Instant at = kNever;
  if (!deadlines_.empty()) at = deadlines_.front().at;
  if (running_ < rules_.at_once_max && !due_.empty()) at = std::min(at, due_.top().at);
  return at;
}

}  // namespace lb
