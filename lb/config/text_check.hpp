// What the bytes of a configuration file must be before any format is read from them: text in UTF-8, of a
// limited size. Pure, any thread.
#pragma once

#include <expected>
#include <string_view>

#include "lb/config/config.hpp"

namespace lb {

/// The text without its byte order mark (which a position does not count), or the first fault of its bytes:
/// more than kConfigBytesMax of them, UTF-16, a second byte order mark, a NUL, anything that is not UTF-8.
std::expected<std::string_view, ConfigError> check_text(std::string_view text);

}  // namespace lb
