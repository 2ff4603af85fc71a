#include "lb/reload/machine.hpp"

#include <algorithm>
#include <ranges>
#include <utility>

#include "lb/base/result.hpp"

namespace lb {

int exit_code(StartFailure failure) noexcept {
  switch (failure) {
    case StartFailure::invalid_config:
      return 1;
    case StartFailure::unreadable_config:
      return 2;
    case StartFailure::already_running:
      return 3;
    case StartFailure::cannot_listen:
      return 4;
    case StartFailure::other:
      return 5;
  }
  return 5;
}

std::vector<ReloadCommand> ReloadMachine::step(Instant now, const ReloadEvent& event) {
  LB_ASSERT(now >= now_);
  now_ = now;
  commands_.clear();
  if (mode_ != Mode::exited) {
    std::visit([this](const auto& e) { on(e); }, event);
    settle_stop();
  }
  return std::exchange(commands_, {});
}

Instant ReloadMachine::next_deadline() const {
  Instant next = restart_ == Restart::waiting ? restart_at_ : kNever;
  for (const auto& [id, generation] : generations_) next = std::min(next, generation.deadline);
  if (attempt_) next = std::min(next, attempt_->handover_deadline);
  return mode_ == Mode::exited ? kNever : next;
}

std::optional<ReloadMachine::Phase> ReloadMachine::phase(GenerationId id) const {
  const auto it = generations_.find(id);
  if (it == generations_.end()) return std::nullopt;
  return it->second.phase;
}

// ---- starting ----

void ReloadMachine::on(const Boot& event) {
  LB_ASSERT(!attempt_ && generations_.empty());
  fallback_ = event.fallback;
  backoff_ = limits_.backoff_min;
  attempt_ = Attempt{.id = next_id_, .taker = next_id_, .boot = true};
  spawn(next_id_, ConfigSource::file);
}

void ReloadMachine::on(const Adopted& event) {
  LB_ASSERT(attempt_ && attempt_->boot && event.id < 1);
  if (mode_ != Mode::running || generations_.contains(event.id)) return;
  generations_[event.id] = {.phase = Phase::serving, .drain_timeout = event.drain_timeout};
  if (current_) {
    hand_over(event.id, generations_.at(event.id), *current_);
    return;
  }
  current_ = event.id;
  current_since_ = now_;
  attempt_->from = event.id;
}

void ReloadMachine::spawn(GenerationId id, ConfigSource source) {
  LB_ASSERT(id == next_id_);
  ++next_id_;
  generations_[id] = {.phase = Phase::starting, .deadline = now_ + limits_.load_timeout};
  emit(Spawn{id, source});
}

void ReloadMachine::on(const ReloadRequested& event) {
  if (event.caller && waiting_.size() >= limits_.callers_max) {
    emit(Answer{.callers = {*event.caller}, .reason = "too many reload requests are waiting"});
    return;
  }
  reload_wanted_ = true;
  if (event.caller) waiting_.push_back(*event.caller);
  if (mode_ != Mode::running) {
    reject_waiting("the balancer is shutting down");
    return;
  }
  begin_reload_if_wanted();
}

void ReloadMachine::on(const RollbackRequested&) {
  if (rollback_of_ || (attempt_ && attempt_->rollback)) return;
  rollback_of_ = current_.value_or(0);
  if (mode_ != Mode::running) return reject_rollback("the balancer is shutting down");
  if (!current_) return reject_rollback("the generation to be undone is gone already");
  begin_reload_if_wanted();
}

void ReloadMachine::on(const CallerLeft& event) {
  std::erase(waiting_, event.caller);
  if (attempt_) std::erase(attempt_->callers, event.caller);
}

void ReloadMachine::begin_reload_if_wanted() {
  if (mode_ != Mode::running || attempt_) return;
  if (rollback_of_) {
    LB_ASSERT(rollback_of_ == current_);
    return begin_rollback();
  }
  if (!reload_wanted_) return;
  if (draining() >= limits_.draining_max) {
    reject_waiting(std::to_string(draining()) +
                   " older generations are still draining; try again when one has ended");
    return;
  }
  reload_wanted_ = false;
  begin({.id = next_id_, .taker = next_id_, .from = current_, .callers = std::exchange(waiting_, {})},
        ConfigSource::file);
}

void ReloadMachine::begin(Attempt attempt, ConfigSource source) {
  attempt_ = std::move(attempt);
  emit(NotifyService{ServiceState::reloading});
  emit(Note{NoteKind::reload_begun, next_id_, {}});
  spawn(next_id_, source);
}

void ReloadMachine::begin_rollback() {
  rollback_of_.reset();
  if (!parked_) {
    return begin({.id = next_id_, .taker = next_id_, .rollback = true, .from = current_},
                 ConfigSource::last_good);
  }
  attempt_ = Attempt{.id = *parked_, .taker = *parked_, .rollback = true, .from = current_};
  emit(NotifyService{ServiceState::reloading});
  resume_parked("rollback");
}

void ReloadMachine::reject_rollback(const std::string& reason) {
  if (!std::exchange(rollback_of_, std::nullopt)) return;
  emit(Answer{.rollback = true, .from = current_, .reason = reason});
}

void ReloadMachine::reject_waiting(const std::string& reason) {
  if (!reload_wanted_) return;
  reload_wanted_ = false;
  emit(Answer{.callers = std::exchange(waiting_, {}), .from = current_, .reason = reason});
}

void ReloadMachine::on(const Loaded& event) {
  const auto it = generations_.find(event.id);
  if (it == generations_.end() || it->second.phase != Phase::starting) return;
  it->second.phase = Phase::warming;
  it->second.deadline = now_ + limits_.ready_timeout;
  emit(Proceed{event.id});
}

void ReloadMachine::on(const Ready& event) {
  const auto it = generations_.find(event.id);
  if (it == generations_.end() || it->second.phase != Phase::warming) return;
  const bool restart = restart_ == Restart::starting && restart_id_ == event.id;
  const bool reload = attempt_ && attempt_->taker == event.id;
  LB_ASSERT(restart != reload);
  it->second = {.phase = Phase::serving, .drain_timeout = event.drain_timeout};
  const auto old = current_;
  LB_ASSERT(!restart || !old);  // a restart is cancelled as soon as another generation serves
  promote(event.id, !event.probation);
  if (restart) {
    restart_ = Restart::none;
    emit(Note{NoteKind::restarted, event.id, {}});
    release_listeners();
    return;
  }
  cancel_restart();
  if (old && attempt_->fault.empty()) attempt_->from = old;
  if (!event.probation) {
    unpark();  // being handed over to without `park` releases it
  } else if (!parked_ && old && generations_.at(*old).proven) {
    parked_ = old;
  }
  hand_over_to(event.id, true);
}

void ReloadMachine::promote(GenerationId id, bool proven) {
  generations_.at(id).proven = proven;
  current_ = id;
  current_since_ = now_;
  emit(Promote{id});
}

// ---- handing over ----

/// Everybody who may still use a backend of before, the newest first. `awaited`: the attempt waits for them.
void ReloadMachine::hand_over_to(GenerationId successor, bool awaited) {
  if (awaited) {
    attempt_->handing_over = true;
    attempt_->handover_deadline = now_ + limits_.handover_timeout;
  }
  for (auto& [id, generation] : std::views::reverse(generations_)) {
    const Phase phase = generation.phase;
    const bool gone = phase == Phase::starting || phase == Phase::warming || phase == Phase::quitting ||
                      phase == Phase::killed;
    if (id == successor || gone) continue;
    if (awaited) attempt_->awaited.push_back(id);
    hand_over(id, generation, successor);
  }
  if (awaited && attempt_->awaited.empty()) all_acknowledged();
}

void ReloadMachine::hand_over(GenerationId old, Generation& generation, GenerationId successor) {
  if (generation.phase == Phase::serving || generation.phase == Phase::resuming) {
    generation.phase = Phase::handing;
    generation.deadline = now_ + limits_.handover_timeout;
  }
  generation.told = successor;
  emit(HandOver{old, successor, parked_ == old});
}

/// One generation less that may still use a backend of before. Also when it has ended.
void ReloadMachine::await_no_more(GenerationId id) {
  if (!attempt_ || !attempt_->handing_over || std::erase(attempt_->awaited, id) == 0) return;
  if (attempt_->awaited.empty()) all_acknowledged();
}

void ReloadMachine::handover_overdue() {
  if (attempt_->probing) return probe_failed("the self-probe took longer than it may");
  const std::size_t count = attempt_->awaited.size();
  attempt_->awaited.clear();
  attempt_->remark = std::to_string(count) + (count == 1 ? " older generation" : " older generations") +
                     " did not acknowledge the hand-over within " +
                     std::to_string(to_ms(limits_.handover_timeout) / 1000) + " s";
  all_acknowledged();
}

/// Nobody else accepts any more: does the new one? Only what was not yet known to be good is asked.
void ReloadMachine::all_acknowledged() {
  const bool known = attempt_->boot || attempt_->rollback || !attempt_->fault.empty();
  if (known || limits_.probe_timeout == Duration{}) return conclude(std::exchange(attempt_->remark, {}));
  attempt_->probing = true;
  attempt_->handover_deadline = now_ + limits_.probe_timeout;
  emit(Probe{attempt_->taker});
}

void ReloadMachine::on(const Probed& event) {
  if (!attempt_ || !attempt_->probing || attempt_->taker != event.id) return;
  if (!event.good) return probe_failed(event.reason);
  conclude(std::exchange(attempt_->remark, {}));
}

void ReloadMachine::conclude(std::string remark) {
  if (attempt_->fault.empty()) return finish_attempt(true, std::move(remark));
  const char* const back = attempt_->resuming ? "; the generation before serves again"
                                              : "; the last good configuration serves again";
  finish_attempt(false, attempt_->fault + back + (remark.empty() ? "" : " (" + remark + ")"));
}

void ReloadMachine::begin_draining(Generation& generation) {
  generation.phase = Phase::draining;
  generation.deadline = now_ + generation.drain_timeout + limits_.exit_grace;
}

void ReloadMachine::on(const DrainAcknowledged& event) {
  const auto it = generations_.find(event.id);
  if (it == generations_.end()) return;
  Generation& generation = it->second;
  const bool unasked = !event.successor;
  if (generation.phase == Phase::serving) {
    if (!unasked) return;        // of a hand-over before it was resumed
    begin_draining(generation);  // somebody sent it a signal
    if (current_ == event.id) lost_current(event.id, "was told by a signal to drain");
    return;
  }
  if (generation.phase == Phase::resuming && unasked) {  // the same, just before it was told to resume
    begin_draining(generation);
    return resume_failed(event.id, "it was told by a signal to drain");
  }
  if (generation.phase == Phase::parked && unasked) {
    parked_.reset();
    begin_draining(generation);
    emit(Note{NoteKind::parked_lost, event.id, "was told by a signal to drain"});
    return release_listeners();
  }
  if (generation.phase == Phase::handing && (unasked || event.successor == generation.told)) {
    if (parked_ != event.id || unasked) {
      if (parked_ == event.id) parked_.reset();
      begin_draining(generation);
    } else {
      generation.phase = Phase::parked;
      generation.deadline = kNever;
    }
  }
  if (attempt_ && event.successor == attempt_->taker) await_no_more(event.id);
}

void ReloadMachine::finish_attempt(bool applied, std::string reason, StartFailure failure) {
  Attempt attempt = std::move(*attempt_);
  attempt_.reset();
  emit(Answer{.callers = std::move(attempt.callers),
              .applied = applied,
              .boot = attempt.boot,
              .rollback = attempt.rollback,
              .from = attempt.from,
              .to = attempt.id,
              .reason = std::move(reason),
              .failure = failure});
  // One asked for while this one handed over is about this one.
  if (current_ != rollback_of_) reject_rollback("another configuration serves by now");
  if (mode_ != Mode::running) return;
  if (attempt.boot && !applied) {
    // Nothing of ours serves. A generation adopted from a former supervisor goes on without us.
    for (auto& [id, generation] : generations_) {
      if (id > 0 && generation.phase != Phase::killed) kill(id, generation);
    }
    reject_waiting("the balancer could not start");
    mode_ = Mode::exited;
    emit(ExitProgram{exit_code(failure)});
    return;
  }
  emit(NotifyService{ServiceState::ready});
  release_listeners();
  begin_reload_if_wanted();
}

void ReloadMachine::release_listeners() {
  // A generation that is starting was given the sockets held now, and counts on our keeping them.
  if (mode_ == Mode::running && current_ && !any_starting()) emit(ReleaseListeners{});
}

}  // namespace lb
