// The runner of exercise 10.3. Times are milliseconds, configurations numbers.
//
//   {"do": "script", "limits": L, "ask": [1, 2], "events": [E, ...]}
//       -> {"seen": [S, ...], "reasons": [R, ...]}: what is to be seen after each event, and the decision's
//       reason.
//   {"do": "all", "limits": L, "ask": [1, 2], "prefix": [E, ...], "alphabet": [E, ...], "begin_ms": 0,
//   "step_ms": 4000,
//    "length": 4}
//       -> {"seen": ["S\n..."]}: every sequence of `length` events of the alphabet, the last event's letter
//       changing fastest, event i at (i+1)*step_ms; of each sequence what is to be seen after its last event.
//
// L is {"probation_ms", "requests_min", "failure_increase", "failed_max"}. S is one word, for there are many:
// "ACTION DEADLINE PROVEN MAY_TRY", ACTION one of "none", "prove:CONFIG", "roll_back:CONFIG" (a "!" at its
// end: no reason), DEADLINE in ms or "never", PROVEN or "-", MAY_TRY a 0 or 1 for each of `ask`.
#include "harness/labs/wire.hpp"
#include "lb/reload/rollback.hpp"

namespace {

using Json = nlohmann::json;
using lb::RollbackDecision;
using lb::RollbackEvent;
using Action = RollbackDecision::Action;

/// Where the scripts' time begins: no clock is at 0.
constexpr lb::Instant kBegin{std::chrono::hours{1}};

lb::Instant instant(std::int64_t ms) {
  return kBegin + lb::Milliseconds{ms};
}

lb::RollbackLimits limits_of(const Json& json) {
  return {.probation = lb::Milliseconds{json.at("probation_ms").get<std::int64_t>()},
          .requests_min = json.at("requests_min"),
          .failure_increase = json.at("failure_increase"),
          .failed_max = json.at("failed_max")};
}

lb::RequestCount count_of(const Json& json) {
  return {.requests = json.at(0), .failures = json.at(1)};
}

RollbackEvent event_of(const Json& json, lb::Instant now) {
  const std::string kind = json.at("event");
  const auto config = [&json] { return json.at("config").get<lb::ConfigHash>(); };
  if (kind == "serving") return lb::ConfigServing{now, config()};
  if (kind == "died") return lb::ServingDied{now, config(), json.at("reason")};
  if (kind == "rejected") return lb::ConfigRejected{now, config(), json.at("reason")};
  if (kind == "ended") return lb::RollbackEnded{now, json.at("applied")};
  if (kind == "tick") return lb::ProbationTick{now};
  if (kind != "sample") throw std::invalid_argument("the check's own event: " + kind);
  lb::TrafficSample sample{now, config(), {}};
  for (const Json& backend : json.at("backends")) {
    sample.backends.push_back({.name = backend.at("name"),
                               .before = count_of(backend.at("before")),
                               .meanwhile_old = count_of(backend.at("old")),
                               .after = count_of(backend.at("after"))});
  }
  return sample;
}

std::string action_text(const RollbackDecision& decision) {
  switch (decision.action) {
    case Action::none:
      return "none";
    case Action::prove:
      return "prove:" + std::to_string(decision.config);
    case Action::roll_back:
      return "roll_back:" + std::to_string(decision.config) + (decision.reason.empty() ? "!" : "");
  }
  return "no-such-action";
}

std::string seen(const RollbackDecision& decision, const lb::RollbackPolicy& policy,
                 const std::vector<lb::ConfigHash>& ask) {
  std::string text = action_text(decision) + ' ';
  const lb::Instant deadline = policy.next_deadline();
  text += deadline == lb::kNever ? "never" : std::to_string(lb::to_ms(deadline - kBegin));
  const std::optional<lb::ConfigHash> proven = policy.proven();
  text += ' ' + (proven ? std::to_string(*proven) : "-") + ' ';
  for (const lb::ConfigHash config : ask) text += policy.may_try(config) ? '1' : '0';
  return text;
}

Json script(const Json& request) {
  const auto ask = request.at("ask").get<std::vector<lb::ConfigHash>>();
  const auto policy = lb::make_rollback_policy(limits_of(request.at("limits")));
  Json result = {{"seen", Json::array()}, {"reasons", Json::array()}};
  for (const Json& json : request.at("events")) {
    const RollbackDecision decision = policy->on_event(event_of(json, instant(json.at("at_ms"))));
    result["seen"].push_back(seen(decision, *policy, ask));
    result["reasons"].push_back(decision.reason);
  }
  return result;
}

Json all(const Json& request) {
  const auto ask = request.at("ask").get<std::vector<lb::ConfigHash>>();
  const lb::RollbackLimits limits = limits_of(request.at("limits"));
  const std::size_t length = request.at("length");
  const std::int64_t begin_ms = request.at("begin_ms");
  const std::int64_t step_ms = request.at("step_ms");
  std::vector<RollbackEvent> prefix;
  for (const Json& json : request.at("prefix")) prefix.push_back(event_of(json, instant(json.at("at_ms"))));
  std::vector<std::vector<RollbackEvent>> letters(length);  // of each place, for the time is the place's
  for (std::size_t i = 0; i < length; ++i) {
    for (const Json& json : request.at("alphabet")) {
      letters[i].push_back(event_of(json, instant(begin_ms + static_cast<std::int64_t>(i + 1) * step_ms)));
    }
  }
  std::string lines;  // one JSON string for tens of thousands of answers
  std::vector<std::size_t> word(length, 0);
  for (;;) {
    const auto policy = lb::make_rollback_policy(limits);
    RollbackDecision decision;
    for (const RollbackEvent& event : prefix) (void)policy->on_event(event);
    for (std::size_t i = 0; i < length; ++i) decision = policy->on_event(letters[i][word[i]]);
    lines += seen(decision, *policy, ask) + '\n';
    std::size_t place = length;
    while (place > 0 && ++word[place - 1] == letters[place - 1].size()) word[--place] = 0;
    if (place == 0) return {{"seen", Json::array({lines})}};
  }
}

Json handle(const Json& request) {
  const std::string what = request.at("do");
  if (what == "script") return script(request);
  if (what == "all") return all(request);
  throw std::invalid_argument("the check's own request: " + what);
}

}  // namespace

int main(int argc, char** argv) {
  return lb::labs::Wire{argc, argv}.serve(handle);
}
