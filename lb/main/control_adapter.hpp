// Wires the control socket (lb/admin) to the supervisor, which knows it only as a ControlPort.
#pragma once

#include <string>

#include "lb/observe/event_log.hpp"
#include "lb/supervisor/control_port.hpp"

namespace lb {

/// Opens the control socket, with links under every name by which a client of `config_path` looks for it.
OpenControlPort control_opener(std::string config_path);

/// Where the control socket is when nobody says: in the user's private folder; "" (logged) when that cannot
/// be.
std::string default_control_path(const std::string& config_path, EventLog& log);

}  // namespace lb
