// TrafficEngine's reading: answers, and the ways a connection can end.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "harness/traffic/payload.hpp"
#include "harness/traffic/traffic_engine.hpp"

namespace lb::traffic {
namespace {

constexpr Nanos kReadPace = 20 * kMilli;
constexpr std::uint64_t kReopenUsMax = 50'000;

bool accepts_websocket(const Head& head, std::uint64_t nonce) {
  const Field* accept = head.find("Sec-WebSocket-Accept");
  return same_name(head.upgrade(), "websocket") && accept != nullptr &&
         accept->value == websocket_accept(websocket_key(nonce));
}

}  // namespace

std::size_t TrafficEngine::read_allowance(Connection& c) {
  const StreamSpec& spec = specs_[c.stream];
  if (!spec.slow_client || c.state != State::open) return scratch_.size();
  if (c.read_start == 0) c.read_start = now_ns() - kReadPace;
  const double allowed =
      static_cast<double>(spec.bytes_per_s) * static_cast<double>(now_ns() - c.read_start) / 1e9;
  const auto whole = static_cast<std::uint64_t>(allowed);
  if (whole > c.read_bytes) return std::min<std::uint64_t>(whole - c.read_bytes, scratch_.size());
  arm(c, TimerKind::read, now_ns() + kReadPace);
  return 0;
}

void TrafficEngine::pump_read(Connection& c) {
  while (c.readable && !c.closed) {
    const std::size_t want = read_allowance(c);
    if (want == 0) break;
    const ssize_t n = c.fd.recv(scratch_.data(), want);
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) return at_end(c, errno);
      c.readable = false;
      if (c.send_error != 0) return at_end(c, c.send_error);
      break;
    }
    if (n == 0) return at_end(c, c.send_error);
    c.progress = now_ns();
    c.read_bytes += static_cast<std::uint64_t>(n);
    // A short read has emptied the socket; only a FIN known beforehand could be waiting behind it.
    // With TLS a read ends with each record, and the rest may lie decrypted already.
    if (static_cast<std::size_t>(n) < want && !c.hung_up && !c.fd.is_tls()) c.readable = false;
    take_bytes(c, std::string_view(scratch_.data(), static_cast<std::size_t>(n)));
  }
  const bool answered = !c.closed && c.state == State::open && c.batch_open && c.first == c.flights.size();
  if (answered && !c.sender.active && c.out_sent == c.out.size()) settle(c);
}

void TrafficEngine::take_bytes(Connection& c, std::string_view bytes) {
  if (c.state == State::tunnel) return tunnel_bytes(c, bytes);
  if (c.state == State::closing) return extra_bytes(c);
  if (c.in.empty()) {
    const std::size_t used = process(c, bytes);
    if (!c.closed && used < bytes.size()) c.in.assign(bytes.substr(used));
    return;
  }
  c.in += bytes;
  const std::size_t used = process(c, c.in);
  if (!c.closed) c.in.erase(0, used);
}

std::size_t TrafficEngine::process(Connection& c, std::string_view bytes) {
  std::size_t used = 0;
  while (used < bytes.size() && !c.closed) {
    const std::string_view rest = bytes.substr(used);
    if (c.state == State::tunnel) {
      tunnel_bytes(c, rest);
      return bytes.size();
    }
    if (c.first == c.flights.size()) {
      extra_bytes(c);
      return bytes.size();
    }
    if (!c.in_body) {
      const std::size_t n = process_head(c, rest);
      if (n == 0) break;
      used += n;
      continue;
    }
    Exchange& x = c.flights[c.first];
    std::uint64_t offset = c.body.bytes();
    Detail wrong = Detail::none;
    used += c.body.feed(rest, [&](std::string_view piece) {
      if (c.flow) {
        if (wrong == Detail::none) wrong = c.flow->receive(piece, c.out);
        return;
      }
      if (x.answer.bytes_match && !payload_matches(piece, x.response_key, offset))
        x.answer.bytes_match = false;
      offset += piece.size();
    });
    if (wrong != Detail::none) {
      fail_all(c, Fate{Outcome::wrong_body, Phase::body, 0, wrong});
      return bytes.size();
    }
    if (c.body.bad()) {
      fail_all(c, Fate{Outcome::malformed, Phase::body, 0, Detail::bad_chunk});
      return bytes.size();
    }
    if (c.body.done()) answer_complete(c);
  }
  return used;
}

