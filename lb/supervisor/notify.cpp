#include "lb/supervisor/notify.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

namespace lb {

ServiceNotifier ServiceNotifier::from_environment() {
  ServiceNotifier notifier;
  const char* address = std::getenv("NOTIFY_SOCKET");
  if (address == nullptr || (address[0] != '/' && address[0] != '@') ||
      std::strlen(address) >= sizeof(sockaddr_un::sun_path)) {
    return notifier;
  }
  notifier.socket_ = Fd{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (notifier.socket_) notifier.address_ = address;
  ::unsetenv("NOTIFY_SOCKET");
  return notifier;
}

void ServiceNotifier::ready(std::string_view status) {
  send("READY=1\nMAINPID=" + std::to_string(::getpid()) + "\nSTATUS=" + std::string{status});
}

void ServiceNotifier::reloading(Instant now) {
  const auto us = std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch()).count();
  send("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(us));
}

void ServiceNotifier::stopping() {
  send("STOPPING=1");
}

void ServiceNotifier::send(const std::string& text) {
  if (address_.empty()) return;
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::memcpy(to.sun_path, address_.data(), address_.size());
  if (to.sun_path[0] == '@') to.sun_path[0] = '\0';
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address_.size());
  // A full or absent manager is its own problem; the balancer goes on.
  [[maybe_unused]] const ssize_t n = ::sendto(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL,
                                              reinterpret_cast<const sockaddr*>(&to), size);
}

}  // namespace lb
