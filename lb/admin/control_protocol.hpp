// The control protocol: a Unix stream socket (mode 0600, same user or root only); the client sends one JSON
// object a line, the server answers each with one JSON object a line, in order. Values; any thread.
//
//   {"cmd":"reload"}   ->
//   {"ok":true|false,"applied":...,"from":1,"generation":2,"config":"HASH","duration_ms":...,
//                           "phases_ms":{...},"warnings":[...],"reason":"..."}   when the reload is decided
//   {"cmd":"status"}   ->  {"ok":true,"pid":...,"generations":[...],"listeners":[...],...}
//   anything else      ->  {"ok":false,"error":"..."}
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lb/base/result.hpp"

namespace lb {

inline constexpr std::size_t kControlRequestBytesMax = 4096;
inline constexpr std::size_t kControlAnswerBytesMax = 64U << 20U;

enum class ControlCommand : std::uint8_t { reload, status };

/// Of one line without its end. Unknown keys are allowed, so that clients may be newer.
Result<ControlCommand> parse_control_request(std::string_view line);

std::string control_request_line(ControlCommand command);
std::string control_error_line(std::string_view message);

}  // namespace lb
