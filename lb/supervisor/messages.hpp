// The messages between supervisor and generation. Plain values; encode() and decode_message() are in
// messages.cpp with the list of each message's fields. Descriptors travel beside the body, in the order
// given.
//
//   supervisor                         generation
//      | START ----------------------------> |   what to load: a path, or a text in a memory file
//      | <--------------------------- LOADED |   valid; where its pid file and control socket are to be
//      | PROCEED --------------------------> |   its number, the listening sockets held
//      | <---------------------------- READY |   serves; its new sockets and its exact configuration text
//      | PROBE ----------------------------> |   connect to your own listeners
//      | <--------------------------- PROBED |   who accepted that
//      |   ... at any time before READY: FAILED, with the reason, and the generation exits ...
//      | SUCCESSOR (or DRAIN at the end) --> |   send further requests to the successor's backends, and drain
//      | <------------------------- DRAINING |   no worker accepts any more
//      | <-------------------------- DRAINED |   what became of the connections; it exits, unless parked
//      | PREDECESSOR ----------------------> |   to the successor: connections come from that generation
//      | TICKET_KEYS ----------------------> |   the keys of TLS sessions have been renewed
//      | LEDGER ---------------------------> |   to be kept for the next supervisor
//      | STATUS_REQUEST -------------------> |
//      | <--------------------------- STATUS |
//
// SUCCESSOR and PREDECESSOR bring the two ends of one socket, over which the old generation hands its live
// connections to the new one without the supervisor (handoff_link.hpp): the supervisor never holds any.
//
// A generation whose supervisor was killed offers the same channel to the next supervisor and opens it with
// HELLO, which says what READY said (see orphan.hpp).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lb/base/result.hpp"
#include "lb/config/diff.hpp"
#include "lb/proxy/self_probe.hpp"
#include "lb/supervisor/channel.hpp"

