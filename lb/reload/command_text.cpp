#include "lb/reload/command_text.hpp"

#include "lb/base/overloaded.hpp"

namespace lb {
namespace {

std::string number(std::int64_t n) {
  return std::to_string(n);
}

const char* note_name(NoteKind kind) noexcept {
  switch (kind) {
    case NoteKind::reload_begun:
      return "reload_begun";
    case NoteKind::died:
      return "died";
    case NoteKind::restart_scheduled:
      return "restart_scheduled";
    case NoteKind::restarted:
      return "restarted";
    case NoteKind::restart_failed:
      return "restart_failed";
    case NoteKind::resuming:
      return "resuming";
    case NoteKind::resumed:
      return "resumed";
    case NoteKind::resume_failed:
      return "resume_failed";
    case NoteKind::parked_lost:
      return "parked_lost";
    case NoteKind::probe_failed:
      return "probe_failed";
    case NoteKind::handover_overdue:
      return "handover_overdue";
    case NoteKind::killed_overdue:
      return "killed_overdue";
    case NoteKind::fallback:
      return "fallback";
  }
  return "?";
}

const char* service_name(ServiceState state) noexcept {
  switch (state) {
    case ServiceState::ready:
      return "ready";
    case ServiceState::reloading:
      return "reloading";
    case ServiceState::stopping:
      return "stopping";
  }
  return "?";
}

std::string answer_text(const Answer& answer) {
  std::string text = "answer ";
  if (answer.boot) text += "boot ";
  if (answer.rollback) text += "rollback ";
  if (!answer.callers.empty()) {
    text += "[";
    for (const CallerId caller : answer.callers)
      text += (text.back() == '[' ? "" : " ") + std::to_string(caller);
    text += "] ";
  }
  text += answer.applied ? "applied " : "rejected ";
  if (answer.from) text += number(*answer.from);
  if (answer.to) text += "->" + number(*answer.to);
  if (!answer.reason.empty()) text += " (" + answer.reason + ")";
  return text;
}

}  // namespace

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
    case Phase::parked:
      return "parked";
    case Phase::resuming:
      return "resuming";
    case Phase::quitting:
      return "quitting";
    case Phase::killed:
      return "killed";
  }
  return "?";
}

std::string event_text(const ReloadEvent& event) {
  return std::visit(
      Overloaded{
          [](const Boot& e) -> std::string { return e.fallback ? "Boot with fallback" : "Boot"; },
          [](const Adopted& e) { return "Adopted " + number(e.id); },
          [](const ReloadRequested& e) {
            return "ReloadRequested" + (e.caller ? " by " + std::to_string(*e.caller) : std::string{});
          },
          [](const RollbackRequested&) -> std::string { return "RollbackRequested"; },
          [](const CallerLeft& e) { return "CallerLeft " + std::to_string(e.caller); },
          [](const SpawnFailed& e) { return "SpawnFailed " + number(e.id); },
          [](const Loaded& e) { return "Loaded " + number(e.id); },
          [](const Ready& e) { return "Ready " + number(e.id) + (e.probation ? " on probation" : ""); },
          [](const Failed& e) { return "Failed " + number(e.id) + " (" + e.reason + ")"; },
          [](const DrainAcknowledged& e) {
            return "DrainAcknowledged " + number(e.id) +
                   (e.successor ? " for " + number(*e.successor) : std::string{});
          },
          [](const Resumed& e) { return "Resumed " + number(e.id); },
          [](const Probed& e) {
            return "Probed " + number(e.id) + (e.good ? " good" : " bad (" + e.reason + ")");
          },
          [](const ProbationEnded& e) { return "ProbationEnded " + number(e.id) + (e.good ? " good" : ""); },
          [](const Exited& e) { return "Exited " + number(e.id) + " (" + e.reason + ")"; },
          [](const StopRequested&) -> std::string { return "StopRequested"; },
          [](const QuitRequested&) -> std::string { return "QuitRequested"; },
          [](const Tick&) -> std::string { return "Tick"; },
      },
      event);
}

std::string command_text(const ReloadCommand& command) {
  return std::visit(
      Overloaded{
          [](const Spawn& c) {
            return "spawn " + number(c.id) + (c.source == ConfigSource::file ? " file" : " last_good");
          },
          [](const Proceed& c) { return "proceed " + number(c.id); },
          [](const Promote& c) { return "promote " + number(c.id); },
          [](const HandOver& c) {
            return (c.park ? "park " : "hand over ") + number(c.old) + " to " + number(c.successor);
          },
          [](const Resume& c) { return "resume " + number(c.id); },
          [](const Release& c) { return "let go " + number(c.id); },
          [](const Probe& c) { return "probe " + number(c.id); },
          [](const DrainForExit& c) { return "drain " + number(c.id); },
          [](const NudgeDrain& c) { return "nudge " + number(c.id); },
          [](const Quit& c) { return "quit " + number(c.id); },
          [](const Kill& c) { return "kill " + number(c.id); },
          [](const ReleaseListeners&) -> std::string { return "release"; },
          [](const CloseListeners&) -> std::string { return "close listeners"; },
          [](const Answer& c) { return answer_text(c); },
          [](const Note& c) {
            return std::string{"note "} + note_name(c.kind) + " " + number(c.id) +
                   (c.text.empty() ? "" : " " + c.text);
          },
          [](const NotifyService& c) { return std::string{"notify "} + service_name(c.state); },
          [](const ExitProgram& c) { return "exit " + std::to_string(c.code); },
      },
      command);
}

}  // namespace lb
