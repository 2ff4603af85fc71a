// The generation's insides, private to lb/supervisor: generation_start.cpp is the way from START to READY,
// generation.cpp serving and draining, generation_handoff.cpp live connections that come and go,
// generation_park.cpp parked, resumed and probed.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lb/observe/event_log.hpp"
#include "lb/reload/machine.hpp"
#include "lb/state/generation_state.hpp"
#include "lb/supervisor/adopt_listeners.hpp"
#include "lb/supervisor/generation.hpp"
#include "lb/supervisor/handoff_link.hpp"
#include "lb/supervisor/messages.hpp"
#include "lb/supervisor/orphan.hpp"
#include "lb/supervisor/probe_run.hpp"
#include "lb/supervisor/signals.hpp"
#include "lb/tls/ticket_keys.hpp"

namespace lb {

inline constexpr int kGenerationFailed = 1;  // exit status

class Generation final {
 public:
  Generation(const GenerationDeps& deps, Channel channel, SignalFd signals)
      : deps_(deps), channel_(std::move(channel)), signals_(std::move(signals)) {}

  int run() {
    if (!start()) return exit_code_;
    while (!done_) turn();
    return exit_code_;
  }

 private:
  enum class State : std::uint8_t { serving, draining };

  // ---- from START to READY ----

  bool start();
  std::optional<ChannelMessage> await(MessageType type);
  bool load(const ChannelMessage& message);
  void compare_with(const ChannelMessage& message);
  bool proceed(const ChannelMessage& message);
  bool open_log();
  void join_state(const ProceedMessage& order, const Fd& file);
  bool serve(AdoptedListeners listeners, Instant listen_begin);
  bool fail(StartFailure failure, const std::string& reason);
  bool end_unheard(const std::string& reason);
  void leave_startup_stderr();

  // ---- serving and draining ----

  void turn();
  void on_channel();
  void on_message(ChannelMessage message);
  void on_signal(int number);
  void on_successor(ChannelMessage message);
  // generation_park.cpp
  void park_if(bool asked, const Config* successor);
  void on_resume(ChannelMessage message);
  void serve_again(std::vector<ListeningSocket> more);
  [[nodiscard]] bool serves_without_supervisor();
  void on_release(std::string_view why);
  void on_probe(const ChannelMessage& message);
  void send_probed();
  void begin_drain(std::string_view why, std::shared_ptr<const Config> successor, Handoff handoff);
  void use_ticket_keys(const ChannelMessage& message);
  [[nodiscard]] bool nothing_left() const;
  void send_draining(DrainingMessage message);
  void send_status(const StatusRequestMessage& request);
  void supervisor_lost(const std::string& reason);
  void adopt_supervisor();
  void report_drained();

  // ---- live connections that come and go: generation_handoff.cpp ----

  void on_predecessor(ChannelMessage message);
  void begin_handoff(Fd link);
  void end_handoff();
  void serve_links();
  void serve_in();
  void serve_out();
  void give_to(HandoffOut& successor, Instant now);
  void take_back();
  void on_successor_ended(const HandoffOut& successor);
  void pause_handoff(bool paused);
  [[nodiscard]] bool links_idle() const;
  [[nodiscard]] Instant links_deadline() const;
  template <class M>
  void send(const M& message, std::span<const int> fds = {}) {
    if (!channel_.open()) return;
    if (auto sent = send_message(channel_, message, fds); !sent) send_error_ = sent.error().message;
  }

  const GenerationDeps& deps_;
  Channel channel_;
  SignalFd signals_;
  StartMessage options_;
  LoadedConfig loaded_;
  std::shared_ptr<const Config> config_;  // effective: with overrides, workers counted
  Fd config_file_;
  std::int64_t number_ = 0;
  std::string control_path_;
  ReadyMessage ready_;
  std::shared_ptr<state::GenerationState> shared_state_;
  std::vector<int> listening_;  // borrowed from the data plane, valid while it serves
  std::vector<std::string> listening_labels_;
  std::unique_ptr<EventLog> log_;
  std::shared_ptr<tls::TicketKeys> ticket_keys_;
  std::unique_ptr<DataPlane> plane_;
  std::optional<OrphanSocket> orphan_;
  std::vector<std::unique_ptr<HandoffIn>> in_;    // from those whose successor we are
  std::vector<std::unique_ptr<HandoffOut>> out_;  // to our successor, the latest last; the others are ending
  bool handing_ = false;                          // the data plane drains with handoff
  bool handoff_paused_ = false;
  Instant successor_until_ = kNever;  // ours is gone; so long a further one is waited for
  HandoffCounts moved_;               // over links that have ended
  std::string ledger_;                // kept for the supervisor after this one
  State state_ = State::serving;
  bool parked_ = false;       // draining, and not to end when that is over
  bool told_to_end_ = false;  // by a signal, DRAIN or RELEASE: is parked no more
  ProbeRun probe_run_;        // after what it uses
  std::string send_error_;
  bool drain_told_ = false;  // once: one that is parked says it long before it ends
  bool done_ = false;
  int exit_code_ = 0;
};
}  // namespace lb
