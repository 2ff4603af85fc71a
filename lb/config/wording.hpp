// How configuration messages put things: quoting, numbers, the nearest known name. Pure, any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "lb/base/time.hpp"
#include "lb/config/tree.hpp"

namespace lb {

/// Appends `text` as a JSON string, with the quotes. Bytes that are not UTF-8 become U+FFFD, so that the
/// result is JSON whatever a Config built in code holds.
void append_json_string(std::string& out, std::string_view text);
std::string json_string(std::string_view text);

/// For a message: a JSON string, cut after about 60 characters, with control characters escaped.
std::string shown_text(std::string_view text);

/// Characters that a complaint shows of a word of the file.
inline constexpr std::size_t kShownWordMax = 40;

/// Control characters (C0, DEL, C1) escaped as \uXXXX, cut after about `characters_max` characters.
std::string printable(std::string_view text, std::size_t characters_max);

/// What the file has there: `"80"`, `65536`, `an array`.
std::string found(const Node& node);

/// The shortest text that reads back as `value`, e.g. 100 or 0.25.
std::string number_text(double value);

/// Milliseconds as decimal seconds: 60, 0.25.
std::string seconds_text(Milliseconds value);

/// 100000 as "100,000".
std::string grouped(std::uint64_t value);

/// The name of `known` that `name` most likely means, or "" when none is near. Distance is Levenshtein's with
/// swapped neighbours as one step (Damerau, 1964), letter case and '-' for '_' ignored.
std::string_view nearest(std::string_view name, std::span<const std::string_view> known);

/// Length of the well-formed UTF-8 sequence that `text` begins with (RFC 3629), or 0 when there is none.
std::size_t utf8_length(std::string_view text);

}  // namespace lb
