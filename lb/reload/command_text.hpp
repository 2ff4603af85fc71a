// Events and commands of the reload machine as short text: for stories of failed tests and for debug logs.
#pragma once

#include <string>

#include "lb/reload/machine.hpp"

namespace lb {

std::string event_text(const ReloadEvent& event);
std::string command_text(const ReloadCommand& command);

}  // namespace lb
