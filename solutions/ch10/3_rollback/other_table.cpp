// Different here: one table says everything. What an event means is first reduced to one of seven inputs;
// (state, input) then gives the next state and what to do. A roll back under way is part of the state, so
// that there is no condition outside of the table. The failed configurations carry the number of their
// failure instead of an order.
#include <algorithm>
#include <map>

#include "lb/reload/rollback.hpp"

namespace lb {
namespace {

// free, or while a roll back is under way (held).
enum class State : std::uint8_t { nothing, probation, settled, held_nothing, held_probation, held_settled };
enum class Input : std::uint8_t { serves, serves_proven, died, worse, over, ended, other };

constexpr unsigned kBlame = 1;     // what serves has failed
constexpr unsigned kRollBack = 2;  // decide it, if there is anything to go back to
constexpr unsigned kProve = 4;

struct Cell {
  State next;
  unsigned todo = 0;
};

constexpr std::size_t kInputs = 7;
using S = State;
constexpr Cell kTable[][kInputs] = {
    // serves               serves_proven        died                             worse
    // over                      ended             other
    {{S::probation}, {S::settled}, {S::nothing}, {S::nothing}, {S::nothing}, {S::nothing}, {S::nothing}},
    {{S::probation},
     {S::settled},
     {S::nothing, kBlame | kRollBack},
     {S::held_settled, kBlame | kRollBack},
     {S::settled, kProve},
     {S::probation},
     {S::probation}},
    {{S::probation}, {S::settled}, {S::nothing}, {S::settled}, {S::settled}, {S::settled}, {S::settled}},
    {{S::held_probation},
     {S::held_settled},
     {S::held_nothing},
     {S::held_nothing},
     {S::held_nothing},
     {S::nothing},
     {S::held_nothing}},
    {{S::held_probation},
     {S::held_settled},
     {S::held_nothing, kBlame},
     {S::held_probation},
     {S::held_probation},
     {S::probation},
     {S::held_probation}},
    {{S::held_probation},
     {S::held_settled},
     {S::held_nothing},
     {S::held_settled},
     {S::held_settled},
     {S::settled},
     {S::held_settled}},
};

class TablePolicy final : public RollbackPolicy {
 public:
  explicit TablePolicy(RollbackLimits limits) : limits_(limits) {}

  RollbackDecision on_event(const RollbackEvent& event) override {
    std::string reason;
    const Input input = std::visit([&](const auto& one) { return reduce(one, reason); }, event);
    const Cell cell = kTable[static_cast<std::size_t>(state_)][static_cast<std::size_t>(input)];
    state_ = cell.next;
    if ((cell.todo & kBlame) != 0) blame(serving_);
    if (const auto* serving = std::get_if<ConfigServing>(&event)) {
      serving_ = serving->config;
      deadline_ = serving->now + limits_.probation;
    }
    if ((cell.todo & kProve) != 0) {
      proven_ = serving_;
      failures_.erase(serving_);
      return {RollbackDecision::Action::prove, serving_, {}};
    }
    if ((cell.todo & kRollBack) == 0 || !proven_) return {};
    return {RollbackDecision::Action::roll_back, *proven_, reason};
  }

  [[nodiscard]] Instant next_deadline() const override { return state_ == S::probation ? deadline_ : kNever; }
  [[nodiscard]] std::optional<ConfigHash> proven() const override { return proven_; }
  [[nodiscard]] bool may_try(ConfigHash config) const override { return !failures_.contains(config); }

 private:
  [[nodiscard]] bool serves(ConfigHash config) const {
    return state_ != S::nothing && state_ != S::held_nothing && config == serving_;
  }

  Input reduce(const ConfigServing& event, std::string&) const {
    return proven_ == event.config ? Input::serves_proven : Input::serves;
  }
  Input reduce(const TrafficSample& event, std::string& reason) const {
    if (!serves(event.config) || !proven_) return Input::other;
    const auto bad = std::ranges::find_if(event.backends, [this](const auto& one) { return worse(one); });
    if (bad == event.backends.end()) return Input::other;
    reason = bad->name + " failed " + std::to_string(bad->after.failures) + " times in " +
             std::to_string(bad->after.requests) + " requests";
    return Input::worse;
  }
  Input reduce(const ServingDied& event, std::string& reason) const {
    reason = "died on probation (" + event.reason + ")";
    return serves(event.config) ? Input::died : Input::other;
  }
  Input reduce(const ConfigRejected& event, std::string&) {
    if (proven_ != event.config) blame(event.config);
    return Input::other;
  }
  Input reduce(const RollbackEnded&, std::string&) const { return Input::ended; }
  Input reduce(const ProbationTick& event, std::string&) const {
    return event.now >= deadline_ ? Input::over : Input::other;
  }

  /// Shares are in ten-thousandths here.
  [[nodiscard]] bool worse(const BackendSample& backend) const {
    const double allowed = std::max(per(backend.before), per(backend.meanwhile_old));
    return backend.after.requests >= limits_.requests_min &&
           per(backend.after) > allowed + 1e4 * limits_.failure_increase;
  }
  [[nodiscard]] double per(const RequestCount& count) const {
    if (count.requests < std::max<std::uint64_t>(1, limits_.requests_min)) return 0;
    return 1e4 * static_cast<double>(count.failures) / static_cast<double>(count.requests);
  }

  void blame(ConfigHash config) {
    failures_[config] = ++failure_number_;
    if (failures_.size() <= limits_.failed_max) return;
    failures_.erase(std::ranges::min_element(failures_, {}, [](const auto& one) { return one.second; }));
  }

  RollbackLimits limits_;
  State state_ = State::nothing;
  ConfigHash serving_ = 0;  // means something only in a state in which something serves
  Instant deadline_ = kNever;
  std::optional<ConfigHash> proven_;
  std::map<ConfigHash, std::uint64_t> failures_;
  std::uint64_t failure_number_ = 0;
};

}  // namespace

std::unique_ptr<RollbackPolicy> make_rollback_policy(RollbackLimits limits) {
  return std::make_unique<TablePolicy>(limits);
}

}  // namespace lb
