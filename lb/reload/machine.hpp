// ReloadMachine: decides when generations are started, promoted, drained, restarted and killed, and who is
// answered what. Pure: events in, commands out; no system calls, no clock (time is handed in). Owned by the
// supervisor, which feeds it events and carries out its commands; one thread. All transitions of a reload
// live in machine.cpp and nowhere else.
//
// One generation:
//
//   Spawn --> STARTING --Loaded--> WARMING --Ready--> SERVING --HandOver--> HANDING --DrainAcknowledged-->
//   DRAINING
//               |                    |                   |       or Drain      | | | Failed, Exited, deadline
//               | Exited:             | deadline:                     | Exited v                    v v
//               restart             v NudgeDrain -> DRAINING        v
//            QUITTING --deadline--> KILLED --Exited--> (gone) <--------------------- deadline: Kill
//            ---------(gone)
//
// One reload (at most one in flight; the boot is the first):
//
//   idle --request--> STARTING --Ready(new)--> HANDING OVER --DrainAcknowledged(old), deadline--> answered:
//   applied
//    ^                   | Failed, Exited, deadline                                                     |
//    |                   v                                                                              |
//    +------- answered: rejected <----- further requests wait, merge into exactly one next reload ------+
//
// A rollback is a reload from the last good configuration that nobody waits for. It undoes the generation
// that serves when it is asked for, and follows the reload in flight; when that generation serves no more by
// then, there is nothing left to undo and it is answered: rejected. A boot whose file is bad goes on with the
// last good configuration, if it may (Boot::fallback).
//
// A current generation that dies is restarted from the last good configuration with a doubling back-off,
// beside whatever reload is in flight; the first of the two that becomes ready serves.
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
struct Exited {
  GenerationId id = 0;
  std::string reason{};  // "exit status 1", "killed by signal 11 (Segmentation fault)"
};
struct StopRequested {};  // drain, then exit
struct QuitRequested {};  // exit now
struct Tick {};           // next_deadline() has come

using ReloadEvent =
    std::variant<Boot, Adopted, ReloadRequested, RollbackRequested, CallerLeft, SpawnFailed, Loaded, Ready,
                 Failed, DrainAcknowledged, Exited, StopRequested, QuitRequested, Tick>;

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
struct HandOver {
  GenerationId old = 0;
  GenerationId successor = 0;
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
/// Close the held sockets of endpoints that the current generation does not configure.
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
    std::variant<Spawn, Proceed, Promote, HandOver, DrainForExit, NudgeDrain, Quit, Kill, ReleaseListeners,
                 CloseListeners, Answer, Note, NotifyService, ExitProgram>;

class ReloadMachine final {
 public:
  enum class Phase : std::uint8_t { starting, warming, serving, handing, draining, quitting, killed };
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
  [[nodiscard]] std::optional<Phase> phase(GenerationId id) const;
  [[nodiscard]] std::size_t generations() const noexcept { return generations_.size(); }

 private:
  struct Generation {
    Phase phase = Phase::starting;
    Instant deadline = kNever;
    Duration drain_timeout{};
  };
  /// A reload (or the boot) from Spawn to its answer.
  struct Attempt {
    GenerationId id = 0;
    bool boot = false;
    bool rollback = false;
    bool handing_over = false;
    std::vector<GenerationId> awaited{};  // handing over: whose acknowledgement is missing
    Instant handover_deadline = kNever;
    std::string remark{};
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
  void hand_over(GenerationId old, Generation& generation, GenerationId successor);
  void await_no_more(GenerationId id);
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
