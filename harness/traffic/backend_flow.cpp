// BackendServer's side of long-lived conversations (flow.hpp): WebSockets, tunnels, server-sent events.
#include <algorithm>
#include <cstdio>

#include "harness/traffic/backend_server.hpp"
#include "harness/traffic/payload.hpp"
#include "lb/base/random.hpp"

namespace lb::traffic {
namespace {

constexpr std::size_t kFlowBacklogMax = 64U << 10U;

void append_chunk(std::string& out, std::string_view bytes) {
  char size[20];
  const int n = std::snprintf(size, sizeof size, "%zx\r\n", bytes.size());
  out.append(size, static_cast<std::size_t>(n));
  out += bytes;
  out += "\r\n";
}

}  // namespace

void BackendServer::begin_flow(Connection& c, FlowWire wire) {
  Backend& backend = backend_of(c);
  ++backend.counters.upgrades;
  c.flow = std::make_unique<Flow>(wire, c.record.nonce, false);
  c.flow_random = c.record.nonce;
  c.flow_end = 0;
  c.record.flags &= static_cast<std::uint8_t>(~kBackendFaultScripted);  // scripts are about answers
  c.record.flags |= kBackendUpgrade | kBackendSomeSent;
  std::string& out = c.out;
  if (wire == FlowWire::events) {
    c.record.status = 200;
    if (const std::uint64_t life = pick(c, c.reply.life_ms); life > 0) c.flow_end = now_ns() + life * kMilli;
    out +=
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
        "Transfer-Encoding: chunked\r\nConnection: close";
  } else {
    c.record.status = 101;
    out += "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ";
    out += wire == FlowWire::websocket ? "websocket" : "lb-flow";
    const Field* key = head_.find("Sec-WebSocket-Key");
    if (key != nullptr) {
      out += "\r\nSec-WebSocket-Accept: ";
      out += websocket_accept(key->value);
    }
  }
  out += "\r\nX-Backend: ";
  out += backend.name;
  out += "\r\nX-Nonce: ";
  append_nonce(out, c.record.nonce);
  out += "\r\n\r\n";
  c.read = Read::tunnel;
  arm(c, TimerKind::flow, now_ns() + pick(c, c.reply.flow_ms) * kMilli);
  pump_write(c);
}

std::uint64_t BackendServer::pick(Connection& c, Span span) noexcept {
  c.flow_random = mix64(c.flow_random);
  return span.high <= span.low ? span.low : span.low + c.flow_random % (span.high - span.low + 1);
}

/// The next message, or the end of it all.
void BackendServer::flow_tick(Connection& c) {
  if (!c.flow || c.flow->sent_end()) return;
  const Nanos now = now_ns();
  const bool over = c.flow_end != 0 && now >= c.flow_end;
  if (over) {
    flow_send(c, true);
    c.out += "0\r\n\r\n";
  } else {
    Nanos next = now + std::max<std::uint64_t>(pick(c, c.reply.flow_ms), 1) * kMilli;
    if (c.flow_end != 0) next = std::min(next, c.flow_end);
    arm(c, TimerKind::flow, next);
    if (c.out.size() - c.out_sent >= kFlowBacklogMax) return;  // the other side is slow
    flow_send(c, false);
  }
  pump_write(c);
}

void BackendServer::flow_send(Connection& c, bool last) {
  std::string message;
  last ? c.flow->send_end(message) : c.flow->send(message, pick(c, c.reply.flow_bytes));
  c.reply_is_events() ? append_chunk(c.out, message) : void(c.out += message);
}

void BackendServer::flow_bytes(Connection& c, std::string_view bytes) {
  c.record.bytes_in = saturated<std::uint32_t>(c.record.bytes_in + bytes.size());
  if (c.reply_is_events()) return;  // nobody has anything to say here
  if (c.flow->receive(bytes, c.out) != Detail::none) {
    c.body_ok = false;
    return close_now(c);
  }
  if (c.flow->received_end()) c.flow->send_end(c.out);
  pump_write(c);
}

/// All that is to be sent was sent: is it over?
bool BackendServer::flow_is_over(const Connection& c) const noexcept {
  if (!c.flow || !c.flow->sent_end()) return false;
  if (c.reply_is_events()) return true;
  // A tunnel's end is the client's FIN; a WebSocket's the closing handshake, after which the server closes.
  return c.flow->finished() && (c.eof || c.flow->wire() == FlowWire::websocket);
}

}  // namespace lb::traffic
