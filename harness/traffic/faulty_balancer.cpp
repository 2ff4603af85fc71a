#include "harness/traffic/faulty_balancer.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace lb::traffic {
namespace {

constexpr std::array<std::string_view, 14> kControls = {
    "none", "rebind",     "close_idle",  "truncate",    "answer_502",    "stale_backend",  "duplicate",
    "hang", "wrong_body", "kill_tunnel", "lose_tunnel", "repeat_tunnel", "reorder_tunnel", "lose_event"};
// Between choosing the idle connections and closing them: what a drain over many connections takes.
constexpr Nanos kDoomedTime = 3 * kMilli;

}  // namespace

std::optional<Control> control_named(std::string_view name) noexcept {
  const auto found = std::ranges::find(kControls, name);
  if (found == kControls.end()) return std::nullopt;
  return static_cast<Control>(found - kControls.begin());
}

std::string_view name_of(Control control) noexcept {
  return kControls[static_cast<std::size_t>(control)];
}

Result<std::vector<Address>> parse_address_list(std::string_view text) {
  constexpr std::string_view kSeparators = ", \t\r\n";
  std::vector<Address> all;
  for (std::size_t start = text.find_first_not_of(kSeparators); start != std::string_view::npos;) {
    const std::size_t end = std::min(text.find_first_of(kSeparators, start), text.size());
    auto address = parse_address(text.substr(start, end - start));
    if (!address) return std::unexpected(address.error());
    all.push_back(std::move(*address));
    start = text.find_first_not_of(kSeparators, end);
  }
  if (all.empty()) return std::unexpected(Error{Fault::config, "no backend address", 0, false});
  return all;
}

Result<std::uint16_t> FaultyBalancer::listen_tls(const Address& address, const std::string& certificate,
                                                 const std::string& key) {
  auto context = tls_server_context(certificate, key);
  if (!context) return std::unexpected(context.error());
  auto made = listen_on(address);
  if (!made) return std::unexpected(made.error());
  if (!loop_.watch_readable(made->fd.get(), kTlsListenerToken))
    return std::unexpected(system_error("epoll_ctl", address.text, errno));
  tls_ = std::move(*context);
  tls_listener_ = std::move(made->fd);
  return made->port;
}

Result<std::uint16_t> FaultyBalancer::listen(const Address& address) {
  address_ = address;
  auto made = listen_on(address, control_ == Control::rebind);
  if (!made) return std::unexpected(made.error());
  if (!address.is_unix()) {
    auto fixed =
        parse_address(address.text.substr(0, address.text.rfind(':') + 1) + std::to_string(made->port));
    if (fixed) address_ = *fixed;
  }
  if (!loop_.watch_readable(made->fd.get(), kListenerToken | listeners_.size())) {
    return std::unexpected(system_error("epoll_ctl", address.text, errno));
  }
  listeners_.push_back(std::move(made->fd));
  return made->port;
}

void FaultyBalancer::set_backends(std::vector<Address> backends) {
  backends_ = std::move(backends);
  for (const Address& address : backends_) {
    if (std::ranges::find(ever_, address.text, &Address::text) == ever_.end()) ever_.push_back(address);
  }
}

Result<void> FaultyBalancer::reload(std::vector<Address> backends, Nanos now) {
  set_backends(std::move(backends));
  ++generation_;
  window_end_ = now + window_;
  switch (control_) {
    case Control::rebind: {
      const std::size_t old = listeners_.size() - 1;
      // Nobody accepts from the old socket from here on: its queue fills, and then goes down with it.
      loop_.forget(listeners_[old].get());
      if (auto made = listen(address_); !made) return std::unexpected(made.error());
      loop_.at(now + window_ / 4, kListenerToken | old,
               static_cast<std::uint32_t>(TimerKind::close_old_listener));
      ++faults_;
      break;
    }
    case Control::close_idle:
      sessions_.for_each([&](Session& s, Handle) {
        if (s.stage == Stage::idle && s.client.in.empty()) s.doomed = true;
      });
      loop_.at(now + kDoomedTime, kListenerToken, static_cast<std::uint32_t>(TimerKind::close_doomed));
      break;
    case Control::kill_tunnel:
      close_all([](const Session& s) {
        return s.stage == Stage::tunnel || (s.stage == Stage::active && s.answering && !s.answer_done);
      });
      break;
    default:
      break;
  }
  return {};
}

void FaultyBalancer::close_all(const std::function<bool(const Session&)>& chosen) {
  std::vector<Handle> all;
  sessions_.for_each([&](Session& s, Handle handle) {
    if (chosen(s)) all.push_back(handle);
  });
  for (const Handle handle : all) {
    ++faults_;
    close_now(*sessions_.get(handle));
  }
}

bool FaultyBalancer::in_window() const noexcept {
  return now_ns() < window_end_;
}

