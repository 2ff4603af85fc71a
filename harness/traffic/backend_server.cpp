#include "harness/traffic/backend_server.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "harness/traffic/payload.hpp"

namespace lb::traffic {
namespace {

constexpr std::size_t kEchoBytesMax = 16U << 20U;
constexpr Nanos kDiscardTime = kSecond;

Error no_such(std::string_view name) {
  return {Fault::config, "no backend '" + std::string(name) + "'", 0, false};
}

bool is_idempotent(std::string_view method) noexcept {
  return method != "POST" && method != "PATCH" && method != "CONNECT";
}

}  // namespace

Result<void> BackendServer::set_certificate(const std::string& certificate, const std::string& key) {
  auto context = tls_server_context(certificate, key);
  if (!context) return std::unexpected(context.error());
  tls_ = std::move(*context);
  return {};
}

Result<std::uint16_t> BackendServer::add(const std::string& name, const std::string& where) {
  const bool tls = where.starts_with("tls:");
  const std::string listen = tls ? where.substr(4) : where;
  if (tls && !tls_)
    return std::unexpected(Error{Fault::config, where + ": no certificate was given", 0, false});
  auto address = parse_address(listen);
  if (!address) return std::unexpected(address.error());
  std::size_t index = 0;
  while (index < backends_.size() && backends_[index]->name != name) ++index;
  if (index < backends_.size() && !backends_[index]->removed) {
    return std::unexpected(Error{Fault::config, "there is a backend '" + name + "' already", 0, false});
  }
  auto listening = listen_on(*address);
  if (!listening) return std::unexpected(listening.error());
  if (index == backends_.size()) backends_.push_back(std::make_unique<Backend>());
  Backend& backend = *backends_[index];
  backend.name = name;
  backend.listen = listen;
  backend.address = *address;
  backend.removed = false;
  backend.tls = tls;
  backend.script = Script{};
  backend.port = listening->port;
  backend.listener = std::move(listening->fd);
  if (!address->is_unix()) {
    // A backend that refuses for a while must come back on the port it had.
    auto fixed = parse_address(listen.substr(0, listen.rfind(':') + 1) + std::to_string(backend.port));
    if (fixed) backend.address = *fixed;
  }
  if (!loop_.watch_readable(backend.listener.get(), kListenerToken | index)) {
    return std::unexpected(system_error("epoll_ctl", listen, errno));
  }
  return backend.port;
}

Result<void> BackendServer::remove(std::string_view name) {
  for (std::size_t i = 0; i < backends_.size(); ++i) {
    Backend& backend = *backends_[i];
    if (backend.name != name || backend.removed) continue;
    backend.removed = true;
    backend.listener.reset();
    std::vector<Handle> ours;
    connections_.for_each([&](Connection& c, Handle handle) {
      if (c.backend == i) ours.push_back(handle);
    });
    for (const Handle handle : ours) {
      if (Connection* c = connections_.get(handle)) close_now(*c);
    }
    return {};
  }
  return std::unexpected(no_such(name));
}

Result<std::size_t> BackendServer::set_script(std::string_view name, const Script& script) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < backends_.size(); ++i) {
    Backend& backend = *backends_[i];
    if (backend.removed || (name != "*" && backend.name != name)) continue;
    ++count;
    backend.script = script;
    backend.fault_turn = 0;
    if (script.reply.mode == Mode::refuse) {
      backend.listener.reset();
    } else if (!backend.listener && !open_listener(i)) {
      return std::unexpected(system_error("listen", backend.address.text, errno));
    }
  }
  if (count == 0 && name != "*") return std::unexpected(no_such(name));
  return count;
}

std::string BackendServer::tables() const {
  nlohmann::json names = nlohmann::json::array();
  for (const auto& backend : backends_) names.push_back(backend->name);
  return nlohmann::json{{"backends", std::move(names)}, {"full", records_.full()}}.dump();
}

bool BackendServer::open_listener(std::size_t index) {
  Backend& backend = *backends_[index];
  auto listening = listen_on(backend.address);
  if (!listening) {
    errno = listening.error().os_error;
    return false;
  }
  backend.listener = std::move(listening->fd);
  return loop_.watch_readable(backend.listener.get(), kListenerToken | index);
}

