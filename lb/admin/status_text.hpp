// The answers of the control socket as text for people. Pure; reads JSON, tolerates missing keys, so that a
// client may be of another version than the balancer.
#pragma once

#include <string>
#include <string_view>

namespace lb {

/// Several lines, the last with its end.
std::string status_text(std::string_view line);

struct ReloadText {
  bool understood = false;  // the answer was JSON with an "ok"
  bool applied = false;
  std::string summary{};   // applied: one line "generation 1 -> 2, config HASH, 12.3 ms"
  std::string drains{};    // applied: what the old generation still has to do, or nothing; one line
  std::string warnings{};  // a line each, "warning: ..."
  std::string reason{};    // rejected: verbatim, may have several lines
};
ReloadText reload_text(std::string_view line);

}  // namespace lb
