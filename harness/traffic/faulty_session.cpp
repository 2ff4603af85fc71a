// FaultyBalancer's sessions: one request at a time from the client to a backend, and its answer back.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "harness/traffic/faulty_balancer.hpp"

namespace lb::traffic {
namespace {

constexpr std::size_t kBufferMax = 256U << 10U;

std::size_t unsent(const std::string& out, std::size_t sent) noexcept {
  return out.size() - sent;
}

bool is_hop_by_hop(std::string_view name) noexcept {
  return same_name(name, "connection") || same_name(name, "keep-alive") ||
         same_name(name, "proxy-connection");
}

}  // namespace

/// Steps until nothing moves any more: each moves some bytes or changes the state.
void FaultyBalancer::pump(Session& s) {
  while (!s.closed && step(s)) {
  }
}

bool FaultyBalancer::step(Session& s) {
  if (s.doomed) return false;
  bool moved = read_side(s, s.client);
  if (s.closed) return false;
  if (s.stage == Stage::idle && !s.client.in.empty()) moved = begin_request(s) || moved;
  if (s.stage == Stage::active && !s.request_done) moved = relay_request_body(s) || moved;
  if (s.upstream.fd) moved = write_side(s, s.upstream) || moved;
  if (!s.closed && s.upstream.fd) moved = read_side(s, s.upstream) || moved;
  if (!s.closed && s.stage == Stage::active) moved = relay_answer(s) || moved;
  if (!s.closed && s.stage == Stage::tunnel) moved = relay_tunnel(s) || moved;
  if (!s.closed && s.client.fd) moved = write_side(s, s.client) || moved;
  if (!s.closed && s.stage == Stage::active) moved = end_exchange(s) || moved;
  return moved;
}

bool FaultyBalancer::read_side(Session& s, Side& side) {
  const bool from_client = &side == &s.client;
  if (!side.fd || !side.readable || side.eof || side.in.size() >= kBufferMax) return false;
  const std::string& pile = from_client ? s.upstream.out : s.client.out;
  if (pile.size() > kBufferMax) return false;
  const ssize_t n = side.fd.recv(scratch_.data(), scratch_.size());
  if (n > 0) {
    if (static_cast<std::size_t>(n) < scratch_.size() && !side.hung_up && !side.fd.is_tls())
      side.readable = false;
    if (s.stage != Stage::closing && s.stage != Stage::stuck)
      side.in.append(scratch_.data(), static_cast<std::size_t>(n));
    return true;
  }
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
    side.readable = errno == EINTR;
    return false;
  }
  side.eof = true;
  if (!from_client) {
    if (n < 0 || s.stage != Stage::tunnel) upstream_ended(s);
  } else if (n < 0 || s.stage == Stage::closing || s.stage == Stage::stuck || s.stage == Stage::idle) {
    close_now(s);
  }
  return true;
}

bool FaultyBalancer::write_side(Session& s, Side& side) {
  if (!side.connected || unsent(side.out, side.out_sent) == 0) return false;
  const ssize_t n = side.fd.send(side.out.data() + side.out_sent, unsent(side.out, side.out_sent));
  if (n < 0) {
    if (errno == EAGAIN || errno == EINTR) return false;
    if (&side == &s.client) {
      close_now(s);
    } else {
      side.out.clear();
      side.out_sent = 0;
      side.readable = side.hung_up = true;  // an answer may be there nevertheless
    }
    return true;
  }
  side.out_sent += static_cast<std::size_t>(n);
  if (side.out_sent == side.out.size()) {
    side.out.clear();
    side.out_sent = 0;
  }
  return true;
}

/// The backend's connection is over: between requests that is nothing, before an answer 502, within it the
/// end.
void FaultyBalancer::upstream_ended(Session& s) {
  if (s.stage == Stage::active && s.upstream.in.empty() && !s.answer_done) {
    const bool by_close = s.answering && s.answer_body.framing() == BodyReader::Framing::until_close;
    s.upstream.fd.reset();
    if (by_close) {
      s.answer_done = true;
      s.close_after = true;
    } else if (s.answering) {
      close_now(s);
    } else {
      answer_self(s, "502 Bad Gateway");
      s.close_after = true;
    }
    return;
  }
  if (s.stage == Stage::tunnel) return close_now(s);
  if (s.stage != Stage::active) s.upstream.fd.reset();
}

