// BackendServer's reading and writing: bytes in from the sockets, answers made and sent.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "harness/traffic/backend_server.hpp"
#include "harness/traffic/payload.hpp"

namespace lb::traffic {
namespace {

constexpr std::size_t kTunnelBacklogMax = 256U << 10U;
constexpr std::size_t kFillBytes = 64U << 10U;
constexpr Nanos kPace = 10 * kMilli;
constexpr Nanos kSlicePause = kMilli;

std::string_view reason_of(int status) noexcept {
  switch (status) {
    case 200:
      return "OK";
    case 204:
      return "No Content";
    case 404:
      return "Not Found";
    case 500:
      return "Internal Server Error";
    case 503:
      return "Service Unavailable";
    default:
      return "Scripted";
  }
}

/// Bytes that a rate allows `elapsed` after its start.
std::uint64_t allowance(std::uint64_t rate, Nanos elapsed) noexcept {
  return static_cast<std::uint64_t>(static_cast<double>(rate) * static_cast<double>(elapsed) / 1e9);
}

}  // namespace

bool BackendServer::wants_bytes(const Connection& c) const noexcept {
  if (c.closed || c.eof || c.read == Read::wait) return false;
  return c.read != Read::tunnel || c.out.size() - c.out_sent < kTunnelBacklogMax;
}

std::size_t BackendServer::read_allowance(Connection& c) {
  const std::uint64_t rate = backend_of(c).script.read_rate;
  if (rate == 0 || c.read != Read::body) return scratch_.size();
  const Nanos now = now_ns();
  const std::uint64_t allowed = allowance(rate, now - c.read_start);
  if (allowed <= c.read_bytes) {
    arm(c, TimerKind::read, now + kPace);
    return 0;
  }
  return std::min<std::uint64_t>(allowed - c.read_bytes, scratch_.size());
}

void BackendServer::pump_read(Connection& c) {
  while (c.readable && wants_bytes(c)) {
    const std::size_t want = read_allowance(c);
    if (want == 0) return;
    const ssize_t n = c.fd.recv(scratch_.data(), want);
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) return close_now(c);
      c.readable = false;
      return;
    }
    if (n == 0) return at_eof(c);
    // A short read has emptied the socket; only a FIN known beforehand could be waiting behind it.
    // With TLS a read ends with each record, and the rest may lie decrypted already.
    if (static_cast<std::size_t>(n) < want && !c.hung_up && !c.fd.is_tls()) c.readable = false;
    take_bytes(c, std::string_view(scratch_.data(), static_cast<std::size_t>(n)));
  }
}

void BackendServer::take_bytes(Connection& c, std::string_view bytes) {
  if (c.in.empty()) {
    const std::size_t used = process(c, bytes);
    if (!c.closed && used < bytes.size()) c.in.assign(bytes.substr(used));
    return;
  }
  c.in += bytes;
  const std::size_t used = process(c, c.in);
  if (!c.closed) c.in.erase(0, used);
}

void BackendServer::resume_reading(Connection& c) {
  if (!c.in.empty() && c.read != Read::wait) {
    const std::size_t used = process(c, c.in);
    if (c.closed) return;
    c.in.erase(0, used);
  }
  pump_read(c);
}

std::size_t BackendServer::process(Connection& c, std::string_view bytes) {
  std::size_t used = 0;
  while (used < bytes.size() && !c.closed) {
    const std::string_view rest = bytes.substr(used);
    switch (c.read) {
      case Read::head: {
        const Head::Parsed parsed = head_.parse_request(rest);
        if (parsed == Head::Parsed::incomplete) return used;
        if (parsed == Head::Parsed::bad) {
          bad_request(c);
          return bytes.size();
        }
        used += head_.size();
        begin_request(c);
        break;
      }
      case Read::body:
        used += c.body.feed(rest, [&](std::string_view piece) { take_body(c, piece); });
        if (c.body.bad()) {
          bad_request(c);
          return bytes.size();
        }
        if (c.body.done()) body_complete(c);
        break;
      case Read::wait:
        return used;
      case Read::tunnel:
        if (c.flow) {
          flow_bytes(c, rest);
          return bytes.size();
        }
        c.out += rest;
        c.record.bytes_in = saturated<std::uint32_t>(c.record.bytes_in + rest.size());
        used = bytes.size();
        pump_write(c);
        break;
      case Read::discard:
      case Read::stuck:
        return bytes.size();
    }
  }
  return used;
}

