// The rollback policy as one explicit state machine. All transitions are in on(...), one function an event:
//
//                 ConfigServing                    ProbationTick at or after the deadline
//     idle ------------------------> probation ---------------------------------------------> idle, proven
//      ^ \__ of the last proven one     | | |
//      |     stays here                 | | '--- TrafficSample, worse ---> idle, failed, rolling_back
//      |                                | '----- ConfigServing ----------> probation of that one
//      '------- ServingDied, failed ----'
//
// rolling_back is a condition beside it, not a state: another configuration may begin to serve meanwhile. It
// ends with RollbackEnded. While it holds nothing is decided.
#include "lb/reload/rollback.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <deque>

namespace lb {
namespace {

using Action = RollbackDecision::Action;

/// The limit is meant in decimal (0.7 + 0.1 is 0.8), the arithmetic is binary: less than this above is at the
/// limit.
constexpr double kRounding = 1e-9;

double share(const RequestCount& count, std::uint64_t requests_min) {
  if (count.requests == 0 || count.requests < requests_min) return 0.0;
  return static_cast<double>(count.failures) / static_cast<double>(count.requests);
}

std::string percent(double share) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f %%", 100.0 * share);
  return text.data();
}

std::string words(const RequestCount& count, std::uint64_t requests_min) {
  if (count.requests == 0) return "none";
  const std::string numbers = std::to_string(count.failures) + " of " + std::to_string(count.requests);
  if (count.requests < requests_min) return numbers + " (too few to count)";
  return numbers + " (" + percent(share(count, requests_min)) + ")";
}

/// The configurations that failed, the one that failed last at the back.
class FailedConfigs final {
 public:
  explicit FailedConfigs(std::size_t size_max) : size_max_(size_max) {}

  void remember(ConfigHash config) {
    forgive(config);
    hashes_.push_back(config);
    if (hashes_.size() > size_max_) hashes_.pop_front();
  }
  void forgive(ConfigHash config) { std::erase(hashes_, config); }
  [[nodiscard]] bool contains(ConfigHash config) const {
    return std::find(hashes_.begin(), hashes_.end(), config) != hashes_.end();
  }

 private:
  std::size_t size_max_;
  std::deque<ConfigHash> hashes_;
};

class StateMachinePolicy final : public RollbackPolicy {
 public:
  explicit StateMachinePolicy(RollbackLimits limits) : limits_(limits), failed_(limits.failed_max) {}

  RollbackDecision on_event(const RollbackEvent& event) override {
    return std::visit([this](const auto& one) { return on(one); }, event);
  }
  [[nodiscard]] Instant next_deadline() const override {
    return probation_end_ && !rolling_back_ ? *probation_end_ : kNever;
  }
  [[nodiscard]] std::optional<ConfigHash> proven() const override { return proven_; }
  [[nodiscard]] bool may_try(ConfigHash config) const override { return !failed_.contains(config); }

 private:
  RollbackDecision on(const ConfigServing& event) {
    serving_ = event.config;
    probation_end_.reset();
    if (proven_ != event.config) probation_end_ = event.now + limits_.probation;
    return {};
  }

  RollbackDecision on(const TrafficSample& event) {
    if (!in_probation(event.config) || rolling_back_ || !proven_) return {};
    for (const BackendSample& backend : event.backends) {
      std::string reason = why_worse(backend);
      if (reason.empty()) continue;
      fail();
      rolling_back_ = true;
      return {Action::roll_back, *proven_, std::move(reason)};
    }
    return {};
  }

  RollbackDecision on(const ServingDied& event) {
    if (serving_ != event.config) return {};
    const bool failed = in_probation(event.config);
    if (failed) fail();
    serving_.reset();
    if (!failed || rolling_back_ || !proven_) return {};
    return {Action::roll_back, *proven_, "its generation died during its probation: " + event.reason};
  }

  RollbackDecision on(const ConfigRejected& event) {
    if (proven_ != event.config) failed_.remember(event.config);
    return {};
  }

  RollbackDecision on(const RollbackEnded&) {
    rolling_back_ = false;
    return {};
  }

  RollbackDecision on(const ProbationTick& event) {
    if (!probation_end_ || rolling_back_ || event.now < *probation_end_) return {};
    probation_end_.reset();
    proven_ = serving_;
    failed_.forgive(*proven_);
    return {Action::prove, *proven_, {}};
  }

  [[nodiscard]] bool in_probation(ConfigHash config) const { return probation_end_ && serving_ == config; }

  /// What serves, in its probation, has turned out bad.
  void fail() {
    failed_.remember(*serving_);
    probation_end_.reset();
  }

  /// Empty when the backend fares no worse than before.
  [[nodiscard]] std::string why_worse(const BackendSample& backend) const {
    const std::uint64_t min = limits_.requests_min;
    if (backend.after.requests < min) return {};
    const double before = share(backend.before, min);
    const double meanwhile = share(backend.meanwhile_old, min);
    const double after = share(backend.after, min);
    if (after <= std::max(before, meanwhile) + limits_.failure_increase + kRounding) return {};
    return "backend " + backend.name + ": " + words(backend.after, min) + " requests failed; before " +
           words(backend.before, min) + ", meanwhile on old connections " +
           words(backend.meanwhile_old, min) + "; more than " + percent(limits_.failure_increase) +
           " above these is a reason to go back";
  }

  RollbackLimits limits_;
  std::optional<ConfigHash> serving_;
  std::optional<Instant> probation_end_;  // only while something serves
  bool rolling_back_ = false;
  std::optional<ConfigHash> proven_;
  FailedConfigs failed_;
};

}  // namespace

std::unique_ptr<RollbackPolicy> make_rollback_policy(RollbackLimits limits) {
  return std::make_unique<StateMachinePolicy>(limits);
}

}  // namespace lb