void BackendServer::accept_some(std::size_t index) {
  constexpr int kAtOnce = 64;
  for (int i = 0; i < kAtOnce; ++i) {
    Backend& backend = *backends_[index];
    if (!backend.listener) return;
    Fd fd(::accept4(backend.listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd) return;
    ++backend.counters.accepted;
    if (backend.script.reply.mode == Mode::reset && backend.script.reply.at == ResetAt::accept) {
      if (++backend.fault_turn % backend.script.every == 0) {
        set_reset_on_close(fd.get());
        continue;
      }
    }
    adopt(index, std::move(fd));
  }
}

void BackendServer::adopt(std::size_t index, Fd fd) {
  Backend& backend = *backends_[index];
  auto [c, handle] = connections_.emplace();
  if (c == nullptr) return;
  if (!backend.address.is_unix()) set_no_delay(fd.get());
  c->fd = Channel(std::move(fd));
  c->handle = handle;
  c->id = next_id_++;
  c->backend = static_cast<std::uint16_t>(index);
  ++backend.counters.connections;
  const bool good = !backend.tls || c->fd.begin_server(tls_.get());
  if (!good || !loop_.watch_edges(c->fd.get(), token_of(handle))) close_now(*c);
}

void BackendServer::on_io(Token token, std::uint32_t events) {
  if ((token & kListenerToken) == kListenerToken) {
    accept_some(static_cast<std::uint32_t>(token));
    return;
  }
  Connection* c = connections_.get(handle_of(token));
  if (c == nullptr) return;
  if ((events & EPOLLERR) != 0) return close_now(*c);
  if ((events & (EPOLLRDHUP | EPOLLHUP)) != 0) c->hung_up = true;
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) != 0) c->readable = true;
  if ((events & EPOLLOUT) != 0 && (c->out_sent < c->out.size() || c->write == Write::sending)) {
    pump_write(*c);
    if (!c->closed) resume_reading(*c);
  }
  if (!c->closed) pump_read(*c);
  // Reading has finished a handshake, or made room for what waited.
  if (!c->closed && c->fd.is_tls() && c->out_sent < c->out.size()) pump_write(*c);
}

void BackendServer::on_timer(Token token, std::uint32_t tag) {
  Connection* c = connections_.get(handle_of(token));
  if (c == nullptr) return;
  const auto kind = static_cast<TimerKind>(tag >> 24U);
  const bool current = (tag & 0xffffffU) == (c->requests & 0xffffffU);
  if (kind == TimerKind::discard) return close_now(*c);
  if (kind == TimerKind::fin) return send_fin(*c);
  if (!current) return;
  switch (kind) {
    case TimerKind::delay:
      if (c->write != Write::delayed) return;
      emit_answer(*c);
      break;
    case TimerKind::rate:
      if (c->write != Write::sending) return;
      pump_write(*c);
      break;
    case TimerKind::idle:
      if (!c->open && c->read == Read::head && c->in.empty()) close_now(*c);
      return;
    case TimerKind::flow:
      flow_tick(*c);
      break;
    default:
      break;
  }
  if (!c->closed) resume_reading(*c);
}

void BackendServer::arm(Connection& c, TimerKind kind, Nanos at) {
  loop_.at(at, token_of(c.handle), (static_cast<std::uint32_t>(kind) << 24U) | (c.requests & 0xffffffU));
}

void BackendServer::end_gracefully(Connection& c) {
  c.read = Read::discard;
  c.write = Write::none;
  const Nanos delay = backend_of(c).script.close_delay;
  if (delay == 0 || c.eof) return send_fin(c);
  arm(c, TimerKind::fin, now_ns() + delay);
}

/// FIN first and then read to the client's FIN: a close with unread bytes would send RST and could destroy
/// an answer that is still on its way.
void BackendServer::send_fin(Connection& c) {
  if (c.fd.shut_write() != 0 || c.eof) return close_now(c);
  arm(c, TimerKind::discard, now_ns() + kDiscardTime);
}

void BackendServer::reset_now(Connection& c) {
  set_reset_on_close(c.fd.get());
  c.fd.abort();
  close_now(c);
}

void BackendServer::close_now(Connection& c) {
  if (c.closed) return;
  c.closed = true;
  const bool drained = c.read == Read::tunnel && c.eof && c.out_sent == c.out.size();
  if (c.open) record_now(c, drained && (!c.flow || flow_is_over(c)));
  --backend_of(c).counters.connections;
  c.fd.reset();
  connections_.retire(c.handle);
}

void BackendServer::record_now(Connection& c, bool complete) {
  Backend& backend = backend_of(c);
  c.open = false;
  if (c.health) return;
  --backend.counters.in_flight;
  ++(complete ? backend.counters.completed : backend.counters.aborted);
  c.record.t_end = now_ns();
  if (complete) c.record.flags |= kBackendComplete;
  if (c.body_done) c.record.flags |= kBackendBodyComplete;
  if (!c.body_ok) {
    c.record.flags |= kBackendBodyWrong;
    ++backend.counters.wrong_bodies;
  }
  if (c.read != Read::tunnel) {
    c.record.bytes_in = saturated<std::uint32_t>(c.body.bytes());
    c.record.bytes_out = saturated<std::uint32_t>(c.body_made);
  }
  backend.counters.bytes_in += c.record.bytes_in;
  backend.counters.bytes_out += c.record.bytes_out;
  if (c.record.nonce == 0) {
    ++backend.counters.without_nonce;
  } else {
    records_.append(c.record);
  }
}