void BackendServer::at_eof(Connection& c) {
  c.eof = true;
  c.readable = false;
  switch (c.read) {
    case Read::tunnel:
      if (c.flow && !c.flow->finished()) return close_now(c);  // it ended too early
      if (c.out_sent == c.out.size()) end_tunnel(c);
      return;
    case Read::wait:
      return;  // the answer is still wanted; the connection ends after it
    default:
      close_now(c);
  }
}

/// Every byte was echoed and the client's FIN was seen.
void BackendServer::end_tunnel(Connection& c) {
  if (c.open) record_now(c, true);
  end_gracefully(c);
}

void BackendServer::begin_answer(Connection& c) {
  if (c.reply.delay > 0) {
    c.write = Write::delayed;
    arm(c, TimerKind::delay, now_ns() + c.reply.delay);
    return;
  }
  emit_answer(c);
}

void BackendServer::emit_answer(Connection& c) {
  c.ending = Ending::none;
  c.repeats = c.reply.mode == Mode::duplicate ? 1 : 0;
  c.literal = c.reply.echo != Echo::none || c.reply.mode == Mode::status || c.health;
  if (c.health) c.echo = "ok\n";
  if (c.reply.mode == Mode::status) c.echo = "status " + std::to_string(c.reply.status) + "\n";
  c.body_total = c.literal ? c.echo.size() : c.reply.size;
  c.body_limit = c.body_total;
  c.body_made = 0;
  c.framing_done = false;
  c.record.status = c.reply.status;
  c.write = Write::sending;
  c.rate_start = now_ns();
  if (!emit_fault(c)) return;
  fill(c);
  pump_write(c);
}

/// Arranges the scripted fault and writes the head. False when nothing more is to be sent.
bool BackendServer::emit_fault(Connection& c) {
  const Reply& r = c.reply;
  const std::size_t before = c.out.size();
  switch (r.mode) {
    case Mode::hang:
      c.record.flags |= kBackendHung;
      c.read = Read::stuck;
      c.write = Write::none;
      return false;
    case Mode::close:
      record_now(c, false);
      end_gracefully(c);
      return false;
    case Mode::garbage:
      c.out += "220 this is not what you asked for\r\n\r\n";
      c.ending = Ending::fin;
      c.body_limit = 0;
      c.framing_done = true;
      return true;
    case Mode::reset:
      if (r.at == ResetAt::request) {
        reset_now(c);
        return false;
      }
      c.ending = Ending::rst;
      c.body_limit = c.body_total / 2;
      break;
    case Mode::truncate:
      c.ending = Ending::fin;
      c.body_limit = c.body_total / 2;
      break;
    default:
      break;
  }
  write_head(c);
  const bool cut_head =
      (r.mode == Mode::reset && r.at == ResetAt::head) || (c.ending != Ending::none && c.body_total < 2);
  if (cut_head) {
    c.out.resize(before + (c.out.size() - before) / 2);
    c.body_limit = 0;
  }
  if (c.ending != Ending::none) c.framing_done = true;
  return true;
}

void BackendServer::write_head(Connection& c) {
  const Reply& r = c.reply;
  const Backend& backend = backend_of(c);
  std::string& out = c.out;
  if (r.interim && c.record.status >= 200)
    out += "HTTP/1.1 103 Early Hints\r\nLink: </style>; rel=preload\r\n\r\n";
  out += "HTTP/1.1 ";
  out += std::to_string(r.status);
  out += ' ';
  out += reason_of(r.status);
  out += "\r\nX-Backend: ";
  out += backend.name;
  out += "\r\nX-Nonce: ";
  append_nonce(out, c.record.nonce);
  if (c.body.bytes() > 0 && c.body_done) out += c.body_ok ? "\r\nX-Body-Ok: 1" : "\r\nX-Body-Ok: 0";
  if (c.body.bytes() > 0 && c.body_done) {
    out += "\r\nX-Body-Bytes: ";
    out += std::to_string(c.body.bytes());
  }
  const bool bodyless = r.status == 204 || r.status == 304;
  if (bodyless) {
    c.body_total = c.body_limit = 0;
    c.framing_done = true;
  } else if (r.chunked) {
    out += "\r\nTransfer-Encoding: chunked";
    if (r.trailer) out += "\r\nTrailer: X-Trailer";
  } else {
    out += "\r\nContent-Length: ";
    out += std::to_string(c.body_total);
    c.framing_done = true;
  }
  if (c.to_head) {
    c.body_limit = 0;
    c.framing_done = true;
  }
  if (c.says_keep_alive && !c.close_after) out += "\r\nConnection: keep-alive";
  if (c.close_after) out += "\r\nConnection: close";
  out += "\r\n";
  out += backend.script.headers;
  out += "\r\n";
}

