#include <unistd.h>

#include <nlohmann/json.hpp>
#include <ranges>

#include "lb/base/hash.hpp"
#include "lb/base/json_line.hpp"
#include "lb/observe/backend_counts.hpp"
#include "lb/supervisor/answer_parts.hpp"
#include "lb/supervisor/supervisor_impl.hpp"

namespace lb {
namespace {

using Json = nlohmann::ordered_json;

Json counters_json(const std::vector<NamedCounter>& counters) {
  Json json = Json::object();
  for (const auto& counter : counters) json[counter.name] = counter.value;
  return json;
}

/// `histogram[i]` took less than `first_us` << i, the last of them longer than all that.
template <class Histogram>
Json latency_json(const Histogram& histogram, std::uint64_t sum_us) {
  std::uint64_t count = 0;
  for (const std::uint64_t n : histogram) count += n;
  return {{"count", count}, {"sum_us", sum_us}, {"first_us", kLatencyFirstUs}, {"histogram", histogram}};
}

Json drain_json(const DrainRecord& record) {
  Json json{{"generation", record.generation}, {"ended", record.ended}};
  if (record.report) {
    json["completed"] = record.report->completed;
    json["handed_over"] = record.report->handed_over;
    json["moved"] = {{"idle", record.report->moved_idle},
                     {"after_exchange", record.report->moved_after_exchange},
                     {"upgrade_tunnels", record.report->moved_upgrade_tunnels},
                     {"tcp_tunnels", record.report->moved_tcp_tunnels},
                     {"upstreams", record.report->moved_upstreams}};
    json["refused"] = record.report->refused;
    json["came_back"] = record.report->came_back;
    json["closed_removed"] = record.report->closed_removed;
    json["closed_idle"] = record.report->closed_idle;
    json["force_closed"] = record.report->force_closed;
    json["duration_ms"] = record.report->duration_ms;
  }
  return json;
}

std::string join(const std::vector<std::string>& items) {
  std::string text;
  for (const auto& item : items) text += (text.empty() ? "" : ",") + item;
  return text;
}

}  // namespace

// ---- the answer of a reload ----

void Supervisor::answer(const Answer& command) {
  ReloadRecord record = record_of(command);
  if (const GenerationHandle* handle = command.to ? find(*command.to) : nullptr;
      handle != nullptr && !command.applied && handle->loaded) {
    carry_out_rollback(keeper_.rejected(now_, handle->loaded->hash, command.reason));
  }
  if (record.config.empty() && command.to == loaded_.first) record.config = loaded_.second;  // it is gone
  if (command.rollback && command.applied) record.reason = rollback_reason_;
  if (command.applied && !command.reason.empty())
    record.warnings.insert(record.warnings.begin(), command.reason);
  if (!command.applied) last_error_ = command.reason;
  log_answer(command, record);
  if (!command.boot) {
    record = ledger_.add(std::move(record));
    pass_on_ledger();
  }
  const std::string json = json_line(reload_json(record));
  if (control_) {
    for (const CallerId caller : command.callers) control_->answer(caller, json);
  }
  if (command.boot) {
    if (!command.applied && machine_.mode() != ReloadMachine::Mode::stopping)
      result_.message = command.reason;
    return;
  }
  if (command.rollback) {
    ++rollbacks_;
  } else {
    ++(command.applied ? applied_ : rejected_);
  }
  if (command.rollback) answer_rollback(command);
}

void Supervisor::log_answer(const Answer& command, const ReloadRecord& record) {
  for (std::size_t i = 0; i < record.warnings.size(); ++i) {
    const bool last = i == kWarningsLoggedMax;
    const std::string more = "and " + std::to_string(record.warnings.size() - i) + " more warnings";
    log_.warn("reload.warning", last ? more : record.warnings[i],
              {{"generation", record.to}, {"config", record.config}});
    if (last) break;
  }
  if (command.boot) {
    if (command.applied) return log_ready(*command.to);
    // Standard error gets the reason from main, in plain words.
    if (!options_.log_path.empty() || options_.log_format == LogFormat::json) {
      log_.error("start.failed", command.reason, {{"generation", record.to}});
    }
    return;
  }
  const double ms = ms_of(record.duration_us);
  if (command.applied) {
    log_.info(command.rollback ? "reload.rolled_back" : "reload.applied",
              "generation " + std::to_string(record.from) + " -> " + std::to_string(record.to),
              {{"generation", record.to},
               {"config", record.config},
               {"from", record.from},
               {"duration_ms", ms},
               {"warnings", static_cast<std::int64_t>(record.warnings.size())},
               {"changes", static_cast<std::int64_t>(record.changes_total)}});
    log_changes(record);
    return log_ready(*command.to);
  }
  log_.error(
      command.rollback ? "reload.rollback_failed" : "reload.rejected", command.reason,
      {{"generation", record.to}, {"config", record.config}, {"serving", record.from}, {"duration_ms", ms}});
}

void Supervisor::log_changes(const ReloadRecord& record) {
  for (std::size_t i = 0; i < record.changes.size() && i < kChangesLoggedMax; ++i) {
    log_.info("reload.change", record.changes[i].words,
              {{"generation", record.to}, {"path", record.changes[i].path}});
  }
  if (record.changes_total <= kChangesLoggedMax) return;
  log_.info("reload.change",
            "and " + std::to_string(record.changes_total - kChangesLoggedMax) + " more changes",
            {{"generation", record.to}});
}

void Supervisor::log_ready(GenerationId id) {
  const GenerationHandle* handle = find(id);
  if (handle == nullptr || !handle->ready) return;
  const ReadyMessage& ready = *handle->ready;
  log_.info("ready", "generation " + std::to_string(number(id)) + " serves",
            {{"generation", number(id)},
             {"config", hash_text(ready.hash)},
             {"listen", join(ready.addresses)},
             {"backends", static_cast<std::int64_t>(ready.backends)},
             {"workers", static_cast<std::int64_t>(ready.workers)},
             {"generation_pid", std::int64_t{handle->pid}},
             {"control", control_path_}});
}

void Supervisor::remember_end(GenerationId id, const GenerationHandle& handle) {
  if (!handle.ready) return;
  drains_.push_front({.generation = number(id),
                      .ended = handle.ended,
                      .report = handle.drained,
                      .at_switch = handle.at_switch});
  ledger_.ended(number(id), now_, handle.ended, read_kernel_counters());
  pass_on_ledger();
  if (drains_.size() > kHistoryMax) drains_.pop_back();
  if (shares_state(id)) return;
  // One that shares no state and was killed takes what it counted since the last status with it.
  const auto* counters = handle.drained ? &handle.drained->counters : nullptr;
  if (counters == nullptr && handle.status) counters = &handle.status->counters;
  if (counters == nullptr) return;
  for (const auto& c : *counters) finished_counters_[c.name] += c.value;
  for (const char* gauge : {"connections_open", "requests_in_flight", "tunnels_open"})
    finished_counters_[gauge] = 0;
}

// ---- status ----

void Supervisor::begin_status(std::uint64_t caller, bool plan) {
  StatusQuery query{.caller = caller, .deadline = now_ + kStatusTimeout, .plan = plan};
  request_statuses(&query, plan);
  status_queries_.push_back(std::move(query));
}

void Supervisor::settle_status(bool force) {
  std::erase_if(status_queries_, [&](const StatusQuery& query) {
    if (!force && !query.awaited.empty() && now_ < query.deadline) return false;
    if (control_) control_->answer(query.caller, status_json(query));
    return true;
  });
}

/// What it counts is seen in the shared state; it is not asked.
bool Supervisor::shares_state(GenerationId id) const {
  const auto it = generations_.find(id);
  return it != generations_.end() && it->second.ready && it->second.ready->state_slot >= 0 &&
         state_.shares(number(id));
}

std::string Supervisor::status_json(const StatusQuery& query) {
  Json json;
  json["ok"] = true;
  json["pid"] = ::getpid();
  json["version"] = options_.version;
  json["uptime_s"] = to_ms(now_ - started_) / 1000;
  json["config_file"] = options_.config_path;
  json["pid_file"] = pid_file_path_;
  json["control"] = control_path_;
  const auto current = machine_.current();
  json["current"] = current ? Json(number(*current)) : Json(nullptr);
  auto totals = finished_counters_;
  for (const auto& [name, value] : state_.counters()) totals[name] += value;
  Json generations = Json::array();
  for (const auto& [id, handle] : std::views::reverse(generations_)) {
    Json entry{{"generation", number(id)}, {"pid", handle.pid}};
    const auto phase = machine_.phase(id);
    entry["state"] = phase ? phase_name(*phase) : "ending";
    entry["config"] = handle.ready    ? hash_text(handle.ready->hash)
                      : handle.loaded ? hash_text(handle.loaded->hash)
                                      : "";
    entry["age_s"] = to_ms(now_ - handle.started) / 1000;
    entry["adopted"] = handle.adopted;
    if (handle.status) {
      entry["fresh"] = handle.status->token >= query.token;
      entry["connections"] = value_of(handle.status->counters, "connections_open");
      entry["requests_in_flight"] = value_of(handle.status->counters, "requests_in_flight");
      entry["counters"] = counters_json(handle.status->counters);
      if (!shares_state(id)) {
        for (const auto& c : handle.status->counters) totals[c.name] += c.value;
      }
    }
    generations.push_back(std::move(entry));
  }
  json["generations"] = std::move(generations);
  json["listeners"] = Json::array();
  for (const auto& listener : listeners_.summary()) {
    json["listeners"].push_back(
        {{"endpoint", listener.endpoint}, {"address", listener.address}, {"shards", listener.shards}});
  }
  json["backends"] = Json::array();
  const auto serving = current ? generations_.find(*current) : generations_.end();
  if (serving != generations_.end() && serving->second.status) {
    json["backends_total"] = serving->second.status->backends_total;
    for (const auto& backend : serving->second.status->backends) {
      const auto recent = traffic_.of(now_, backend.name, backend.endpoint);
      json["backends"].push_back({{"name", backend.name},
                                  {"endpoint", backend.endpoint},
                                  {"requests", backend.requests},
                                  {"requests_1m", recent.last_minute},
                                  {"requests_5m", recent.last_five_minutes},
                                  {"failures", backend.failures},
                                  {"in_flight", backend.in_flight},
                                  {"aside", backend.aside},
                                  {"resolved", backend.resolved},
                                  {"standing", backend.standing},
                                  {"reason", backend.reason},
                                  {"backup", backend.backup},
                                  {"share_percent", backend.share_percent},
                                  {"latency", latency_json(backend.latency, backend.latency_sum_us)},
                                  {"since_s", backend.checked ? Json(backend.since_s) : Json()}});
      if (backend.state_entry == kNoStateEntry || !shares_state(*current)) continue;
      const BackendTotals total = state_.backend(static_cast<std::uint32_t>(backend.state_entry));
      json["backends"].back()["total"] = {{"requests", total.requests},
                                          {"failures", total.failures},
                                          {"latency", latency_json(total.latency, total.latency_sum_us)}};
    }
  }
  const auto traffic = traffic_.total(now_);
  json["traffic"] = {{"observed_s", to_ms(traffic_.observed(now_)) / 1000},
                     {"requests_1m", traffic.last_minute},
                     {"requests_5m", traffic.last_five_minutes}};
  json["counters"] = totals;
  json["state"] = {{"shared", current && shares_state(*current)}, {"backends", state_.entries()}};
  json["restarts"] = restarts_;
  json["watch"] = watch_ != nullptr;
  const KeptConfig* good = keeper_.last_good();
  json["last_good"] = {{"config", good != nullptr ? hash_text(good->hash) : ""},
                       {"file", keeper_.path()},
                       {"probation", keeper_.on_probation()}};
  json["reloads"] = {{"requested", requested_},
                     {"applied", applied_},
                     {"rejected", rejected_},
                     {"rolled_back", rollbacks_},
                     {"in_flight", machine_.reload_in_flight()},
                     {"last_error", last_error_},
                     {"history", Json::array()}};
  for (const auto& record : ledger_.records()) {
    json["reloads"]["history"].push_back(reload_summary_json(record));
  }
  json["drains"] = Json::array();
  for (const auto& record : drains_) json["drains"].push_back(drain_json(record));
  if (query.plan) add_plan(json);
  return json_line(json);
}

}  // namespace lb