/// One head from the front of `bytes`: how many bytes it was, 0 when it is not complete.
std::size_t TrafficEngine::process_head(Connection& c, std::string_view bytes) {
  Exchange& x = c.flights[c.first];
  if (x.record.t_first_byte == 0) x.record.t_first_byte = c.progress;
  const Head::Parsed parsed = head_.parse_response(bytes);
  if (parsed == Head::Parsed::incomplete) return 0;
  const bool upgraded = parsed == Head::Parsed::done && head_.status() == 101;
  const Kind kind = specs_[c.stream].kind;
  const bool wanted = kind == Kind::upgrade || kind == Kind::tcp_tunnel ||
                      (kind == Kind::websocket && accepts_websocket(head_, x.record.nonce));
  if (parsed == Head::Parsed::bad || (upgraded && !wanted)) {
    fail_all(c, Fate{Outcome::malformed, Phase::head, 0, Detail::bad_head});
    return bytes.size();
  }
  const std::size_t size = head_.size();
  if (head_.status() < 200 && !upgraded) {
    on_interim(c, head_.status());
  } else {
    on_final_head(c, x);
  }
  return size;
}

void TrafficEngine::on_interim(Connection& c, int status) {
  if (status != 100 || c.sender.continue_by == 0) return;
  c.sender.continue_by = 0;
  c.sender.start = c.progress;
  pump_write(c);
}

void TrafficEngine::on_final_head(Connection& c, Exchange& x) {
  const StreamSpec& spec = specs_[c.stream];
  TrafficRecord& r = x.record;
  r.status = static_cast<std::uint16_t>(head_.status());
  if (!head_.backend().empty()) r.backend = backends_.number(head_.backend());
  if (!head_.label().empty()) r.label = labels_.number(head_.label());
  if (head_.closes()) r.flags |= kTrafficSaidClose;
  std::uint64_t nonce = 0;
  x.answer.nonce_present = parse_nonce(head_.nonce(), nonce);
  x.answer.nonce_matches = nonce == r.nonce;
  x.answer.request_body_ok = head_.body_ok() != "0";
  if (spec.kind == Kind::long_upload) {
    const Field* bytes = head_.find("X-Body-Bytes");
    x.body = c.sender.made;
    x.answer.request_body_ok =
        x.answer.request_body_ok && (bytes == nullptr ? x.body == 0 : bytes->value == std::to_string(x.body));
  }
  if (r.request_on_connection == 0 && c.fd.is_tls()) {
    ++counters_[c.stream].tls_handshakes;
    if (c.fd.is_resumed()) ++counters_[c.stream].tls_resumed;
  }
  if (c.fd.is_resumed()) r.flags |= kTrafficResumed;
  if (head_.status() == 101) {
    if (!x.answer.nonce_matches) return fail_all(c, classify_answer(x.answer));
    return begin_tunnel(c);
  }
  const bool upgrades =
      spec.kind == Kind::upgrade || spec.kind == Kind::websocket || spec.kind == Kind::tcp_tunnel;
  x.answer.status_expected =
      !upgrades && std::ranges::find(spec.statuses, head_.status()) != spec.statuses.end();
  c.body.start_response(head_, x.to_head);
  c.in_body = true;
  if (spec.kind == Kind::events && x.answer.status_expected && x.answer.nonce_matches) begin_flow(c);
  if (c.body.done()) answer_complete(c);
}

void TrafficEngine::answer_complete(Connection& c) {
  Exchange& x = c.flights[c.first];
  TrafficRecord& r = x.record;
  const bool bodyless = x.to_head || r.status == 204 || r.status == 304;
  x.answer.length_matches = c.flow ? c.flow->received_end() : bodyless || c.body.bytes() == x.size;
  // An error that the spec allows may be the balancer's own: its body is its business.
  const bool success = r.status >= 200 && r.status < 300;
  if (!success) x.answer = Answer{.status_expected = x.answer.status_expected};
  r.bytes = saturated<std::uint32_t>(c.body.bytes());
  r.t_end = c.progress;
  c.in_body = false;
  finish(c, x, classify_answer(x.answer));
  ++c.first;
  if ((r.flags & kTrafficSaidClose) != 0) c.close_announced = true;
  // A final answer in place of 100 Continue: the body is never sent, so the connection cannot go on.
  const bool unsent_body = c.sender.active && c.sender.continue_by != 0;
  if (unsent_body) c.close_announced = true;
  if (!c.close_announced) return;
  c.sender = Sender{};
  c.out.clear();
  c.out_sent = 0;
  for (; c.first < c.flights.size(); ++c.first) {
    finish(c, c.flights[c.first], Fate{Outcome::unserved, Phase::wait, 0, Detail::none});
  }
}

