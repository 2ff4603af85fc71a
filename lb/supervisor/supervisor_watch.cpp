// What the supervisor does without being asked: reloading when the file has changed, judging a new
// configuration by its traffic, going back.
#include <tuple>

#include "lb/base/file.hpp"
#include "lb/base/hash.hpp"
#include "lb/config/config.hpp"
#include "lb/supervisor/supervisor_impl.hpp"

namespace lb {

// ---- a configuration serves ----

/// `id` was promoted: what it serves is current, and on probation unless it proved good before.
void Supervisor::keep(GenerationId id) {
  const GenerationHandle& handle = *find(id);
  const bool good = keeper_.current() && keeper_.current()->hash == keeper_.last_good()->hash;
  sampler_.switched(id, status_token_, good);
  use_rules(handle.ready->rules);
  carry_out_rollback(keeper_.serving(now_, {handle.ready->hash, handle.ready->format, handle.config_file},
                                     handle.ready->rules));
}

void Supervisor::use_rules(const ReloadRules& rules) {
  sample_at_ = now_ + (rules.probation_ms > 0 ? kSampleOnProbation : kSampleOtherwise);
  if (!rules.watch) {
    watch_.reset();
    return;
  }
  const Milliseconds debounce{rules.debounce_ms};
  if (watch_ && watch_->debounce() == debounce) return;
  const bool first = watch_ == nullptr;
  watch_.reset();
  auto opened = FileWatch::open({.path = options_.config_path, .debounce = debounce}, now_);
  if (!opened) {
    return log_.error("watch.off", opened.error().message, {{"file", options_.config_path}});
  }
  watch_ = std::move(*opened);
  // It reports changes from now on; one between the loading of the file and now would be lost.
  file_changed_ = !(first && fell_back_);
  log_.info("watch.on", "reloading when the content of the file changes", {{"file", options_.config_path}});
}

// ---- the file ----

void Supervisor::on_file_watch() {
  watch_not_before_ = now_ + kUnaskedPause;
  const auto changed = watch_->poll(now_);
  if (!changed) {
    log_.error("watch.off", changed.error().message, {{"file", options_.config_path}});
    watch_.reset();
    return;
  }
  if (*changed) file_changed_ = true;
}

/// The file may have other content than what serves. A reload in flight may be about just that, so it is
/// awaited.
void Supervisor::consider_file() {
  if (!file_changed_ || machine_.reload_in_flight()) return;
  file_changed_ = false;
  if (machine_.mode() != ReloadMachine::Mode::running) return;
  const auto text = read_file(options_.config_path, kConfigBytesMax);
  if (!text) return;  // it is gone again: its return will be told
  const std::uint64_t hash = hash_bytes(*text);
  if (keeper_.current() && keeper_.current()->hash == hash) return;
  if (!keeper_.may_try(hash)) {
    log_.warn("watch.not_tried",
              "the file has changed to a configuration that failed before; reload by hand to try it",
              {{"config", hash_text(hash)}});
    return;
  }
  ++requested_;
  log_.info("reload.requested", "by the file watch", {{"config", hash_text(hash)}});
  asked(ReloadCause::watch);
  feed(ReloadRequested{});
}

// ---- time ----

Instant Supervisor::unasked_deadline() const {
  Instant until =
      std::min({sample_at_, ticket_keys_.next(), std::max(keeper_.next_deadline(), policy_not_before_)});
  if (watch_) until = std::min(until, std::max(watch_->next_deadline(), watch_not_before_));
  if (watch_ && now_ < watch_not_before_) until = std::min(until, watch_not_before_);  // to poll it again
  if (file_changed_ && !machine_.reload_in_flight()) until = now_;
  return until;
}

void Supervisor::unasked() {
  if (watch_ && now_ >= std::max(watch_->next_deadline(), watch_not_before_)) on_file_watch();
  consider_file();
  renew_ticket_keys();
  if (now_ >= sample_at_) {
    sample_at_ = now_ + (keeper_.on_probation() ? kSampleOnProbation : kSampleOtherwise);
    request_statuses(nullptr, false);
  }
  if (now_ >= std::max(keeper_.next_deadline(), policy_not_before_)) {
    policy_not_before_ = now_ + kUnaskedPause;
    carry_out_rollback(keeper_.tick(now_));
  }
}

/// Whoever became ready, or was adopted, after a change is told too. Who is not ready yet awaits other
/// messages.
void Supervisor::renew_ticket_keys() {
  if (ticket_keys_.rotate(now_)) log_.info("tls.ticket_keys", "the keys of TLS session tickets were renewed");
  const std::string& ring = ticket_keys_.ring(now_);
  for (auto& [id, handle] : generations_) {
    const bool told = handle.ticket_keys == ticket_keys_.version();
    if (told || !handle.ready || !handle.channel.open() || !handle.ended.empty()) continue;
    // Who is too far behind to take it loses nothing but resumptions.
    std::ignore = send_message(handle.channel, TicketKeysMessage{.ring = ring});
    handle.ticket_keys = ticket_keys_.version();
  }
}

// ---- probation ----

void Supervisor::on_status(GenerationId id, const StatusMessage& status) {
  sampler_.observe(now_, id, status);
  traffic_.observe(now_, id, find(id)->adopted, status);
  if (machine_.current() != id || !keeper_.on_probation()) return;
  carry_out_rollback(keeper_.sampled(now_, sampler_.sample()));
}

void Supervisor::carry_out_rollback(const ConfigKeeper::Reason& reason) {
  if (!reason) return;
  rollback_reason_ = *reason;
  log_.error("reload.rollback", "going back to the last good configuration: " + *reason,
             {{"config", hash_text(keeper_.last_good()->hash)}});
  feed(RollbackRequested{});
}

void Supervisor::answer_rollback(const Answer& command) {
  carry_out_rollback(keeper_.rollback_ended(now_, command.applied));
}

/// Asks every generation; `query` (may be null) waits for those that could be asked. `census`: they walk over
/// all their connections.
void Supervisor::request_statuses(StatusQuery* query, bool census) {
  const StatusRequestMessage request{.token = ++status_token_, .census = census};
  std::set<GenerationId> asked;
  for (auto& [id, handle] : generations_) {
    // One that does not read is not asked again and again: its queue is for more important messages.
    const bool reads = handle.ready && !handle.channel.wants_write();
    if (reads && send_message(handle.channel, request)) asked.insert(id);
  }
  if (query == nullptr) return;
  query->token = status_token_;
  query->awaited = std::move(asked);
}

}  // namespace lb
