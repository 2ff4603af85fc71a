// Result<T>: a value or an Error. Peers and the environment fail by returning an Error; programmers fail
// by LB_ASSERT, which stays on in release builds. Nothing throws across a module boundary.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace lb {

/// Whose doing an error is; decides what is logged and whether trying again can help.
enum class Fault : std::uint8_t { client, upstream, config, environment, self };

struct Error {
  Fault fault = Fault::environment;
  std::string message;     // a full clause without a final stop: "bind 127.0.0.1:80: permission denied"
  int os_error = 0;        // errno, or 0
  bool retryable = false;  // the same call may succeed later
};

template <class T>
using Result = std::expected<T, Error>;

/// An Error for a failed system call: "CALL DETAIL: strerror". `os_error` is errno's value.
Error system_error(std::string_view call, std::string_view detail, int os_error);

[[noreturn]] void assertion_failed(const char* expression, const char* file, int line) noexcept;

}  // namespace lb

#define LB_ASSERT(expression) \
  (static_cast<bool>(expression) ? void(0) : ::lb::assertion_failed(#expression, __FILE__, __LINE__))
