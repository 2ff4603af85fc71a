// The messages between supervisor and generation. Plain values; encode() and decode_message() are in
// messages.cpp with the list of each message's fields. Descriptors travel beside the body, in the order
// given.
//
//   supervisor                         generation
//      | START ----------------------------> |   what to load: a path, or a text in a memory file
//      | <--------------------------- LOADED |   valid; where its pid file and control socket are to be
//      | PROCEED --------------------------> |   its number, the listening sockets held
//      | <---------------------------- READY |   serves; its new sockets and its exact configuration text
//      |   ... at any time before READY: FAILED, with the reason, and the generation exits ...
//      | SUCCESSOR (or DRAIN at the end) --> |   send further requests to the successor's backends, and drain
//      | <------------------------- DRAINING |   no worker accepts any more
//      | <-------------------------- CLIENTS |   idle client connections, for the successor: the supervisor
//      passes |                                     |   the same message on to it |
//      <-------------------------- DRAINED |   what became of the connections; the generation exits |
//      STATUS_REQUEST -------------------> | | <---------------------------- STATUS|
//
// A generation whose supervisor was killed offers the same channel to the next supervisor and opens it with
// HELLO, which says what READY said (see orphan.hpp).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lb/base/result.hpp"
#include "lb/config/diff.hpp"
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
  clients,
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
  std::string changes_error{};  // why there are none, when they could not be told
  friend bool operator==(const ReadyMessage&, const ReadyMessage&) = default;
};

/// Descriptor 0: the successor's configuration text.
struct SuccessorMessage {
  static constexpr auto kType = MessageType::successor;
  std::int64_t number = 0;
  std::uint64_t hash = 0;
  std::uint8_t format = 0;  // ConfigFormat of the text
  friend bool operator==(const SuccessorMessage&, const SuccessorMessage&) = default;
};

struct DrainMessage {
  static constexpr auto kType = MessageType::drain;
  bool for_exit = true;
  friend bool operator==(const DrainMessage&, const DrainMessage&) = default;
};

struct DrainingMessage {
  static constexpr auto kType = MessageType::draining;
  bool for_successor = false;  // answers SUCCESSOR; else DRAIN, or a signal
  std::int64_t successor = 0;
  std::string warning{};
  friend bool operator==(const DrainingMessage&, const DrainingMessage&) = default;
};

struct NamedCounter {
  std::string name{};
  std::uint64_t value = 0;
  friend bool operator==(const NamedCounter&, const NamedCounter&) = default;
};

struct DrainedMessage {
  static constexpr auto kType = MessageType::drained;
  std::uint64_t completed = 0;
  std::uint64_t closed_idle = 0;
  std::uint64_t force_closed = 0;
  std::uint64_t handed_over = 0;
  std::uint64_t duration_ms = 0;
  std::vector<NamedCounter> counters{};
  friend bool operator==(const DrainedMessage&, const DrainedMessage&) = default;
};

/// Descriptors: one for each of `requests`, which are idle client connections (HandedClient).
struct ClientsMessage {
  static constexpr auto kType = MessageType::clients;
  std::vector<std::uint64_t> requests{};
  std::vector<std::string> addresses{};  // as many, or none at all: pack_addresses of each
  friend bool operator==(const ClientsMessage&, const ClientsMessage&) = default;
};

struct StatusRequestMessage {
  static constexpr auto kType = MessageType::status_request;
  std::uint64_t token = 0;
  friend bool operator==(const StatusRequestMessage&, const StatusRequestMessage&) = default;
};

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
  friend bool operator==(const BackendEntry&, const BackendEntry&) = default;
};

struct StatusMessage {
  static constexpr auto kType = MessageType::status;
  std::uint64_t token = 0;
  std::vector<NamedCounter> counters{};
  std::uint64_t backends_total = 0;
  std::vector<BackendEntry> backends{};  // the first kStatusBackendsMax
  friend bool operator==(const StatusMessage&, const StatusMessage&) = default;
};
inline constexpr std::size_t kStatusBackendsMax = 1000;

/// Descriptors as with READY; `ready.opened` names all sockets it holds.
struct HelloMessage {
  static constexpr auto kType = MessageType::hello;
  std::int64_t number = 0;
  std::uint64_t pid = 0;
  ReadyMessage ready{};
  friend bool operator==(const HelloMessage&, const HelloMessage&) = default;
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
