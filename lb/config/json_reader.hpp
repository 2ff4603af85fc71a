// Reads JSON (RFC 8259) into a tree with positions. The grammar is nlohmann/json's strict one; positions come
// from json_locator.hpp. The first fault ends the reading, because what follows it cannot be trusted. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <string_view>

#include "lb/config/config.hpp"
#include "lb/config/tree.hpp"

namespace lb {

/// A file of many small values costs some 130 bytes of memory for two of text; this bounds it. Enough for
/// 100,000 backends with every key given.
inline constexpr std::uint32_t kConfigValuesMax = 2'000'000;

std::expected<Node, ConfigError> read_json(std::string_view text);

}  // namespace lb
