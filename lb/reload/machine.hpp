// ReloadMachine: decides when generations are started, promoted, drained, restarted and killed, and who is
// answered what. Pure: events in, commands out; no system calls, no clock (time is handed in). Owned by the
// supervisor, which feeds it events and carries out its commands; one thread. All transitions of a reload
// live in machine.cpp (starting, handing over, answering) and machine_ends.cpp (dying, going back, stopping).
//
// One generation:
//
//   Spawn -> STARTING --Loaded--> WARMING --Ready--> SERVING --HandOver, Drain--> HANDING
//                |                   |                  ^                            | DrainAcknowledged
//                | Failed,           |                  | Resumed                    +----------> DRAINING
//                | deadline          |                  |                            | to park        ^
//                v                   v              RESUMING <---Resume--- PARKED <--+                |
//            QUITTING, KILLED --Exited--> (gone)        |                     |                       |
//                ^                                      | deadline            +------ Release --------+
//                +--- deadline ------- DRAINING         v
//                                                    KILLED
//   Exited leads out of every phase. Of a HANDING one that misses its deadline: NudgeDrain, then DRAINING.
//   A PARKED one that is handed over to once more stays parked.
//
// One reload (at most one in flight; the boot is the first):
//
//   idle --request--> STARTING --Ready(new)--> HANDING OVER --DrainAcknowledged(old)--> PROBING
//    ^                   | Failed, Exited,          | dies                               | |
//    |                   | deadline                 v           Probed: bad, or dies     | | Probed: good
//    |                   v                     GOING BACK <------------------------------+ v
//    +------- answered: rejected <-- Resumed, ------+                               answered: applied
//                                    DrainAcknowledged(new)
//   Further requests wait, and merge into exactly one next reload.
//
// Probation. Ready says whether the configuration still has to prove good. While it has, the generation that
// served last with a proven one is parked instead of drained: it holds its listening sockets, polls them no
// more, and waits. At most one is parked, and it stays the same one over further reloads on probation. With
// ProbationEnded it is released.
//
// A rollback undoes the generation that serves when it is asked for, and follows the reload in flight; when
// that generation serves no more by then, there is nothing left to undo and it is answered: rejected. It
// resumes the parked generation; where there is none, or it fails, it is a reload from the last good
// configuration. Nobody waits for it. A boot whose file is bad goes on with the last good configuration, if
// it may (Boot::fallback).
//
// A current generation that dies is replaced by the parked one at once. Without one it is restarted from the
// last good configuration with a doubling back-off. Both go on beside whatever reload is in flight; the first
// of the two that is ready serves.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "lb/base/time.hpp"

