// Different here: nothing is kept but a journal of facts, the newest at the back, and every question is
// answered by searching it backwards. There are no two variables that could contradict each other. Facts that
// no question can reach any more are left out from time to time, so that the journal stays bounded.
#include <algorithm>
#include <ranges>
#include <vector>

#include "lb/reload/rollback.hpp"

namespace lb {
namespace {

struct Fact {
  enum class Kind : std::uint8_t {
    serves,     // with the end of its probation in `until`; kNever: it has none
    gone,       // nothing serves
    condemned,  // what serves was found worse
    proved,
    failed,     // also: rejected
    forgotten,  // no longer remembered as failed
    rolling,    // a roll back is under way
    rolled,     // and is no more
  };
  Kind kind{};
  ConfigHash config = 0;
  Instant until = kNever;
};
using Kind = Fact::Kind;

class JournalPolicy final : public RollbackPolicy {
 public:
  explicit JournalPolicy(RollbackLimits limits) : limits_(limits) {}

  RollbackDecision on_event(const RollbackEvent& event) override {
    const RollbackDecision decision = std::visit([this](const auto& one) { return on(one); }, event);
    if (journal_.size() > kFactsMax + 4 * limits_.failed_max) compact();
    return decision;
  }

  [[nodiscard]] Instant next_deadline() const override {
    const Fact* trial = probation();
    return trial != nullptr && !rolling() ? trial->until : kNever;
  }

  [[nodiscard]] std::optional<ConfigHash> proven() const override {
    const Fact* fact = last({Kind::proved});
    return fact != nullptr ? std::optional{fact->config} : std::nullopt;
  }

  [[nodiscard]] bool may_try(ConfigHash config) const override {
    for (const Fact& fact : journal_ | std::views::reverse) {
      if (fact.config != config) continue;
      if (fact.kind == Kind::failed) return false;
      if (fact.kind == Kind::forgotten || fact.kind == Kind::proved) return true;
    }
    return true;
  }

 private:
  static constexpr std::size_t kFactsMax = 64;

  RollbackDecision on(const ConfigServing& event) {
    const bool again = proven() == event.config;
    journal_.push_back({Kind::serves, event.config, again ? kNever : event.now + limits_.probation});
    return {};
  }

  RollbackDecision on(const TrafficSample& event) {
    const Fact* trial = probation();
    if (trial == nullptr || trial->config != event.config || rolling() || !proven()) return {};
    const auto bad = std::ranges::find_if(event.backends, [this](const auto& one) { return worse(one); });
    if (bad == event.backends.end()) return {};
    fail(event.config);
    journal_.push_back({Kind::condemned, event.config});
    journal_.push_back({Kind::rolling});
    return {RollbackDecision::Action::roll_back, *proven(),
            "of " + std::to_string(bad->after.requests) + " requests to " + bad->name + " " +
                std::to_string(bad->after.failures) + " have failed"};
  }

  RollbackDecision on(const ServingDied& event) {
    const Fact* serving = last({Kind::serves, Kind::gone});
    if (serving == nullptr || serving->kind == Kind::gone || serving->config != event.config) return {};
    const bool on_trial = probation() != nullptr;
    if (on_trial) fail(event.config);
    journal_.push_back({Kind::gone});
    if (!on_trial || rolling() || !proven()) return {};
    return {RollbackDecision::Action::roll_back, *proven(), "it died: " + event.reason};
  }

  RollbackDecision on(const ConfigRejected& event) {
    if (proven() != event.config) fail(event.config);
    return {};
  }

  RollbackDecision on(const RollbackEnded&) {
    journal_.push_back({Kind::rolled});
    return {};
  }

  RollbackDecision on(const ProbationTick& event) {
    const Fact* trial = probation();
    if (trial == nullptr || rolling() || event.now < trial->until) return {};
    const ConfigHash config = trial->config;
    journal_.push_back({Kind::proved, config});
    return {RollbackDecision::Action::prove, config, {}};
  }

  /// The newest fact of these kinds.
  [[nodiscard]] const Fact* last(std::initializer_list<Kind> kinds) const {
    for (const Fact& fact : journal_ | std::views::reverse) {
      if (std::ranges::find(kinds, fact.kind) != kinds.end()) return &fact;
    }
    return nullptr;
  }

  /// What serves, if it is in its probation.
  [[nodiscard]] const Fact* probation() const {
    const Fact* fact = last({Kind::serves, Kind::gone, Kind::condemned, Kind::proved});
    return fact != nullptr && fact->kind == Kind::serves && fact->until != kNever ? fact : nullptr;
  }

  [[nodiscard]] bool rolling() const {
    const Fact* fact = last({Kind::rolling, Kind::rolled});
    return fact != nullptr && fact->kind == Kind::rolling;
  }

  /// The failed ones, the newest first.
  [[nodiscard]] std::vector<ConfigHash> failed() const {
    std::vector<ConfigHash> seen;
    for (const Fact& fact : journal_ | std::views::reverse) {
      if (fact.kind == Kind::failed && !may_try(fact.config) &&
          std::ranges::find(seen, fact.config) == seen.end()) {
        seen.push_back(fact.config);
      }
    }
    return seen;
  }

  void fail(ConfigHash config) {
    journal_.push_back({Kind::failed, config});
    if (const auto all = failed(); all.size() > limits_.failed_max)
      journal_.push_back({Kind::forgotten, all.back()});
  }

  [[nodiscard]] bool worse(const BackendSample& backend) const {
    const auto share = [this](const RequestCount& count) {
      const bool enough = count.requests > 0 && count.requests >= limits_.requests_min;
      return enough ? static_cast<double>(count.failures) / static_cast<double>(count.requests) : 0.0;
    };
    return backend.after.requests >= limits_.requests_min &&
           share(backend.after) - limits_.failure_increase > share(backend.before) &&
           share(backend.after) - limits_.failure_increase > share(backend.meanwhile_old);
  }

  /// Leaves out what no question reaches. The order of what stays is the order in which it happened.
  void compact() {
    std::vector<Fact> kept;
    const auto remembered = failed();
    for (const ConfigHash config : remembered | std::views::reverse) kept.push_back({Kind::failed, config});
    for (const auto& kinds : {std::initializer_list<Kind>{Kind::proved}, {Kind::rolling, Kind::rolled}}) {
      if (const Fact* fact = last(kinds); fact != nullptr) kept.push_back(*fact);
    }
    const Fact* serving = last({Kind::serves, Kind::gone});
    const bool on_trial = probation() != nullptr;
    if (serving != nullptr)
      kept.push_back({serving->kind, serving->config, on_trial ? serving->until : kNever});
    journal_ = std::move(kept);
  }

  RollbackLimits limits_;
  std::vector<Fact> journal_;
};

}  // namespace

std::unique_ptr<RollbackPolicy> make_rollback_policy(RollbackLimits limits) {
  return std::make_unique<JournalPolicy>(limits);
}

}  // namespace lb
