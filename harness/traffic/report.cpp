#include "harness/traffic/report.hpp"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "harness/traffic/report_parts.hpp"

namespace lb::traffic {

using Json = nlohmann::json;

namespace {

struct Group {
  std::uint64_t attempts = 0, ok = 0, drops = 0, unserved = 0, unfinished = 0, local_errors = 0,
                connections = 0;
  std::array<std::uint64_t, kOutcomes> outcomes = {};
  std::vector<std::uint64_t> inside, outside;

  void add(const Item& item) {
    ++outcomes[static_cast<std::size_t>(item.outcome)];
    if (item.record->request_on_connection == 0) ++connections;
    if (item.outcome != Outcome::local_error && item.outcome != Outcome::closed_idle) ++attempts;
    if (is_drop(item.outcome)) ++drops;
    if (item.outcome == Outcome::unserved) ++unserved;
    if (item.outcome == Outcome::unfinished) ++unfinished;
    if (item.outcome == Outcome::local_error) ++local_errors;
    if (item.outcome != Outcome::ok) return;
    ++ok;
    (item.inside ? inside : outside).push_back(item.record->t_end - item.record->t_due);
  }

  [[nodiscard]] Json latency() {
    std::vector<std::uint64_t> all = inside;
    all.insert(all.end(), outside.begin(), outside.end());
    return {{"all", latency_json(summarize(all))},
            {"inside", latency_json(summarize(inside))},
            {"outside", latency_json(summarize(outside))}};
  }

