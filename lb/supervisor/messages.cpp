#include "lb/supervisor/messages.hpp"

#include "lb/supervisor/codec.hpp"

namespace lb {

// Not in an unnamed namespace: the codec finds these by the namespace of the messages.
template <class A>
void fields(A& a, StartMessage& m) {
  a(m.seed, m.from_text, m.format, m.config_path, m.has_previous, m.previous_format, m.log_path, m.log_json,
    m.log_colour, m.override_access_log, m.access_log, m.ticket_keys);
}
template <class A>
void fields(A& a, LoadedMessage& m) {
  a(m.hash, m.pid_file, m.admin_socket);
}
template <class A>
void fields(A& a, ProceedMessage& m) {
  a(m.number, m.control_path, m.labels, m.state_slot, m.further_shards);
}
template <class A>
void fields(A& a, FailedMessage& m) {
  a(m.failure, m.reason);
}
template <class A>
void fields(A& a, PhaseDuration& m) {
  a(m.name, m.us);
}
template <class A>
void fields(A& a, ConfigChange& m) {
  a(m.kind, m.path, m.before, m.after, m.words);
}
template <class A>
void fields(A& a, ReloadRules& m) {
  a(m.watch, m.debounce_ms, m.probation_ms, m.requests_min, m.failure_increase_ppm);
}
template <class A>
void fields(A& a, ReadyMessage& m) {
  a(m.hash, m.endpoints, m.addresses, m.opened, m.backends, m.workers, m.drain_timeout_ms, m.warnings,
    m.phases, m.format, m.rules, m.changes, m.changes_total, m.changes_error, m.state_slot);
}
template <class A>
void fields(A& a, SuccessorMessage& m) {
  a(m.number, m.hash, m.format, m.park);
}
template <class A>
void fields(A& a, ResumeMessage& m) {
  a(m.labels);
}
template <class A>
void fields(A& a, ResumedMessage& m) {
  a(m.warning);
}
template <class A>
void fields(A& a, ReleaseMessage& m) {
  a(m.reason);
}
template <class A>
void fields(A& a, ProbeMessage& m) {
  a(m.timeout_ms);
}
template <class A>
void fields(A& a, ListenerProbe& m) {
  a(m.listener, m.ok, m.us, m.error);
}
template <class A>
void fields(A& a, ProbedMessage& m) {
  a(m.probes);
}
template <class A>
void fields(A& a, DrainMessage& m) {
  a(m.for_exit);
}
template <class A>
void fields(A& a, DrainingMessage& m) {
  a(m.for_successor, m.successor, m.warning, m.connections, m.tunnels, m.requests);
}
template <class A>
void fields(A& a, NamedCounter& m) {
  a(m.name, m.value);
}
template <class A>
void fields(A& a, ForceClosedEntry& m) {
  a(m.client, m.listener, m.backend, m.kind, m.age_ms);
}
template <class A>
void fields(A& a, DrainedMessage& m) {
  a(m.completed, m.closed_idle, m.force_closed, m.handed_over, m.duration_ms, m.moved_idle,
    m.moved_after_exchange, m.moved_upgrade_tunnels, m.moved_tcp_tunnels, m.moved_upstreams, m.refused,
    m.came_back, m.closed_removed, m.counters, m.connections_at_start, m.tunnels_at_start,
    m.requests_at_start, m.came, m.ended, m.forced);
}
template <class A>
void fields(A& a, PredecessorMessage& m) {
  a(m.number);
}
template <class A>
void fields(A& a, StatusRequestMessage& m) {
  a(m.token, m.census);
}
template <class A>
void fields(A& a, BackendEntry& m) {
  a(m.name, m.endpoint, m.requests, m.failures, m.in_flight, m.aside, m.resolved, m.standing, m.reason,
    m.checked, m.since_s, m.backup, m.share_percent, m.state_entry, m.latency_sum_us, m.latency);
}
template <class A>
void fields(A& a, ListenerCensusEntry& m) {
  a(m.endpoint, m.connections, m.busy, m.tunnels, m.tls);
}
template <class A>
void fields(A& a, BackendCensusEntry& m) {
  a(m.name, m.endpoint, m.requests, m.tunnels, m.tunnels_tls);
}
template <class A>
void fields(A& a, StatusMessage& m) {
  a(m.token, m.counters, m.backends_total, m.backends, m.has_census, m.census_listeners, m.census_backends);
}
template <class A>
void fields(A& a, HelloMessage& m) {
  a(m.number, m.pid, m.ready, m.ticket_keys, m.ledger);
}
template <class A>
void fields(A& a, TicketKeysMessage& m) {
  a(m.ring);
}
template <class A>
void fields(A& a, LedgerMessage& m) {
  a(m.records);
}

template <class M>
std::string encode(const M& message) {
  Encoder encoder;
  encoder(message);
  return encoder.take();
}

template <class M>
Result<M> decode(const ChannelMessage& message) {
  M value;
  Decoder decoder{message.body};
  if (message.type == static_cast<std::uint16_t>(M::kType)) decoder(value);
  if (message.type != static_cast<std::uint16_t>(M::kType) || !decoder.complete()) {
    return std::unexpected(
        Error{.fault = Fault::self,
              .message = "a malformed message of type " + std::to_string(message.type) + " on the channel"});
  }
  return value;
}

#define LB_MESSAGE(M)                    \
  template std::string encode(const M&); \
  template Result<M> decode(const ChannelMessage&)
LB_MESSAGE(StartMessage);
LB_MESSAGE(LoadedMessage);
LB_MESSAGE(ProceedMessage);
LB_MESSAGE(FailedMessage);
LB_MESSAGE(ReadyMessage);
LB_MESSAGE(SuccessorMessage);
LB_MESSAGE(DrainMessage);
LB_MESSAGE(DrainingMessage);
LB_MESSAGE(DrainedMessage);
LB_MESSAGE(StatusRequestMessage);
LB_MESSAGE(StatusMessage);
LB_MESSAGE(HelloMessage);
LB_MESSAGE(TicketKeysMessage);
LB_MESSAGE(PredecessorMessage);
LB_MESSAGE(LedgerMessage);
LB_MESSAGE(ResumeMessage);
LB_MESSAGE(ResumedMessage);
LB_MESSAGE(ReleaseMessage);
LB_MESSAGE(ProbeMessage);
LB_MESSAGE(ProbedMessage);
#undef LB_MESSAGE

}  // namespace lb
