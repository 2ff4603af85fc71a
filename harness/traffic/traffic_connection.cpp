// TrafficEngine's connections: opening, sending requests, timeouts.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "harness/traffic/payload.hpp"
#include "harness/traffic/traffic_engine.hpp"

namespace lb::traffic {
namespace {

constexpr std::uint64_t kWholeBodyMax = 64U << 10U;
constexpr std::uint64_t kFillBytes = 64U << 10U;
constexpr int kSlowClientBuffer = 16 << 10;
constexpr Nanos kPace = 20 * kMilli;
constexpr Nanos kSweepEvery = 100 * kMilli;
constexpr Nanos kUnixRetry = 5 * kMilli;
constexpr Nanos kClosingTime = kSecond;
constexpr Nanos kContinueTime = kSecond;

void append_number(std::string& out, std::uint64_t n) {
  char text[20];
  int at = 20;
  do {
    text[--at] = static_cast<char>('0' + n % 10);
    n /= 10;
  } while (n > 0);
  out.append(text + at, static_cast<std::size_t>(20 - at));
}

void append_hex(std::string& out, std::uint64_t n) {
  constexpr char kDigits[] = "0123456789abcdef";
  char text[16];
  int at = 16;
  for (; n > 0; n >>= 4U) text[--at] = kDigits[n & 0xfU];
  out.append(text + at, static_cast<std::size_t>(16 - at));
}

void append_range(std::string& out, const char* key, Range range) {
  out += key;
  append_number(out, range.low);
  out += '-';
  append_number(out, range.high);
}

/// What the backend's side of the conversation is to be like.
void append_flow_query(std::string& out, const StreamSpec& spec) {
  append_range(out, "&flow_ms=", spec.peer_interval_ms);
  append_range(out, "&flow_bytes=", spec.peer_message);
  if (spec.kind != Kind::events) return;
  append_range(out, "&events=1&life_ms=", spec.lifetime_ms);
}

bool is_idempotent(std::string_view method) noexcept {
  return method != "POST" && method != "PATCH";
}

}  // namespace

void TrafficEngine::open_connection(std::uint32_t client_index, Nanos due) {
  Client& client = clients_[client_index];
  const StreamSpec& spec = specs_[client.stream];
  auto [c, handle] = connections_.emplace();
  LB_ASSERT(c != nullptr);
  c->handle = handle;
  c->id = next_id_++;
  c->client = client_index;
  c->stream = client.stream;
  c->requests_max = spec.per_connection.pick(client.random);
  const auto& targets = stream_targets_[client.stream];
  c->target = targets[c->id % targets.size()];
  ++counters_[c->stream].connections;
  if (spec.keeps_connection()) client.connection = handle;
  c->t_connect_begin = c->progress = now_ns();
  add_exchange(*c, due);
  try_connect(*c);
}

void TrafficEngine::try_connect(Connection& c) {
  const StreamSpec& spec = specs_[c.stream];
  const int source = sources_ > 1 ? static_cast<int>(c.id % static_cast<std::uint32_t>(sources_)) : -1;
  Connecting made = connect_to(*c.target, source, spec.slow_client ? kSlowClientBuffer : 0);
  if (made.os_error == EAGAIN) {
    // A Unix socket whose queue is full does not queue the caller: ask again until the connect timeout.
    return arm(c, TimerKind::connect, now_ns() + kUnixRetry);
  }
  if (made.os_error != 0 && made.os_error != EINPROGRESS) {
    return fail_all(c, classify_connect(made.os_error));
  }
  c.fd = Channel(std::move(made.fd));
  if (!loop_.watch_edges(c.fd.get(), token_of(c.handle))) return fail_all(c, classify_connect(ENOBUFS));
  if (made.os_error == 0) on_connected(c);
}

void TrafficEngine::on_connected(Connection& c) {
  const StreamSpec& spec = specs_[c.stream];
  c.t_connected = c.progress = now_ns();
  c.local_port = local_port(c.fd.get());
  c.state = State::open;
  if (spec.tls) {
    Client& client = clients_[c.client];
    if (!c.fd.begin_client(tls_[c.stream].get(), spec.tls_name, client.session.get()))
      return fail_all(c, classify_connect(ENOBUFS));
  }
  c.out += spec.preface;
  if (spec.send_after_ms.high > 0) {
    c.progress += spec.send_after_ms.pick(clients_[c.client].random) * kMilli;  // nothing can move before
    return arm(c, TimerKind::send_after, c.progress);
  }
  send_requests(c);
}

/// When a long-lived one that begins now is to end.
Nanos TrafficEngine::end_of_life(const StreamSpec& spec, Random& random) const {
  const Nanos now = now_ns();
  if (t_stop_ != 0) return now;
  const std::uint64_t life = spec.lifetime_ms.pick(random);
  return life == 0 && is_long_lived(spec.kind) ? kNever : now + life * kMilli;
}

TrafficEngine::Exchange& TrafficEngine::add_exchange(Connection& c, Nanos due) {
  const StreamSpec& spec = specs_[c.stream];
  Random& random = clients_[c.client].random;
  if (c.first == c.flights.size()) {
    c.flights.clear();
    c.first = 0;
  }
  c.batch_open = true;
  Exchange& x = c.flights.emplace_back();
  // A bijection of (seed, counter): no nonce comes twice in a run, and runs do not resemble each other.
  x.record.nonce = mix64(mix64(seed_) + ++next_nonce_);
  if (x.record.nonce == 0) x.record.nonce = mix64(mix64(seed_) + ++next_nonce_);
  x.record.t_due = due;
  x.record.connection = c.id;
  x.record.stream = static_cast<std::uint8_t>(c.stream);
  x.record.request_on_connection = saturated<std::uint16_t>(c.requests);
  if (c.requests++ > 0) x.record.flags |= kTrafficKeptAlive;
  x.response_key = payload_key(x.record.nonce, Direction::response);
  x.size = spec.size.pick(random);
  x.body = spec.body.pick(random);
  if (x.body > 0) x.record.flags |= kTrafficHadBody;
  x.to_head = spec.method == "HEAD";
  const bool idempotent = spec.method.empty() ? x.body == 0 : is_idempotent(spec.method);
  // An upgraded connection is nothing that a balancer could begin anew.
  const bool upgrades =
      spec.kind == Kind::upgrade || spec.kind == Kind::websocket || spec.kind == Kind::tcp_tunnel;
  if (spec.tunneled) x.record.flags |= kTrafficTunneled;
  if (spec.tls) x.record.flags |= kTrafficTls;
  if (!idempotent || upgrades) x.record.flags |= kTrafficNotIdempotent;
  ++in_flight_;
  ++counters_[c.stream].in_flight;
  return x;
}

void TrafficEngine::send_requests(Connection& c) {
  const StreamSpec& spec = specs_[c.stream];
  if (spec.kind == Kind::pipelined) {
    const std::uint64_t depth = spec.depth.pick(clients_[c.client].random);
    const Nanos due = c.flights.back().record.t_due;
    while (c.flights.size() - c.first < depth) add_exchange(c, due);
  }
  for (std::size_t i = c.first; i < c.flights.size(); ++i) write_request(c, c.flights[i]);
  const Nanos now = now_ns();
  c.progress = now;
  for (std::size_t i = c.first; i < c.flights.size(); ++i) c.flights[i].record.t_send = now;
  c.sender.start = now;
  if (c.sender.continue_by != 0) c.sender.continue_by = now + kContinueTime;
  pump_write(c);
}

void TrafficEngine::write_request(Connection& c, Exchange& x) {
  const StreamSpec& spec = specs_[c.stream];
  Random& random = clients_[c.client].random;
  std::string& out = c.out;
  if (spec.method.empty()) {
    out += x.body > 0 ? "POST " : "GET ";
  } else {
    out += spec.method;
    out += ' ';
  }
  out += spec.path;
  out += "?size=";
  append_number(out, x.size);
  if (spec.chunked_response) {
    out += "&chunked=1&chunk=";
    append_number(out, spec.chunk.pick(random));
  }
  if (const std::uint64_t delay = spec.delay_ms.pick(random); delay > 0) {
    out += "&delay_ms=";
    append_number(out, delay);
  }
  if (spec.kind == Kind::slow_download && !spec.slow_client) {
    out += "&rate=";
    append_number(out, spec.bytes_per_s);
  }
  if (is_flow(spec.kind)) append_flow_query(out, spec);
  if (!spec.query.empty()) {
    out += '&';
    out += spec.query;
  }
  out += " HTTP/1.1\r\nHost: ";
  out += spec.host;
  out += "\r\nX-Nonce: ";
  append_nonce(out, x.record.nonce);
  const bool says_close =
      (spec.kind == Kind::new_connection && spec.close == CloseBy::server) || spec.kind == Kind::halfopen;
  if (says_close) out += "\r\nConnection: close";
  if (spec.kind == Kind::upgrade) out += "\r\nConnection: Upgrade\r\nUpgrade: lb-echo";
  if (spec.kind == Kind::tcp_tunnel) out += "\r\nConnection: Upgrade\r\nUpgrade: lb-flow";
  if (spec.kind == Kind::websocket) {
    out +=
        "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ";
    out += websocket_key(x.record.nonce);
  }
  if (spec.kind == Kind::events) out += "\r\nAccept: text/event-stream";
  const bool chunked = spec.chunked_request && (x.body > 0 || spec.kind == Kind::chunked);
  if (chunked) {
    out += "\r\nTransfer-Encoding: chunked";
  } else if (x.body > 0) {
    out += "\r\nContent-Length: ";
    append_number(out, x.body);
  }
  const bool expects = spec.expect && x.body > 0;
  if (expects) out += "\r\nExpect: 100-continue";
  out += "\r\n";
  out += spec.headers;
  out += "\r\n";
  if (x.body == 0) {
    if (chunked) out += "0\r\n\r\n";
    return;
  }
  const std::uint64_t key = payload_key(x.record.nonce, Direction::request);
  const bool paced = spec.kind == Kind::slow_upload || spec.kind == Kind::long_upload;
  if (spec.kind == Kind::long_upload) c.tunnel.end_at = end_of_life(spec, random);
  if (spec.kind == Kind::pipelined || (!paced && !expects && x.body <= kWholeBodyMax)) {
    return write_body_whole(c, key, x.body, chunked);
  }
  c.sender = Sender{};
  c.sender.key = key;
  c.sender.total = x.body;
  c.sender.chunked = chunked;
  c.sender.rate = paced ? spec.bytes_per_s : 0;
  c.sender.active = true;
  if (expects) c.sender.continue_by = ~Nanos{0};  // the time is set when it is sent
}

void TrafficEngine::write_body_whole(Connection& c, std::uint64_t key, std::uint64_t size, bool chunked) {
  Random& random = clients_[c.client].random;
  for (std::uint64_t made = 0; made < size;) {
    const std::uint64_t chunk = chunked ? specs_[c.stream].chunk.pick(random) : size;
    const std::uint64_t piece = std::min(chunk, size - made);
    write_body_piece(c, key, made, piece, chunked);
    made += piece;
  }
  if (chunked) c.out += "0\r\n\r\n";
}

void TrafficEngine::write_body_piece(Connection& c, std::uint64_t key, std::uint64_t offset,
                                     std::uint64_t size, bool chunked) {
  if (chunked) {
    append_hex(c.out, size);
    c.out += "\r\n";
  }
  payload_append(c.out, key, offset, size);
  if (chunked) c.out += "\r\n";
}

/// The next bytes of the request's body, as many as pace and buffer allow.
void TrafficEngine::fill(Connection& c) {
  Sender& s = c.sender;
  if (s.continue_by != 0) return;
  // A long upload has no length: it ends when its time is over.
  if (specs_[c.stream].kind == Kind::long_upload && now_ns() >= c.tunnel.end_at) s.total = s.made;
  std::uint64_t budget = kFillBytes;
  if (s.rate > 0) {
    const double allowed = static_cast<double>(s.rate) * static_cast<double>(now_ns() - s.start) / 1e9;
    const auto whole = static_cast<std::uint64_t>(allowed);
    budget = std::min(budget, whole > s.made ? whole - s.made : 0);
  }
  while (budget > 0 && s.made < s.total) {
    std::uint64_t piece = std::min(budget, s.total - s.made);
    if (s.chunked) piece = std::min(piece, specs_[c.stream].chunk.pick(clients_[c.client].random));
    write_body_piece(c, s.key, s.made, piece, s.chunked);
    s.made += piece;
    budget -= piece;
  }
  if (s.made < s.total) return;
  s.active = false;
  if (s.chunked) c.out += "0\r\n\r\n";
}

void TrafficEngine::pump_write(Connection& c) {
  while (!c.closed && c.send_error == 0) {
    if (c.out_sent < c.out.size()) {
      const ssize_t n = c.fd.send(c.out.data() + c.out_sent, c.out.size() - c.out_sent);
      if (n < 0) {
        if (errno == EINTR) continue;
        if (errno == EAGAIN) return;
        // An answer may be waiting nevertheless (early answer, then close): reading decides.
        c.send_error = errno;
        c.hung_up = c.readable = true;
        return pump_read(c);
      }
      c.out_sent += static_cast<std::size_t>(n);
      if (c.sender.active || c.out_sent < c.out.size() || c.tunnel.end_at != 0) c.progress = now_ns();
      continue;
    }
    c.out.clear();
    c.out_sent = 0;
    if (!c.sender.active) return note_sent(c);
    fill(c);
    if (!c.out.empty()) continue;
    if (c.sender.continue_by == 0) arm(c, TimerKind::pace, now_ns() + kPace);
    return;
  }
}

void TrafficEngine::note_sent(Connection& c) {
  for (std::size_t i = c.first; i < c.flights.size(); ++i) c.flights[i].sent = true;
  if (c.state == State::tunnel && c.tunnel.ending && specs_[c.stream].half_close && !c.tunnel.shut) {
    c.tunnel.shut = true;
    c.fd.shut_write();
  }
  // The answer came before the whole request was sent: the launch ends only now.
  if (c.state == State::open && c.batch_open && c.first == c.flights.size()) settle(c);
}

void TrafficEngine::arm(Connection& c, TimerKind kind, Nanos at) {
  loop_.at(at, token_of(c.handle), static_cast<std::uint32_t>(kind));
}

void TrafficEngine::close_now(Connection& c) {
  if (c.closed) return;
  c.closed = true;
  if (specs_[c.stream].tls_resume) {
    if (SslSessionPtr session = c.fd.session()) clients_[c.client].session = std::move(session);
  }
  --counters_[c.stream].connections;
  c.fd.reset();
  connections_.retire(c.handle);
}

void TrafficEngine::on_io(Token token, std::uint32_t events) {
  Connection* c = connections_.get(handle_of(token));
  if (c == nullptr) return;
  if (c->state == State::connecting) {
    if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0) return;
    if (const int error = socket_error(c->fd.get()); error != 0) return fail_all(*c, classify_connect(error));
    on_connected(*c);
    if (c->closed) return;
  } else if ((events & EPOLLOUT) != 0 && (c->out_sent < c->out.size() || c->sender.active)) {
    pump_write(*c);
    if (c->closed) return;
  }
  const bool was_ready = c->fd.is_ready();
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) c->hung_up = true;
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
    c->readable = true;
    pump_read(*c);
  }
  // Reading has finished a handshake: what waited for it can be written now.
  if (!c->closed && c->fd.is_tls() && !was_ready && c->out_sent < c->out.size()) pump_write(*c);
}

