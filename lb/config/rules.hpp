// The rules that hold between the values of a configuration. Pure, any thread.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "lb/config/model.hpp"

namespace lb {

/// What the file adds to a Config that was read from one.
struct RuleContext {
  std::span<const std::string> listen_pointers{};              // empty: /listen/0, /listen/1, ...
  std::function<bool(const std::string& pointer)> doubtful{};  // had faults already; empty: nothing had
};

/// Where the file gives listener `i`.
std::string listen_pointer(std::span<const std::string> listen_pointers, std::size_t i);

using RuleReport = std::function<void(std::string pointer, std::string message)>;

/// Reports each broken rule, in the order of the key table.
void check_rules(const Config& config, const RuleContext& context, const RuleReport& report);

}  // namespace lb
