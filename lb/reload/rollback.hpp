// RollbackPolicy: decides when a configuration that serves has proved good, when the balancer must go back to
// the last one that did, and which files are not worth trying again. Exercise 10.3 is to write one. Pure:
// events in, a decision out; no system calls, no clock (time is in the events). Owned by the supervisor,
// which carries the decisions out; one thread.
//
//                           ProbationTick, its time is over
//   nothing  ConfigServing  .---------------------------------> PROVEN  (Action::prove)
//   serves --------------> PROBATION
//     ^                     | |  '-- TrafficSample, worse ----> FAILED  (Action::roll_back)
//     |                     | |
//     |                     | '----- ConfigServing -----------> another PROBATION; PROVEN if it is the last
//     |                     |        proven one. The one before is judged no more: neither good nor failed
//     '----- ServingDied ---'
//       FAILED (Action::roll_back; Action::none where nothing ever proved good)
//
// ServingDied and ConfigServing lead out of PROVEN and FAILED in the same way, but there they decide nothing:
// only a probation can fail. A configuration is known by the hash of its text, never by the file's name or
// time; every value of the hash is an ordinary one, also 0.
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
  std::uint64_t requests_min = 50;  // of one backend: fewer say nothing about it; exactly so many do
  double failure_increase = 0.10;   // share of failed requests, 0..1: more than this above before is worse
  std::size_t failed_max = 32;      // failed configurations remembered; 0: none
};

// ---- events, in the order of time; `now` never goes back, and several may have the same `now` ----
// An event that does not fit (late, twice, of a configuration that does not serve) changes and decides
// nothing.

/// A generation with this configuration is ready and serves; what served before does no more. Begins a
/// probation of full length, also for a configuration that failed earlier, that is in its probation just now,
/// or that proved good once but not as the last one. The last proven configuration has no probation again:
/// nothing that is sampled can be a reason against it, and when it dies it is started again.
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
/// Totals since `config` began to serve, not since the last sample. Of another configuration than the one
/// that serves (late): ignored.
///
/// A configuration is worse than before when one of its backends is: its `after` has at least requests_min
/// requests, and
///   share(after) > max(share(before), share(meanwhile_old)) + failure_increase,
/// where share is failures / requests, and 0 for a count of fewer than requests_min requests (or of none). So
/// a new backend, and one of which too little is known, is compared with one that never fails. Exactly at the
/// limit is not worse; arithmetic in double will do. Of several worse backends the first one is named.
///
/// While nothing has ever proved good a sample says nothing: there is no better place to go, and a
/// configuration that at least serves is worth going back to later.
struct TrafficSample {
  Instant now{};
  ConfigHash config = 0;
  std::vector<BackendSample> backends{};
};

/// The serving generation died: nothing serves until the next ConfigServing. In its probation the
/// configuration has failed by this, also when nothing else has ever proved good. The balancer starts the
/// last proven configuration again by itself, and answers Action::roll_back only by noting the reason (so
/// this roll_back is not under way afterwards, and has no RollbackEnded); without a proven one it starts the
/// same configuration again.
struct ServingDied {
  Instant now{};
  ConfigHash config = 0;
  std::string reason{};
};

/// A configuration was asked for and never served: not valid, or its generation did not become ready. It
/// failed (unless it is the last proven one, against which this says nothing). What serves, and its
/// probation, are not touched, even if it is the same configuration.
struct ConfigRejected {
  Instant now{};
  ConfigHash config = 0;
  std::string reason{};
};

/// The end of a roll_back that a TrafficSample was answered with; exactly one follows each of them. Applied:
/// ConfigServing with the configuration to go back to has come before it.
struct RollbackEnded {
  Instant now{};
  bool applied = false;
};

/// next_deadline() has come. Only this event proves a configuration: whatever comes before it is still
/// judged, even a sample or a death at the same instant or later. Before the deadline: ignored.
struct ProbationTick {
  Instant now{};
};

using RollbackEvent =
    std::variant<ConfigServing, TrafficSample, ServingDied, ConfigRejected, RollbackEnded, ProbationTick>;

struct RollbackDecision {
  enum class Action : std::uint8_t { none, prove, roll_back };
  Action action = Action::none;
  /// prove: the one that proved good. roll_back: the one to go back to, which is always proven(). none: 0.
  ConfigHash config = 0;
  /// roll_back: why, for the operator. After a sample it has the backend's name and the two numbers of its
  /// `after`, in decimal; after a death the event's reason. Else empty.
  std::string reason{};
  friend bool operator==(const RollbackDecision&, const RollbackDecision&) = default;
};

class RollbackPolicy {
 public:
  virtual ~RollbackPolicy() = default;

  /// At most one roll_back is under way: from its decision (after a sample) until RollbackEnded nothing but
  /// none is decided. In that time samples and ticks are ignored; ConfigServing begins a probation as ever,
  /// and a death in it is a failure. A configuration that was found worse is judged no more, whether the
  /// roll_back was applied or not: neither rolled back again nor proven, until it serves anew.
  virtual RollbackDecision on_event(const RollbackEvent& event) = 0;

  /// When a ProbationTick is due: the beginning of the probation plus its length. kNever without a probation,
  /// and while a roll_back is under way. A deadline that passed while one was under way is due at once after
  /// its end.
  [[nodiscard]] virtual Instant next_deadline() const = 0;

  /// The last configuration that proved good; empty until one has.
  [[nodiscard]] virtual std::optional<ConfigHash> proven() const = 0;

  /// Whether a change that no operator asked for (the watcher's) may be tried: false for a configuration that
  /// failed, until it is forgotten or, asked for by hand, has proved good after all. Of more than failed_max
  /// the one that failed longest ago is forgotten; failing again makes a configuration the newest.
  [[nodiscard]] virtual bool may_try(ConfigHash config) const = 0;
};

/// Throws NotImplemented where there is none.
std::unique_ptr<RollbackPolicy> make_rollback_policy(RollbackLimits limits);

}  // namespace lb
