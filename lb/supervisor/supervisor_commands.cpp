#include <csignal>

#include "lb/base/fault_point.hpp"
#include "lb/base/hash.hpp"
#include "lb/base/overloaded.hpp"
#include "lb/supervisor/supervisor_impl.hpp"

namespace lb {

void Supervisor::carry_out(const ReloadCommand& command) {
  std::visit(Overloaded{
                 [&](const Spawn& c) { spawn(c); },
                 [&](const Proceed& c) { proceed(c.id); },
                 [&](const Promote& c) { promote(c.id); },
                 [&](const HandOver& c) { hand_over(c); },
                 [&](const DrainForExit& c) { drain_for_exit(c.id); },
                 [&](const NudgeDrain& c) { signal(c.id, SIGUSR2); },
                 [&](const Quit& c) { signal(c.id, SIGINT); },
                 [&](const Kill& c) { signal(c.id, SIGKILL); },
                 [&](const Resume& c) { resume(c.id); },
                 [&](const Release& c) { release(c.id); },
                 [&](const Probe& c) { probe(c.id); },
                 [&](const ReleaseListeners&) { release_listeners(); },
                 [&](const CloseListeners&) { listeners_.shut_down(); },
                 [&](const Answer& c) { answer(c); },
                 [&](const Note& c) { note(c); },
                 [&](const NotifyService& c) { notify(c.state); },
                 [&](const ExitProgram& c) {
                   result_.code = c.code;
                   done_ = true;
                 },
             },
             command);
}

/// What the parked one listens at is kept too: it may have to serve again.
void Supervisor::release_listeners() {
  std::vector<std::string> endpoints;
  for (const auto id : {machine_.current(), machine_.parked()}) {
    const GenerationHandle* handle = id ? find(*id) : nullptr;
    if (handle == nullptr || !handle->ready) continue;
    endpoints.insert(endpoints.end(), handle->ready->endpoints.begin(), handle->ready->endpoints.end());
  }
  if (!endpoints.empty()) listeners_.keep_only(endpoints);
}

void Supervisor::spawn(const Spawn& command) {
  auto pair = Channel::make_pair();
  if (!pair) return feed(SpawnFailed{command.id, pair.error().message});
  auto child = options_.spawn(options_.generation_program, pair->second.fd());
  if (!child) return feed(SpawnFailed{command.id, child.error().message});
  pair->second.close();
  LB_FAULT_POINT("supervisor.forked");
  GenerationHandle& handle = generations_[command.id];
  handle.pid = child->pid;
  handle.channel = std::move(pair->first);
  handle.startup_stderr = StartupStderr{std::move(child->startup_stderr)};
  handle.started = handle.asked = now_;
  begin_ledger(handle, command.source);
  const bool from_text = handle.from_text = command.source == ConfigSource::last_good;
  const auto& previous = keeper_.current();
  const StartMessage start{.seed = options_.seed,
                           .from_text = from_text,
                           .format = from_text ? keeper_.last_good()->format : std::uint8_t{0},
                           .config_path = options_.config_path,
                           .has_previous = previous.has_value(),
                           .previous_format = previous ? previous->format : std::uint8_t{0},
                           .log_path = options_.log_path,
                           .log_json = options_.log_format == LogFormat::json,
                           .log_colour = options_.log_colour,
                           .override_access_log = options_.access_log.has_value(),
                           .access_log = options_.access_log.value_or(""),
                           .ticket_keys = ticket_keys_.ring(now_)};
  handle.ticket_keys = ticket_keys_.version();
  std::vector<int> fds;
  if (from_text) fds.push_back(keeper_.last_good()->file->get());
  if (previous) fds.push_back(previous->file->get());
  if (auto sent = send_message(handle.channel, start, fds); !sent)
    send_failed(command.id, sent.error().message);
  LB_FAULT_POINT("supervisor.start_sent");
}

/// A peer that is gone is told by its process ending; anything else (no descriptors left) ends the attempt.
void Supervisor::send_failed(GenerationId id, const std::string& reason) {
  GenerationHandle* handle = find(id);
  if (handle == nullptr || handle->ready) return;
  feed(Failed{id, StartFailure::other, reason});
}

void Supervisor::proceed(GenerationId id) {
  GenerationHandle* handle = find(id);
  if (handle == nullptr) return;
  const ProceedMessage message{.number = number(id),
                               .control_path = control_path_,
                               .labels = listeners_.labels(),
                               .state_slot = state_.admit(number(id)),
                               .further_shards = !handle->from_text};
  std::vector<int> fds = listeners_.fds();
  if (message.state_slot >= 0) fds.push_back(state_.fd());
  if (auto sent = send_message(handle->channel, message, fds); !sent) {
    send_failed(id, sent.error().message);
  }
  LB_FAULT_POINT("supervisor.proceed_sent");
}

void Supervisor::promote(GenerationId id) {
  GenerationHandle* handle = find(id);
  if (handle == nullptr) return;
  listeners_.claim(handle->ready->endpoints);
  for (std::size_t i = 0; i < handle->opened.size(); ++i) {
    listeners_.add(handle->ready->opened[i], std::move(handle->opened[i]));
  }
  handle->opened.clear();
  request_statuses(nullptr, false);  // what was counted until now, before it goes on with other backends
  state_.serves(number(id));
  judged_ = id;
  keep(id);
  pass_on_ledger();
  LB_FAULT_POINT("supervisor.promoted");
  if (!pid_file_) return;
  if (auto published = pid_file_->publish(); !published) {
    log_.error("pidfile.failed", published.error().message, {{"path", pid_file_path_}});
  }
}

void Supervisor::hand_over(const HandOver& command) {
  GenerationHandle* old = find(command.old);
  GenerationHandle* next = find(command.successor);
  if (old == nullptr || next == nullptr) return;
  LB_FAULT_POINT("supervisor.before_successor");
  // The successor first, so that its end is there when the other begins.
  auto link = make_handoff_pair();
  if (link) {
    const int end = link->second.get();
    const PredecessorMessage message{.number = number(command.old)};
    if (auto sent = send_message(next->channel, message, std::span{&end, 1}); !sent) {
      link = std::unexpected(sent.error());
    }
    LB_FAULT_POINT("supervisor.predecessor_sent");
  }
  if (!link) {
    log_.warn("handoff.failed", "no connections will be handed over: " + link.error().message,
              {{"generation", number(command.old)}});
  }
  const SuccessorMessage message{.number = number(command.successor),
                                 .hash = next->ready->hash,
                                 .format = next->ready->format,
                                 .park = command.park};
  std::vector<int> fds{next->config_file->get()};
  if (link) fds.push_back(link->first.get());
  auto sent = send_message(old->channel, message, fds);
  LB_FAULT_POINT("supervisor.successor_sent");
  if (sent) return;
  log_.warn("handover.failed", sent.error().message, {{"generation", number(command.old)}});
  old->signal(SIGUSR2);  // it drains, though with its own backends
}

/// The older generations are told first that nobody serves any more. What they have handed over by then lies
/// in their links before their answers: `id` finds it there when it is told in its turn, and closes it in its
/// own way. Should one not answer, the machine's deadline nudges `id` by a signal.
void Supervisor::drain_for_exit(GenerationId id) {
  last_to_drain_ = id;
  for (auto& [older, handle] : generations_) {
    const auto phase = machine_.phase(older);
    const bool hands_over = phase == ReloadMachine::Phase::handing || phase == ReloadMachine::Phase::draining;
    if (older == id || !hands_over || !handle.ready) continue;
    if (send_message(handle.channel, DrainMessage{})) older_to_answer_.insert(older);
  }
  drain_the_last();
}

void Supervisor::drain_the_last() {
  if (!last_to_drain_ || !older_to_answer_.empty()) return;
  GenerationHandle* handle = find(*std::exchange(last_to_drain_, std::nullopt));
  if (handle == nullptr) return;
  if (!send_message(handle->channel, DrainMessage{})) handle->signal(SIGUSR2);
}

void Supervisor::signal(GenerationId id, int number) {
  if (const GenerationHandle* handle = find(id)) handle->signal(number);
}

void Supervisor::note(const Note& command) {
  const std::int64_t generation = number(command.id);
  switch (command.kind) {
    case NoteKind::reload_begun:
      log_.info("reload.begin", "starting the next generation", {{"generation", generation}});
      return;
    case NoteKind::resuming:
    case NoteKind::resumed:
    case NoteKind::resume_failed:
    case NoteKind::parked_lost:
    case NoteKind::probe_failed:
      return note_parked(command);
    case NoteKind::died:
      died_ = {command.id, command.text};
      last_error_ = "generation " + std::to_string(generation) + " died: " + command.text;
      if (const auto reason = keeper_.died(now_, command.text)) {
        log_.error("reload.rolled_back", "going back to the last good configuration: " + *reason,
                   {{"generation", generation}, {"config", hash_text(keeper_.last_good()->hash)}});
      }
      log_.error("generation.died", "the serving generation died: " + command.text,
                 {{"generation", generation}});
      return;
    case NoteKind::restart_scheduled:
      log_.warn("generation.restart", "restarting the last good configuration in " + command.text);
      return;
    case NoteKind::restart_failed:
      last_error_ = "restart failed: " + command.text;
      log_.error("generation.restart_failed", command.text, {{"generation", generation}});
      return;
    case NoteKind::restarted:
      ++restarts_;
      log_.info("generation.restarted", "the last good configuration serves again",
                {{"generation", generation}});
      return log_ready(command.id);
    case NoteKind::handover_overdue:
      log_.error("handover.overdue",
                 "did not acknowledge the drain within " + command.text + "; sending SIGUSR2",
                 {{"generation", generation}});
      return;
    case NoteKind::fallback:
      fell_back_ = true;
      return log_.error("start.fallback",
                        "the file is bad, starting the last good configuration: " + command.text,
                        {{"path", keeper_.path()}});
    case NoteKind::killed_overdue:
      log_.error("generation.killed", "still there after its time (" + command.text + "); killed",
                 {{"generation", generation}});
      return;
  }
}

void Supervisor::notify(ServiceState state) {
  switch (state) {
    case ServiceState::ready: {
      const auto current = machine_.current();
      notifier_.ready(current ? "serving generation " + std::to_string(number(*current)) : "restarting");
      return;
    }
    case ServiceState::reloading:
      return notifier_.reloading(now_);
    case ServiceState::stopping:
      log_.info("supervisor.stopping", "draining, then exiting");
      return notifier_.stopping();
  }
}

}  // namespace lb