void BackendServer::begin_request(Connection& c) {
  const Nanos now = now_ns();
  Backend& backend = backend_of(c);
  ++c.requests;
  c.open = true;
  c.record = BackendRecord{};
  c.record.t_begin = now;
  c.record.connection = c.id;
  c.record.backend = c.backend;
  if (!head_.nonce().empty()) parse_nonce(head_.nonce(), c.record.nonce);
  if (!is_idempotent(head_.method())) c.record.flags |= kBackendNotIdempotent;
  c.to_head = head_.method() == "HEAD";
  c.health = head_.nonce().empty() && head_.target() == "/health";
  choose_reply(c);
  if (head_.minor() == 0) c.reply.chunked = false;
  c.says_keep_alive = head_.minor() == 0 && !head_.closes();
  c.close_after = head_.closes() || c.reply.close ||
                  (backend.script.close_after != 0 && c.requests >= backend.script.close_after);
  c.request_key = payload_key(c.record.nonce, Direction::request);
  c.response_key = payload_key(c.record.nonce, Direction::response);
  c.body.start_request(head_);
  c.body_done = c.body.done();
  c.body_ok = true;
  c.read_start = now;
  c.read_bytes = 0;
  c.echo.clear();
  if (c.reply.echo == Echo::headers) note_echo(c);
  c.flow.reset();
  if (same_name(head_.upgrade(), "lb-echo")) return begin_tunnel(c);
  if (same_name(head_.upgrade(), "lb-flow")) return begin_flow(c, FlowWire::raw);
  if (same_name(head_.upgrade(), "websocket")) return begin_flow(c, FlowWire::websocket);
  if (c.reply.events && c.body_done && c.reply.mode == Mode::normal) return begin_flow(c, FlowWire::events);
  c.read = Read::body;
  c.write = Write::none;
  if (head_.expects_continue() && !c.body_done) {
    c.out += "HTTP/1.1 100 Continue\r\n\r\n";
    pump_write(c);
    if (c.closed) return;
  }
  if (c.body_done) return body_complete(c);
  if (backend.script.early_response) begin_answer(c);
}

/// What this request gets: the script, then the query; a health check is its own thing.
void BackendServer::choose_reply(Connection& c) {
  Backend& backend = backend_of(c);
  const Reply& scripted = backend.script.reply;
  if (c.health) {
    c.reply = Reply{};
    if (scripted.mode == Mode::hang) c.reply.mode = Mode::hang;
    c.reply.delay = scripted.delay;
    c.reply.status = backend.script.health_status;
    ++backend.counters.health;
    return;
  }
  ++backend.counters.requests;
  ++backend.counters.in_flight;
  c.reply = scripted;
  // What is about new connections leaves requests on live ones alone.
  const bool at_accept =
      scripted.mode == Mode::refuse || (scripted.mode == Mode::reset && scripted.at == ResetAt::accept);
  const bool faulty = scripted.mode != Mode::normal && !at_accept;
  if (at_accept || (faulty && ++backend.fault_turn % backend.script.every != 0)) {
    if (scripted.mode == Mode::status) c.reply.status = 200;
    c.reply.mode = Mode::normal;
  }
  apply_query(c.reply, head_.target());
  if (c.reply.mode != Mode::normal) c.record.flags |= kBackendFaultScripted;
}

void BackendServer::note_echo(Connection& c) {
  nlohmann::json fields = nlohmann::json::array();
  for (std::size_t i = 0; i < head_.field_count(); ++i) {
    fields.push_back({std::string(head_.field(i).name), std::string(head_.field(i).value)});
  }
  const nlohmann::json all = {{"method", std::string(head_.method())},
                              {"target", std::string(head_.target())},
                              {"version", head_.minor() == 1 ? "HTTP/1.1" : "HTTP/1.0"},
                              {"headers", std::move(fields)}};
  c.echo = all.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void BackendServer::take_body(Connection& c, std::string_view piece) {
  c.read_bytes += piece.size();
  const std::uint64_t offset = c.body.bytes();
  if (c.body_ok && !payload_matches(piece, c.request_key, offset)) c.body_ok = false;
  if (c.reply.echo == Echo::body && c.echo.size() + piece.size() <= kEchoBytesMax) c.echo += piece;
}

void BackendServer::body_complete(Connection& c) {
  c.body_done = true;
  c.read = Read::wait;
  if (c.write == Write::none) {
    begin_answer(c);
  } else if (c.write == Write::done) {
    finish_request(c);
  }
}

void BackendServer::bad_request(Connection& c) {
  ++backend_of(c).counters.bad_requests;
  if (c.open) record_now(c, false);
  c.out += "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
  c.write = Write::none;
  pump_write(c);
  if (!c.closed) end_gracefully(c);
}

void BackendServer::begin_tunnel(Connection& c) {
  ++backend_of(c).counters.upgrades;
  c.record.status = 101;
  c.record.flags &= static_cast<std::uint8_t>(~kBackendFaultScripted);  // scripts are about answers
  c.record.flags |= kBackendUpgrade | kBackendSomeSent;
  c.out += "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: lb-echo\r\nX-Backend: ";
  c.out += backend_of(c).name;
  c.out += "\r\nX-Nonce: ";
  append_nonce(c.out, c.record.nonce);
  c.out += "\r\n\r\n";
  c.read = Read::tunnel;
  pump_write(c);
}

}  // namespace lb::traffic
