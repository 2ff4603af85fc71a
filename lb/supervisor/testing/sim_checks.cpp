// The invariants of the simulated world, looked at after each step.
#include <algorithm>

#include "lb/supervisor/testing/sim_world.hpp"

namespace lb::simulator {
namespace {

constexpr auto kSettleMax = seconds{7};  // an answer of 6 s, the slowest, and what follows from it

std::string name(GenerationId number) {
  return "generation " + std::to_string(number);
}

}  // namespace

void World::check() {
  check_callers();
  check_killed();
  if (!supervisor_alive_) return;
  check_one_reload();
  check_listeners();
  check_service();
  check_parked();
  check_steady();
}

/// The reload under way when it asked, and its own. Each may start twice: once more from the text when what
/// was parked fails.
Duration World::answer_max() const {
  return 4 * (limits_.load_timeout + limits_.ready_timeout + limits_.handover_timeout +
              limits_.probe_timeout + limits_.resume_timeout) +
         seconds{1};
}

void World::check_callers() {
  for (const auto& [caller, c] : callers_) {
    if (c.answers == 0 && !c.left && !exited_ && now_ - c.asked > answer_max()) {
      fail("caller " + std::to_string(caller) + " waits without an answer");
    }
  }
}

void World::check_killed() {
  for (const auto& [number, p] : processes_) {
    if (p.killed && p.alive && kill_seen_.emplace(number, now_).first->second + seconds{1} < now_) {
      fail(name(number) + " was killed and still lives");
    }
  }
}

bool World::anybody_starts() const {
  return std::any_of(processes_.begin(), processes_.end(), [this](const auto& entry) {
    const auto phase = phase_of(entry.first);
    return phase == ReloadMachine::Phase::starting || phase == ReloadMachine::Phase::warming;
  });
}

void World::check_one_reload() {
  int starting = 0;
  for (const auto& [number, p] : processes_) {
    const auto phase = phase_of(number);
    if (!p.from_file) continue;
    if (phase == ReloadMachine::Phase::starting || phase == ReloadMachine::Phase::warming) ++starting;
  }
  if (starting > 1) fail("two reloads in flight");
}

/// Each socket of the serving and of the parked generation is held, whoever polls it.
void World::check_listeners() {
  if (machine_.mode() != ReloadMachine::Mode::running || !machine_.current()) return;
  const auto held = [&](GenerationId id, const char* what) {
    const Process& p = process(number(id));
    for (const Shard& shard : p.shards) {
      if (!held_.contains(shard)) fail("a socket of the " + std::string{what} + " generation is not held");
    }
  };
  held(*machine_.current(), "serving");
  if (machine_.parked()) held(*machine_.parked(), "parked");
}

/// No current generation: one is on its way, or will be within the back-off. A parked one is there at once.
void World::check_service() {
  if (!booted_ || machine_.current() || machine_.mode() != ReloadMachine::Mode::running) {
    unserved_since_.reset();
    could_resume_ = false;
    return;
  }
  const auto parked = machine_.parked();
  if (could_resume_ && !parked && anybody_starts()) {
    // It was resumed and failed; that is told by its end or by its deadline, and counts from there.
    could_resume_ = false;
  }
  if (anybody_starts() && !could_resume_) {
    unserved_since_.reset();
    return;
  }
  if (!unserved_since_) unserved_since_ = now_;
  // What was parked may fail to resume first.
  if (now_ - *unserved_since_ > limits_.resume_timeout + limits_.backoff_max)
    fail("the service is down and nobody restarts it");
  if (could_resume_ && parked && process(number(*parked)).alive &&
      phase_of(number(*parked)) != ReloadMachine::Phase::resuming) {
    fail("a parked generation waits while nobody serves");
  }
}

/// At most one is parked, it is the proven one, and nobody stays parked for nothing.
void World::check_parked() {
  std::vector<const Process*> parked;
  for (const auto& [number, p] : processes_) {
    if (p.alive && !p.hung && p.parked && p.unhandled == 0) parked.push_back(&p);
  }
  if (parked.size() > 1) {
    if (!crowd_since_) crowd_since_ = now_;
    if (now_ - *crowd_since_ > kSettleMax) fail("two generations are parked");
  } else {
    crowd_since_.reset();
  }
  const bool idle = machine_.mode() == ReloadMachine::Mode::running && machine_.current() &&
                    !machine_.reload_in_flight() && !keeper_->on_probation() && !machine_.going_back();
  if (parked.empty() || !idle) {
    unreleased_since_.reset();
  } else {
    if (!unreleased_since_) unreleased_since_ = now_;
    if (now_ - *unreleased_since_ > kSettleMax) fail(name(parked.front()->number) + " is parked for nothing");
  }
  if (!machine_.parked() || !keeper_->on_probation()) return;
  const Process& kept = process(number(*machine_.parked()));
  const KeptConfig* good = keeper_->last_good();
  if (good != nullptr && kept.config->hash != good->hash) fail("what is parked is not the last proven one");
  if (kept.alive && phase_of(kept.number) == ReloadMachine::Phase::parked && !kept.parked &&
      !kept.told_to_end) {
    fail(name(kept.number) + " counts as parked and is not");
  }
  for (const Shard& shard : kept.shards) {
    if (!held_.contains(shard)) fail("a socket of the parked generation is not held");
  }
}

/// While nothing goes on exactly one generation accepts, the current one, on all sockets of its endpoints and
/// with its own backends.
void World::check_steady() {
  const Process* serves = current();
  if (serves == nullptr || machine_.reload_in_flight() || machine_.mode() != ReloadMachine::Mode::running)
    return;
  if (!serves->alive || serves->hung || serves->told_to_end) return;
  for (const auto& [number, p] : processes_) {
    const bool settles = p.unhandled > 0 || p.last_message > now_ || p.last_event >= now_;
    if (p.alive && settles) return;
  }
  if (!serves->accepting) fail(name(serves->number) + " serves and does not accept");
  if (serves->uses != serves->config->hash) {
    fail(name(serves->number) + " serves with the backends of another configuration");
  }
  for (const Shard& shard : held_) {
    if (serves->config->endpoints.contains(shard.first) && !serves->shards.contains(shard)) {
      fail("nobody polls one of the sockets of " + name(serves->number));
    }
  }
  for (const auto& [number, p] : processes_) {
    const auto phase = phase_of(number);
    const bool starts = phase == ReloadMachine::Phase::starting || phase == ReloadMachine::Phase::warming;
    if (&p == serves || !p.alive || p.hung || p.killed || starts) continue;
    if (p.accepting) fail(name(number) + " accepts beside " + name(serves->number));
  }
}

void World::check_answer(const Answer& command) {
  if (command.rollback) {
    if (!std::exchange(rollback_open_, false)) fail("a rollback was answered that nobody asked for");
    if (!command.callers.empty()) fail("a rollback has callers");
    const bool could = machine_.mode() == ReloadMachine::Mode::running && !command.to;
    if (could && rollback_of_ && rollback_of_ == machine_.current()) {
      fail("what was to be undone serves on, and nobody undoes it");
    }
    const KeptConfig* good = keeper_->last_good();
    if (command.applied && good != nullptr && process(number(*command.to)).config->hash != good->hash) {
      fail("a rollback went to another configuration than the last good one");
    }
  }
  for (const CallerId caller : command.callers) {
    if (!command.to || !processes_.contains(number(*command.to))) continue;
    if (process(number(*command.to)).born_step < callers_.at(caller).asked_step) {
      fail("caller " + std::to_string(caller) + " was answered by a reload that began before its request");
    }
  }
  if (command.applied && !command.to) return fail("applied, but by no generation");
  if (!command.to || !processes_.contains(number(*command.to))) return;
  const Process& p = process(number(*command.to));
  const bool stopping = machine_.mode() != ReloadMachine::Mode::running;
  const bool well = p.fate == Fate::good && p.alive && p.ready && !p.hung && !p.killed && !p.crashed &&
                    !p.told_to_end && !p.config->deaf && !p.config->fatal && p.answer_time < seconds{1};
  if (!command.applied && !stopping && well && !p.draining) fail("a good configuration was rejected");
  if (!command.applied || stopping) return;
  if (!p.ready) fail("applied, but the generation never was ready");
  if (!command.boot && !command.rollback && p.alive && p.config->deaf && machine_.parked()) {
    fail("applied, but one of its listeners does not accept");
  }
  if (!command.reason.empty()) return;
  // Nobody uses a backend of before: everybody alive knows the successor, or the answer says so.
  for (const auto& [other, q] : processes_) {
    if (!q.alive || !q.ready || q.killed || other == number(*command.to) || !phase_of(other)) continue;
    if (q.successor != number(*command.to)) {
      fail("applied, but " + name(other) + " does not know it");
    }
  }
}

void World::check_end() {
  if (!exited_) return fail("still not at an end after " + std::to_string(report_.steps) + " steps");
  if (!supervisor_alive_ || !stop_asked_) return;  // a failed start leaves alone what served before
  for (const auto& [number, p] : processes_) {
    if (p.alive && !p.killed && phase_of(number)) fail(name(number) + " was left behind");
  }
  if (!booted_) return;  // a failed start answers nobody but the shell
  if (rollback_open_) fail("a rollback was never answered");
  for (const auto& [caller, c] : callers_) {
    if (c.answers == 0 && !c.left) fail("caller " + std::to_string(caller) + " was never answered");
  }
  const auto stop_max = limits_.handover_timeout + kDrainTimeout + limits_.exit_grace + seconds{1};
  if (stop_asked_ && now_ - stop_asked_at_ > stop_max) fail("stopping took too long");
}

}  // namespace lb::simulator
