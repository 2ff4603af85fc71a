// The way back: the generation of the last proven configuration is parked while the next one is on probation.
#include <chrono>
#include <csignal>
#include <tuple>
#include <utility>

#include "lb/base/fault_point.hpp"
#include "lb/base/hash.hpp"
#include "lb/supervisor/supervisor_impl.hpp"

namespace lb {

void Supervisor::resume(GenerationId id) {
  GenerationHandle* handle = find(id);
  if (handle == nullptr) return;
  handle->asked = now_;
  handle->cause = ReloadCause::rollback;
  handle->times = {.asked = now_};
  handle->kernel_before = read_kernel_counters();
  handle->probes.reset();
  handle->drained.reset();
  LB_FAULT_POINT("supervisor.before_resume");
  auto sent = send_message(handle->channel, ResumeMessage{.labels = listeners_.labels()}, listeners_.fds());
  LB_FAULT_POINT("supervisor.resume_sent");
  if (sent) return;
  log_.error("generation.resume_failed", sent.error().message, {{"generation", number(id)}});
  handle->signal(SIGKILL);  // its end is what makes us start the configuration instead
}

void Supervisor::release(GenerationId id) {
  GenerationHandle* handle = find(id);
  if (handle == nullptr) return;
  if (!send_message(handle->channel, ReleaseMessage{})) handle->signal(SIGUSR2);
}

void Supervisor::probe(GenerationId id) {
  GenerationHandle* handle = find(id);
  if (handle == nullptr) return;
  // Its own limit is the shorter one, so that it can say what it waits for.
  const auto timeout = static_cast<std::uint64_t>(to_ms(options_.limits.probe_timeout * 4 / 5));
  std::ignore = send_message(handle->channel, ProbeMessage{.timeout_ms = timeout});  // else its time is over
  LB_FAULT_POINT("supervisor.probe_sent");
}

void Supervisor::on_probed(GenerationId id, const ProbedMessage& message) {
  GenerationHandle* handle = find(id);
  LB_FAULT_POINT("supervisor.probed");
  handle->probes = message.probes;
  handle->times.probed = now_;
  std::string reason;
  for (const ListenerProbe& probe : message.probes) {
    if (probe.ok) continue;
    log_.error("probe.failed", probe.error, {{"generation", number(id)}, {"listener", probe.listener}});
    reason += (reason.empty() ? "" : "; ") + probe.error;
  }
  feed(Probed{id, reason.empty(), reason});
}

void Supervisor::note_parked(const Note& command) {
  const std::int64_t generation = number(command.id);
  switch (command.kind) {
    case NoteKind::resuming:
      log_.warn("generation.resume", "the parked generation is to serve again: " + command.text,
                {{"generation", generation}});
      // What is undone has failed, whoever found that; one that died was told of already.
      if (machine_.current()) std::ignore = keeper_.condemn(now_, command.text);
      return;
    case NoteKind::resume_failed:
      log_.error("generation.resume_failed",
                 "the parked generation cannot serve again: " + command.text +
                     "; its configuration is started instead",
                 {{"generation", generation}});
      return;
    case NoteKind::parked_lost:
      log_.warn("generation.parked_lost",
                "the parked generation is gone: " + command.text +
                    "; going back would start its configuration again",
                {{"generation", generation}});
      return;
    case NoteKind::probe_failed:
      log_.error("probe.no_way_back",
                 "a listener does not accept, and there is no generation to go back to: " + command.text,
                 {{"generation", generation}});
      return;
    case NoteKind::resumed:
      break;
    default:
      return;
  }
  LB_FAULT_POINT("supervisor.resumed");
  ++rollbacks_;
  log_.warn("generation.resumed", "the parked generation serves again", {{"generation", generation}});
  log_ready(command.id);
  ReloadRecord record = record_of({.applied = true,
                                   .rollback = true,
                                   .from = died_ ? std::optional{died_->first} : std::nullopt,
                                   .to = command.id,
                                   .reason = died_ ? died_->second : std::string{}});
  ledger_.add(std::move(record));
  pass_on_ledger();
}

/// Once nothing is judged any more what serves has proved good, or has to do as it is: nobody has to stay
/// parked for it.
void Supervisor::settle_probation() {
  if (!judged_ || machine_.current() != judged_ || keeper_.on_probation() || machine_.going_back()) return;
  const GenerationId id = *std::exchange(judged_, std::nullopt);
  feed(ProbationEnded{id, keeper_.serving_is_proven()});
}

}  // namespace lb
