#include "lb/reload/machine.hpp"

#include <algorithm>
#include <ranges>
#include <utility>

#include "lb/base/result.hpp"

namespace lb {
namespace {

constexpr const char* kUndoneAlready = "the generation to be undone is gone already";

}  // namespace

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

const char* phase_name(ReloadMachine::Phase phase) noexcept {
  using Phase = ReloadMachine::Phase;
  switch (phase) {
    case Phase::starting:
      return "starting";
    case Phase::warming:
      return "warming";
    case Phase::serving:
      return "serving";
    case Phase::handing:
      return "handing over";
    case Phase::draining:
      return "draining";
    case Phase::quitting:
      return "quitting";
    case Phase::killed:
      return "killed";
  }
  return "?";
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
  attempt_ = Attempt{.id = next_id_, .boot = true};
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
  if (!current_) return reject_rollback(kUndoneAlready);
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
    rollback_of_.reset();
    return begin({.id = next_id_, .rollback = true, .from = current_}, ConfigSource::last_good);
  }
  if (!reload_wanted_) return;
  if (draining() >= limits_.draining_max) {
    reject_waiting(std::to_string(draining()) +
                   " older generations are still draining; try again when one has ended");
    return;
  }
  reload_wanted_ = false;
  begin({.id = next_id_, .from = current_, .callers = std::exchange(waiting_, {})}, ConfigSource::file);
}

void ReloadMachine::begin(Attempt attempt, ConfigSource source) {
  attempt_ = std::move(attempt);
  emit(NotifyService{ServiceState::reloading});
  emit(Note{NoteKind::reload_begun, next_id_, {}});
  spawn(next_id_, source);
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
  const bool reload = attempt_ && attempt_->id == event.id;
  LB_ASSERT(restart != reload);
  it->second = {.phase = Phase::serving, .drain_timeout = event.drain_timeout};
  const auto old = current_;
  LB_ASSERT(!restart || !old);  // a restart is cancelled as soon as another generation serves
  current_ = event.id;
  current_since_ = now_;
  emit(Promote{event.id});
  if (restart) {
    restart_ = Restart::none;
    emit(Note{NoteKind::restarted, event.id, {}});
    release_listeners();
    return;
  }
  cancel_restart();
  attempt_->handing_over = true;
  attempt_->handover_deadline = now_ + limits_.handover_timeout;
  if (old) attempt_->from = old;
  for (auto& [id, generation] : std::views::reverse(generations_)) {
    const Phase phase = generation.phase;
    if (id == event.id) continue;
    if (phase != Phase::serving && phase != Phase::handing && phase != Phase::draining) continue;
    attempt_->awaited.push_back(id);
    hand_over(id, generation, event.id);
  }
  if (attempt_->awaited.empty()) finish_attempt(true, std::exchange(attempt_->remark, {}));
}

// ---- handing over ----

void ReloadMachine::hand_over(GenerationId old, Generation& generation, GenerationId successor) {
  if (generation.phase == Phase::serving) {
    generation.phase = Phase::handing;
    generation.deadline = now_ + limits_.handover_timeout;
  }
  emit(HandOver{old, successor});
}

/// One generation less that may still use a backend of before. Also when it has ended.
void ReloadMachine::await_no_more(GenerationId id) {
  if (!attempt_ || !attempt_->handing_over || std::erase(attempt_->awaited, id) == 0) return;
  if (attempt_->awaited.empty()) finish_attempt(true, std::exchange(attempt_->remark, {}));
}

void ReloadMachine::handover_overdue() {
  const std::size_t count = attempt_->awaited.size();
  finish_attempt(true, std::to_string(count) + (count == 1 ? " older generation" : " older generations") +
                           " did not acknowledge the hand-over within " +
                           std::to_string(to_ms(limits_.handover_timeout) / 1000) + " s");
}

void ReloadMachine::begin_draining(Generation& generation) {
  generation.phase = Phase::draining;
  generation.deadline = now_ + generation.drain_timeout + limits_.exit_grace;
}

void ReloadMachine::on(const DrainAcknowledged& event) {
  const auto it = generations_.find(event.id);
  if (it == generations_.end()) return;
  if (it->second.phase == Phase::serving) {  // unasked: somebody sent it a signal
    begin_draining(it->second);
    if (current_ == event.id) lost_current(event.id, "was told by a signal to drain");
    return;
  }
  if (it->second.phase == Phase::handing) begin_draining(it->second);
  if (attempt_ && event.successor == attempt_->id) await_no_more(event.id);
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
  if (applied && current_ != rollback_of_) reject_rollback("another configuration serves by now");
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
  if (!attempt_ || attempt_->id != id || fall_back(failure, reason)) return;
  const std::string& file = attempt_->file_fault;
  finish_attempt(false,
                 file.empty() ? reason : file + "; and the last good configuration does not start: " + reason,
                 failure);
}

/// A boot whose file is bad goes on with the last good configuration; at most once.
bool ReloadMachine::fall_back(StartFailure failure, const std::string& reason) {
  const bool bad_file = failure == StartFailure::invalid_config || failure == StartFailure::unreadable_config;
  if (!attempt_->boot || mode_ != Mode::running || !bad_file || !std::exchange(fallback_, false))
    return false;
  emit(Note{NoteKind::fallback, next_id_, reason});
  attempt_->id = next_id_;
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
  if (phase == Phase::handing && attempt_ && attempt_->handing_over) {
    attempt_->remark = "the old generation ended while handing over: " + event.reason;
  }
  await_no_more(event.id);
}

void ReloadMachine::lost_current(GenerationId id, const std::string& reason) {
  current_.reset();
  if (mode_ != Mode::running) return;
  emit(Note{NoteKind::died, id, reason});
  reject_rollback(kUndoneAlready);
  if (now_ - current_since_ >= limits_.healthy_after) backoff_ = limits_.backoff_min;
  if (attempt_ && attempt_->boot && !attempt_->handing_over) {
    // It was adopted, and the boot is on its way to replace it: there is no last good configuration of our
    // own to restart from, and the boot itself is the restart.
    return;
  }
  schedule_restart();
  if (attempt_ && attempt_->handing_over && attempt_->id == id) {
    const bool boot = std::exchange(attempt_->boot, false);  // it did become ready: not a failure to start
    finish_attempt(false, std::string{boot ? "the first" : "the new"} +
                              " generation took over and then ended: " + reason +
                              "; it is being restarted from the same configuration");
  }
}

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
    case Phase::handing:
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
  if (attempt_ && !attempt_->handing_over) {
    if (const auto it = generations_.find(attempt_->id); it != generations_.end())
      kill(it->first, it->second);
    finish_attempt(false, "the balancer is shutting down");
  } else if (attempt_) {
    finish_attempt(true, "the balancer is shutting down");
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