namespace lb {

enum class MessageType : std::uint16_t {
  start = 1,
  loaded,
  proceed,
  failed,
  ready,
  successor,
  drain,
  draining,
  drained,
  status_request,
  status,
  hello,
  predecessor,
  ticket_keys,
  ledger,
  resume,
  resumed,
  release,
  probe,
  probed,
};

struct StartMessage {
  static constexpr auto kType = MessageType::start;
  std::uint64_t seed = 0;
  bool from_text = false;     // the configuration is descriptor 0, else the file at config_path
  std::uint8_t format = 0;    // ConfigFormat of that text
  std::string config_path{};  // as the operator gave it; names the file in errors either way
  /// The last descriptor is the text of the configuration that serves now, to compare with.
  bool has_previous = false;
  std::uint8_t previous_format = 0;
  std::string log_path{};
  bool log_json = false;
  bool log_colour = false;
  bool override_access_log = false;
  std::string access_log{};
  std::string ticket_keys{};  // of TLS sessions, the newest first (tls/ticket_keys.hpp); in memory only
  friend bool operator==(const StartMessage&, const StartMessage&) = default;
};

struct LoadedMessage {
  static constexpr auto kType = MessageType::loaded;
  std::uint64_t hash = 0;
  std::string pid_file{};
  std::string admin_socket{};
  friend bool operator==(const LoadedMessage&, const LoadedMessage&) = default;
};

struct ProceedMessage {
  static constexpr auto kType = MessageType::proceed;
  std::int64_t number = 0;
  std::string control_path{};
  /// One a descriptor: the endpoint it was opened for; empty for a socket of systemd's not yet claimed.
  std::vector<std::string> labels{};
  /// Its place in the shared state, which is one more descriptor, the last; negative: it shares none. Not in
  /// START: a new supervisor may take over the state of a former one between START and PROCEED.
  std::int64_t state_slot = -1;
  /// Whether it may open more shards of an endpoint that it is given some of. Not what is started again
  /// beside a reload: that has been given the sockets held, and would leave the further ones unpolled.
  bool further_shards = true;
  friend bool operator==(const ProceedMessage&, const ProceedMessage&) = default;
};

struct FailedMessage {
  static constexpr auto kType = MessageType::failed;
  std::uint8_t failure = 0;  // StartFailure
  std::string reason{};
  friend bool operator==(const FailedMessage&, const FailedMessage&) = default;
};

struct PhaseDuration {
  std::string name{};
  std::uint64_t us = 0;
  friend bool operator==(const PhaseDuration&, const PhaseDuration&) = default;
};

inline constexpr std::size_t kChangesMax = 200;           // of one reload; further ones are counted
inline constexpr std::size_t kChangeTextBytesMax = 2048;  // of each text of a change; longer ones are cut

/// What the configuration says about reloads (ReloadConfig), for the supervisor, which parses none.
struct ReloadRules {
  bool watch = false;
  std::uint64_t debounce_ms = 0;
  std::uint64_t probation_ms = 0;
  std::uint64_t requests_min = 0;
  std::uint64_t failure_increase_ppm = 0;  // millionths
  friend bool operator==(const ReloadRules&, const ReloadRules&) = default;
};

/// Descriptors: 0 the configuration's text, then one for each of `opened`.
struct ReadyMessage {
  static constexpr auto kType = MessageType::ready;
  std::uint64_t hash = 0;
  std::vector<std::string> endpoints{};  // all it listens on
  std::vector<std::string> addresses{};  // their actual addresses, in the same order
  std::vector<std::string> opened{};     // the endpoint of each socket that it opened itself
  std::uint64_t backends = 0;
  std::uint64_t workers = 0;
  std::uint64_t drain_timeout_ms = 0;
  std::vector<std::string> warnings{};
  std::vector<PhaseDuration> phases{};
  std::uint8_t format = 0;  // ConfigFormat of the text
  ReloadRules rules{};
  std::vector<ConfigChange> changes{};  // against START's previous configuration; the first kChangesMax
  std::uint64_t changes_total = 0;
  std::string changes_error{};   // why there are none, when they could not be told
  std::int64_t state_slot = -1;  // its place in the shared state; negative: it shares none
  friend bool operator==(const ReadyMessage&, const ReadyMessage&) = default;
};

/// Descriptor 0: the successor's configuration text; 1, if there: the socket to it (handoff_link.hpp).
struct SuccessorMessage {
  static constexpr auto kType = MessageType::successor;
  std::int64_t number = 0;
  std::uint64_t hash = 0;
  std::uint8_t format = 0;  // ConfigFormat of the text
  bool park = false;        // stay when drained, until RESUME or RELEASE
  friend bool operator==(const SuccessorMessage&, const SuccessorMessage&) = default;
};

struct DrainMessage {
  static constexpr auto kType = MessageType::drain;
  bool for_exit = true;
  friend bool operator==(const DrainMessage&, const DrainMessage&) = default;
};

/// To a parked generation: accept again, with your own backends. Descriptors as with PROCEED: further shards
/// of its endpoints may have been opened since.
struct ResumeMessage {
  static constexpr auto kType = MessageType::resume;
  std::vector<std::string> labels{};
  friend bool operator==(const ResumeMessage&, const ResumeMessage&) = default;
};
struct ResumedMessage {
  static constexpr auto kType = MessageType::resumed;
  std::string warning{};
  friend bool operator==(const ResumedMessage&, const ResumedMessage&) = default;
};

/// To a parked generation: drain what is left and exit. Answered with DRAINING.
struct ReleaseMessage {
  static constexpr auto kType = MessageType::release;
  std::string reason{};
  friend bool operator==(const ReleaseMessage&, const ReleaseMessage&) = default;
};

/// Connect to each of your own listeners, and see who accepts that.
struct ProbeMessage {
  static constexpr auto kType = MessageType::probe;
  std::uint64_t timeout_ms = 0;
  friend bool operator==(const ProbeMessage&, const ProbeMessage&) = default;
};
struct ProbedMessage {
  static constexpr auto kType = MessageType::probed;
  std::vector<ListenerProbe> probes{};  // one a listener
  friend bool operator==(const ProbedMessage&, const ProbedMessage&) = default;
};

struct DrainingMessage {
  static constexpr auto kType = MessageType::draining;
  bool for_successor = false;  // answers SUCCESSOR; else DRAIN, or a signal
  std::int64_t successor = 0;
  std::string warning{};
  std::uint64_t connections = 0;  // open when the drain began, of these `tunnels`
  std::uint64_t tunnels = 0;
  std::uint64_t requests = 0;  // under way then, tunnels among them
  friend bool operator==(const DrainingMessage&, const DrainingMessage&) = default;
};

struct NamedCounter {
  std::string name{};
  std::uint64_t value = 0;
  friend bool operator==(const NamedCounter&, const NamedCounter&) = default;
};

/// See lb/proxy/census.hpp.
struct ForceClosedEntry {
  std::string client{};
  std::string listener{};
  std::string backend{};
  std::string kind{};
  std::uint64_t age_ms = 0;
  friend bool operator==(const ForceClosedEntry&, const ForceClosedEntry&) = default;
};

/// DrainReport, and all that the generation counted.
struct DrainedMessage {
  static constexpr auto kType = MessageType::drained;
  std::uint64_t completed = 0;
  std::uint64_t closed_idle = 0;
  std::uint64_t force_closed = 0;
  std::uint64_t handed_over = 0;
  std::uint64_t duration_ms = 0;
  // What of `handed_over` and beside it went to the successor, by kind (HandoffCounts).
  std::uint64_t moved_idle = 0;
  std::uint64_t moved_after_exchange = 0;
  std::uint64_t moved_upgrade_tunnels = 0;
  std::uint64_t moved_tcp_tunnels = 0;
  std::uint64_t moved_upstreams = 0;
  std::uint64_t refused = 0;         // by the successor; they drained here
  std::uint64_t came_back = 0;       // offered in vain
  std::uint64_t closed_removed = 0;  // tunnels whose backend was removed (on_removal)
  std::vector<NamedCounter> counters{};
  std::uint64_t connections_at_start = 0;
  std::uint64_t tunnels_at_start = 0;
  std::uint64_t requests_at_start = 0;
  std::uint64_t came = 0;
  std::uint64_t ended = 0;
  std::vector<ForceClosedEntry> forced{};
  friend bool operator==(const DrainedMessage&, const DrainedMessage&) = default;
};

/// To the successor. Descriptor 0: the socket to generation `number`, which hands over (handoff_link.hpp).
struct PredecessorMessage {
  static constexpr auto kType = MessageType::predecessor;
  std::int64_t number = 0;
  friend bool operator==(const PredecessorMessage&, const PredecessorMessage&) = default;
};

struct StatusRequestMessage {
  static constexpr auto kType = MessageType::status_request;
  std::uint64_t token = 0;
  bool census = false;  // what is connected is asked for too
  friend bool operator==(const StatusRequestMessage&, const StatusRequestMessage&) = default;
};

inline constexpr std::uint64_t kNoStateEntry = ~std::uint64_t{0};

/// What is counted is of this generation, `state_entry` leads to the totals.
struct BackendEntry {
  std::string name{};
  std::string endpoint{};
  std::uint64_t requests = 0;
  std::uint64_t failures = 0;
  std::uint64_t in_flight = 0;
  bool aside = false;
  bool resolved = true;
  std::string standing{};  // see Proxy::BackendStatus
  std::string reason{};
  bool checked = false;       // by health checks; then
  std::uint64_t since_s = 0;  // they have said the same for so long
  bool backup = false;
  std::uint64_t share_percent = 100;  // of its weight: less in slow start
  std::uint64_t state_entry = kNoStateEntry;
  std::uint64_t latency_sum_us = 0;      // of those requests that were answered
  std::vector<std::uint64_t> latency{};  // how many took how long: kLatencyBuckets, see BackendCounts
  friend bool operator==(const BackendEntry&, const BackendEntry&) = default;
};

/// See lb/proxy/census.hpp for these two.
struct ListenerCensusEntry {
  std::string endpoint{};
  std::uint64_t connections = 0;
  std::uint64_t busy = 0;
  std::uint64_t tunnels = 0;
  std::uint64_t tls = 0;
  friend bool operator==(const ListenerCensusEntry&, const ListenerCensusEntry&) = default;
};
struct BackendCensusEntry {
  std::string name{};
  std::string endpoint{};
  std::uint64_t requests = 0;
  std::uint64_t tunnels = 0;
  std::uint64_t tunnels_tls = 0;
  friend bool operator==(const BackendCensusEntry&, const BackendCensusEntry&) = default;
};

struct StatusMessage {
  static constexpr auto kType = MessageType::status;
  std::uint64_t token = 0;
  std::vector<NamedCounter> counters{};
  std::uint64_t backends_total = 0;
  std::vector<BackendEntry> backends{};  // the first kStatusBackendsMax
  bool has_census = false;               // then what is connected, where anything is
  std::vector<ListenerCensusEntry> census_listeners{};
  std::vector<BackendCensusEntry> census_backends{};
  friend bool operator==(const StatusMessage&, const StatusMessage&) = default;
};
inline constexpr std::size_t kStatusBackendsMax = 1000;

/// To the generation that serves: what is remembered of reloads, a JSON array. It keeps that for the case
/// that its supervisor is killed, and gives it to the next one.
struct LedgerMessage {
  static constexpr auto kType = MessageType::ledger;
  std::string records{};
  friend bool operator==(const LedgerMessage&, const LedgerMessage&) = default;
};

/// Descriptors as with READY, but the shared state behind the text if it shares one; `ready.opened` names all
/// sockets it holds.
struct HelloMessage {
  static constexpr auto kType = MessageType::hello;
  std::int64_t number = 0;
  std::uint64_t pid = 0;
  ReadyMessage ready{};
  std::string ticket_keys{};  // the ring that it uses
  std::string ledger{};       // of the last LEDGER
  friend bool operator==(const HelloMessage&, const HelloMessage&) = default;
};

/// To every generation that is ready: the ring of keys from now on.
struct TicketKeysMessage {
  static constexpr auto kType = MessageType::ticket_keys;
  std::string ring{};  // as StartMessage::ticket_keys
  friend bool operator==(const TicketKeysMessage&, const TicketKeysMessage&) = default;
};

template <class M>
std::string encode(const M& message);

/// Fails when the type is another, a field is missing or cut, or bytes are left over.
template <class M>
Result<M> decode(const ChannelMessage& message);

template <class M>
Result<void> send_message(Channel& channel, const M& message, std::span<const int> fds = {}) {
  return channel.send(static_cast<std::uint16_t>(M::kType), encode(message), fds);
}

}  // namespace lb
