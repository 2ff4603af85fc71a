// Reads JSON (RFC 8259) into a tree with positions. The grammar is nlohmann/json's strict one; positions come
// from json_locator.hpp. The first fault ends the reading, because what follows it cannot be trusted. Pure.
#pragma once

#include <expected>
#include <string_view>

#include "lb/config/config.hpp"
#include "lb/config/tree.hpp"

namespace lb {

std::expected<Node, ConfigError> read_json(std::string_view text);

}  // namespace lb
