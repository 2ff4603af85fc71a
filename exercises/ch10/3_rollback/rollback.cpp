// Exercise 10.3: the rollback policy. The contract is lb/reload/rollback.hpp; read it first, every comment
// counts. Write what is missing below. What stands here is a suggestion: change the class as you like, only
// make_rollback_policy() at the end must stay. The balancer never crashes because of a hole; it runs without
// going back. No clock, no threads, no system calls: an event comes in, a decision goes out.
#include "lb/reload/rollback.hpp"

#include "lb/base/not_implemented.hpp"

namespace lb {
namespace {

using Action = RollbackDecision::Action;  // {Action::roll_back, *proven_, "why"} is a decision, {} is none

class Policy final : public RollbackPolicy {
 public:
  explicit Policy(RollbackLimits limits) : limits_(limits) {}

  /// Calls the on() below that takes this kind of event.
  RollbackDecision on_event(const RollbackEvent& event) override {
    return std::visit([this](const auto& one) { return on(one); }, event);
  }

  [[nodiscard]] Instant next_deadline() const override {
    return kNever;  // to do: the end of the probation, if there is one that may be decided now
  }

  [[nodiscard]] std::optional<ConfigHash> proven() const override { return proven_; }

  [[nodiscard]] bool may_try(ConfigHash config) const override {
    (void)config;
    return true;  // to do: not if it failed. How will you find the one that failed longest ago?
  }

 private:
  // One function for each kind of event. Write them in this order: checks 1 and 2 need the first three.

  RollbackDecision on(const ConfigServing& event) {
    (void)event;  // Which configurations have no probation?
    not_implemented("RollbackPolicy::on_event, ConfigServing");
  }

  RollbackDecision on(const ProbationTick& event) {
    (void)event;  // Is there a probation, and is it over? Then what serves has proved good, and is forgiven.
    not_implemented("RollbackPolicy::on_event, ProbationTick");
  }

  RollbackDecision on(const ServingDied& event) {
    (void)event;  // Is it what serves? Was it in its probation? Is there anything to go back to?
    not_implemented("RollbackPolicy::on_event, ServingDied");
  }

  RollbackDecision on(const TrafficSample& event) {
    (void)event;  // One worse backend suffices: see worse().
    not_implemented("RollbackPolicy::on_event, TrafficSample");
  }

  RollbackDecision on(const RollbackEnded& event) {
    (void)event;  // What was not decided in the meantime?
    not_implemented("RollbackPolicy::on_event, RollbackEnded");
  }

  RollbackDecision on(const ConfigRejected& event) {
    (void)event;  // It failed. Does that change anything for what serves?
    not_implemented("RollbackPolicy::on_event, ConfigRejected");
  }

  /// Whether this backend fares worse than before.
  [[nodiscard]] bool worse(const BackendSample& backend) const {
    (void)backend;
    not_implemented("RollbackPolicy, what is worse than before");
  }

  RollbackLimits limits_;
  std::optional<ConfigHash> serving_{};     // what serves now
  std::optional<Instant> probation_end_{};  // of what serves, while it is in its probation
  std::optional<ConfigHash> proven_{};      // the last one that proved good
  bool rolling_back_ = false;               // from a roll_back (after a sample) until RollbackEnded
  // The configurations that failed: bounded, and in which order?
};

}  // namespace

std::unique_ptr<RollbackPolicy> make_rollback_policy(RollbackLimits limits) {
  return std::make_unique<Policy>(limits);
}

}  // namespace lb
