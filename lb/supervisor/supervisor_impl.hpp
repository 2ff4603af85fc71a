// The supervisor's insides, private to lb/supervisor: supervisor.cpp has the loop and what comes in,
// supervisor_commands.cpp what the machine decided, supervisor_watch.cpp what happens without being asked
// (the file watch, probation), supervisor_park.cpp the way back, supervisor_status.cpp answers and reports,
// supervisor_ledger.cpp what is told of each reload.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <set>

#include "lb/supervisor/config_keeper.hpp"
#include "lb/supervisor/file_watch.hpp"
#include "lb/supervisor/generation_handle.hpp"
#include "lb/supervisor/handoff_link.hpp"
#include "lb/supervisor/listener_store.hpp"
#include "lb/supervisor/notify.hpp"
#include "lb/supervisor/pid_file.hpp"
#include "lb/supervisor/recent_traffic.hpp"
#include "lb/supervisor/reload_ledger.hpp"
#include "lb/supervisor/signals.hpp"
#include "lb/supervisor/state_keeper.hpp"
#include "lb/supervisor/supervisor.hpp"
#include "lb/supervisor/ticket_key_keeper.hpp"
#include "lb/supervisor/traffic_sampler.hpp"

namespace lb {

/// One finished generation as it is remembered for `lb status`.
struct DrainRecord {
  std::int64_t generation = 0;
  std::string ended{};
  std::optional<DrainedMessage> report{};
  std::optional<DrainingMessage> at_switch{};
};

class Supervisor final {
 public:
  Supervisor(SupervisorOptions options, EventLog& log, SignalFd signals);
  SupervisorResult run();

 private:
  static constexpr std::size_t kHistoryMax = 32;
  static constexpr std::size_t kWarningsLoggedMax = 10;  // of one reload; its answer has more of them
  static constexpr std::size_t kChangesLoggedMax = 20;   // likewise
  static constexpr auto kSampleOnProbation = std::chrono::seconds{1};
  static constexpr auto kSampleOtherwise = std::chrono::seconds{5};  // so that "before" is known
  static constexpr auto kUnaskedPause = std::chrono::milliseconds{10};
  static constexpr auto kStatusTimeout = std::chrono::milliseconds{500};
  static constexpr auto kAdoptTimeout = std::chrono::seconds{2};

  struct StatusQuery {
    std::uint64_t caller = 0;
    std::set<GenerationId> awaited;
    Instant deadline{};
    bool plan = false;
    std::uint64_t token = 0;  // answers to this question and later ones will do
  };
  struct LedgerQuery {
    std::uint64_t caller = 0;
    std::int64_t number = 0;
    bool wait = false;  // until it is whole
  };
  /// A reload that was asked for, from then until its process is started.
  struct Asked {
    ReloadCause cause{};
    Instant at{};
  };

  // ---- supervisor.cpp: what comes in ----
  void turn();
  void feed(ReloadEvent event);
  void on_signal(const ReceivedSignal& signal);
  void on_control();
  void on_channel(GenerationId id);
  bool on_short_message(GenerationId id, const Received& received);
  void on_message(GenerationId id, ChannelMessage message);
  void on_loaded(GenerationId id, const LoadedMessage& message);
  void on_ready(GenerationId id, const ReadyMessage& message, std::vector<Fd> fds);
  void on_draining(GenerationId id, const DrainingMessage& message);
  void on_channel_end(GenerationId id, const std::string& reason);
  void reap();
  void ended(GenerationId id, const std::string& how);
  Result<void> settle_in(const LoadedMessage& message);
  void adopt_orphans();
  void adopt_state(std::int64_t generation, Fd file);

  // ---- supervisor_commands.cpp: what the machine decided ----
  void carry_out(const ReloadCommand& command);
  void spawn(const Spawn& command);
  void proceed(GenerationId id);
  void promote(GenerationId id);
  void hand_over(const HandOver& command);
  void drain_for_exit(GenerationId id);
  void release_listeners();
  void drain_the_last();
  void note(const Note& command);
  void notify(ServiceState state);
  void signal(GenerationId id, int number);
  void send_failed(GenerationId id, const std::string& reason);

