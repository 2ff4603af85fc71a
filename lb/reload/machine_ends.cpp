// How things end: generations that fail or die, going back, deadlines, stopping.
#include <algorithm>
#include <utility>

#include "lb/base/result.hpp"
#include "lb/reload/machine.hpp"

namespace lb {

// ---- failing ----

void ReloadMachine::on(const SpawnFailed& event) {
  if (generations_.erase(event.id) == 0) return;
  start_failed(event.id, StartFailure::other, event.reason);
}

void ReloadMachine::on(const Failed& event) {
  const auto it = generations_.find(event.id);
  if (it == generations_.end()) return;
  if (it->second.phase != Phase::starting && it->second.phase != Phase::warming) return;
  it->second.phase = Phase::quitting;  // it said so and exits by itself
  it->second.deadline = now_ + limits_.quit_timeout;
  start_failed(event.id, event.failure, event.reason);
}

/// The generation's own record is already settled; this is about who waited for it.
void ReloadMachine::start_failed(GenerationId id, StartFailure failure, const std::string& reason) {
  if (restart_ == Restart::starting && restart_id_ == id) {
    restart_ = Restart::none;
    emit(Note{NoteKind::restart_failed, id, reason});
    schedule_restart();
    return;
  }
  if (!attempt_ || attempt_->taker != id || fall_back(failure, reason)) return;
  const std::string& before = attempt_->fault.empty() ? attempt_->file_fault : attempt_->fault;
  finish_attempt(
      false, before.empty() ? reason : before + "; and the last good configuration does not start: " + reason,
      failure);
}

/// A boot whose file is bad goes on with the last good configuration; at most once.
bool ReloadMachine::fall_back(StartFailure failure, const std::string& reason) {
  const bool bad_file = failure == StartFailure::invalid_config || failure == StartFailure::unreadable_config;
  if (!attempt_->boot || mode_ != Mode::running || !bad_file || !std::exchange(fallback_, false))
    return false;
  emit(Note{NoteKind::fallback, next_id_, reason});
  attempt_->id = attempt_->taker = next_id_;
  attempt_->file_fault = reason;
  attempt_->remark = "the last good configuration serves, because the file is bad: " + reason;
  spawn(next_id_, ConfigSource::last_good);
  return true;
}

void ReloadMachine::on(const Exited& event) {
  const auto it = generations_.find(event.id);
  if (it == generations_.end()) return;
  const Phase phase = it->second.phase;
  generations_.erase(it);
  if (phase == Phase::starting || phase == Phase::warming) {
    start_failed(event.id, StartFailure::other,
                 "the new generation ended before it was ready: " + event.reason);
    return;
  }
  if (current_ == event.id) {
    lost_current(event.id, event.reason);
    return;
  }
  if (phase == Phase::resuming) return resume_failed(event.id, "it ended: " + event.reason);
  if (parked_ == event.id) {
    parked_.reset();
    emit(Note{NoteKind::parked_lost, event.id, event.reason});
    release_listeners();
  }
  if (phase == Phase::handing && attempt_ && attempt_->handing_over) {
    attempt_->remark = "the old generation ended while handing over: " + event.reason;
  }
  await_no_more(event.id);
}

void ReloadMachine::lost_current(GenerationId id, const std::string& reason) {
  current_.reset();
  if (mode_ != Mode::running) return;
  emit(Note{NoteKind::died, id, reason});
  reject_rollback("the generation to be undone is gone already");
  if (now_ - current_since_ >= limits_.healthy_after) backoff_ = limits_.backoff_min;
  if (attempt_ && attempt_->boot && !attempt_->handing_over) {
    // It was adopted, and the boot is on its way to replace it: there is no last good configuration of our
    // own to restart from, and the boot itself is the restart.
    return;
  }
  if (attempt_ && attempt_->resuming && !attempt_->handing_over) return;  // its successor is on its way
  const bool took_over = attempt_ && attempt_->handing_over && attempt_->taker == id;
  if (!took_over) {
    if (parked_) return resume_parked("the generation that served ended: " + reason);
    return schedule_restart();
  }
  LB_ASSERT(!parked_ || attempt_->fault.empty());  // nobody goes back twice
  const std::string fault = (attempt_->fault.empty() ? "" : attempt_->fault + "; ") +
                            (attempt_->boot ? "the first" : "the new") +
                            " generation took over and then ended: " + reason;
  if (parked_) return undo(fault);
  schedule_restart();
  attempt_->boot = false;  // it did become ready: not a failure to start
  finish_attempt(false, fault + "; it is being restarted from the same configuration");
}

// ---- going back ----

void ReloadMachine::probe_failed(const std::string& reason) {
  if (parked_) return undo("the new generation does not accept connections: " + reason);
  emit(Note{NoteKind::probe_failed, attempt_->taker, reason});
  const std::string& remark = attempt_->remark;
  conclude((remark.empty() ? "" : remark + "; ") + "the self-probe failed: " + reason);
}

/// The reload in flight took over and turned out bad before it was answered.
void ReloadMachine::undo(const std::string& fault) {
  attempt_->fault = fault;
  attempt_->taker = *parked_;
  resume_parked(fault);
}

void ReloadMachine::resume_parked(const std::string& why) {
  Generation& generation = generations_.at(*parked_);
  generation.phase = Phase::resuming;
  generation.deadline = now_ + limits_.resume_timeout;
  if (attempt_ && attempt_->taker == *parked_) {
    attempt_->resuming = true;
    attempt_->handing_over = attempt_->probing = false;
    attempt_->awaited.clear();
    attempt_->handover_deadline = kNever;
  }
  emit(Note{NoteKind::resuming, *parked_, why});
  emit(Resume{*parked_});
}

void ReloadMachine::on(const Resumed& event) {
  const auto it = generations_.find(event.id);
  if (it == generations_.end() || it->second.phase != Phase::resuming) return;
  LB_ASSERT(parked_ == event.id);
  parked_.reset();
  it->second.phase = Phase::serving;
  it->second.deadline = kNever;
  promote(event.id, true);
  const bool attempted = attempt_ && attempt_->taker == event.id;
  if (!attempted) emit(Note{NoteKind::resumed, event.id, {}});
  hand_over_to(event.id, attempted);
  if (!attempted) release_listeners();
}

/// What was parked cannot serve. Its configuration can: it is started from its text.
void ReloadMachine::resume_failed(GenerationId id, const std::string& reason) {
  LB_ASSERT(parked_ == id);
  parked_.reset();
  emit(Note{NoteKind::resume_failed, id, reason});
  if (!attempt_ || attempt_->taker != id) return schedule_restart();
  if (!current_) {
    schedule_restart();
    const std::string fault = attempt_->rollback ? "the generation to be undone is gone" : attempt_->fault;
    return finish_attempt(false, fault + "; the last good configuration is being started");
  }
  attempt_->resuming = false;
  attempt_->taker = next_id_;
  if (attempt_->rollback) attempt_->id = next_id_;
  emit(Note{NoteKind::reload_begun, next_id_, {}});
  spawn(next_id_, ConfigSource::last_good);
}

void ReloadMachine::on(const ProbationEnded& event) {
  if (current_ != event.id || mode_ != Mode::running || going_back()) return;
  if (event.good) generations_.at(event.id).proven = true;
  if (!parked_ || generations_.at(*parked_).phase == Phase::resuming) return;
  release_parked();
  release_listeners();
}

/// It is needed no more. What it was told to do has to be acknowledged still.
void ReloadMachine::unpark() {
  if (!parked_) return;
  Generation& generation = generations_.at(*std::exchange(parked_, std::nullopt));
  if (generation.phase == Phase::handing) return;
  generation.phase = Phase::handing;
  generation.deadline = now_ + limits_.handover_timeout;
}

/// The same without a successor: it drains what it still has, and exits.
void ReloadMachine::release_parked() {
  if (!parked_) return;
  emit(Release{*parked_});
  unpark();
}

// ---- restarting ----

void ReloadMachine::schedule_restart() {
  if (mode_ != Mode::running || current_ || restart_ != Restart::none) return;
  restart_ = Restart::waiting;
  restart_at_ = now_ + backoff_;
  emit(Note{NoteKind::restart_scheduled, 0, std::to_string(to_ms(backoff_)) + " ms"});
  backoff_ = std::min(backoff_ * 2, limits_.backoff_max);
}

void ReloadMachine::cancel_restart() {
  if (restart_ == Restart::starting) {
    if (const auto it = generations_.find(restart_id_); it != generations_.end()) kill(it->first, it->second);
  }
  restart_ = Restart::none;
}

void ReloadMachine::kill(GenerationId id, Generation& generation) {
  generation.phase = Phase::killed;
  generation.deadline = kNever;  // SIGKILL is not refused
  emit(Kill{id});
}

// ---- time ----

void ReloadMachine::on(const Tick&) {
  if (restart_ == Restart::waiting && now_ >= restart_at_) {
    restart_ = Restart::starting;
    restart_id_ = next_id_;
    spawn(next_id_, ConfigSource::last_good);
  }
  std::vector<GenerationId> due;
  for (const auto& [id, generation] : generations_) {
    if (generation.deadline <= now_) due.push_back(id);
  }
  for (const GenerationId id : due) {
    if (mode_ == Mode::exited) return;
    const auto it = generations_.find(id);
    if (it != generations_.end() && it->second.deadline <= now_) overdue(id, it->second);
  }
  if (attempt_ && attempt_->handover_deadline <= now_) handover_overdue();
}

void ReloadMachine::overdue(GenerationId id, Generation& generation) {
  const auto seconds = [](Duration d) { return std::to_string(to_ms(d) / 1000) + " s"; };
  switch (generation.phase) {
    case Phase::starting:
      kill(id, generation);
      start_failed(
          id, StartFailure::other,
          "the new generation did not load its configuration within " + seconds(limits_.load_timeout));
      return;
    case Phase::warming:
      kill(id, generation);
      start_failed(id, StartFailure::other,
                   "the new generation was not ready within " + seconds(limits_.ready_timeout));
      return;
    case Phase::resuming:
      kill(id, generation);
      return resume_failed(id, "it did not resume within " + seconds(limits_.resume_timeout));
    case Phase::handing:
      if (parked_ == id) parked_.reset();  // it does not even answer: not one to count on
      emit(Note{NoteKind::handover_overdue, id, seconds(limits_.handover_timeout)});
      emit(NudgeDrain{id});
      begin_draining(generation);
      return;
    case Phase::draining:
    case Phase::quitting:
      emit(Note{NoteKind::killed_overdue, id, phase_name(generation.phase)});
      kill(id, generation);
      return;
    case Phase::serving:
    case Phase::parked:
    case Phase::killed:
      return;
  }
}

// ---- stopping ----

void ReloadMachine::on(const StopRequested&) {
  if (mode_ != Mode::running) return;
  mode_ = Mode::stopping;
  emit(NotifyService{ServiceState::stopping});
  cancel_restart();
  reject_waiting("the balancer is shutting down");
  reject_rollback("the balancer is shutting down");
  release_parked();
  if (attempt_ && !attempt_->handing_over) {
    const auto it = generations_.find(attempt_->taker);
    if (!attempt_->resuming && it != generations_.end()) kill(it->first, it->second);
    finish_attempt(false, "the balancer is shutting down");
  } else if (attempt_) {
    finish_attempt(attempt_->fault.empty(), "the balancer is shutting down");
  }
  if (!current_) return;
  Generation& generation = generations_.at(*current_);
  generation.phase = Phase::handing;
  generation.deadline = now_ + limits_.handover_timeout;
  emit(DrainForExit{*current_});
  current_.reset();
}

void ReloadMachine::on(const QuitRequested&) {
  if (mode_ == Mode::quitting) return;
  if (mode_ == Mode::running) on(StopRequested{});
  mode_ = Mode::quitting;
  for (auto& [id, generation] : generations_) {
    if (generation.phase == Phase::killed) continue;
    generation.phase = Phase::quitting;
    generation.deadline = now_ + limits_.quit_timeout;
    emit(Quit{id});
  }
}

/// After every event while stopping: refuse new connections once nobody accepts, leave once nobody is left.
void ReloadMachine::settle_stop() {
  if (mode_ != Mode::stopping && mode_ != Mode::quitting) return;
  const bool accepting = std::any_of(generations_.begin(), generations_.end(),
                                     [](const auto& entry) { return entry.second.phase == Phase::handing; });
  if (!accepting && !listeners_closed_) {
    listeners_closed_ = true;
    emit(CloseListeners{});
  }
  if (!generations_.empty()) return;
  mode_ = Mode::exited;
  emit(ExitProgram{0});
}

bool ReloadMachine::any_starting() const {
  return std::any_of(generations_.begin(), generations_.end(), [](const auto& entry) {
    return entry.second.phase == Phase::starting || entry.second.phase == Phase::warming;
  });
}

std::size_t ReloadMachine::draining() const {
  return static_cast<std::size_t>(
      std::count_if(generations_.begin(), generations_.end(), [](const auto& entry) {
        return entry.second.phase == Phase::handing || entry.second.phase == Phase::draining;
      }));
}

}  // namespace lb
