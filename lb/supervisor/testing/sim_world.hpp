// World: what the simulator simulates. sim_world.cpp is the supervisor and its operators, sim_generation.cpp
// the generations, sim_checks.cpp the invariants.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <queue>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "lb/base/random.hpp"
#include "lb/reload/machine.hpp"
#include "lb/supervisor/config_keeper.hpp"
#include "lb/supervisor/testing/simulator.hpp"
#include "lb/supervisor/traffic_sampler.hpp"

namespace lb::simulator {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// What a generation does until it is ready; drawn when it is spawned.
enum class Fate : std::uint8_t {
  good,
  refuses_config,
  crashes_loading,
  hangs_loading,
  refuses_listener,
  crashes_warming,
  hangs_warming,
};

/// A configuration that an operator wrote.
struct SimConfig {
  std::uint64_t hash = 0;
  std::set<int> endpoints{};
  int workers = 1;
  bool invalid = false;
  bool failing = false;  // its backend answers 500
  bool deaf = false;     // one of its listeners does not accept
  bool fatal = false;    // under traffic its generation crashes
  std::uint64_t probation_ms = 0;
};

/// A listening socket: a shard of an endpoint.
using Shard = std::pair<int, int>;

struct Process {
  // ---- its plan ----
  GenerationId number = 0;
  const SimConfig* config = nullptr;
  bool from_file = true;
  Fate fate = Fate::good;
  Duration load_time{}, warm_time{}, answer_time{}, drain_time{};
  bool crashes_draining = false, hangs_draining = false, overstays = false;
  bool hangs_parked = false, crashes_parked = false, crashes_resuming = false;
  Random random{0};
  // ---- its state ----
  bool alive = true;
  bool hung = false;  // handles no message
  bool proceeded = false, ready = false;
  bool accepting = false;
  bool draining = false, drained = false, parked = false;
  bool told_to_end = false;  // by a signal, DRAIN or RELEASE: does not park any more
  bool killed = false, crashed = false;
  bool orphan = false;
  std::uint64_t uses = 0;      // hash of the configuration whose backends it uses
  GenerationId successor = 0;  // the last it was told of
  std::set<Shard> shards{};    // listening sockets it has open
  std::uint64_t drains_begun = 0;
  std::uint64_t born_step = 0;
  Instant serving_since{}, idle_since = kNever;
  Instant last_message{}, last_event{};  // channels keep the order
  std::uint64_t unhandled = 0;           // messages on their way to it
  std::uint64_t requests = 0, failures = 0;
};

struct Caller {
  std::uint64_t asked_step = 0;
  Instant asked{};
  int answers = 0;
  bool left = false;
};

class World {
 public:
  explicit World(const Options& options);
  Report run();

 private:
  static constexpr std::uint64_t kStepsMax = 20'000;
  static constexpr auto kDrainTimeout = seconds{30};
  static constexpr int kEndpoints = 4;
  static constexpr GenerationId kStrangers =
      1'000'000;  // a former supervisor's that is gone has no id any more

  struct Planned {
    Instant at;
    std::uint64_t order = 0;
    std::function<void()> act;
    bool operator<(const Planned& other) const {
      return std::tie(at, order) > std::tie(other.at, other.order);
    }
  };
  /// What can go wrong with one thing; with the thing's number it names an oddity.
  enum class Odd : std::uint8_t {
    fate,
    spawn_fails,
    slow_load,
    crashes_draining,
    hangs_draining,
    overstays,
    hangs_parked,
    crashes_parked,
    crashes_resuming,
    overtaken,
    action,
    config_invalid,
    config_failing,
    config_deaf,
    config_fatal,
    adopted,
    fallback,
    second_term
  };

