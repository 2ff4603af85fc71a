// TrafficEngine's upgraded connections: messages out, their echo verified, an orderly end.
#include <algorithm>

#include "harness/traffic/payload.hpp"
#include "harness/traffic/traffic_engine.hpp"

namespace lb::traffic {

void TrafficEngine::begin_tunnel(Connection& c) {
  c.state = State::tunnel;
  if (is_flow(specs_[c.stream].kind)) return begin_flow(c);
  c.tunnel.key = payload_key(c.flights[c.first].record.nonce, Direction::request);
  const Nanos now = now_ns();
  c.tunnel.end_at = end_of_life(specs_[c.stream], clients_[c.client].random);
  arm(c, TimerKind::tunnel, now);
}

void TrafficEngine::tunnel_tick(Connection& c) {
  if (c.flow) return flow_tick(c);
  if (c.state != State::tunnel || c.tunnel.ending) return;
  const StreamSpec& spec = specs_[c.stream];
  Random& random = clients_[c.client].random;
  Tunnel& t = c.tunnel;
  const Nanos now = now_ns();
  if (now >= t.end_at) {
    t.ending = true;
    pump_write(c);  // a half close follows what is still to be written
    if (!c.closed && !spec.half_close && t.received == t.sent) tunnel_finish(c, Fate{});
    return;
  }
  arm(c, TimerKind::tunnel,
      std::min(t.end_at, now + std::max<Nanos>(spec.interval_ms.pick(random) * kMilli, kMicro)));
  if (c.out_sent < c.out.size()) return;  // the other side is slow: no pile of messages
  const std::uint64_t size = spec.message.pick(random);
  payload_append(c.out, t.key, t.sent, size);
  t.sent += size;
  pump_write(c);
}

void TrafficEngine::tunnel_bytes(Connection& c, std::string_view bytes) {
  if (c.flow) return flow_bytes(c, bytes);
  Tunnel& t = c.tunnel;
  if (t.received + bytes.size() > t.sent) {
    return tunnel_finish(c, Fate{Outcome::wrong_body, Phase::tunnel, 0, Detail::extra_bytes});
  }
  if (!payload_matches(bytes, t.key, t.received)) {
    return tunnel_finish(c, Fate{Outcome::wrong_body, Phase::tunnel, 0, Detail::byte_differs});
  }
  t.received += bytes.size();
  const bool drained = t.ending && t.received == t.sent;
  if (drained && !specs_[c.stream].half_close) tunnel_finish(c, Fate{});
}

/// The other side ended it. Only after our own half close, with everything echoed, is that as it should be.
void TrafficEngine::tunnel_end(Connection& c, int os_error) {
  const Tunnel& t = c.tunnel;
  if (c.flow) {
    const bool orderly = os_error == 0 && t.ending && c.flow->finished();
    return tunnel_finish(c, orderly ? Fate{} : classify_end(Phase::tunnel, os_error, false));
  }
  if (os_error == 0 && t.shut && t.received == t.sent) return tunnel_finish(c, Fate{});
  tunnel_finish(c, classify_end(Phase::tunnel, os_error, false));
}

void TrafficEngine::tunnel_finish(Connection& c, Fate fate) {
  Exchange& x = c.flights[c.first++];
  x.record.bytes = saturated<std::uint32_t>(c.flow ? c.flow->bytes_received() : c.tunnel.received);
  finish(c, x, fate);
  close_now(c);
  end_launch(c);
}

/// The answer's head is there: from now on numbered messages come, and with all but events go.
void TrafficEngine::begin_flow(Connection& c) {
  const StreamSpec& spec = specs_[c.stream];
  const FlowWire wire = spec.kind == Kind::websocket    ? FlowWire::websocket
                        : spec.kind == Kind::tcp_tunnel ? FlowWire::raw
                                                        : FlowWire::events;
  c.flow = std::make_unique<Flow>(wire, c.flights[c.first].record.nonce, true);
  // With a lifetime the backend ends the events.
  const bool until_stop = wire == FlowWire::events && t_stop_ == 0;
  c.tunnel.end_at = until_stop ? kNever : end_of_life(spec, clients_[c.client].random);
  if (!until_stop) arm(c, TimerKind::tunnel, now_ns());
}

void TrafficEngine::flow_tick(Connection& c) {
  if (c.tunnel.ending || c.first == c.flights.size()) return;
  const StreamSpec& spec = specs_[c.stream];
  Random& random = clients_[c.client].random;
  const Nanos now = now_ns();
  if (now >= c.tunnel.end_at) {
    c.tunnel.ending = true;
    // Whoever reads events has had enough at some time, and says so by leaving.
    if (spec.kind == Kind::events) return tunnel_finish(c, Fate{});
    c.flow->send_end(c.out);
    return pump_write(c);
  }
  arm(c, TimerKind::tunnel, std::min(c.tunnel.end_at, now + spec.interval_ms.pick(random) * kMilli));
  if (c.out_sent < c.out.size()) return;  // the other side is slow: no pile of messages
  c.flow->send(c.out, spec.message.pick(random));
  pump_write(c);
}

void TrafficEngine::flow_bytes(Connection& c, std::string_view bytes) {
  const Detail wrong = c.flow->receive(bytes, c.out);
  if (wrong != Detail::none) return tunnel_finish(c, Fate{Outcome::wrong_body, Phase::tunnel, 0, wrong});
  if (c.out_sent < c.out.size()) pump_write(c);
}

}  // namespace lb::traffic
