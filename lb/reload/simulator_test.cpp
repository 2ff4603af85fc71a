#include "lb/reload/simulator.hpp"

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <queue>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "lb/base/random.hpp"
#include "lb/reload/command_text.hpp"
#include "lb/reload/machine.hpp"

namespace lb::simulator {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// What a generation will do; drawn when it is spawned.
enum class Fate : std::uint8_t {
  good,
  refuses_config,
  crashes_loading,
  hangs_loading,
  refuses_listener,
  crashes_warming,
  hangs_warming,
};

struct Process {
  Fate fate = Fate::good;
  ConfigSource source = ConfigSource::file;
  bool alive = true;
  bool hung = false;  // answers nothing but SIGKILL
  bool proceeded = false;
  bool said_ready = false;
  bool crashed = false;  // by the world's whim, not on request
  bool told_to_drain = false;
  GenerationId successor = 0;  // whose backends it uses while it drains
  bool killed = false;
  std::set<int> endpoints;  // what its configuration listens on
  std::set<int> given;      // what was held when it proceeded
  std::uint64_t born_step = 0;
  Instant last_event{};  // its events keep their order unless reordered on purpose
};

struct Caller {
  std::uint64_t asked_step = 0;
  Instant asked{};
  int answers = 0;
  bool left = false;
};

class World {
 public:
  World(std::uint64_t seed, Sabotage sabotage) : random_(seed), sabotage_(sabotage) {
    chaos_ = random_.below(100);  // some worlds are calm, some are not
    limits_.draining_max = random_.below(4) == 0 ? 3 : 64;
    machine_ = ReloadMachine{limits_};
  }

  Report run() {
    adopt_ = chance(15);
    fallback_ = chance(30);
    if (fallback_) last_good_ = {1, 2};  // kept by a former supervisor
    feed(Boot{.fallback = fallback_}, "boot");
    if (adopt_ && violation_.empty()) adopt();
    plan_operators();
    while (violation_.empty() && !exited_ && report_.steps < kStepsMax) turn();
    if (violation_.empty()) check_end();
    report_.violation = violation_;
    return std::move(report_);
  }

 private:
  static constexpr std::uint64_t kStepsMax = 5000;
  static constexpr auto kDrainTimeout = seconds{30};

  struct Planned {
    Instant at;
    std::uint64_t order = 0;
    std::function<void()> act;
    bool operator<(const Planned& other) const {
      return std::tie(at, order) > std::tie(other.at, other.order);
    }
  };

  bool chance(std::uint32_t percent) { return random_.below(100) < percent; }
  Duration between(Duration low, Duration high) {
    const auto span_us = std::chrono::duration_cast<std::chrono::microseconds>(high - low).count();
    return low + std::chrono::microseconds{random_.below(static_cast<std::uint32_t>(span_us) + 1)};
  }
  void plan(Duration in, std::function<void()> act) { agenda_.push({now_ + in, order_++, std::move(act)}); }
  void fail(const std::string& what) {
    if (violation_.empty()) violation_ = what;
  }
  void tell(const std::string& line) {
    report_.story += "  " + std::to_string(to_ms(now_.time_since_epoch())) + " ms  " + line + "\n";
  }

  /// An event of generation `id` reaches the machine later, after those it sent before (unless reordered).
  void send(GenerationId id, Duration in, ReloadEvent event) {
    Process& process = processes_.at(id);
    Instant at = now_ + in;
    if (!chance(5)) at = std::max(at, process.last_event);
    process.last_event = at;
    plan(at - now_, [this, event = std::move(event)] { feed(event, ""); });
  }
  void die(GenerationId id, Duration in, const std::string& how) {
    plan(in, [this, id, how] {
      Process& process = processes_.at(id);
      if (!process.alive) return;
      process.alive = false;
      tell("generation " + std::to_string(id) + " ends: " + how);
      send(id, between(milliseconds{0}, milliseconds{20}), Exited{id, how});
    });
  }

  void turn() {
    const Instant deadline = machine_.next_deadline();
    if (agenda_.empty() && deadline == kNever) {
      fail("nothing will ever happen again");
      return;
    }
    if (agenda_.empty() || deadline < agenda_.top().at) {
      now_ = std::max(now_, deadline);
      feed(Tick{}, "");
      return;
    }
    auto next = agenda_.top();
    agenda_.pop();
    now_ = next.at;
    next.act();
  }