bool FaultyBalancer::strikes(Control control, std::uint32_t each) {
  if (control_ != control || !in_window() || ++turn_ % each != 0) return false;
  ++faults_;
  return true;
}

const std::vector<Address>& FaultyBalancer::backends_for(const Session& s) const noexcept {
  return control_ == Control::stale_backend && s.id % 2 == 0 ? ever_ : backends_;
}

void FaultyBalancer::accept_some(std::size_t listener) {
  if (listeners_[listener]) accept_from(listeners_[listener].get(), false);
}

void FaultyBalancer::accept_from(int listener, bool tls) {
  constexpr int kAtOnce = 64;
  for (int i = 0; i < kAtOnce; ++i) {
    Fd fd(::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd) return;
    auto [s, handle] = sessions_.emplace();
    if (s == nullptr) return;
    if (!address_.is_unix()) set_no_delay(fd.get());
    s->handle = handle;
    s->id = ++next_id_;
    s->generation = generation_;
    s->client.fd = Channel(std::move(fd));
    if (tls && !s->client.fd.begin_server(tls_.get())) {
      close_now(*s);
      continue;
    }
    s->client.connected = true;
    if (!loop_.watch_edges(s->client.fd.get(), token_of(handle))) close_now(*s);
  }
}

void FaultyBalancer::on_io(Token token, std::uint32_t events) {
  if (token == kTlsListenerToken) return accept_from(tls_listener_.get(), true);
  if ((token & kListenerToken) == kListenerToken) return accept_some(static_cast<std::uint32_t>(token));
  if ((token & kShadowToken) != 0) return on_shadow(token & ~kShadowToken, events);
  const bool upstream = (token & kUpstreamToken) != 0;
  Session* s = sessions_.get(handle_of(token & ~kUpstreamToken));
  if (s == nullptr) return;
  Side& side = upstream ? s->upstream : s->client;
  if ((events & EPOLLOUT) != 0) side.connected = true;
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) side.hung_up = true;
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) side.readable = true;
  pump(*s);
}

void FaultyBalancer::on_timer(Token token, std::uint32_t tag) {
  switch (static_cast<TimerKind>(tag)) {
    case TimerKind::close_old_listener:
      listeners_[static_cast<std::uint32_t>(token)].reset();
      return;
    case TimerKind::close_doomed:
      close_all([](const Session& s) { return s.doomed; });
      return;
    case TimerKind::closing:
      if (Session* s = sessions_.get(handle_of(token)); s != nullptr && s->stage == Stage::closing)
        close_now(*s);
      return;
  }
}

void FaultyBalancer::end_turn() {
  sessions_.reap();
  shadows_.reap();
}

void FaultyBalancer::close_now(Session& s) {
  if (s.closed) return;
  s.closed = true;
  s.client.fd.reset();
  s.upstream.fd.reset();
  sessions_.retire(s.handle);
}

void FaultyBalancer::end_gracefully(Session& s) {
  s.stage = Stage::closing;
  s.upstream.fd.reset();
  if (s.client.eof || s.client.fd.shut_write() != 0) return close_now(s);
  loop_.at(now_ns() + kSecond, token_of(s.handle), static_cast<std::uint32_t>(TimerKind::closing));
}

/// Sends the present request, which has no body, to a second backend as well.
void FaultyBalancer::send_shadow(const Session& s) {
  const Address& other = backends_[next_backend_++ % backends_.size()];
  Connecting made = connect_to(other);
  if (!made.fd || (made.os_error != 0 && made.os_error != EINPROGRESS)) return;
  auto [shadow, handle] = shadows_.emplace();
  if (shadow == nullptr) return;
  shadow->fd = std::move(made.fd);
  shadow->handle = handle;
  shadow->out = s.upstream.out.substr(0, s.upstream.out.size() - 2) + "Connection: close\r\n\r\n";
  if (!loop_.watch_edges(shadow->fd.get(), token_of(handle) | kShadowToken)) shadows_.retire(handle);
}

void FaultyBalancer::on_shadow(Token token, std::uint32_t events) {
  Shadow* shadow = shadows_.get(handle_of(token));
  if (shadow == nullptr) return;
  if ((events & EPOLLOUT) != 0 && !shadow->out.empty()) {
    const ssize_t n = ::send(shadow->fd.get(), shadow->out.data(), shadow->out.size(), MSG_NOSIGNAL);
    if (n > 0) shadow->out.erase(0, static_cast<std::size_t>(n));
  }
  ssize_t n = 0;
  while ((n = ::recv(shadow->fd.get(), scratch_.data(), scratch_.size(), 0)) > 0) {
  }
  if (n < 0 && errno == EAGAIN) return;
  shadow->fd.reset();
  shadows_.retire(shadow->handle);
}

}  // namespace lb::traffic