bool FaultyBalancer::ensure_upstream(Session& s) {
  const std::vector<Address>& list = backends_for(s);
  const bool usable = s.upstream.fd && !s.upstream.eof && !s.upstream_closes &&
                      std::ranges::find(list, s.upstream_address, &Address::text) != list.end();
  if (usable && control_ != Control::stale_backend) return true;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const Address& address = list[next_backend_++ % list.size()];
    Connecting made = connect_to(address);
    if (!made.fd || (made.os_error != 0 && made.os_error != EINPROGRESS)) continue;
    s.upstream = Side{};
    s.upstream.fd = Channel(std::move(made.fd));
    s.upstream.connected = made.os_error == 0;
    s.upstream_address = address.text;
    s.upstream_closes = false;
    return loop_.watch_edges(s.upstream.fd.get(), token_of(s.handle) | kUpstreamToken);
  }
  return false;
}

bool FaultyBalancer::begin_request(Session& s) {
  const Head::Parsed parsed = head_.parse_request(s.client.in);
  if (parsed == Head::Parsed::incomplete) return false;
  s.stage = Stage::active;
  s.answering = s.answer_done = s.cut = s.flip = s.at_event = false;
  s.request_done = true;
  s.close_after = false;
  if (parsed == Head::Parsed::bad) {
    answer_self(s, "400 Bad Request");
    s.close_after = true;
    return true;
  }
  s.request_body.start_request(head_);
  s.request_done = s.request_body.done();
  s.request_closes = head_.closes();
  s.to_head = head_.method() == "HEAD";
  s.upgrade = !head_.upgrade().empty();
  const std::size_t size = head_.size();
  const bool plain = s.request_done && !s.upgrade;
  if (plain && strikes(Control::hang, 16)) {
    s.stage = Stage::stuck;
  } else if (plain && strikes(Control::answer_502, 8)) {
    answer_self(s, "502 Bad Gateway");
  } else if (!ensure_upstream(s)) {
    answer_self(s, "502 Bad Gateway");
    s.close_after = true;
  } else {
    write_request_head(s);
    if (plain && strikes(Control::duplicate, 8)) send_shadow(s);
  }
  s.client.in.erase(0, size);
  return true;
}

void FaultyBalancer::write_request_head(Session& s) {
  std::string& out = s.upstream.out;
  out += head_.method();
  out += ' ';
  out += head_.target();
  out += " HTTP/1.1\r\n";
  for (std::size_t i = 0; i < head_.field_count(); ++i) {
    const Field& field = head_.field(i);
    if (is_hop_by_hop(field.name)) continue;
    out += field.name;
    out += ": ";
    out += field.value;
    out += "\r\n";
  }
  if (s.upgrade) out += "Connection: Upgrade\r\n";
  out += "\r\n";
}

/// An answer of the balancer's own.
void FaultyBalancer::answer_self(Session& s, std::string_view status) {
  s.client.out += "HTTP/1.1 ";
  s.client.out += status;
  s.client.out += "\r\nContent-Length: 0\r\nX-Config: ";
  s.client.out += std::to_string(generation_);
  s.client.out += s.request_closes ? "\r\nConnection: close\r\n\r\n" : "\r\n\r\n";
  s.close_after = s.close_after || s.request_closes;
  s.answering = s.answer_done = true;
}

bool FaultyBalancer::relay_request_body(Session& s) {
  if (s.client.in.empty() || s.answer_done) return false;
  const std::size_t used = s.request_body.feed(s.client.in, [](std::string_view) {});
  if (s.upstream.fd) s.upstream.out.append(s.client.in, 0, used);
  s.client.in.erase(0, used);
  if (s.request_body.bad()) {
    close_now(s);
    return true;
  }
  s.request_done = s.request_body.done();
  return used > 0;
}