void BackendServer::fill_piece(Connection& c, std::uint64_t size) {
  const std::size_t start = c.out.size();
  if (c.literal) {
    c.out.append(c.echo, c.body_made, size);
  } else {
    payload_append(c.out, c.response_key, c.body_made, size);
  }
  if (c.reply.mode == Mode::wrong) {
    const std::uint64_t at = c.body_total / 2;
    if (at >= c.body_made && at < c.body_made + size) c.out[start + (at - c.body_made)] ^= 0x20;
  }
  c.body_made += size;
}

/// Makes the next bytes of the body, as much as the rate allows and the buffer should hold.
void BackendServer::fill(Connection& c) {
  std::uint64_t budget = kFillBytes;
  if (c.reply.rate > 0) {
    const std::uint64_t allowed = allowance(c.reply.rate, now_ns() - c.rate_start);
    budget = std::min(budget, allowed > c.body_made ? allowed - c.body_made : 0);
  }
  while (budget > 0 && c.body_made < c.body_limit) {
    std::uint64_t size = std::min(budget, c.body_limit - c.body_made);
    if (c.reply.chunked) {
      size = std::min(size, c.reply.chunk);
      constexpr char kDigits[] = "0123456789abcdef";
      char hex[16];
      int at = 16;
      for (std::uint64_t left = size; left > 0; left >>= 4U) hex[--at] = kDigits[left & 0xfU];
      c.out.append(hex + at, static_cast<std::size_t>(16 - at));
      c.out += "\r\n";
    }
    fill_piece(c, size);
    if (c.reply.chunked) c.out += "\r\n";
    budget -= size;
  }
  if (c.body_made < c.body_limit || c.framing_done) return;
  c.framing_done = true;
  c.out += "0\r\n";
  if (c.reply.trailer) {
    c.out += "X-Trailer: ";
    append_nonce(c.out, c.record.nonce);
    c.out += "\r\n";
  }
  c.out += "\r\n";
}

void BackendServer::pump_write(Connection& c) {
  while (!c.closed) {
    if (c.out_sent < c.out.size()) {
      const std::uint64_t slice = c.write == Write::sending ? backend_of(c).script.slice : 0;
      std::size_t most = c.out.size() - c.out_sent;
      if (slice > 0) most = std::min<std::size_t>(most, slice);
      const ssize_t n = c.fd.send(c.out.data() + c.out_sent, most);
      if (n < 0) {
        if (errno == EINTR) continue;
        if (errno != EAGAIN) close_now(c);
        return;
      }
      if (c.open) c.record.flags |= kBackendSomeSent;
      c.out_sent += static_cast<std::size_t>(n);
      if (slice > 0 && c.out_sent < c.out.size()) return arm(c, TimerKind::rate, now_ns() + kSlicePause);
      if (c.read == Read::tunnel)
        c.record.bytes_out = saturated<std::uint32_t>(c.record.bytes_out + std::uint64_t(n));
      continue;
    }
    c.out.clear();
    c.out_sent = 0;
    if (c.read == Read::tunnel && (c.flow ? flow_is_over(c) : c.eof)) return end_tunnel(c);
    if (c.write != Write::sending) return;
    fill(c);
    if (!c.out.empty()) continue;
    if (c.body_made < c.body_limit) return arm(c, TimerKind::rate, now_ns() + kPace);
    return answer_sent(c);
  }
}

void BackendServer::answer_sent(Connection& c) {
  if (c.ending == Ending::rst) return reset_now(c);
  if (c.ending == Ending::fin) {
    record_now(c, false);
    return end_gracefully(c);
  }
  if (c.repeats > 0) {
    --c.repeats;
    c.body_made = 0;
    c.framing_done = false;
    write_head(c);
    return pump_write(c);
  }
  c.write = Write::done;
  if (c.body_done) finish_request(c);
}

void BackendServer::finish_request(Connection& c) {
  const Script& script = backend_of(c).script;
  record_now(c, true);
  c.write = Write::none;
  const bool drop = script.drop_idle_after != 0 && c.requests >= script.drop_idle_after;
  if (c.close_after || drop || c.eof) return end_gracefully(c);
  c.read = Read::head;
  if (script.idle_close > 0) arm(c, TimerKind::idle, now_ns() + script.idle_close);
}

}  // namespace lb::traffic
