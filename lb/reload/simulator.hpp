// Simulator: a world of generations around a ReloadMachine in virtual time. From one seed it draws what each
// generation does (loads, refuses, hangs, crashes at any step, dawdles), what operators do (signals in
// storms, callers who wait or leave) and how events are delayed and reordered; after each step it checks the
// invariants of DESIGN: one reload in flight, each caller answered once and by a reload begun after its
// request, listeners held, a dead service restarted in time, nobody left behind. For tests only; one thread.
#pragma once

#include <cstdint>
#include <string>

namespace lb::simulator {

/// Deliberate faults put between machine and world: each must be caught by an invariant.
enum class Sabotage : std::uint8_t {
  none,
  lose_answer,
  answer_twice,
  lose_kill,
  lose_restart,
  release_too_early,
  refuse_rollback,
};

struct Report {
  std::string violation;  // empty: the run was clean
  std::string story;      // what happened, line by line
  std::uint64_t steps = 0;
  std::uint64_t reloads_applied = 0;
  std::uint64_t reloads_rejected = 0;
  std::uint64_t restarts = 0;
  std::uint64_t callers = 0;
};

Report run(std::uint64_t seed, Sabotage sabotage = Sabotage::none);

}  // namespace lb::simulator
