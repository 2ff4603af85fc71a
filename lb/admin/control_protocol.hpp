// The control protocol: a Unix stream socket (mode 0600, same user or root only); the client sends one JSON
// object a line, the server answers each with one JSON object a line, in order. Values; any thread.
//
//   {"cmd":"reload"}   ->
//   {"ok":true|false,"applied":...,"from":1,"generation":2,"config":"HASH","duration_ms":...,
//                           "phases_ms":{...},"warnings":[...],"reason":"..."}   when the reload is decided
//   {"cmd":"status"}   ->  {"ok":true,"pid":...,"generations":[...],"listeners":[...],...}
//   {"cmd":"reloads"}  ->  {"ok":true,"reloads":[...]}   the ledger, the newest first
//   {"cmd":"reloads","number":7,"wait":true}
//                      ->  {"ok":true,"reloads":[{...}]}   that one; with "wait" once it is whole
//   {"cmd":"plan"}     ->  as status, and "running": the text of the configuration that serves, and "live":
//   what
//                          is connected
//   anything else      ->  {"ok":false,"error":"..."}
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lb/base/result.hpp"

namespace lb {

inline constexpr std::size_t kControlRequestBytesMax = 4096;
/// A configuration of 64 MiB as a JSON text, with room for what has to be escaped.
inline constexpr std::size_t kControlAnswerBytesMax = 160U << 20U;

enum class ControlCommand : std::uint8_t { reload, status, reloads, plan };

struct ControlQuery {
  ControlCommand command = ControlCommand::status;
  std::int64_t number = 0;  // reloads: of the reload; 0: all
  bool wait = false;        // reloads: until it is whole
  friend bool operator==(const ControlQuery&, const ControlQuery&) = default;
};

/// Of one line without its end. Unknown keys are allowed, so that clients may be newer.
Result<ControlQuery> parse_control_request(std::string_view line);

std::string control_request_line(const ControlQuery& query);
std::string control_error_line(std::string_view message);

}  // namespace lb