  void feed(const ReloadEvent& event, const std::string& why) {
    ++report_.steps;
    tell(event_text(event) + (why.empty() ? "" : "  (" + why + ")"));
    auto commands = machine_.step(now_, event);
    for (const auto& command : commands) {
      tell("    " + command_text(command));
      if (exited_) fail("a command after the last one");
      carry_out(command);
    }
    check();
  }

  // ---- the world's side of each command ----

  void carry_out(const ReloadCommand& command) {
    if (const auto* c = std::get_if<Spawn>(&command)) spawn(*c);
    if (const auto* c = std::get_if<Proceed>(&command)) proceed(c->id);
    if (const auto* c = std::get_if<Promote>(&command)) promote(c->id);
    if (const auto* c = std::get_if<HandOver>(&command)) hand_over(*c);
    if (const auto* c = std::get_if<DrainForExit>(&command)) drain(c->id, std::nullopt);
    if (const auto* c = std::get_if<NudgeDrain>(&command)) nudge(c->id);
    if (const auto* c = std::get_if<Quit>(&command)) quit(c->id);
    if (const auto* c = std::get_if<Kill>(&command)) kill(c->id);
    if (const auto* c = std::get_if<Answer>(&command)) answer(*c);
    if (std::holds_alternative<ReleaseListeners>(command)) release();
    if (std::holds_alternative<CloseListeners>(command)) held_.clear();
    if (std::holds_alternative<ExitProgram>(command)) exited_ = true;
  }

  void adopt() {
    const GenerationId count = chance(30) ? 2 : 1;
    for (GenerationId id = 0; id > -count; --id) {
      Process process;
      process.said_ready = true;
      process.endpoints = {1, 2};
      processes_[id] = process;
      held_ = {1, 2};
      feed(Adopted{id, kDrainTimeout}, "left by a former supervisor");
    }
  }

  Fate draw_fate(ConfigSource source) {
    if (!chance(source == ConfigSource::file ? chaos_ : chaos_ / 2)) return Fate::good;
    // A last good configuration was valid once; the file may be anything.
    const Fate fates[] = {Fate::crashes_loading, Fate::hangs_loading,    Fate::crashes_warming,
                          Fate::hangs_warming,   Fate::refuses_listener, Fate::refuses_config,
                          Fate::refuses_config};
    return fates[random_.below(source == ConfigSource::file ? 7 : 5)];
  }