namespace lb {

/// Names a generation within one machine. Generations this supervisor starts count up from 1; those it found
/// running (see Adopted) are 0 and below.
using GenerationId = std::int64_t;
/// Names somebody who waits for the answer of a reload.
using CallerId = std::uint64_t;

struct ReloadLimits {
  Duration load_timeout = std::chrono::seconds{30};     // Spawn to Loaded
  Duration ready_timeout = std::chrono::seconds{30};    // Loaded to Ready
  Duration handover_timeout = std::chrono::seconds{5};  // HandOver to DrainAcknowledged
  Duration resume_timeout = std::chrono::seconds{5};    // Resume to Resumed
  Duration probe_timeout{};                             // Probe to Probed; 0: no self-probe
  Duration exit_grace = std::chrono::seconds{5};        // beyond a generation's own drain_timeout
  Duration quit_timeout = std::chrono::seconds{1};      // Quit, or a failure reported, to Exited
  Duration backoff_min = std::chrono::milliseconds{100};
  Duration backoff_max = std::chrono::seconds{5};
  Duration healthy_after = std::chrono::seconds{10};  // serving this long resets the back-off
  std::size_t draining_max = 64;   // older generations at once; beyond it a reload is rejected
  std::size_t callers_max = 1024;  // waiting for answers at once; beyond it a request is rejected
};

enum class ConfigSource : std::uint8_t { file, last_good };

/// Why a generation could not start; `boot` exits with the number (see exit_code()).
enum class StartFailure : std::uint8_t {
  invalid_config,
  unreadable_config,
  already_running,
  cannot_listen,
  other
};
int exit_code(StartFailure failure) noexcept;

// ---- events ----
struct Boot {
  bool fallback = false;  // a last good configuration is at hand, to be used when the file is bad
};
/// A generation of a former supervisor that still serves. The first one adopted becomes current, the others
/// are told to hand over to it. Only between Boot and the boot's Loaded.
struct Adopted {
  GenerationId id = 0;
  Duration drain_timeout{};
};
struct ReloadRequested {
  std::optional<CallerId> caller{};  // empty: nobody waits (SIGHUP)
};
/// Go back to the last good configuration: answered exactly once, with Answer::rollback. Ignored while one is
/// wanted or under way.
struct RollbackRequested {};
struct CallerLeft {
  CallerId caller = 0;
};
struct SpawnFailed {
  GenerationId id = 0;
  std::string reason{};
};
struct Loaded {
  GenerationId id = 0;
};
struct Ready {
  GenerationId id = 0;
  Duration drain_timeout{};
  bool probation = false;  // its configuration has yet to prove good; else it counts as good at once
};
struct Failed {
  GenerationId id = 0;
  StartFailure failure = StartFailure::other;
  std::string reason{};
};
struct DrainAcknowledged {
  GenerationId id = 0;
  std::optional<GenerationId>
      successor{};  // of the HandOver it answers; empty: of DrainForExit, or of a signal
};
/// A parked generation accepts again, with its own backends.
struct Resumed {
  GenerationId id = 0;
};
/// How the self-probe of a generation went: whether each of its listeners accepts.
struct Probed {
  GenerationId id = 0;
  bool good = false;
  std::string reason{};  // not good: which listener, and what happened
};
/// Nothing is judged any more of the generation `id` that serves. `good`: its configuration has proved good.
struct ProbationEnded {
  GenerationId id = 0;
  bool good = false;
};
struct Exited {
  GenerationId id = 0;
  std::string reason{};  // "exit status 1", "killed by signal 11 (Segmentation fault)"
};
struct StopRequested {};  // drain, then exit
struct QuitRequested {};  // exit now
struct Tick {};           // next_deadline() has come

using ReloadEvent = std::variant<Boot, Adopted, ReloadRequested, RollbackRequested, CallerLeft, SpawnFailed,
                                 Loaded, Ready, Failed, DrainAcknowledged, Resumed, Probed, ProbationEnded,
                                 Exited, StopRequested, QuitRequested, Tick>;

// ---- commands ----
struct Spawn {
  GenerationId id = 0;
  ConfigSource source = ConfigSource::file;
};
/// Pass the listening sockets; the generation may open, warm up and become ready.
struct Proceed {
  GenerationId id = 0;
};
/// `id` serves: keep its new sockets, and its configuration as the last good one.
struct Promote {
  GenerationId id = 0;
};
/// Send SUCCESSOR: `old` sends further requests to the backends of `successor`, and drains. Also sent to
/// those that drain already: until their last connection ends they must not use a backend that is configured
/// no more.
/// `park`: it stays when it has drained, ready to be resumed, until it is released.
struct HandOver {
  GenerationId old = 0;
  GenerationId successor = 0;
  bool park = false;
};
/// Accept again on all listening sockets held, use the own backends again, take connections.
struct Resume {
  GenerationId id = 0;
};
/// Parked no more: drain what is left, and exit.
struct Release {
  GenerationId id = 0;
};
/// Connect to each of its own listeners, and tell whether it accepted that itself.
struct Probe {
  GenerationId id = 0;
};
/// Drain without a successor: the service stops.
struct DrainForExit {
  GenerationId id = 0;
};
struct NudgeDrain {  // SIGUSR2
  GenerationId id = 0;
};
struct Quit {  // SIGINT: exit now
  GenerationId id = 0;
};
struct Kill {  // SIGKILL
  GenerationId id = 0;
};
/// Close the held sockets of endpoints that neither the current nor the parked generation configures.
struct ReleaseListeners {};
/// Nobody accepts any more: refuse new connections instead of queueing them for ever.
struct CloseListeners {};
struct Answer {
  std::vector<CallerId> callers{};  // empty for SIGHUP; still to be logged
  bool applied = false;
  bool boot = false;
  bool rollback = false;               // answers RollbackRequested
  std::optional<GenerationId> from{};  // current when the reload began
  std::optional<GenerationId> to{};    // the generation this reload started; empty: none was
  std::string reason{};                // rejected: why; applied: what went wrong on the way, or empty
  StartFailure failure = StartFailure::other;
};
enum class NoteKind : std::uint8_t {
  reload_begun,
  died,               // was current
  restart_scheduled,  // text: the delay
  restarted,
  restart_failed,
  resuming,       // the parked one; text: why
  resumed,        // after the death of the one that served
  resume_failed,  // text: why; the last good configuration is started
  parked_lost,    // it ended; nothing is lost by that. text: how
  probe_failed,   // and nothing is parked to go back to; text: what
  handover_overdue,
  killed_overdue,
  fallback,  // the boot's file is bad (text: why); the last good configuration is tried
};
struct Note {
  NoteKind kind{};
  GenerationId id = 0;
  std::string text{};
};
enum class ServiceState : std::uint8_t { ready, reloading, stopping };
struct NotifyService {
  ServiceState state{};
};
/// The last command of all.
struct ExitProgram {
  int code = 0;
};

using ReloadCommand =
    std::variant<Spawn, Proceed, Promote, HandOver, Resume, Release, Probe, DrainForExit, NudgeDrain, Quit,
                 Kill, ReleaseListeners, CloseListeners, Answer, Note, NotifyService, ExitProgram>;

class ReloadMachine final {
 public:
  enum class Phase : std::uint8_t {
    starting,
    warming,
    serving,
    handing,
    draining,
    parked,
    resuming,
    quitting,
    killed
  };
  enum class Mode : std::uint8_t { running, stopping, quitting, exited };

  explicit ReloadMachine(ReloadLimits limits = {}) : limits_(limits) {}

