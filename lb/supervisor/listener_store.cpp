#include "lb/supervisor/listener_store.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "lb/net/listener.hpp"

namespace lb {
namespace {

constexpr std::string_view kUnixPrefix = "unix:";
constexpr long kActivatedMax = 1024;

std::string address_of(int fd) {
  auto text = local_address_text(fd);
  return text ? *text : "?";
}

int socket_option(int fd, int level, int name) {
  int value = 0;
  socklen_t size = sizeof value;
  return ::getsockopt(fd, level, name, &value, &size) == 0 ? value : 0;
}

/// 0 when it is not set or no number.
long number_in_environment(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? 0 : std::strtol(text, nullptr, 10);
}

bool contains(const std::vector<std::string>& list, const std::string& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

}  // namespace

void ListenerStore::add(const std::string& endpoint, Fd fd) {
  Socket socket{.endpoint = endpoint, .address = address_of(fd.get()), .fd = std::move(fd)};
  if (endpoint.starts_with(kUnixPrefix)) {
    struct stat info{};
    if (::stat(endpoint.substr(kUnixPrefix.size()).c_str(), &info) == 0) {
      socket.file_device = info.st_dev;
      socket.file_inode = info.st_ino;
    }
  }
  sockets_.push_back(std::move(socket));
}

void ListenerStore::add_activated(Fd fd) {
  std::string address = address_of(fd.get());
  sockets_.push_back({.address = std::move(address), .fd = std::move(fd), .activated = true});
}

void ListenerStore::claim(const std::vector<std::string>& endpoints) {
  for (Socket& socket : sockets_) {
    if (!socket.endpoint.empty()) continue;
    for (const std::string& endpoint : endpoints) {
      if (!activation_serves(socket.fd.get(), socket.address, endpoint)) continue;
      socket.endpoint = endpoint;
      break;
    }
  }
}

void ListenerStore::remove_file(const Socket& socket) {
  if (socket.activated || socket.file_inode == 0) return;
  const std::string path = socket.endpoint.substr(kUnixPrefix.size());
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0 || info.st_dev != socket.file_device ||
      info.st_ino != socket.file_inode)
    return;
  ::unlink(path.c_str());
}

void ListenerStore::keep_only(const std::vector<std::string>& endpoints) {
  std::erase_if(sockets_, [&](const Socket& socket) {
    if (socket.endpoint.empty() || contains(endpoints, socket.endpoint)) return false;
    remove_file(socket);
    return true;
  });
}

void ListenerStore::shut_down() {
  for (const Socket& socket : sockets_) {
    remove_file(socket);
    if (!socket.activated) ::shutdown(socket.fd.get(), SHUT_RDWR);
  }
  sockets_.clear();
}

std::vector<ListenerStore::Summary> ListenerStore::summary() const {
  std::vector<Summary> list;
  for (const Socket& socket : sockets_) {
    const auto it = std::find_if(list.begin(), list.end(), [&](const Summary& s) {
      return s.endpoint == socket.endpoint && s.address == socket.address;
    });
    if (it != list.end()) {
      ++it->shards;
    } else {
      list.push_back({socket.endpoint, socket.address, 1});
    }
  }
  return list;
}

std::vector<int> ListenerStore::fds() const {
  std::vector<int> list;
  list.reserve(sockets_.size());
  for (const Socket& socket : sockets_) list.push_back(socket.fd.get());
  return list;
}

std::vector<std::string> ListenerStore::labels() const {
  std::vector<std::string> list;
  list.reserve(sockets_.size());
  for (const Socket& socket : sockets_) list.push_back(socket.endpoint);
  return list;
}

bool activation_serves(int fd, std::string_view address, std::string_view endpoint) {
  if (address == endpoint) return true;
  constexpr std::string_view kAny4 = "0.0.0.0:";
  constexpr std::string_view kAny6 = "[::]:";
  return address.starts_with(kAny6) && endpoint.starts_with(kAny4) &&
         address.substr(kAny6.size()) == endpoint.substr(kAny4.size()) &&
         socket_option(fd, IPPROTO_IPV6, IPV6_V6ONLY) == 0;
}

std::vector<Fd> take_activated_sockets() {
  const bool ours = number_in_environment("LISTEN_PID") == ::getpid();
  const int number =
      ours ? static_cast<int>(std::clamp(number_in_environment("LISTEN_FDS"), 0L, kActivatedMax)) : 0;
  ::unsetenv("LISTEN_PID");
  ::unsetenv("LISTEN_FDS");
  ::unsetenv("LISTEN_FDNAMES");
  constexpr int kFirst = 3;
  std::vector<Fd> sockets;
  for (int fd = kFirst; fd < kFirst + number; ++fd) {
    if (socket_option(fd, SOL_SOCKET, SO_ACCEPTCONN) == 0) continue;  // not a listening socket: not for us
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
    sockets.emplace_back(fd);
  }
  return sockets;
}

}  // namespace lb
