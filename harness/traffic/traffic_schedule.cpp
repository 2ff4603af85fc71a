// TrafficEngine's clients: when each launches, and what the commands do to them.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "harness/traffic/traffic_engine.hpp"

namespace lb::traffic {
namespace {

// After a failure a client without a schedule waits: a target that refuses must not become a busy loop.
constexpr Nanos kConnectBackoff = 10 * kMilli;
constexpr Nanos kFailureBackoff = kMilli;
constexpr std::uint64_t kRaceReopenUsMax = 50'000;

Nanos interval_of(double rate) noexcept {
  return static_cast<Nanos>(1e9 / rate);
}

}  // namespace

void TrafficEngine::start(Nanos now) {
  if (started()) return;
  t_start_ = now;
  next_sweep_ = now;
  for (std::uint32_t i = 0; i < clients_.size(); ++i) {
    Client& client = clients_[i];
    const StreamSpec& spec = specs_[client.stream];
    if (spec.kind == Kind::halfopen) continue;
    Range spread{0, ramp_};
    if (spec.rate > 0) spread.high = std::max(spread.high, interval_of(spec.rate));
    client.next_due = now + spread.pick(client.random);
    set_timer(i, client.next_due);
  }
}

/// One last request on every idle connection: that it is answered proves that it was open to the end.
void TrafficEngine::wake_idle(Nanos now) {
  for (std::uint32_t i = 0; i < clients_.size() && started(); ++i) {
    Client& client = clients_[i];
    if (specs_[client.stream].kind != Kind::idle || client.outstanding > 0) continue;
    const Connection* c = connections_.get(client.connection);
    if (c != nullptr && c->state == State::open && may_launch(client)) launch(i, now);
  }
}

void TrafficEngine::stop(Nanos now) {
  if (t_stop_ != 0) return;
  wake_idle(now);
  t_stop_ = now;
  connections_.for_each([&](Connection& c, Handle) {
    if (c.state != State::tunnel && !c.flow && specs_[c.stream].kind != Kind::long_upload) return;
    c.tunnel.end_at = now;
    arm(c, TimerKind::tunnel, now);
  });
}

void TrafficEngine::pause(int stream, bool paused, Nanos now) {
  for (std::size_t i = 0; i < specs_.size(); ++i) {
    if (stream >= 0 && static_cast<std::size_t>(stream) != i) continue;
    if (paused_[i] == paused) continue;
    paused_[i] = paused;
    if (paused || !started() || specs_[i].kind == Kind::halfopen) continue;
    for (std::uint32_t k = first_client_[i]; k < first_client_[i + 1]; ++k) {
      Client& client = clients_[k];
      if (room(client) == 0) continue;
      if (specs_[i].kind == Kind::race && connections_.get(client.connection) != nullptr) continue;
      client.next_due = std::max(client.next_due, now);
      set_timer(k, client.next_due);
    }
  }
}

std::size_t TrafficEngine::fire(int stream, Nanos at, Nanos spread) {
  std::size_t armed = 0;
  for (std::uint32_t i = 0; i < clients_.size(); ++i) {
    Client& client = clients_[i];
    if (specs_[client.stream].kind != Kind::race || (stream >= 0 && client.stream != stream)) continue;
    const Connection* c = connections_.get(client.connection);
    if (c == nullptr || c->state != State::open || client.outstanding > 0 || !may_launch(client)) continue;
    client.next_due = at + Range{0, spread}.pick(client.random);
    set_timer(i, client.next_due);
    ++armed;
  }
  return armed;
}

std::size_t TrafficEngine::burst(int stream, std::uint32_t count, Nanos now) {
  std::size_t opened = 0;
  for (std::size_t i = 0; i < specs_.size(); ++i) {
    if (specs_[i].kind != Kind::halfopen || (stream >= 0 && static_cast<std::size_t>(stream) != i)) continue;
    if (!may_launch(clients_[first_client_[i]])) continue;
    const std::uint32_t n = count == 0 ? specs_[i].clients : count;
    for (std::uint32_t k = 0; k < n; ++k, ++opened) launch(first_client_[i], now);
  }
  return opened;
}

bool TrafficEngine::may_launch(const Client& client) const noexcept {
  return started() && t_stop_ == 0 && !paused_[client.stream] && !ledger_full();
}

/// How many more launches the client may have in flight.
std::uint32_t TrafficEngine::room(const Client& client) const noexcept {
  const StreamSpec& spec = specs_[client.stream];
  std::uint32_t limit = 1;
  if (spec.kind == Kind::new_connection && spec.rate > 0) limit = spec.max_in_flight;
  return client.outstanding < limit ? limit - client.outstanding : 0;
}

void TrafficEngine::set_timer(std::uint32_t client_index, Nanos at) {
  loop_.at(at, kClientToken | client_index, ++clients_[client_index].timer);
}

void TrafficEngine::on_client_timer(std::uint32_t client_index, std::uint32_t tag) {
  Client& client = clients_[client_index];
  if (tag != client.timer || !may_launch(client)) return;
  const StreamSpec& spec = specs_[client.stream];
  if (spec.rate <= 0 || spec.kind == Kind::race) {
    if (room(client) > 0) launch(client_index, client.next_due);
    return;
  }
  const Nanos interval = interval_of(spec.rate);
  while (room(client) > 0 && client.next_due <= now_ns() && may_launch(client)) {
    const Nanos due = client.next_due;
    client.next_due += interval;
    launch(client_index, due);
  }
  // Without room the end of a launch sets the timer again, and what was due keeps its time.
  if (room(client) > 0) set_timer(client_index, client.next_due);
}

/// The client's idle connection if a correct client may still send on it: looked at directly before.
TrafficEngine::Connection* TrafficEngine::usable_connection(Client& client) {
  Connection* c = connections_.get(client.connection);
  if (c == nullptr || c->state != State::open) return nullptr;
  char byte = 0;
  const ssize_t n = c->fd.recv(&byte, 1);
  if (n < 0 && errno == EAGAIN) return c;
  if (n > 0) {
    extra_bytes(*c);
  } else {
    ++counters_[c->stream].idle_closed;
    note_idle_close(*c);
    close_now(*c);
  }
  return nullptr;
}

void TrafficEngine::launch(std::uint32_t client_index, Nanos due) {
  Client& client = clients_[client_index];
  ++client.outstanding;
  Connection* c = specs_[client.stream].keeps_connection() ? usable_connection(client) : nullptr;
  if (c == nullptr) return open_connection(client_index, due);
  add_exchange(*c, due);
  send_requests(*c);
}

/// All exchanges of a launch have their fate, the last one `last`.
void TrafficEngine::launch_done(std::uint32_t client_index, Outcome last) {
  Client& client = clients_[client_index];
  const StreamSpec& spec = specs_[client.stream];
  --client.outstanding;
  if (spec.kind == Kind::halfopen || !may_launch(client)) return;
  const Nanos now = now_ns();
  if (spec.kind == Kind::race) {
    // An idle connection waits for the next fire; a lost one is opened again, with a first request.
    if (connections_.get(client.connection) != nullptr) return;
    client.next_due = now + Range{0, kRaceReopenUsMax}.pick(client.random) * kMicro;
    return set_timer(client_index, client.next_due);
  }
  if (spec.rate > 0) return set_timer(client_index, client.next_due);
  client.next_due = now + spec.think_us.pick(client.random) * kMicro;
  if (last == Outcome::refused || last == Outcome::local_error || last == Outcome::connect_timeout) {
    client.next_due = std::max(client.next_due, now + kConnectBackoff);
  } else if (is_drop(last)) {
    client.next_due = std::max(client.next_due, now + kFailureBackoff);
  }
  Connection* c = connections_.get(client.connection);
  if (client.next_due > now || c == nullptr || c->state != State::open)
    return set_timer(client_index, client.next_due);
  // Flat out: the answer was read a moment ago, to its end; no look is needed and none is paid for.
  ++client.outstanding;
  add_exchange(*c, now);
  send_requests(*c);
}

}  // namespace lb::traffic
