#include "lb/supervisor/reload_ledger.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "lb/base/json_line.hpp"
#include "lb/supervisor/answer_parts.hpp"

namespace lb {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::uint64_t kNumberMax = std::uint64_t{1} << 53U;  // of a record that is restored

Json phases_json(const std::vector<PhaseDuration>& phases) {
  Json json = Json::object();
  for (const auto& phase : phases) json[phase.name] = ms_of(phase.us);
  return json;
}

/// Milliseconds since it was asked for.
Json times_json(const ReloadTimes& times) {
  Json json = Json::object();
  const auto add = [&](const char* name, const std::optional<Instant>& at) {
    if (!at) return;
    const auto us = std::chrono::duration_cast<std::chrono::microseconds>(*at - times.asked).count();
    json[name] = ms_of(static_cast<std::uint64_t>(std::max<std::int64_t>(us, 0)));
  };
  add("asked", times.asked);
  add("spawned", times.spawned);
  add("loaded", times.loaded);
  add("ready", times.ready);
  add("switched", times.switched);
  add("probed", times.probed);
  add("drained", times.drained);
  add("gone", times.gone);
  return json;
}

Json kernel_json(const KernelCounters& counters) {
  Json json = Json::object();
  counters.for_each([&](std::string_view name, const std::optional<std::uint64_t>& value) {
    json[std::string{name}] = value ? Json(*value) : Json(nullptr);
  });
  return json;
}

Json probes_json(const std::vector<ListenerProbe>& probes) {
  Json json = Json::array();
  for (const ListenerProbe& probe : probes) {
    json.push_back(
        {{"listener", probe.listener}, {"ok", probe.ok}, {"us", probe.us}, {"error", probe.error}});
  }
  return json;
}

Json forced_json(const std::vector<ForceClosedEntry>& forced) {
  Json json = Json::array();
  for (const ForceClosedEntry& one : forced) {
    json.push_back({{"client", one.client},
                    {"listener", one.listener},
                    {"backend", one.backend},
                    {"kind", one.kind},
                    {"age_ms", one.age_ms}});
  }
  return json;
}

/// What became of the connections of the generation that was replaced.
Json drain_json(const ReloadRecord& record) {
  if (!record.applied || record.from == 0) return nullptr;
  Json json;
  json["generation"] = record.from;
  json["state"] = !record.ended.empty() ? "gone" : record.drained ? "drained" : "draining";
  json["process"] = record.ended;
  if (record.at_switch) {
    json["at_switch"] = {{"connections", record.at_switch->connections},
                         {"tunnels", record.at_switch->tunnels},
                         {"requests", record.at_switch->requests}};
  } else {
    json["at_switch"] = nullptr;
  }
  if (!record.drained) return json;
  const DrainedMessage& drained = *record.drained;
  json["accepted"] = value_of(drained.counters, "connections_accepted");
  json["adopted"] = value_of(drained.counters, "adopted");
  json["connections"] = drained.connections_at_start;
  json["came"] = drained.came;
  json["moved"] = drained.handed_over;
  json["moved_by_kind"] = {{"idle", drained.moved_idle},
                           {"after_exchange", drained.moved_after_exchange},
                           {"upgrade_tunnels", drained.moved_upgrade_tunnels},
                           {"tcp_tunnels", drained.moved_tcp_tunnels},
                           {"upstreams", drained.moved_upstreams},
                           {"refused", drained.refused},
                           {"came_back", drained.came_back}};
  json["closed_removed"] = drained.closed_removed;
  json["ended"] = drained.ended;
  json["closed_idle"] = drained.closed_idle;
  json["force_closed"] = drained.force_closed;
  json["forced"] = forced_json(drained.forced);
  json["requests_completed"] = drained.completed;
  json["duration_ms"] = drained.duration_ms;
  return json;
}

}  // namespace

const char* cause_name(ReloadCause cause) noexcept {
  switch (cause) {
    case ReloadCause::signal:
      return "signal";
    case ReloadCause::control:
      return "control";
    case ReloadCause::watch:
      return "watch";
    case ReloadCause::rollback:
      return "rollback";
  }
  return "";
}