  // ---- sim_world.cpp ----
  bool odd(Odd kind, std::uint64_t thing, std::uint32_t percent, Random& random);
  bool chance(Random& random, std::uint32_t percent) { return random.below(100) < percent; }
  static Duration between(Random& random, Duration low, Duration high);
  void plan(Duration in, std::function<void()> act) { agenda_.push({now_ + in, order_++, std::move(act)}); }
  void fail(const std::string& what) {
    if (violation_.empty()) violation_ = what;
  }
  template <class... Parts>
  void tell(const Parts&... parts) {
    if (options_.story) write_line((std::string{} + ... + text_of(parts)));
  }
  static std::string text_of(const std::string& text) { return text; }
  static std::string text_of(const char* text) { return text; }
  static std::string text_of(std::int64_t number) { return std::to_string(number); }
  void write_line(const std::string& line);
  void turn();
  void begin_supervisor(bool first);
  void kill_supervisor();
  void feed(ReloadEvent event, const char* why = "");
  void step(const ReloadEvent& event, const char* why);
  void carry_out(const ReloadCommand& command);
  void spawn(const Spawn& command);
  void promote(GenerationId promoted);
  void hand_over(const HandOver& command);
  void answer(const Answer& command);
  void note(const Note& command);
  void release_listeners();
  void go_back(const ConfigKeeper::Reason& reason);
  void unasked();
  [[nodiscard]] Instant unasked_deadline() const;
  void sample();
  void exit_program(int code);
  const SimConfig& new_config(bool good);
  void plan_operators();
  void act(std::uint64_t number, Random random);
  void act_on_process(std::uint32_t what, Random& random);
  void ask_for_rollback();
  /// Other than in the real one no number is used twice, not even over a supervisor's life.
  [[nodiscard]] GenerationId number(GenerationId id) const noexcept {
    return (id > 0 ? fresh_base_ : adopted_base_) + id;
  }
  [[nodiscard]] GenerationId id_of(GenerationId number) const noexcept {
    if (number > fresh_base_) return number - fresh_base_;
    return number - (number > adopted_base_ ? kStrangers : adopted_base_);
  }
  Process& process(GenerationId number) { return processes_.at(number); }
  [[nodiscard]] Process* current();
  [[nodiscard]] std::optional<ReloadMachine::Phase> phase_of(GenerationId number) const {
    return supervisor_alive_ ? machine_.phase(id_of(number)) : std::nullopt;
  }

  // ---- sim_generation.cpp ----
  void draw_plan(Process& process, bool from_file);
  void begin_loading(GenerationId number);
  void say(GenerationId number, Duration in, ReloadEvent event);
  void deliver(GenerationId number, std::function<void(Process&)> handle);
  void proceed(Process& process, const std::set<Shard>& held);
  void become_ready(Process& process);
  void begin_draining(Process& process);
  void drained(Process& process);
  void on_successor(Process& process, GenerationId successor, std::uint64_t backends, bool park);
  void on_resume(Process& process, const std::set<Shard>& held);
  void on_release(Process& process);
  void on_drain(Process& process);
  void on_probe(Process& process);
  void signal_drain(GenerationId number);
  void quit(GenerationId number);
  void kill(GenerationId number);
  void crash(GenerationId number, const char* how);
  void die(GenerationId number, Duration in, const std::string& how);
  void lose_supervisor(Process& process);
  void count_traffic(Process& process);

  // ---- sim_checks.cpp ----
  void check();
  void check_callers();
  void check_one_reload();
  void check_listeners();
  void check_service();
  void check_parked();
  void check_steady();
  void check_killed();
  void check_answer(const Answer& command);
  void check_end();
  [[nodiscard]] bool anybody_starts() const;
  [[nodiscard]] Duration answer_max() const;

  Options options_;
  std::uint32_t chaos_ = 0;
  ReloadLimits limits_;
  ReloadMachine machine_;
  std::unique_ptr<EventLog> log_;
  std::unique_ptr<ConfigKeeper> keeper_;
  TrafficSampler sampler_;
  std::uint64_t status_token_ = 0;
  Instant sample_at_ = kNever;
  std::optional<GenerationId> judged_;
  std::deque<std::pair<ReloadEvent, const char*>> events_;
  bool feeding_ = false;

  Instant now_{seconds{1000}};
  GenerationId adopted_base_ = 0;
  GenerationId fresh_base_ = 0;
  GenerationId last_number_ = 0;
  std::uint64_t life_ = 0;  // of the supervisor: what was on its way to a former one is lost
  bool supervisor_alive_ = false;
  bool booted_ = false;
  bool exited_ = false;
  bool stop_asked_ = false;
  Instant stop_asked_at_ = kNever;
  std::priority_queue<Planned> agenda_;
  std::uint64_t order_ = 0;
  std::map<std::uint64_t, SimConfig> configs_;
  const SimConfig* file_ = nullptr;
  std::uint64_t kept_ = 0;  // the hash kept on disk as last good; 0: none
  std::map<GenerationId, Process> processes_;
  std::map<GenerationId, Instant> kill_seen_;
  std::map<CallerId, Caller> callers_;
  CallerId next_caller_ = 1;
  std::set<Shard> held_;
  bool rollback_open_ = false;
  std::optional<GenerationId> rollback_of_;
  std::optional<Instant> unserved_since_, unreleased_since_, crowd_since_;
  bool could_resume_ = false;
  std::string violation_;
  Report report_;
};

}  // namespace lb::simulator
