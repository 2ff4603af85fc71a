#include "lb/admin/control_server.hpp"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <ranges>

#include "lb/base/unix_path.hpp"

namespace lb {
namespace {

Error in_use(const std::string& path) {
  return {.message = "already running: another balancer answers on the control socket " + path,
          .os_error = EADDRINUSE};
}

/// Whether somebody listens behind `path` (through a symbolic link too).
bool answers(const std::string& path) {
  const auto address = UnixPath::of(path);
  const Fd probe{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!address || !probe) return false;
  return ::connect(probe.get(), address->get(), UnixPath::size()) == 0 || errno == EAGAIN;
}

Result<void> clear_the_way(const std::string& path) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0) return {};
  if (!S_ISSOCK(info.st_mode) && !S_ISLNK(info.st_mode)) {
    return std::unexpected(Error{
        .message = "control socket " + path + ": the file exists and is not a socket", .os_error = EEXIST});
  }
  if (answers(path)) return std::unexpected(in_use(path));
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    return std::unexpected(system_error("remove the old control socket", path, errno));
  }
  return {};
}

bool same_file(const std::string& a, const std::string& b) {
  struct stat first{}, second{};
  return ::stat(a.c_str(), &first) == 0 && ::stat(b.c_str(), &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino;
}

/// A link that leads to another living balancer is that one's.
bool make_alias(const std::string& alias, const std::string& target) {
  struct stat info{};
  if (::lstat(alias.c_str(), &info) == 0) {
    if (S_ISLNK(info.st_mode) && same_file(alias, target)) return true;  // left by a balancer that was killed
    if ((!S_ISLNK(info.st_mode) && !S_ISSOCK(info.st_mode)) || answers(alias)) return false;
    ::unlink(alias.c_str());
  }
  std::error_code error;
  std::filesystem::create_symlink(std::filesystem::absolute(target, error), alias, error);
  return !error;
}

}  // namespace

Result<std::unique_ptr<ControlServer>> ControlServer::open(const std::string& path,
                                                           const std::vector<std::string>& aliases) {
  if (auto cleared = clear_the_way(path); !cleared) return std::unexpected(cleared.error());
  const auto address = UnixPath::of(path);
  if (!address) return std::unexpected(address.error());
  Fd listener{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  Fd epoll{::epoll_create1(EPOLL_CLOEXEC)};
  if (!listener || !epoll) return std::unexpected(system_error("socket", "unix:" + path, errno));
  ::fchmod(listener.get(), 0600);  // on Linux the file is created with the mode of the socket
  if (::bind(listener.get(), address->get(), UnixPath::size()) != 0) {
    return std::unexpected(system_error("bind the control socket", path, errno));
  }
  if (::listen(listener.get(), 64) != 0)
    return std::unexpected(system_error("listen", "unix:" + path, errno));
  epoll_event event{.events = EPOLLIN, .data = {.u64 = 0}};
  if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, listener.get(), &event) != 0) {
    return std::unexpected(system_error("epoll_ctl", "", errno));
  }
  std::unique_ptr<ControlServer> server{new ControlServer{path, std::move(listener), std::move(epoll)}};
  for (const std::string& alias : aliases) {
    if (alias != path && make_alias(alias, path)) server->aliases_.push_back(alias);
  }
  return server;
}

ControlServer::ControlServer(std::string path, Fd listener, Fd epoll)
    : path_(std::move(path)), listener_(std::move(listener)), epoll_(std::move(epoll)) {
  struct stat info{};
  if (::stat(path_.c_str(), &info) == 0) {
    file_device_ = info.st_dev;
    file_inode_ = info.st_ino;
  }
}

ControlServer::~ControlServer() {
  struct stat info{};
  const auto ours = [&](const std::string& path) {
    return ::stat(path.c_str(), &info) == 0 && info.st_dev == file_device_ && info.st_ino == file_inode_;
  };
  for (const std::string& alias : aliases_) {
    if (ours(alias)) ::unlink(alias.c_str());
  }
  if (ours(path_)) ::unlink(path_.c_str());
}

Instant ControlServer::next_deadline() const {
  Instant next = accept_again_;
  for (const auto& [id, client] : clients_) next = std::min(next, client.deadline);
  return next;
}

std::vector<ControlServer::Event> ControlServer::poll(Instant now) {
  std::vector<Event> events;
  now_ = now;
  if (now >= accept_again_) {
    accept_again_ = kNever;
    epoll_event event{.events = EPOLLIN, .data = {.u64 = 0}};
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, listener_.get(), &event);
  }
  std::array<epoll_event, kClientsMax + 1> ready;
  const int count = ::epoll_wait(epoll_.get(), ready.data(), static_cast<int>(ready.size()), 0);
  for (int i = 0; i < count; ++i) {
    const auto& event = ready[static_cast<std::size_t>(i)];
    const std::uint64_t id = event.data.u64;  // a copy: epoll_event is packed
    if (id == 0) {
      accept_clients(now);
      continue;
    }
    const auto it = clients_.find(id);
    if (it == clients_.end()) continue;
    if ((event.events & (EPOLLHUP | EPOLLERR)) != 0) {
      drop(it->first, &events);
      continue;
    }
    if ((event.events & EPOLLOUT) != 0 && !write(it->second)) {
      drop(it->first, &events);
      continue;
    }
    if ((event.events & EPOLLIN) != 0) read(it->first, it->second, now, events);
    next_request(id, now, events);
  }
  drop_finished(events, now);
  return events;
}

