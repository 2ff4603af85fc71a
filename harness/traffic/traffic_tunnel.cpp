// TrafficEngine's upgraded connections: messages out, their echo verified, an orderly end.
#include <algorithm>

#include "harness/traffic/payload.hpp"
#include "harness/traffic/traffic_engine.hpp"

namespace lb::traffic {

void TrafficEngine::begin_tunnel(Connection& c) {
  const StreamSpec& spec = specs_[c.stream];
  c.state = State::tunnel;
  c.tunnel.key = payload_key(c.flights[c.first].record.nonce, Direction::request);
  const Nanos now = now_ns();
  c.tunnel.end_at = t_stop_ != 0 ? now : now + spec.lifetime_ms.pick(clients_[c.client].random) * kMilli;
  arm(c, TimerKind::tunnel, now);
}

void TrafficEngine::tunnel_tick(Connection& c) {
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
  if (os_error == 0 && t.shut && t.received == t.sent) return tunnel_finish(c, Fate{});
  tunnel_finish(c, classify_end(Phase::tunnel, os_error, false));
}

void TrafficEngine::tunnel_finish(Connection& c, Fate fate) {
  Exchange& x = c.flights[c.first++];
  x.record.bytes = saturated<std::uint32_t>(c.tunnel.received);
  finish(c, x, fate);
  close_now(c);
  end_launch(c);
}

}  // namespace lb::traffic