ReloadRecord& ReloadLedger::add(ReloadRecord record) {
  record.number = ++last_number_;
  records_.push_front(std::move(record));
  if (records_.size() > kKept) records_.pop_back();
  return records_.front();
}

void ReloadLedger::drained(std::int64_t generation, Instant now, const DrainedMessage& report,
                           const KernelCounters& kernel) {
  ReloadRecord* const record = that_replaced(generation);
  if (record == nullptr || record->drained) return;
  record->drained = report;
  record->times.drained = now;
  record->kernel_after = kernel;
}

void ReloadLedger::ended(std::int64_t generation, Instant now, const std::string& how,
                         const KernelCounters& kernel) {
  ReloadRecord* const record = that_replaced(generation);
  if (record == nullptr || !record->ended.empty()) return;
  record->ended = how;
  record->times.gone = now;
  record->kernel_after = kernel;
}

void ReloadLedger::probed(std::int64_t generation, Instant now, std::vector<ListenerProbe> probes) {
  for (ReloadRecord& record : records_) {
    if (!record.applied || record.to != generation) continue;
    record.probes = std::move(probes);
    record.times.probed = now;
    return;
  }
}

void ReloadLedger::restore(std::string_view json) {
  const Json list = Json::parse(json, nullptr, false);
  if (!list.is_array()) return;
  for (const Json& record : list) {
    if (!record.is_object() || restored_.size() == kKept) continue;
    const auto number = record.find("number");
    if (number == record.end() || !number->is_number_unsigned() || number->get<std::uint64_t>() >= kNumberMax)
      continue;
    restored_.push_back({number->get<std::int64_t>(), json_line(record)});
    last_number_ = std::max(last_number_, restored_.back().number);
  }
}

Json ReloadLedger::json(std::int64_t number) const {
  Json list = Json::array();
  for (const ReloadRecord& record : records_) {
    if (number == 0 || record.number == number) list.push_back(reload_json(record));
  }
  for (const Restored& record : restored_) {
    if (list.size() == kKept) break;
    if (number == 0 || record.number == number) list.push_back(Json::parse(record.json, nullptr, false));
  }
  return list;
}

const ReloadRecord* ReloadLedger::find(std::int64_t number) const noexcept {
  const auto found = std::ranges::find(records_, number, &ReloadRecord::number);
  return found == records_.end() ? nullptr : &*found;
}

ReloadRecord* ReloadLedger::that_replaced(std::int64_t generation) noexcept {
  const auto found = std::ranges::find_if(
      records_, [&](const ReloadRecord& record) { return record.applied && record.from == generation; });
  return found == records_.end() ? nullptr : &*found;
}

Json reload_summary_json(const ReloadRecord& record) {
  Json json;
  json["ok"] = record.applied;
  json["applied"] = record.applied;
  json["rollback"] = record.rollback;
  json["from"] = record.from;
  json["generation"] = record.to;
  json["config"] = record.config;
  json["duration_ms"] = ms_of(record.duration_us);
  json["phases_ms"] = phases_json(record.phases);
  json["warnings"] = record.warnings;
  json["reason"] = record.reason;
  json["changes"] = Json::parse(changes_json(record.changes), nullptr, false);
  json["changes_total"] = record.changes_total;
  json["time"] = record.unix_time_s;
  return json;
}

Json reload_json(const ReloadRecord& record) {
  Json json = reload_summary_json(record);
  json["number"] = record.number;
  json["cause"] = cause_name(record.cause);
  json["whole"] = record.whole();
  json["times_ms"] = times_json(record.times);
  json["probes"] = record.probes ? probes_json(*record.probes) : Json(nullptr);
  json["drain"] = drain_json(record);
  json["kernel"] = {{"before", kernel_json(record.kernel_before)},
                    {"grown", kernel_json(record.kernel_after.since(record.kernel_before))}};
  return json;
}

}  // namespace lb