void ControlServer::accept_clients(Instant now) {
  for (;;) {
    Fd fd{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
    if (!fd) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno == EAGAIN) return;
      epoll_event event{.events = 0,
                        .data = {.u64 = 0}};  // out of descriptors: look again later, do not spin
      ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, listener_.get(), &event);
      accept_again_ = now + kAcceptPause;
      return;
    }
    ucred peer{};
    socklen_t size = sizeof peer;
    const bool known = ::getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0;
    std::string refusal;
    if (!known || (peer.uid != ::geteuid() && peer.uid != 0))
      refusal = "only the balancer's own user may ask";
    if (clients_.size() >= kClientsMax) refusal = "too many connections to the control socket";
    if (!refusal.empty()) {
      const std::string line = control_error_line(refusal);
      [[maybe_unused]] const ssize_t n =
          ::send(fd.get(), line.data(), line.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      continue;
    }
    const ClientId id = next_client_++;
    epoll_event event{.events = EPOLLIN, .data = {.u64 = id}};
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd.get(), &event) != 0) continue;
    Client& client = clients_[id];
    client.fd = std::move(fd);
    client.pid = peer.pid;
    client.deadline = now + kRequestTimeout;
  }
}

void ControlServer::read(ClientId id, Client& client, Instant, std::vector<Event>& events) {
  char buffer[kControlRequestBytesMax];
  const ssize_t n = ::recv(client.fd.get(), buffer, sizeof buffer, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n < 0) return drop(id, &events);
  if (n == 0) {
    client.input_ended = true;  // it may wait for an answer all the same
    if (client.caller == 0 && client.out.empty()) return drop(id, &events);
  }
  client.in.append(buffer, static_cast<std::size_t>(n));
  watch(id, client);
}

/// One request at a time: the next line is looked at when the last was answered. One that is no request is
/// answered at once, which may end the connection.
void ControlServer::next_request(ClientId id, Instant now, std::vector<Event>& events) {
  for (;;) {
    const auto it = clients_.find(id);
    if (it == clients_.end()) return;
    Client& client = it->second;
    if (client.caller != 0 || !client.out.empty()) return;
    const auto newline = client.in.find('\n');
    if (newline == std::string::npos) {
      if (client.in.size() <= kControlRequestBytesMax) return;
      client.in.clear();
      client.input_ended = true;
      client.out = control_error_line("the request is too long");
      if (!write(client)) drop(id, &events);
      return;
    }
    auto query = parse_control_request(std::string_view{client.in}.substr(0, newline));
    client.in.erase(0, newline + 1);
    if (query) {
      client.caller = next_caller_++;
      client.deadline = kNever;  // the answer takes as long as it takes
      events.push_back(
          {.kind = Event::Kind::request, .caller = client.caller, .query = *query, .pid = client.pid});
      return watch(id, client);
    }
    client.out = control_error_line(query.error().message);
    client.deadline = now + kRequestTimeout;
    if (!write(client)) return drop(id, &events);
    watch(id, client);
  }
}

bool ControlServer::write(Client& client) {
  while (!client.out.empty()) {
    const std::string_view left = std::string_view{client.out}.substr(client.sent);
    const ssize_t n = ::send(client.fd.get(), left.data(), left.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno == EAGAIN;
    client.sent += static_cast<std::size_t>(n);
    if (client.sent < client.out.size()) continue;
    client.out.clear();
    client.out.shrink_to_fit();
    client.sent = 0;
  }
  return true;
}

void ControlServer::watch(ClientId id, const Client& client) {
  std::uint32_t events = 0;
  if (!client.input_ended && client.in.size() <= kControlRequestBytesMax) events |= EPOLLIN;
  if (!client.out.empty()) events |= EPOLLOUT;
  epoll_event event{.events = events, .data = {.u64 = id}};
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, client.fd.get(), &event);
}

void ControlServer::answer(std::uint64_t caller, const std::string& json) {
  for (auto& [id, client] : clients_) {
    if (client.caller != caller) continue;
    client.caller = 0;
    client.out = json + "\n";
    client.sent = 0;
    // Also the time to send a next request. An answer not taken, or an ended input, ends the connection in
    // poll().
    client.deadline =
        client.input_ended && write(client) && client.out.empty() ? now_ : now_ + kRequestTimeout;
    if (!client.input_ended && !write(client)) client.deadline = now_;
    if (client.in.find('\n') != std::string::npos) client.deadline = now_;
    return watch(id, client);
  }
}

void ControlServer::drop(ClientId id, std::vector<Event>* events) {
  const auto it = clients_.find(id);
  if (it == clients_.end()) return;
  if (events != nullptr && it->second.caller != 0) {
    events->push_back({.kind = Event::Kind::left, .caller = it->second.caller, .pid = it->second.pid});
  }
  clients_.erase(it);
}

void ControlServer::drop_finished(std::vector<Event>& events, Instant now) {
  const auto ids = std::views::keys(clients_);
  for (const ClientId id : std::vector<ClientId>{ids.begin(), ids.end()})
    next_request(id, now, events);  // sent while the last one was being answered
  std::vector<ClientId> finished;
  for (const auto& [id, client] : clients_) {
    const bool done = client.input_ended && client.caller == 0 && client.out.empty();
    if (done || client.deadline <= now) finished.push_back(id);
  }
  for (const ClientId id : finished) drop(id, &events);
}

void ControlServer::flush(Duration limit) {
  const Instant until = monotonic_now() + limit;
  for (;;) {
    std::vector<pollfd> waiting;
    for (auto& [id, client] : clients_) {
      if (!write(client)) client.out.clear();
      if (!client.out.empty()) waiting.push_back({client.fd.get(), POLLOUT, 0});
    }
    const auto left = to_ms(until - monotonic_now());
    if (waiting.empty() || left <= 0) return;
    ::poll(waiting.data(), waiting.size(), static_cast<int>(left));
  }
}

}  // namespace lb