/// Every exchange of the launch has its fate and all is sent: what becomes of the connection?
void TrafficEngine::settle(Connection& c) {
  const StreamSpec& spec = specs_[c.stream];
  Client& client = clients_[c.client];
  const bool worn_out = c.requests_max != 0 && c.requests >= c.requests_max;
  if (!spec.keeps_connection() || c.close_announced || worn_out) {
    if (client.connection == c.handle) client.connection = Handle{};
    const bool ours = !c.close_announced && (worn_out || spec.close != CloseBy::server);
    if (spec.close == CloseBy::reset) set_reset_on_close(c.fd.get());
    if (ours || spec.close == CloseBy::reset) {
      close_now(c);
    } else {
      c.state = State::closing;
      c.progress = now_ns();
    }
  }
  end_launch(c);
}

void TrafficEngine::end_launch(Connection& c) {
  if (!c.batch_open) return;
  c.batch_open = false;
  const Outcome last = static_cast<Outcome>(c.flights.back().record.outcome);
  launch_done(c.client, last);
}

/// Bytes that no request asked for: they belong to the last answer, which was therefore wrong.
void TrafficEngine::extra_bytes(Connection& c) {
  if (c.last_record != RecordStore<TrafficRecord>::kFull) {
    TrafficRecord& r = records_[c.last_record];
    if (r.outcome == static_cast<std::uint8_t>(Outcome::ok)) {
      count(r, -1);
      r.outcome = static_cast<std::uint8_t>(Outcome::wrong_body);
      r.phase = static_cast<std::uint8_t>(Phase::after);
      r.detail = static_cast<std::uint8_t>(Detail::extra_bytes);
      count(r, 1);
      if (on_drop) on_drop(r);
    }
  }
  close_now(c);
  if (c.batch_open) {
    end_launch(c);
  } else {
    lost_while_idle(c.client);
  }
}

/// A race client whose idle connection went away gets another soon; others open one when they need it.
void TrafficEngine::lost_while_idle(std::uint32_t client_index) {
  Client& client = clients_[client_index];
  if (specs_[client.stream].kind != Kind::race || client.outstanding > 0 || !may_launch(client)) return;
  if (connections_.get(client.connection) != nullptr) return;
  client.next_due = now_ns() + Range{0, kReopenUsMax}.pick(client.random) * kMicro;
  set_timer(client_index, client.next_due);
}

Phase TrafficEngine::phase_of(const Connection& c, std::size_t flight) const noexcept {
  if (c.state == State::connecting) return Phase::connect;
  if (c.state == State::tunnel) return Phase::tunnel;
  const Exchange& x = c.flights[flight];
  if (flight == c.first) {
    if (c.in_body) return Phase::body;
    if (x.record.t_first_byte != 0) return Phase::head;
  }
  return x.sent && c.send_error == 0 ? Phase::wait : Phase::send;
}

/// FIN (os_error 0) or an error.
void TrafficEngine::at_end(Connection& c, int os_error) {
  c.readable = false;
  if (c.state == State::tunnel) return tunnel_end(c, os_error);
  if (c.state == State::closing) return close_now(c);
  const bool by_close = c.in_body && c.body.framing() == BodyReader::Framing::until_close && os_error == 0;
  if (by_close && c.first < c.flights.size()) {
    c.close_announced = true;
    answer_complete(c);
  }
  if (c.first < c.flights.size()) return fail_each(c, os_error);
  const bool expected = c.close_announced || !specs_[c.stream].keeps_connection();
  if (!expected) {
    ++counters_[c.stream].idle_closed;
    note_idle_close(c);
  }
  close_now(c);
  if (c.batch_open) {
    end_launch(c);
  } else {
    lost_while_idle(c.client);
  }
}

void TrafficEngine::fail_all(Connection& c, Fate fate) {
  for (; c.first < c.flights.size(); ++c.first) finish(c, c.flights[c.first], fate);
  close_now(c);
  end_launch(c);
}

void TrafficEngine::fail_each(Connection& c, int os_error) {
  std::vector<Fate> fates;
  for (std::size_t i = c.first; i < c.flights.size(); ++i) {
    fates.push_back(classify_end(phase_of(c, i), os_error, c.close_announced));
  }
  for (const Fate& fate : fates) {
    Exchange& x = c.flights[c.first++];
    if (fate.phase == Phase::body) x.record.bytes = saturated<std::uint32_t>(c.body.bytes());
    finish(c, x, fate);
  }
  close_now(c);
  end_launch(c);
}

}  // namespace lb::traffic
