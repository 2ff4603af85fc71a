// RollbackPolicy: decides when a configuration that serves has proved good, when the balancer must go back to
// the last one that did, and which files are not worth trying again. Exercise 10.3 is to write one. Pure: events
// in, a decision out; no system calls, no clock (time is in the events). Owned by the supervisor, which carries
// the decisions out; one thread.
//
//   nothing serves --ConfigServing--> PROBATION --probation over-----------------------> PROVEN (Action::prove)
//                                      |   |  \--ServingDied, or worse than before--> roll back (Action::roll_back)
//                                      |   \--ConfigServing (another one): judged no more, neither good nor failed
//                                      \--nothing ever proved good: there is nothing to go back to (Action::none)
//
// A configuration is known by the hash of its text, never by the file's name or time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "lb/base/time.hpp"

namespace lb {

using ConfigHash = std::uint64_t;

struct RollbackLimits {
  Duration probation = std::chrono::seconds{10};  // serving this long without a reason against it proves it
  std::uint64_t requests_min = 50;                // of one backend: fewer say nothing about it
  double failure_increase = 0.10;                 // share of failed requests, 0..1: more than this above before is worse
  std::size_t failed_max = 32;                    // failed configurations remembered; the oldest is forgotten first
};

// ---- events, in the order of time; `now` never goes back ----

/// A generation with this configuration is ready and serves; what served before does no more.
struct ConfigServing {
  Instant now{};
  ConfigHash config = 0;
};

/// Requests of one backend, and how many of them failed: no answer, a cut one, or a 5xx of its own.
struct RequestCount {
  std::uint64_t requests = 0;
  std::uint64_t failures = 0;
  friend bool operator==(const RequestCount&, const RequestCount&) = default;
};
struct BackendSample {
  std::string name{};
  /// With the configuration before, in the time before this one served; nothing for a backend that is new.
  RequestCount before{};
  /// Since this configuration serves, and still with connections of the one before: an outage hits both.
  RequestCount meanwhile_old{};
  RequestCount after{};
};
/// Totals since `config` began to serve, not since the last sample. Of another configuration than the one that
/// serves (late): ignored.
struct TrafficSample {
  Instant now{};
  ConfigHash config = 0;
  std::vector<BackendSample> backends{};
};

/// The serving generation died. The balancer starts the last proven configuration again by itself, and answers
/// Action::roll_back only by noting the reason; without a proven one it starts the same configuration again.
struct ServingDied {
  Instant now{};
  ConfigHash config = 0;
  std::string reason{};
};

/// A configuration was asked for and never served: not valid, or its generation did not become ready.
struct ConfigRejected {
  Instant now{};
  ConfigHash config = 0;
  std::string reason{};
};

/// The end of a roll_back that was decided. Applied: ConfigServing with `to` has come before it.
struct RollbackEnded {
  Instant now{};
  bool applied = false;
};

/// next_deadline() has come.
struct ProbationTick {
  Instant now{};
};

using RollbackEvent =
    std::variant<ConfigServing, TrafficSample, ServingDied, ConfigRejected, RollbackEnded, ProbationTick>;

struct RollbackDecision {
  enum class Action : std::uint8_t { none, prove, roll_back };
  Action action = Action::none;
  ConfigHash config = 0;  // prove: the one that proved good. roll_back: the one to go back to
  std::string reason{};   // roll_back: why, for the operator: names the backend and the figures; else empty
  friend bool operator==(const RollbackDecision&, const RollbackDecision&) = default;
};

class RollbackPolicy {
 public:
  virtual ~RollbackPolicy() = default;

  /// At most one roll_back is under way: from its decision until RollbackEnded nothing but none is decided. A
  /// roll_back that was not applied is not decided again for the same serving configuration.
  virtual RollbackDecision on_event(const RollbackEvent& event) = 0;

  /// When a ProbationTick is due; kNever without a probation.
  [[nodiscard]] virtual Instant next_deadline() const = 0;

  /// The last configuration that proved good; empty until one has.
  [[nodiscard]] virtual std::optional<ConfigHash> proven() const = 0;

  /// Whether a change that no operator asked for (the watcher's) may be tried: false for a configuration that
  /// failed, until it is forgotten or, asked for by hand, has proved good after all.
  [[nodiscard]] virtual bool may_try(ConfigHash config) const = 0;
};

/// Throws NotImplemented where there is none.
std::unique_ptr<RollbackPolicy> make_rollback_policy(RollbackLimits limits);

}  // namespace lb