  void spawn(const Spawn& command) {
    if (processes_.contains(command.id)) return fail("a generation was spawned twice");
    if (sabotage_ == Sabotage::lose_restart && command.source == ConfigSource::last_good) return;
    Process process;
    process.source = command.source;
    process.fate = draw_fate(command.source);
    process.born_step = report_.steps;
    for (int endpoint = 1; endpoint <= 4; ++endpoint) {
      if (command.source == ConfigSource::last_good ? last_good_.contains(endpoint) : chance(60)) {
        process.endpoints.insert(endpoint);
      }
    }
    processes_[command.id] = process;
    const GenerationId id = command.id;
    if (chance(chaos_ / 10)) {
      processes_[id].alive = false;
      processes_[id].fate = Fate::crashes_loading;
      send(id, Duration{0}, SpawnFailed{id, "fork: out of memory"});
      return;
    }
    const auto load = between(milliseconds{1}, milliseconds{chance(5) ? 31'000 : 500});
    if (load > limits_.load_timeout) processes_[id].fate = Fate::hangs_loading;
    switch (processes_[id].fate) {
      case Fate::refuses_config:
        send(id, load, Failed{id, StartFailure::invalid_config, "bad configuration"});
        if (chance(90)) die(id, load + milliseconds{1}, "exit status 1");
        break;
      case Fate::crashes_loading:
        die(id, load, "killed by signal 11");
        break;
      case Fate::hangs_loading:
        processes_[id].hung = true;
        break;
      default:
        send(id, load, Loaded{id});
    }
  }

  void proceed(GenerationId id) {
    Process& process = processes_.at(id);
    if (process.proceeded) return fail("told to proceed twice");
    process.proceeded = true;
    process.given = held_;
    const auto warm = between(milliseconds{1}, milliseconds{1000});
    switch (process.fate) {
      case Fate::refuses_listener:
        send(id, warm, Failed{id, StartFailure::cannot_listen, "address in use"});
        die(id, warm + milliseconds{1}, "exit status 1");
        break;
      case Fate::crashes_warming:
        die(id, warm, "killed by signal 6");
        break;
      case Fate::hangs_warming:
        process.hung = true;
        break;
      default:
        plan(warm, [this, id] {
          Process& p = processes_.at(id);
          if (!p.alive) return;
          p.said_ready = true;
          send(id, milliseconds{0}, Ready{id, kDrainTimeout});
        });
    }
  }

  void promote(GenerationId id) {
    Process& process = processes_.at(id);
    if (!process.said_ready) fail("promoted before it was ready");
    for (const int endpoint : process.endpoints) {
      if (process.given.contains(endpoint) && !held_.contains(endpoint)) {
        fail("a socket given to a starting generation was let go before it served");
      }
      held_.insert(endpoint);
    }
    last_good_ = process.endpoints;
    booted_ = true;
    if (process.source == ConfigSource::last_good) ++report_.restarts;
  }

  /// It does as told and says so; the first time its connections start to end too.
  void start_draining(GenerationId id, std::optional<GenerationId> successor) {
    Process& process = processes_.at(id);
    if (!process.alive || process.hung) return;
    const auto busy = between(milliseconds{0}, milliseconds{chance(5) ? 9000 : 50});
    plan(busy, [this, id, successor] {
      Process& p = processes_.at(id);
      if (!p.alive) return;
      if (successor) p.successor = std::max(p.successor, *successor);
      send(id, between(milliseconds{0}, milliseconds{20}), DrainAcknowledged{id, successor});
    });
    if (std::exchange(process.told_to_drain, true)) return;
    if (chance(90)) die(id, between(milliseconds{1}, kDrainTimeout), "exit status 0");  // else it overstays
  }

  void hand_over(const HandOver& command) {
    if (machine_.mode() == ReloadMachine::Mode::running && !processes_.at(command.successor).said_ready) {
      fail("handed over to a generation that is not ready");
    }
    drain(command.old, command.successor);
  }
  void drain(GenerationId id, std::optional<GenerationId> successor) {
    Process& process = processes_.at(id);
    if (chance(chaos_ / 8)) process.hung = true;
    if (chance(chaos_ / 8)) return crash(id);
    start_draining(id, successor);
  }
  void nudge(GenerationId id) {
    if (chance(50)) processes_.at(id).hung = false;
    start_draining(id, std::nullopt);
  }
  void quit(GenerationId id) {
    if (!processes_.at(id).hung && chance(90)) die(id, between(milliseconds{0}, milliseconds{100}), "quit");
  }
  void kill(GenerationId id) {
    if (sabotage_ == Sabotage::lose_restart && !processes_.contains(id)) return;
    processes_.at(id).killed = true;
    if (sabotage_ == Sabotage::lose_kill) return;
    die(id, between(milliseconds{0}, milliseconds{5}), "killed by signal 9");
  }
  void crash(GenerationId id) {
    Process& process = processes_.at(id);
    if (!process.alive) return;
    process.crashed = true;
    die(id, Duration{0}, "killed by signal 11");
  }

  void release() {
    if (sabotage_ == Sabotage::release_too_early) {
      held_.clear();
      return;
    }
    if (!machine_.current()) return;
    // The machine's own view, before this step's later commands, is what the supervisor sees too.
    held_ = processes_.at(*machine_.current()).endpoints;
  }

  void answer(const Answer& command) {
    if (command.rollback) {
      if (!std::exchange(rollback_open_, false)) fail("a rollback was answered that nobody asked for");
      if (!command.callers.empty()) fail("a rollback has callers");
      const bool could = machine_.mode() == ReloadMachine::Mode::running && !command.to;
      if (could && rollback_of_ && rollback_of_ == machine_.current()) {
        fail("what was to be undone serves on, and nobody undoes it");
      }
      if (command.applied && processes_.at(*command.to).source != ConfigSource::last_good) {
        fail("a rollback went to another configuration than the last good one");
      }
    }
    if (sabotage_ == Sabotage::lose_answer && !command.callers.empty()) return;
    (command.applied ? report_.reloads_applied : report_.reloads_rejected) += 1;
    for (const CallerId caller : command.callers) {
      Caller& c = callers_.at(caller);
      c.answers += sabotage_ == Sabotage::answer_twice ? 2 : 1;
      if (c.answers > 1) fail("caller " + std::to_string(caller) + " was answered twice");
      if (c.left) fail("caller " + std::to_string(caller) + " had left and was answered");
      if (command.to && processes_.contains(*command.to) &&
          processes_.at(*command.to).born_step < c.asked_step) {
        fail("caller " + std::to_string(caller) + " was answered by a reload that began before its request");
      }
      if (command.applied && !command.to) fail("applied, but by no generation");
    }
    if (!command.to || !processes_.contains(*command.to)) return;
    const Process& process = processes_.at(*command.to);
    const bool stopping = machine_.mode() != ReloadMachine::Mode::running;
    if (!command.applied && !stopping && process.fate == Fate::good && process.alive && process.said_ready &&
        !process.killed && !process.told_to_drain) {
      fail("a good configuration was rejected");
    }
    if (command.applied && !process.said_ready) fail("applied, but the generation never was ready");
    if (command.applied) check_successors(command);
  }

  /// After the answer nobody uses a backend of before: everybody alive knows the successor, or the answer
  /// says that somebody does not.
  void check_successors(const Answer& command) {
    if (!command.reason.empty() || machine_.mode() != ReloadMachine::Mode::running) return;
    for (const auto& [id, process] : processes_) {
      if (!process.alive || !process.said_ready || process.killed || id == *command.to) continue;
      if (process.successor != *command.to) {
        fail("applied, but generation " + std::to_string(id) + " does not know it");
      }
    }
  }

  // ---- operators and accidents ----

  void plan_operators() {
    const std::uint32_t actions = 1 + random_.below(40);
    Duration at{0};
    for (std::uint32_t i = 0; i < actions; ++i) {
      at += chance(40) ? Duration{0} : between(milliseconds{1}, milliseconds{chance(20) ? 20'000 : 1500});
      plan(at, [this] { act(); });
    }
    plan(at + between(milliseconds{1}, seconds{60}), [this] {
      stop_asked_ = now_;
      if (chance(80)) {
        feed(StopRequested{}, "SIGTERM");
        if (chance(30))
          plan(between(milliseconds{1}, seconds{10}), [this] {
            if (!exited_) feed(QuitRequested{}, "second SIGTERM");
          });
      } else {
        feed(QuitRequested{}, "SIGINT");
      }
    });
  }

  void act() {
    if (exited_) return;
    if (booted_ && chance(10)) {
      if (!rollback_open_) rollback_of_ = machine_.current();
      rollback_open_ = true;
      if (sabotage_ == Sabotage::refuse_rollback) {
        answer(Answer{.rollback = true, .from = machine_.current(), .reason = "no"});
      } else {
        feed(RollbackRequested{}, "worse than before");
      }
    }
    if (exited_) return;
    const std::uint32_t what = random_.below(100);
    if (what < 45) {
      const CallerId caller = next_caller_++;
      ++report_.callers;
      callers_[caller] = {.asked_step = report_.steps + 1, .asked = now_};
      feed(ReloadRequested{caller}, "lb reload");
    } else if (what < 65) {
      const std::uint32_t storm = 1 + random_.below(20);
      for (std::uint32_t i = 0; i < storm && violation_.empty(); ++i) feed(ReloadRequested{}, "SIGHUP");
    } else if (what < 70 && !callers_.empty()) {
      auto it = std::next(callers_.begin(), random_.below(static_cast<std::uint32_t>(callers_.size())));
      if (it->second.answers == 0) it->second.left = true;
      feed(CallerLeft{it->first}, "");
    } else if (!processes_.empty() && chance(chaos_)) {
      auto it = std::next(processes_.begin(), random_.below(static_cast<std::uint32_t>(processes_.size())));
      if (what < 90) {
        crash(it->first);
      } else if (it->second.alive && it->second.said_ready && !it->second.hung) {
        start_draining(it->first, std::nullopt);  // somebody sent it SIGTERM
      }
    }
  }

  // ---- invariants ----

  void check() {
    check_one_reload();
    check_listeners();
    check_restart();
    for (const auto& [caller, c] : callers_) {
      if (c.answers == 0 && !c.left && !exited_ && now_ - c.asked > answer_max()) {
        fail("caller " + std::to_string(caller) + " waits without an answer");
      }
    }
    for (const auto& [id, process] : processes_) {
      if (process.killed && process.alive && kill_seen_.emplace(id, now_).first->second + seconds{1} < now_) {
        fail("generation " + std::to_string(id) + " was killed and still lives");
      }
    }
  }

  /// The reload under way when it asked, and its own, each at most three deadlines long.
  Duration answer_max() const {
    return 2 * (limits_.load_timeout + limits_.ready_timeout + limits_.handover_timeout) + seconds{1};
  }

  void check_one_reload() {
    int starting = 0;
    for (const auto& [id, process] : processes_) {
      const auto phase = machine_.phase(id);
      if (process.source == ConfigSource::file && id > 0 &&
          (phase == ReloadMachine::Phase::starting || phase == ReloadMachine::Phase::warming)) {
        ++starting;
      }
    }
    if (starting > 1) fail("two reloads in flight");
  }

  void check_listeners() {
    const auto current = machine_.current();
    if (!current || machine_.mode() != ReloadMachine::Mode::running) return;
    for (const int endpoint : processes_.at(*current).endpoints) {
      if (!held_.contains(endpoint))
        fail("endpoint " + std::to_string(endpoint) + " is configured and not held");
    }
    const Process& process = processes_.at(*current);
    if (process.told_to_drain && machine_.phase(*current) != ReloadMachine::Phase::serving) {
      fail("the current generation is draining");
    }
  }

  /// No current generation: one is on its way, or will be within the back-off.
  void check_restart() {
    if (!booted_ || machine_.current() || machine_.mode() != ReloadMachine::Mode::running) {
      unserved_since_.reset();
      return;
    }
    const bool starting = std::any_of(processes_.begin(), processes_.end(), [this](const auto& entry) {
      const auto phase = machine_.phase(entry.first);
      return phase == ReloadMachine::Phase::starting || phase == ReloadMachine::Phase::warming;
    });
    if (starting) {
      unserved_since_.reset();
      return;
    }
    if (!unserved_since_) unserved_since_ = now_;
    if (now_ - *unserved_since_ > limits_.backoff_max) fail("the service is down and nobody restarts it");
  }

  void check_end() {
    if (!exited_) return fail("still not at an end after " + std::to_string(report_.steps) + " steps");
    for (const auto& [id, process] : processes_) {
      if (process.alive && !process.killed && id > 0)
        fail("generation " + std::to_string(id) + " was left behind");
    }
    if (rollback_open_) fail("a rollback was never answered");
    if (!booted_) return;  // a failed start answers nobody but the shell
    for (const auto& [caller, c] : callers_) {
      if (c.answers == 0 && !c.left) fail("caller " + std::to_string(caller) + " was never answered");
    }
    const auto stop_max = limits_.handover_timeout + kDrainTimeout + limits_.exit_grace + seconds{1};
    if (stop_asked_ && now_ - *stop_asked_ > stop_max) fail("stopping took too long");
  }

  Random random_;
  Sabotage sabotage_;
  ReloadLimits limits_;
  ReloadMachine machine_;
  Instant now_{seconds{0}};
  std::uint32_t chaos_ = 0;
  bool adopt_ = false;
  bool booted_ = false;
  bool fallback_ = false;
  bool rollback_open_ = false;
  std::optional<GenerationId> rollback_of_;  // what served when it was asked for
  bool exited_ = false;
  std::priority_queue<Planned> agenda_;
  std::uint64_t order_ = 0;
  std::map<GenerationId, Process> processes_;
  std::map<GenerationId, Instant> kill_seen_;
  std::map<CallerId, Caller> callers_;
  CallerId next_caller_ = 1;
  std::set<int> held_;
  std::set<int> last_good_;
  std::optional<Instant> unserved_since_;
  std::optional<Instant> stop_asked_;
  std::string violation_;
  Report report_;
};

}  // namespace

Report run(std::uint64_t seed, Sabotage sabotage) {
  return World{seed, sabotage}.run();
}

}  // namespace lb::simulator
