// What is told of each reload: its record from the request to the end of the generation that it replaced, and
// those who wait for that. Also what `lb plan` is told.
#include <chrono>
#include <nlohmann/json.hpp>

#include "lb/base/file.hpp"
#include "lb/base/hash.hpp"
#include "lb/base/json_line.hpp"
#include "lb/config/config.hpp"
#include "lb/supervisor/supervisor_impl.hpp"

namespace lb {
namespace {

using Json = nlohmann::ordered_json;

std::string error_line(std::string_view message) {
  return json_line(Json{{"ok", false}, {"error", message}});
}

std::int64_t unix_now_s() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

/// Requests merge: the first of them counts.
void Supervisor::asked(ReloadCause cause) {
  if (!asked_) asked_ = Asked{cause, now_};
}

/// A process is started. Whether for a reload its answer will tell; a restart asks for nothing.
void Supervisor::begin_ledger(GenerationHandle& handle, ConfigSource source) {
  handle.times.asked = handle.times.spawned.emplace(now_);
  handle.kernel_before = read_kernel_counters();
  if (source == ConfigSource::last_good) {
    handle.cause = ReloadCause::rollback;
  } else if (asked_) {
    handle.cause = asked_->cause;
    handle.times.asked = asked_->at;
    asked_.reset();
  }
}

ReloadRecord Supervisor::record_of(const Answer& command) {
  ReloadRecord record{.from = command.from ? number(*command.from) : 0,
                      .to = command.to ? number(*command.to) : 0,
                      .applied = command.applied,
                      .rollback = command.rollback,
                      .reason = command.reason,
                      .unix_time_s = unix_now_s()};
  if (command.rollback) record.cause = ReloadCause::rollback;
  const GenerationHandle* const handle = command.to ? find(*command.to) : nullptr;
  if (handle == nullptr) {  // none was started
    record.times.asked = asked_ && !command.rollback ? asked_->at : now_;
    if (asked_ && !command.rollback) record.cause = std::exchange(asked_, std::nullopt)->cause;
    return record;
  }
  record.cause = handle->cause;
  record.times = handle->times;
  record.kernel_before = handle->kernel_before;
  record.kernel_after = read_kernel_counters();
  record.duration_us = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(now_ - handle->asked).count());
  if (handle->loaded) record.config = hash_text(handle->loaded->hash);
  record.warnings = handle->warnings;
  if (!handle->ready) return record;
  const bool resumed = handle->asked != handle->started;  // not started for this
  record.probes = handle->probes;
  if (!resumed) record.phases = handle->ready->phases;
  record.warnings.insert(record.warnings.end(), handle->ready->warnings.begin(),
                         handle->ready->warnings.end());
  if (!command.applied) return record;
  record.times.switched = now_;
  if (!resumed) {
    record.changes = handle->ready->changes;
    record.changes_total = handle->ready->changes_total;
  }
  if (!resumed && !handle->ready->changes_error.empty())
    record.warnings.push_back("what changed cannot be told: " + handle->ready->changes_error);
  attach_drain(command, record);
  return record;
}

/// What is known already of the generation that was replaced: its drain may be over before others have
/// answered.
void Supervisor::attach_drain(const Answer& command, ReloadRecord& record) const {
  if (!command.from) return;
  if (const auto old = generations_.find(*command.from); old != generations_.end()) {
    record.at_switch = old->second.at_switch;
    record.drained = old->second.drained;
    if (record.drained) record.times.drained = now_;
    return;
  }
  for (const DrainRecord& drain : drains_) {
    if (drain.generation != record.from) continue;
    record.at_switch = drain.at_switch;
    record.drained = drain.report;
    record.ended = drain.ended;
    record.times.gone = now_;
    if (record.drained) record.times.drained = now_;
    return;
  }
}

void Supervisor::on_drained(GenerationId id, DrainedMessage message) {
  GenerationHandle* const handle = find(id);
  handle->drained = std::move(message);
  ledger_.drained(number(id), now_, *handle->drained, read_kernel_counters());
  pass_on_ledger();
}

/// The generation that serves would outlive us.
void Supervisor::pass_on_ledger() {
  const auto current = machine_.current();
  GenerationHandle* const handle = current ? find(*current) : nullptr;
  // One that does not read gets the next.
  if (handle == nullptr || !handle->ready || !handle->channel.open() || handle->channel.wants_write()) return;
  if (auto sent = send_message(handle->channel, LedgerMessage{.records = json_line(ledger_.json())}); !sent)
    log_.write(LogLevel::debug, "ledger.not_sent", sent.error().message, {{"generation", number(*current)}});
}

// ---- answers ----

void Supervisor::begin_reloads(const ControlRequest& request) {
  if (request.number == 0) {
    return control_->answer(request.caller, json_line(Json{{"ok", true}, {"reloads", ledger_.json()}}));
  }
  ledger_queries_.push_back({.caller = request.caller, .number = request.number, .wait = request.wait});
  settle_reloads(false);
}

/// `force`: with what is known by now.
void Supervisor::settle_reloads(bool force) {
  std::erase_if(ledger_queries_, [&](const LedgerQuery& query) {
    const ReloadRecord* const record = ledger_.find(query.number);
    if (record != nullptr && query.wait && !record->whole() && !force) return false;
    if (control_ == nullptr) return true;
    Json list = ledger_.json(query.number);
    control_->answer(query.caller,
                     list.empty()
                         ? error_line("reload " + std::to_string(query.number) + " is not remembered")
                         : json_line(Json{{"ok", true}, {"reloads", std::move(list)}}));
    return true;
  });
}

/// The text of the configuration that serves, and what is connected.
void Supervisor::add_plan(Json& json) const {
  json["running"] = nullptr;
  json["live"] = nullptr;
  const auto current = machine_.current();
  const auto serving = current ? generations_.find(*current) : generations_.end();
  if (serving == generations_.end() || !serving->second.ready) return;
  const GenerationHandle& handle = serving->second;
  auto text = read_fd(handle.config_file->get(), "the configuration that serves", kConfigBytesMax);
  if (!text) return;
  const bool yaml = static_cast<ConfigFormat>(handle.ready->format) == ConfigFormat::yaml;
  json["running"] = {{"generation", number(*current)},
                     {"config", hash_text(handle.ready->hash)},
                     {"format", yaml ? "yaml" : "json"},
                     {"text", std::move(*text)}};
  if (!handle.census) return;
  Json listeners = Json::array();
  for (const ListenerCensusEntry& entry : handle.census->census_listeners) {
    listeners.push_back({{"endpoint", entry.endpoint},
                         {"connections", entry.connections},
                         {"busy", entry.busy},
                         {"tunnels", entry.tunnels},
                         {"tls", entry.tls}});
  }
  Json backends = Json::array();
  for (const BackendCensusEntry& entry : handle.census->census_backends) {
    backends.push_back({{"name", entry.name},
                        {"endpoint", entry.endpoint},
                        {"requests", entry.requests},
                        {"tunnels", entry.tunnels},
                        {"tunnels_tls", entry.tunnels_tls}});
  }
  json["live"] = {{"listeners", std::move(listeners)}, {"backends", std::move(backends)}};
}

}  // namespace lb