bool FaultyBalancer::relay_answer(Session& s) {
  if (s.upstream.in.empty() || s.answer_done || s.cut) return false;
  if (!s.answering) return relay_head(s);
  std::string& in = s.upstream.in;
  const std::size_t used = s.answer_body.feed(in, [&](std::string_view piece) {
    if (!s.flip || piece.empty()) return;
    in[static_cast<std::size_t>(piece.data() - in.data())] ^= 0x20;
    s.flip = false;
  });
  const bool cut_now = used > 1 && strikes(Control::truncate, 8);
  // An event is lost whole, so that the framing stays right and only its number tells.
  const bool whole =
      s.at_event && used == in.size() && in.ends_with("\n\n\r\n") && in.find("data: ") != in.npos;
  s.at_event = used > 0 && in.compare(used >= 4 ? used - 4 : 0, 4, "\n\n\r\n") == 0;
  if (whole && strikes(Control::lose_event, 2)) {
    in.clear();
    return true;
  }
  s.client.out.append(in, 0, cut_now ? used / 2 : used);
  in.erase(0, used);
  s.cut = cut_now;
  s.answer_done = s.answer_body.done();
  if (s.answer_body.bad()) close_now(s);
  return used > 0;
}

bool FaultyBalancer::relay_head(Session& s) {
  const Head::Parsed parsed = head_.parse_response(s.upstream.in);
  if (parsed == Head::Parsed::incomplete) return false;
  if (parsed == Head::Parsed::bad) {
    s.upstream.fd.reset();
    answer_self(s, "502 Bad Gateway");
    return true;
  }
  const std::size_t size = head_.size();
  if (head_.status() == 101) {
    write_answer_head(s);
    s.stage = Stage::tunnel;
  } else if (head_.status() < 200) {
    s.client.out.append(s.upstream.in, 0, size);
  } else {
    s.answer_body.start_response(head_, s.to_head);
    s.upstream_closes = head_.closes();
    s.answering = true;
    s.answer_done = s.answer_body.done();
    // An old generation's connection ends with this answer, unless more requests have come already.
    const bool old = s.generation != generation_ && s.client.in.empty();
    const bool by_close = s.answer_body.framing() == BodyReader::Framing::until_close;
    s.close_after = s.request_closes || old || by_close || !s.request_done;
    if (!s.answer_done && !head_.chunked() && strikes(Control::wrong_body, 8)) s.flip = true;
    write_answer_head(s);
  }
  s.upstream.in.erase(0, size);
  return true;
}

void FaultyBalancer::write_answer_head(Session& s) {
  std::string& out = s.client.out;
  out += "HTTP/1.1 ";
  out += std::to_string(head_.status());
  out += head_.status() == 101 ? " Switching Protocols\r\nConnection: Upgrade" : " Relayed";
  out += "\r\nX-Config: ";
  out += std::to_string(generation_);
  out += "\r\n";
  for (std::size_t i = 0; i < head_.field_count(); ++i) {
    const Field& field = head_.field(i);
    if (is_hop_by_hop(field.name)) continue;
    out += field.name;
    out += ": ";
    out += field.value;
    out += "\r\n";
  }
  if (head_.status() != 101 && s.close_after) out += "Connection: close\r\n";
  out += "\r\n";
}

/// What is wrong with a piece of a tunnel, when something is to be.
void FaultyBalancer::spoil(std::string& piece) {
  if (strikes(Control::lose_tunnel, 4)) piece.clear();
  if (strikes(Control::repeat_tunnel, 4)) piece += std::string(piece);
  if (strikes(Control::reorder_tunnel, 4))
    std::rotate(piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(piece.size() / 2), piece.end());
}

bool FaultyBalancer::relay_tunnel(Session& s) {
  const auto one_way = [this](Side& from, Side& to) {
    bool moved = !from.in.empty();
    if (moved) spoil(from.in);
    to.out += from.in;
    from.in.clear();
    if (from.eof && to.out.empty() && !to.shut) {
      to.shut = moved = true;
      to.fd.shut_write();
    }
    return moved;
  };
  const bool up = one_way(s.client, s.upstream);
  const bool down = one_way(s.upstream, s.client);
  if (s.client.shut && s.upstream.shut) close_now(s);
  return up || down;
}

bool FaultyBalancer::end_exchange(Session& s) {
  if (!s.client.out.empty()) return false;
  if (s.cut) {
    end_gracefully(s);
    return true;
  }
  if (!s.answer_done) return false;
  if (!s.request_done && !s.close_after) return false;  // answered early: the body is still read, and relayed
  if (s.close_after || s.client.eof) {
    end_gracefully(s);
    return true;
  }
  if (!s.upstream.in.empty() || s.upstream_closes || s.upstream.eof) s.upstream = Side{};
  s.stage = Stage::idle;
  return true;
}

}  // namespace lb::traffic
