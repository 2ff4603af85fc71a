// The answers of the control socket as text for people. Pure; reads JSON, tolerates missing keys, so that a
// client may be of another version than the balancer.
#pragma once

#include <string>
#include <string_view>

namespace lb {

/// Why the balancer did not do what it was asked ("too many connections to the control socket"); "" when it
/// did.
std::string error_of_answer(std::string_view line);

/// Several lines, the last with its end.
std::string status_text(std::string_view line);

struct ReloadText {
  bool understood =
      false;  // the answer was JSON with an "ok", and about a reload; else `reason` tells what is wrong
  bool applied = false;
  std::string summary{};   // applied: one line "generation 1 -> 2, config HASH, 12.3 ms"
  std::string drains{};    // applied: what the old generation still has to do, or nothing; one line
  std::string warnings{};  // a line each, "warning: ..."
  std::string reason{};    // rejected: verbatim, may have several lines
};
ReloadText reload_text(std::string_view line);

}  // namespace lb