  // ---- supervisor_park.cpp: the parked generation, and the self-probe ----
  void resume(GenerationId id);
  void release(GenerationId id);
  void probe(GenerationId id);
  void on_probed(GenerationId id, const ProbedMessage& message);
  void note_parked(const Note& command);
  void settle_probation();

  // ---- supervisor_watch.cpp: what happens without being asked ----
  void use_rules(const ReloadRules& rules);
  void on_file_watch();
  void renew_ticket_keys();
  void consider_file();
  [[nodiscard]] Instant unasked_deadline() const;
  void unasked();
  void on_status(GenerationId id, const StatusMessage& status);
  void keep(GenerationId id);
  void carry_out_rollback(const ConfigKeeper::Reason& reason);
  void answer_rollback(const Answer& command);
  void request_statuses(StatusQuery* query, bool census);

  // ---- supervisor_status.cpp: answers ----
  void answer(const Answer& command);
  void log_answer(const Answer& command, const ReloadRecord& record);
  void log_changes(const ReloadRecord& record);
  void log_ready(GenerationId id);
  void begin_status(std::uint64_t caller, bool plan);
  void settle_status(bool force);
  [[nodiscard]] bool shares_state(GenerationId id) const;
  [[nodiscard]] std::string status_json(const StatusQuery& query);
  void remember_end(GenerationId id, const GenerationHandle& handle);

  // ---- supervisor_ledger.cpp: what is told of each reload ----
  void asked(ReloadCause cause);
  void begin_ledger(GenerationHandle& handle, ConfigSource source);
  [[nodiscard]] ReloadRecord record_of(const Answer& command);
  void attach_drain(const Answer& command, ReloadRecord& record) const;
  void on_drained(GenerationId id, DrainedMessage message);
  void pass_on_ledger();
  void begin_reloads(const ControlRequest& request);
  void settle_reloads(bool force);
  void add_plan(nlohmann::ordered_json& json) const;

  [[nodiscard]] std::int64_t number(GenerationId id) const noexcept { return number_base_ + id; }
  [[nodiscard]] GenerationHandle* find(GenerationId id);

  SupervisorOptions options_;
  EventLog& log_;
  SignalFd signals_;
  ServiceNotifier notifier_;
  ReloadMachine machine_;
  ListenerStore listeners_;
  std::map<GenerationId, GenerationHandle> generations_;
  std::int64_t number_base_ = 0;  // generations adopted from a former supervisor keep their numbers
  std::deque<ReloadEvent> events_;
  bool feeding_ = false;
  Instant now_{};
  Instant started_{};

  bool settled_in_ = false;
  std::string pid_file_path_;
  std::string control_path_;
  std::optional<PidFile> pid_file_;
  std::unique_ptr<ControlPort> control_;
  std::optional<GenerationId> last_to_drain_;  // stopping: to be told once the older ones have answered
  std::set<GenerationId> older_to_answer_;
  ConfigKeeper keeper_;
  TicketKeyKeeper ticket_keys_;
  StateKeeper state_;
  TrafficSampler sampler_;
  Instant sample_at_ = kNever;
  std::unique_ptr<FileWatch> watch_;
  bool file_changed_ = false;  // to be considered once no reload is in flight
  bool fell_back_ = false;     // at the start, because the file was bad
  // Whatever the code behind a seam says is due, it is asked no sooner.
  Instant watch_not_before_{};
  Instant policy_not_before_{};
  std::string rollback_reason_;
  std::optional<GenerationId> judged_;  // serves, and has not been told to be done with yet
  std::optional<std::pair<GenerationId, std::string>> died_;  // the last that did while it served, and why
  std::pair<GenerationId, std::string> loaded_;               // the last one's configuration
  int terms_ = 0;
  bool done_ = false;
  SupervisorResult result_;

  RecentTraffic traffic_;
  std::optional<Asked> asked_;
  ReloadLedger ledger_;
  std::vector<LedgerQuery> ledger_queries_;
  std::vector<StatusQuery> status_queries_;
  std::uint64_t status_token_ = 0;
  std::deque<DrainRecord> drains_;
  std::map<std::string, std::uint64_t> finished_counters_;
  std::uint64_t requested_ = 0;
  std::uint64_t applied_ = 0;
  std::uint64_t rejected_ = 0;
  std::uint64_t rollbacks_ = 0;
  std::uint64_t restarts_ = 0;
  std::string last_error_;
};

}  // namespace lb