  [[nodiscard]] Json json() {
    Json by_outcome = Json::object();
    for (std::size_t i = 0; i < kOutcomes; ++i) {
      if (outcomes[i] > 0) by_outcome[std::string(name_of(static_cast<Outcome>(i)))] = outcomes[i];
    }
    return {{"attempts", attempts},
            {"ok", ok},
            {"drops", drops},
            {"unserved", unserved},
            {"unfinished", unfinished},
            {"local_errors", local_errors},
            {"connections", connections},
            {"outcomes", std::move(by_outcome)},
            {"latency", latency()}};
  }
};

/// Items by group: one pass, whatever the grouping.
template <class Key>
std::vector<Group> grouped(const Case& judged, std::size_t groups, Key&& key) {
  std::vector<Group> all(groups);
  for (const Item& item : judged.items) {
    if (const std::size_t at = key(item); at < groups) all[at].add(item);
  }
  return all;
}

double seconds(const Case& judged) {
  return static_cast<double>(judged.t_end - judged.t_begin) / 1e9;
}

Json totals_json(const Case& judged) {
  std::vector<bool> used(judged.connections + std::size_t{1});
  for (const Item& item : judged.items) used[item.connection] = true;
  const double duration = seconds(judged);
  const double rate = duration > 0 ? static_cast<double>(judged.attempts()) / duration : 0;
  return {{"attempts", judged.attempts()},
          {"ok", judged.count(Outcome::ok)},
          {"drops", judged.drops()},
          {"unserved", judged.count(Outcome::unserved)},
          {"unfinished", judged.count(Outcome::unfinished)},
          {"local_errors", judged.count(Outcome::local_error)},
          {"connections", std::ranges::count(used, true)},
          {"requests_per_s", rate}};
}

Json classes_json(const Case& judged) {
  auto groups = grouped(judged, 2, [&](const Item& item) {
    switch (latency_class(judged.streams[item.stream].kind, *item.record)) {
      case LatencyClass::new_connection:
        return std::size_t{0};
      case LatencyClass::kept_alive:
        return std::size_t{1};
      default:
        return std::size_t{2};
    }
  });
  const Json fresh = groups[0].latency();
  const Json kept = groups[1].latency();
  const auto ratio = [](const Json& latency) -> Json {
    if (latency.at("inside").is_null() || latency.at("outside").is_null()) return nullptr;
    return latency.at("inside").at("p99_us").get<double>() / latency.at("outside").at("p99_us").get<double>();
  };
  return {{"new_connection", fresh},
          {"kept_alive", kept},
          {"p99_ratio", {{"new_connection", ratio(fresh)}, {"kept_alive", ratio(kept)}}}};
}

Json comparison_json(const Comparison& c) {
  return {{"answered", c.answered},
          {"backend_records", c.backend_records},
          {"answered_not_seen", c.answered_not_seen},
          {"seen_not_answered", c.seen_not_answered},
          {"seen_not_sent", c.seen_not_sent},
          {"seen_twice", c.seen_twice},
          {"retried", c.retried},
          {"duplicated", c.duplicated},
          {"request_body_wrong", c.request_body_wrong},
          {"backend_disagrees", c.backend_disagrees},
          {"status_disagrees", c.status_disagrees}};
}

Json labels_json(const Case& judged) {
  struct Span {
    std::uint64_t answered = 0;
    Nanos first = ~Nanos{0};
    Nanos last = 0;
  };
  std::vector<Span> spans(judged.labels.size());
  for (const Item& item : judged.items) {
    if (item.label >= spans.size()) continue;
    Span& span = spans[item.label];
    ++span.answered;
    span.first = std::min(span.first, item.record->t_end);
    span.last = std::max(span.last, item.record->t_end);
  }
  Json all = Json::object();
  for (std::size_t i = 0; i < spans.size(); ++i) {
    if (spans[i].answered == 0) continue;
    all[judged.labels[i]] = {{"answered", spans[i].answered},
                             {"first_s", relative_s(judged, spans[i].first)},
                             {"last_s", relative_s(judged, spans[i].last)}};
  }
  return all;
}

Json groups_json(const Case& judged) {
  Json kinds = Json::object();
  Json streams = Json::object();
  auto by_kind = grouped(judged, kKinds, [&](const Item& item) {
    return static_cast<std::size_t>(judged.streams[item.stream].kind);
  });
  for (std::size_t i = 0; i < kKinds; ++i) {
    if (by_kind[i].attempts + by_kind[i].local_errors > 0) {
      kinds[std::string(name_of(static_cast<Kind>(i)))] = by_kind[i].json();
    }
  }
  by_kind.clear();
  auto by_stream =
      grouped(judged, judged.streams.size(), [](const Item& item) { return std::size_t{item.stream}; });
  for (std::size_t i = 0; i < judged.streams.size(); ++i) {
    Json stream = by_stream[i].json();
    stream["kind"] = name_of(judged.streams[i].kind);
    streams[judged.streams[i].name] = std::move(stream);
  }
  return {{"kinds", std::move(kinds)}, {"streams", std::move(streams)}};
}

Json backends_json(const Case& judged) {
  Json all = Json::object();
  for (std::size_t i = 0; i < judged.backends.size(); ++i) {
    all[judged.backends[i]] = {{"answered", judged.backend_answered[i]},
                               {"seen", judged.backend_seen[i]},
                               {"completed", judged.backend_completed[i]}};
  }
  return all;
}

}  // namespace

int exit_code(Verdict verdict) noexcept {
  return static_cast<int>(verdict);
}

std::string_view name_of(Verdict verdict) noexcept {
  constexpr std::array<std::string_view, 3> kNames = {"zero_drops", "drops", "cannot_judge"};
  return kNames[static_cast<std::size_t>(verdict)];
}

LatencyClass latency_class(Kind kind, const TrafficRecord& record) noexcept {
  const bool quick = kind == Kind::new_connection || kind == Kind::keepalive || kind == Kind::race ||
                     kind == Kind::pipelined;
  if (!quick) return LatencyClass::none;
  return (record.flags & kTrafficKeptAlive) != 0 ? LatencyClass::kept_alive : LatencyClass::new_connection;
}

Json latency_json(const LatencySummary& s) {
  if (s.n == 0) return nullptr;
  return {{"n", s.n},           {"mean_us", s.mean_us},   {"p50_us", s.p50_us}, {"p90_us", s.p90_us},
          {"p99_us", s.p99_us}, {"p99_9_us", s.p99_9_us}, {"max_us", s.max_us}};
}

Json relative_s(const Case& judged, Nanos at) {
  if (at == 0) return nullptr;
  return (static_cast<double>(at) - static_cast<double>(judged.t_begin)) / 1e9;
}

Json text_or_null(const std::vector<std::string>& texts, std::uint16_t index) {
  return index < texts.size() ? Json(texts[index]) : Json();
}

std::string report_json(const Case& judged, const ReportOptions& options) {
  const Verdict verdict = judged.verdict();
  const std::uint64_t drops = judged.drops();
  const RateBound bound = bound_rate(drops, judged.count(Outcome::ok) + drops);
  Json outcomes = Json::object();
  for (std::size_t i = 0; i < kOutcomes; ++i) {
    outcomes[std::string(name_of(static_cast<Outcome>(i)))] = judged.outcomes[i];
  }
  const ConnectionPick pick(judged, options.lines, options.stories);
  Json marks = marks_json(judged);
  Json long_lived = long_lived_json(judged, marks);
  Json drops_per_mark = Json::array();
  for (const Json& mark : marks) drops_per_mark.push_back(mark.at("drops_inside"));
  Json report = {
      {"version", 1},
      {"verdict", name_of(verdict)},
      {"exit_code", exit_code(verdict)},
      {"reasons", judged.doubts()},
      {"run",
       {{"t_begin_ns", judged.t_begin},
        {"t_end_ns", judged.t_end},
        {"duration_s", seconds(judged)},
        {"seed", judged.seed},
        {"target", judged.target},
        {"reason", judged.reason}}},
      {"totals", totals_json(judged)},
      {"drop_rate",
       {{"observed", bound.observed},
        {"upper_95", bound.upper_95},
        {"method", bound.rule_of_three ? "rule_of_three" : "clopper_pearson"}}},
      {"outcomes", std::move(outcomes)},
      {"latency", classes_json(judged)},
      {"comparison", comparison_json(judged.comparison)},
      {"removed_backend",
       {{"requests", judged.removed.requests},
        {"on_new_connections", judged.removed.on_new_connections},
        {"counted", judged.options.removed_counts_connection ? "connection" : "request"},
        {"by_backend", judged.removed.by_backend}}},
      {"backends", backends_json(judged)},
      {"labels", labels_json(judged)},
      {"long_lived", std::move(long_lived)},
      {"marks", marks},
      {"drops_per_mark", std::move(drops_per_mark)},
      {"drops", drops_json(judged, pick)},
      {"slowest", slowest_json(judged, options.slowest)},
      {"timeline", timeline_json(judged, pick)},
  };
  report.update(groups_json(judged));
  return report.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string report_text(const Case& judged) {
  std::string out;
  char line[160];
  std::snprintf(line, sizeof line, "%-14s %10s %10s %8s  %s\n", "kind", "attempts", "ok", "drops", "which");
  out += line;
  auto by_kind = grouped(judged, kKinds, [&](const Item& item) {
    return static_cast<std::size_t>(judged.streams[item.stream].kind);
  });
  for (std::size_t i = 0; i < kKinds; ++i) {
    const Group& group = by_kind[i];
    if (group.attempts == 0) continue;
    std::string which;
    for (std::size_t k = 0; k < kOutcomes; ++k) {
      if (group.outcomes[k] == 0 || k == static_cast<std::size_t>(Outcome::ok)) continue;
      which += std::string(name_of(static_cast<Outcome>(k))) + " " + std::to_string(group.outcomes[k]) + "  ";
    }
    std::snprintf(line, sizeof line, "%-14s %10llu %10llu %8llu  ",
                  std::string(name_of(static_cast<Kind>(i))).c_str(),
                  static_cast<unsigned long long>(group.attempts), static_cast<unsigned long long>(group.ok),
                  static_cast<unsigned long long>(group.drops));
    out += line + which + "\n";
  }
  const std::uint64_t drops = judged.drops();
  const RateBound bound = bound_rate(drops, judged.count(Outcome::ok) + drops);
  std::snprintf(line, sizeof line, "%s: %llu dropped of %llu, 95 %% upper bound %.3g\n",
                std::string(name_of(judged.verdict())).c_str(), static_cast<unsigned long long>(drops),
                static_cast<unsigned long long>(judged.attempts()), bound.upper_95);
  out += line;
  for (const std::string& doubt : judged.doubts()) out += "cannot be sure: " + doubt + "\n";
  return out;
}

}  // namespace lb::traffic