void TrafficEngine::on_timer(Token token, std::uint32_t tag) {
  if ((token & kClientToken) == kClientToken) return on_client_timer(static_cast<std::uint32_t>(token), tag);
  Connection* c = connections_.get(handle_of(token));
  if (c == nullptr) return;
  switch (static_cast<TimerKind>(tag)) {
    case TimerKind::connect:
      if (c->state == State::connecting && !c->fd) try_connect(*c);
      return;
    case TimerKind::send_after:
      return send_requests(*c);
    case TimerKind::pace:
      return pump_write(*c);
    case TimerKind::read:
      return pump_read(*c);
    case TimerKind::tunnel:
      return tunnel_tick(*c);
  }
}

void TrafficEngine::end_turn(Nanos now) {
  if (now >= next_sweep_) {
    next_sweep_ = now + kSweepEvery;
    sweep(now);
  }
  connections_.reap();
}

void TrafficEngine::sweep(Nanos now) {
  connections_.for_each([&](Connection& c, Handle) { sweep_one(c, now); });
}

void TrafficEngine::sweep_one(Connection& c, Nanos now) {
  const StreamSpec& spec = specs_[c.stream];
  const Nanos still = now > c.progress ? now - c.progress : 0;
  if (c.state == State::connecting) {
    if (still >= spec.connect_timeout) fail_all(c, classify_timeout(Phase::connect));
    return;
  }
  if (c.state == State::closing) {
    if (still >= kClosingTime) close_now(c);
    return;
  }
  if (c.sender.active && c.sender.continue_by != 0 && now >= c.sender.continue_by) {
    c.sender.continue_by = 0;
    c.sender.start = now;
    pump_write(c);
    return;
  }
  const bool waiting = c.first < c.flights.size() || c.sender.active || c.out_sent < c.out.size();
  if (waiting && still >= spec.timeout) {
    if (c.first < c.flights.size()) return fail_all(c, classify_timeout(phase_of(c, c.first)));
    close_now(c);
    end_launch(c);
  }
}

void TrafficEngine::abandon() {
  std::vector<Handle> all;
  connections_.for_each([&](Connection&, Handle handle) { all.push_back(handle); });
  for (const Handle handle : all) {
    Connection* c = connections_.get(handle);
    if (c == nullptr) continue;
    if (c->first < c->flights.size()) {
      fail_all(*c, Fate{Outcome::unfinished, phase_of(*c, c->first), 0, Detail::none});
    } else {
      close_now(*c);
    }
  }
  connections_.reap();
}

}  // namespace lb::traffic
