// Supervisor: the process whose pid never changes. It owns the listening sockets, the pid file and the
// control socket, starts generations and carries out what the ReloadMachine decides. It parses no
// configuration and speaks no HTTP. One thread, one poll(2) loop; nothing in it waits for a generation.
//
//   signals   HUP reload; TERM, USR2 drain and exit; second TERM, INT exit now; USR1 reopen logs; CHLD reap
//   a killed supervisor (kill -9) leaves its generation serving; the next one adopts it (see orphan.hpp)
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "lb/observe/event_log.hpp"
#include "lb/reload/machine.hpp"
#include "lb/supervisor/child_process.hpp"
#include "lb/supervisor/control_port.hpp"
#include "lb/supervisor/ticket_key_keeper.hpp"

namespace lb {

struct SupervisorOptions {
  ChildProgram generation_program{};  // the hidden subcommand
  SpawnChild spawn = spawn_child;
  std::string config_path{};
  std::string pid_file{};      // overrides the configuration's; empty: that one, or none
  std::string control_path{};  // likewise
  /// Where the control socket is when neither says so; empty: nowhere.
  std::function<std::string(const std::string& config_path)> default_control_path{};
  OpenControlPort open_control{};
  std::string log_path{};
  LogFormat log_format = LogFormat::text;
  bool log_colour = false;
  std::optional<std::string> access_log{};
  /// Where the last good configuration is kept over restarts; empty: nowhere.
  std::string last_good_path{};
  /// Start with it when the configuration file is bad.
  bool fallback_last_good = false;
  /// How long the keys of TLS session tickets seal.
  Duration ticket_keys_renewed_after = kTicketKeysRenewedAfter;
  std::uint64_t seed = 0;
  ReloadLimits limits{.probe_timeout = std::chrono::seconds{5}};
  std::string version{};
};

struct SupervisorResult {
  int code = 0;           // 0, or exit_code() of why it could not start
  std::string message{};  // why; several lines for an invalid configuration
};

/// Runs until told to stop. `log` is the supervisor's own.
SupervisorResult run_supervisor(SupervisorOptions options, EventLog& log);

}  // namespace lb