  /// Takes one event; returns what is to be done, in this order. Events about generations that are gone, or
  /// that come too late, are ignored. `now` never goes back.
  [[nodiscard]] std::vector<ReloadCommand> step(Instant now, const ReloadEvent& event);

  /// When a Tick is due at the latest; kNever when nothing waits for time.
  [[nodiscard]] Instant next_deadline() const;

  [[nodiscard]] Mode mode() const noexcept { return mode_; }
  [[nodiscard]] std::optional<GenerationId> current() const noexcept { return current_; }
  [[nodiscard]] bool reload_in_flight() const noexcept { return attempt_.has_value(); }
  /// To be gone back to: parked, on its way there, or resuming.
  [[nodiscard]] std::optional<GenerationId> parked() const noexcept { return parked_; }
  /// What serves is about to be undone.
  [[nodiscard]] bool going_back() const noexcept {
    return rollback_of_ || (attempt_ && (attempt_->rollback || !attempt_->fault.empty()));
  }
  [[nodiscard]] std::optional<Phase> phase(GenerationId id) const;
  [[nodiscard]] std::size_t generations() const noexcept { return generations_.size(); }

 private:
  struct Generation {
    Phase phase = Phase::starting;
    Instant deadline = kNever;
    Duration drain_timeout{};
    bool proven = false;                 // its configuration had proved good when it served last
    std::optional<GenerationId> told{};  // the successor of its last HandOver
  };
  /// A reload (or the boot) from Spawn to its answer.
  struct Attempt {
    GenerationId id = 0;     // the generation that the answer is about
    GenerationId taker = 0;  // the one that is to serve: `id`, but while going back
    bool boot = false;
    bool rollback = false;
    bool resuming = false;  // the taker was parked
    bool handing_over = false;
    bool probing = false;
    std::vector<GenerationId> awaited{};  // handing over: whose acknowledgement is missing
    Instant handover_deadline = kNever;   // or of the probe
    std::string remark{};
    std::string fault{};       // why it is undone before it was answered
    std::string file_fault{};  // why the boot fell back
    std::optional<GenerationId> from{};
    std::vector<CallerId> callers{};
  };
  enum class Restart : std::uint8_t { none, waiting, starting };

  void on(const Boot&);
  void on(const Adopted&);
  void on(const ReloadRequested&);
  void on(const RollbackRequested&);
  void on(const CallerLeft&);
  void on(const SpawnFailed&);
  void on(const Loaded&);
  void on(const Ready&);
  void on(const Failed&);
  void on(const DrainAcknowledged&);
  void on(const Resumed&);
  void on(const Probed&);
  void on(const ProbationEnded&);
  void on(const Exited&);
  void on(const StopRequested&);
  void on(const QuitRequested&);
  void on(const Tick&);

  void spawn(GenerationId id, ConfigSource source);
  void begin_reload_if_wanted();
  void finish_attempt(bool applied, std::string reason, StartFailure failure = StartFailure::other);
  void start_failed(GenerationId id, StartFailure failure, const std::string& reason);
  void lost_current(GenerationId id, const std::string& reason);
  void schedule_restart();
  void cancel_restart();
  void overdue(GenerationId id, Generation& generation);
  void promote(GenerationId id, bool proven);
  void hand_over_to(GenerationId successor, bool awaited);
  void hand_over(GenerationId old, Generation& generation, GenerationId successor);
  void await_no_more(GenerationId id);
  void all_acknowledged();
  void conclude(std::string remark);
  void probe_failed(const std::string& reason);
  void undo(const std::string& fault);
  void resume_parked(const std::string& why);
  void resume_failed(GenerationId id, const std::string& reason);
  void release_parked();
  void unpark();
  void begin_rollback();
  void handover_overdue();
  void begin_draining(Generation& generation);
  void kill(GenerationId id, Generation& generation);
  void begin(Attempt attempt, ConfigSource source);
  bool fall_back(StartFailure failure, const std::string& reason);
  void reject_waiting(const std::string& reason);
  void reject_rollback(const std::string& reason);
  void release_listeners();
  void settle_stop();
  [[nodiscard]] bool any_starting() const;
  [[nodiscard]] std::size_t draining() const;
  void emit(ReloadCommand command) { commands_.push_back(std::move(command)); }

  ReloadLimits limits_;
  Mode mode_ = Mode::running;
  std::map<GenerationId, Generation> generations_;
  std::optional<GenerationId> current_;
  Instant current_since_{};
  std::optional<GenerationId> parked_;  // handing over to be parked, parked, or resuming
  GenerationId next_id_ = 1;

  std::optional<Attempt> attempt_;
  bool reload_wanted_ = false;
  std::optional<GenerationId> rollback_of_;  // a rollback is wanted, and this one is to be undone
  bool fallback_ = false;
  std::vector<CallerId> waiting_;

  Restart restart_ = Restart::none;
  Instant restart_at_ = kNever;
  GenerationId restart_id_ = 0;
  Duration backoff_{};
  bool listeners_closed_ = false;

  Instant now_{};
  std::vector<ReloadCommand> commands_;
};

/// "starting", "serving", ...
const char* phase_name(ReloadMachine::Phase phase) noexcept;

}  // namespace lb
