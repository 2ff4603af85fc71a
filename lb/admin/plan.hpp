// `lb plan`: what a reload with another configuration would do to a balancer that runs, worked out before
// anything happens: from the configuration that serves, the one that is to, and what is connected. Pure;
// nothing is opened, asked or changed here. As text for people, or as JSON (the keys are documented in
// lb/README.md).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lb/admin/text_style.hpp"
#include "lb/base/result.hpp"
#include "lb/config/config.hpp"
#include "lb/config/diff.hpp"

namespace lb {

/// What the balancer answered to {"cmd":"plan"}, as far as a plan needs it.
struct RunningState {
  struct Listener {
    std::string endpoint{};
    std::uint64_t connections = 0;
    std::uint64_t busy = 0;     // of these: with a request under way
    std::uint64_t tunnels = 0;  // of these
    std::uint64_t tls = 0;      // of those that are no tunnels
  };
  struct Backend {
    std::string name{};
    std::string endpoint{};
    std::uint64_t requests_1m = 0;
    std::uint64_t requests_5m = 0;
    std::uint64_t requests = 0;  // under way
    std::uint64_t tunnels = 0;
    std::uint64_t tunnels_tls = 0;
  };
  std::int64_t generation = 0;
  std::string config{};  // hash
  ConfigFormat format = ConfigFormat::json;
  std::string text{};
  bool live_known = false;  // else it did not answer in time what is connected
  std::vector<Listener> listeners{};
  std::vector<Backend> backends{};
  bool backends_cut = false;     // it has more of them than it tells of
  std::uint64_t observed_s = 0;  // the time that requests_5m is about, at most 300
  std::uint64_t requests_1m = 0;
  std::uint64_t requests_5m = 0;
  bool reload_in_flight = false;
};

/// Fails when it is no such answer: `message` says what to do.
Result<RunningState> parse_running_state(std::string_view line);

enum class PlanVerdict : std::uint8_t { nothing, safe, disruptive };

struct PlanListener {
  enum class Fate : std::uint8_t { stays, opened, closed, changed };
  Fate fate = Fate::stays;
  std::string endpoint{};
  std::uint64_t connections = 0;
  std::uint64_t busy = 0;
  std::uint64_t tunnels = 0;
  std::uint64_t tls = 0;
};

struct PlanBackend {
  enum class Fate : std::uint8_t { added, removed, reweighted, moved, changed };  // moved: to another address
  Fate fate = Fate::changed;
  std::string name{};
  std::string words{};  // what differs, or ""
  double share_1m = 0;  // of all requests of the last minute, 0 to 1
  double share_5m = 0;
  std::uint64_t requests_1m = 0;
  std::uint64_t requests_5m = 0;
  std::uint64_t requests = 0;  // under way now
  std::uint64_t tunnels = 0;   // with TLS on neither side
  std::uint64_t tunnels_tls = 0;
};

struct Plan {
  PlanVerdict verdict = PlanVerdict::nothing;
  std::vector<std::string> reasons{};  // why it is disruptive
  std::int64_t generation = 0;         // that it was compared with
  std::string config{};                // its hash
  std::string planned_config{};        // hash of the file
  std::vector<ConfigChange> changes{};
  bool live_known = false;
  bool reload_in_flight = false;
  bool backends_cut = false;
  std::uint64_t observed_s = 0;
  std::uint64_t requests_5m = 0;
  std::vector<PlanListener> listeners{};  // of the file's order, then those closed
  std::vector<PlanBackend> backends{};    // those that change: removed, changed, added
  std::uint64_t backends_kept = 0;
  std::optional<double> keys_moved{};  // share, 0 to 1; empty: no algorithm with keys, before and after
  std::string keys_words{};            // of which algorithm, or why all move
  // What becomes of the client connections of the running generation.
  std::uint64_t moves =
      0;  // plain text, between requests or behind the one under way: to the next generation
  std::uint64_t drains_tls = 0;        // with TLS: told to close behind their next response, or when quiet
  std::uint64_t tunnels_kept = 0;      // go on with the backend that they have
  std::uint64_t tunnels_drained = 0;   // go on until drain_timeout at most
  std::uint64_t tunnels_closed = 0;    // at the reload
  std::vector<std::string> restart{};  // changes that a reload does not take
};

/// `changes` is config_diff(running, planned).
Plan make_plan(const RunningState& state, const Config& running, const LoadedConfig& planned,
               std::vector<ConfigChange> changes);

/// Several lines, the last with its end.
std::string plan_text(const Plan& plan, const TextStyle& style);
/// One line without its end.
std::string plan_json(const Plan& plan);

/// 0 nothing changes, 1 safe, 3 disruptive.
int plan_exit_code(PlanVerdict verdict) noexcept;

}  // namespace lb
