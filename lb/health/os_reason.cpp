#include "lb/health/os_reason.hpp"

#include <cerrno>
#include <system_error>

namespace lb {

std::string os_reason(int os_error) {
  if (os_error == EAGAIN) return "its queue of connections is full";  // connect(2) on a Unix socket
  std::string text = std::generic_category().message(os_error);
  if (!text.empty() && text[0] >= 'A' && text[0] <= 'Z') text[0] = static_cast<char>(text[0] - 'A' + 'a');
  return text;
}

bool is_our_shortage(int os_error) noexcept {
  return os_error == EMFILE || os_error == ENFILE || os_error == ENOBUFS || os_error == ENOMEM ||
         os_error == EADDRNOTAVAIL;
}

}  // namespace lb
