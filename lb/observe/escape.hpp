// Escaping of text that comes from outside for the two formats of our logs, so that no value can end its
// line, its quotes or a terminal's escape sequence. Appends to a string; bytes that need nothing go in bulk.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace lb {

/// A JSON string's inside, without the quotes. What is not UTF-8 becomes \ufffd, byte by byte.
void append_json_escaped(std::string& out, std::string_view text);

enum class TextContext : std::uint8_t {
  message,  // free text: quotes and backslashes stay
  quoted,   // inside "..."
  word,     // outside of quotes: spaces are escaped too
};
/// Readable text: control characters (C0, DEL, C1) and what is not UTF-8 become \n, \r, \t or \xNN of each
/// byte.
void append_text_escaped(std::string& out, std::string_view text, TextContext context);

/// How many bytes of `text` are one well-formed UTF-8 character (Unicode 15, table 3-7); 0 when malformed.
std::size_t utf8_sequence_length(std::string_view text) noexcept;

}  // namespace lb
