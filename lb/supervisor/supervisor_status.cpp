#include <unistd.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <ranges>

#include "lb/base/hash.hpp"
#include "lb/supervisor/supervisor_impl.hpp"

namespace lb {
namespace {

using Json = nlohmann::ordered_json;

double milliseconds(std::uint64_t us) {
  return static_cast<double>(us) / 1000.0;
}

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::int64_t unix_now_s() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

Json phases_json(const std::vector<PhaseDuration>& phases) {
  Json json = Json::object();
  for (const auto& phase : phases) json[phase.name] = milliseconds(phase.us);
  return json;
}

Json counters_json(const std::vector<NamedCounter>& counters) {
  Json json = Json::object();
  for (const auto& counter : counters) json[counter.name] = counter.value;
  return json;
}

Json reload_json(const ReloadRecord& record) {
  Json json;
  json["ok"] = record.applied;
  json["applied"] = record.applied;
  json["rollback"] = record.rollback;
  json["from"] = record.from;
  json["generation"] = record.to;
  json["config"] = record.config;
  json["duration_ms"] = milliseconds(record.duration_us);
  json["phases_ms"] = phases_json(record.phases);
  json["warnings"] = record.warnings;
  json["reason"] = record.reason;
  json["changes"] = Json::parse(changes_json(record.changes), nullptr, false);
  json["changes_total"] = record.changes_total;
  json["time"] = record.unix_time_s;
  return json;
}

Json drain_json(const DrainRecord& record) {
  Json json{{"generation", record.generation}, {"ended", record.ended}};
  if (record.report) {
    json["completed"] = record.report->completed;
    json["handed_over"] = record.report->handed_over;
    json["closed_idle"] = record.report->closed_idle;
    json["force_closed"] = record.report->force_closed;
    json["duration_ms"] = record.report->duration_ms;
  }
  return json;
}

std::uint64_t counter(const std::vector<NamedCounter>& counters, std::string_view name) {
  for (const auto& c : counters) {
    if (c.name == name) return c.value;
  }
  return 0;
}

std::string join(const std::vector<std::string>& items) {
  std::string text;
  for (const auto& item : items) text += (text.empty() ? "" : ",") + item;
  return text;
}

}  // namespace

// ---- the answer of a reload ----

void Supervisor::answer(const Answer& command) {
  ReloadRecord record{.from = command.from ? number(*command.from) : 0,
                      .to = command.to ? number(*command.to) : 0,
                      .applied = command.applied,
                      .rollback = command.rollback,
                      .reason = command.reason,
                      .unix_time_s = unix_now_s()};
  if (GenerationHandle* handle = command.to ? find(*command.to) : nullptr) {
    record.duration_us = static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(now_ - handle->started).count());
    if (handle->loaded) record.config = hash_text(handle->loaded->hash);
    record.warnings = handle->warnings;
    if (handle->ready) {
      record.phases = handle->ready->phases;
      record.warnings.insert(record.warnings.end(), handle->ready->warnings.begin(),
                             handle->ready->warnings.end());
      if (command.applied) {
        record.changes = handle->ready->changes;
        record.changes_total = handle->ready->changes_total;
        if (!handle->ready->changes_error.empty()) {
          record.warnings.push_back("what changed cannot be told: " + handle->ready->changes_error);
        }
      }
    }
    if (!command.applied && handle->loaded) {
      carry_out_rollback(keeper_.rejected(now_, handle->loaded->hash, command.reason));
    }
  }
  if (command.rollback && command.applied) record.reason = rollback_reason_;
  if (command.applied && !command.reason.empty())
    record.warnings.insert(record.warnings.begin(), command.reason);
  if (!command.applied) last_error_ = command.reason;
  log_answer(command, record);
  const std::string json = dump(reload_json(record));
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
  reloads_.push_front(std::move(record));
  if (reloads_.size() > kHistoryMax) reloads_.pop_back();
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
  const double ms = milliseconds(record.duration_us);
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
  drains_.push_front({.generation = number(id), .ended = handle.ended, .report = handle.drained});
  if (drains_.size() > kHistoryMax) drains_.pop_back();
  // A generation that was killed takes what it counted since the last status with it.
  const auto* counters = handle.drained ? &handle.drained->counters : nullptr;
  if (counters == nullptr && handle.status) counters = &handle.status->counters;
  if (counters == nullptr) return;
  for (const auto& c : *counters) finished_counters_[c.name] += c.value;
  for (const char* gauge : {"connections_open", "requests_in_flight", "tunnels_open"})
    finished_counters_[gauge] = 0;
}

// ---- status ----

void Supervisor::begin_status(std::uint64_t caller) {
  StatusQuery query{.caller = caller, .deadline = now_ + kStatusTimeout};
  request_statuses(&query);
  status_queries_.push_back(std::move(query));
}

void Supervisor::settle_status(bool force) {
  std::string json;
  std::erase_if(status_queries_, [&](const StatusQuery& query) {
    if (!force && !query.awaited.empty() && now_ < query.deadline) return false;
    if (json.empty()) json = status_json();
    if (control_) control_->answer(query.caller, json);
    return true;
  });
}

std::string Supervisor::status_json() const {
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
      entry["fresh"] = handle.status->token == status_token_;
      entry["connections"] = counter(handle.status->counters, "connections_open");
      entry["requests_in_flight"] = counter(handle.status->counters, "requests_in_flight");
      entry["counters"] = counters_json(handle.status->counters);
      for (const auto& c : handle.status->counters) totals[c.name] += c.value;
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
      json["backends"].push_back({{"name", backend.name},
                                  {"endpoint", backend.endpoint},
                                  {"requests", backend.requests},
                                  {"failures", backend.failures},
                                  {"in_flight", backend.in_flight},
                                  {"aside", backend.aside},
                                  {"resolved", backend.resolved},
                                  {"standing", backend.standing},
                                  {"reason", backend.reason},
                                  {"backup", backend.backup},
                                  {"share_percent", backend.share_percent},
                                  {"since_s", backend.checked ? Json(backend.since_s) : Json()}});
    }
  }
  json["counters"] = totals;
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
  for (const auto& record : reloads_) json["reloads"]["history"].push_back(reload_json(record));
  json["drains"] = Json::array();
  for (const auto& record : drains_) json["drains"].push_back(drain_json(record));
  return dump(json);
}

}  // namespace lb
