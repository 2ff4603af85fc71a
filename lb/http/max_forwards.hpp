// Max-Forwards (RFC 9110 7.6.2): how many more recipients a TRACE or OPTIONS may have. Any thread.
#pragma once

#include <cstdint>

#include "lb/http/message.hpp"

namespace lb::http {

/// The methods whose Max-Forwards a proxy must look at; with any other it is passed on untouched.
constexpr bool counts_forwards(Method method) noexcept {
  return method == Method::trace || method == Method::options;
}

struct MaxForwards {
  enum class Kind : std::uint8_t {
    absent,
    forward,    // with `next` in its place
    answer,     // it was 0: this proxy is the last recipient
    malformed,  // several, or no decimal number: 400
  };
  Kind kind = Kind::absent;
  std::uint32_t next = 0;
};

/// The largest value passed on; what is more is brought down to it.
inline constexpr std::uint32_t kMaxForwardsMax = 255;

/// Of a request whose method counts_forwards().
MaxForwards max_forwards(const RequestHead& head) noexcept;

}  // namespace lb::http
