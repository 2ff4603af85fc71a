// The generation's insides, private to lb/supervisor: generation_start.cpp is the way from START to READY,
// generation.cpp serving and draining.
#pragma once

#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lb/observe/event_log.hpp"
#include "lb/reload/machine.hpp"
#include "lb/supervisor/adopt_listeners.hpp"
#include "lb/supervisor/client_relay.hpp"
#include "lb/supervisor/generation.hpp"
#include "lb/supervisor/messages.hpp"
#include "lb/supervisor/orphan.hpp"
#include "lb/supervisor/signals.hpp"

namespace lb {

inline constexpr int kGenerationFailed = 1;  // exit status

class Generation final {
 public:
  Generation(const GenerationDeps& deps, Channel channel, SignalFd signals)
      : deps_(deps), channel_(std::move(channel)), signals_(std::move(signals)) {}

  int run() {
    if (!start()) return exit_code_;
    while (!done_) turn();
    if (plane_ && drained_) report_drained();
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
  bool serve(AdoptedListeners listeners, Instant listen_begin);
  bool fail(StartFailure failure, const std::string& reason);
  void leave_startup_stderr();

  // ---- serving and draining ----

  void turn();
  void on_channel();
  void on_message(ChannelMessage message);
  void on_signal(int number);
  void on_successor(const ChannelMessage& message);
  void begin_drain(std::string_view why, std::shared_ptr<const Config> successor, Handoff handoff);
  void hand_over_clients();
  void take_back_clients();
  void adopt_clients(ChannelMessage message);
  [[nodiscard]] bool may_end() const;
  void send_draining(const DrainingMessage& message);
  void send_status(std::uint64_t token);
  void supervisor_lost(const std::string& reason);
  void adopt_supervisor();
  void report_drained();
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
  std::vector<int> listening_;  // borrowed from the data plane, valid while it serves
  std::vector<std::string> listening_labels_;
  std::unique_ptr<EventLog> log_;
  std::unique_ptr<DataPlane> plane_;
  std::optional<OrphanSocket> orphan_;
  ClientRelay leaving_{std::numeric_limits<std::size_t>::max()};  // taken from the data plane, not sent yet
  State state_ = State::serving;
  std::string send_error_;
  bool drained_ = false;
  bool done_ = false;
  int exit_code_ = 0;
};
}  // namespace lb
