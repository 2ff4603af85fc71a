// Simulator: the supervisor's mind and a world of generations around it, in one process and in virtual time.
// ReloadMachine, ConfigKeeper with the rollback policy, and TrafficSampler are the real ones; processes,
// channels, signals, traffic, operators and accidents are drawn from one seed. Messages are delayed, may come
// after the death that followed them, and get lost with the supervisor; everything may crash, hang, dawdle or
// be started again at every step. After each step the invariants of DESIGN are checked (sim_checks.cpp).
//
// A run is a plan and its perturbations: everything that goes wrong, and each action of an operator, is one
// with a name of its own, so that a run can be repeated without some of them. That is what shrink() does.
// For tests only; one thread.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace lb::simulator {

/// Deliberate faults in the machine's wiring or in the protocol: each must be caught by an invariant.
enum class Sabotage : std::uint8_t {
  none,
  lose_answer,           // a caller's answer is not sent
  answer_twice,          //
  lose_kill,             // SIGKILL is not sent
  lose_restart,          // the last good configuration is not started after a death
  release_too_early,     // held listening sockets are closed while a generation starts
  refuse_rollback,       // the wish to go back is refused
  missing_acknowledge,   // the hand-over counts as acknowledged as soon as it is sent
  early_ready,           // READY is said before the listeners are polled
  close_parked_sockets,  // held sockets that only the parked generation configures are closed
  park_drains,           // a generation told to park drains and ends instead
  release_needed,        // the parked generation is released while the next one is on probation
  keep_parked,           // it is not released when the probation ends
  resume_deaf,           // a resumed generation does not poll its listeners
  resume_old_shards,     // it polls only the sockets that it had before
  resume_lost_backends,  // it goes on with the backends of its former successor
  resume_unanswered,     // nobody tells the failing generation that it has a successor
  ignore_probe,          // whatever the self-probe finds is taken for good
};
inline constexpr int kSabotages = static_cast<int>(Sabotage::ignore_probe) + 1;
const char* sabotage_name(Sabotage sabotage) noexcept;

/// Names one perturbation of a run.
using Oddity = std::uint64_t;

struct Options {
  std::uint64_t seed = 0;
  Sabotage sabotage = Sabotage::none;
  bool story = false;              // Report::story is told
  std::set<Oddity> left_out = {};  // perturbations that do not happen in this run
};

struct Report {
  std::string violation;         // empty: the run was clean
  std::string story;             // what happened, line by line
  std::vector<Oddity> oddities;  // that did happen
  std::uint64_t steps = 0;
  std::uint64_t reloads_applied = 0;
  std::uint64_t reloads_rejected = 0;
  std::uint64_t restarts = 0;
  std::uint64_t resumed = 0;      // parked generations that serve again
  std::uint64_t undone = 0;       // rollbacks and failed probes that brought the proven one back
  std::uint64_t supervisors = 0;  // started
  std::uint64_t callers = 0;

  /// Adds what was counted; the rest stays.
  void count(const Report& other) {
    steps += other.steps;
    reloads_applied += other.reloads_applied;
    reloads_rejected += other.reloads_rejected;
    restarts += other.restarts;
    resumed += other.resumed;
    undone += other.undone;
    supervisors += other.supervisors;
    callers += other.callers;
  }
};

Report run(const Options& options);
/// The same run with as few perturbations as still lead to the same violation, with its story.
Report shrink(const Options& options);

}  // namespace lb::simulator
