#include "lb/base/result.hpp"

#include <cstdio>
#include <cstdlib>
#include <system_error>

namespace lb {

Error system_error(std::string_view call, std::string_view detail, int os_error) {
  std::string message{call};
  if (!detail.empty()) message.append(" ").append(detail);
  message.append(": ").append(std::generic_category().message(os_error));
  return Error{.fault = Fault::environment, .message = std::move(message), .os_error = os_error};
}

void assertion_failed(const char* expression, const char* file, int line) noexcept {
  std::fprintf(stderr, "lb: assertion failed: %s (%s:%d)\n", expression, file, line);
  std::abort();
}

}  // namespace lb
