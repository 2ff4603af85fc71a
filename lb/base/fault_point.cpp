#include "lb/base/fault_point.hpp"

#ifdef LB_FAULT_POINTS

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

#include "lb/base/fd.hpp"

namespace lb {

void fault_point(const char* name) {
  const char* path = std::getenv("LB_FAULT_GATE");
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  if (path == nullptr || std::strlen(path) >= sizeof address.sun_path) return;
  std::memcpy(address.sun_path, path, std::strlen(path) + 1);
  const Fd gate{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (!gate || ::connect(gate.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return;
  const std::string text = std::string{name} + " " + std::to_string(::getpid()) + "\n";
  if (::send(gate.get(), text.data(), text.size(), MSG_NOSIGNAL) < 0) return;
  char go = 0;
  while (::recv(gate.get(), &go, 1, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace lb

#endif
