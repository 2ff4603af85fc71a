#include "lb/observe/escape.hpp"

#include <array>

namespace lb {
namespace {

constexpr char kHex[] = "0123456789abcdef";

/// Bytes that need a second look, one bit a purpose.
enum : std::uint8_t { kJson = 1, kMessage = 2, kQuoted = 4, kWord = 8, kAll = 15 };

constexpr std::array<std::uint8_t, 256> special_bytes() {
  std::array<std::uint8_t, 256> table{};
  for (unsigned byte = 0; byte < 256; ++byte) {
    if (byte < 0x20 || byte >= 0x7f) table[byte] = kAll;
  }
  table[' '] = kWord;
  table['"'] = kJson | kQuoted | kWord;
  table['\\'] = kJson | kQuoted | kWord;
  return table;
}
constexpr std::array<std::uint8_t, 256> kSpecial = special_bytes();

/// Appends the beginning of `text` that needs no second look, and removes it.
void append_plain(std::string& out, std::string_view& text, std::uint8_t purpose) {
  std::size_t plain = 0;
  while (plain < text.size() && (kSpecial[static_cast<unsigned char>(text[plain])] & purpose) == 0) ++plain;
  out.append(text.substr(0, plain));
  text.remove_prefix(plain);
}

/// The letter after the backslash for characters that have one, or 0.
constexpr char short_escape(unsigned char byte) noexcept {
  switch (byte) {
    case '\n':
      return 'n';
    case '\r':
      return 'r';
    case '\t':
      return 't';
    case '"':
      return '"';
    case '\\':
      return '\\';
    default:
      return 0;
  }
}

}  // namespace

std::size_t utf8_sequence_length(std::string_view text) noexcept {
  const auto byte = [&](std::size_t i) -> unsigned {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
  };
  const auto follows = [&](std::size_t i) { return (byte(i) & 0xc0U) == 0x80U; };
  const unsigned first = byte(0);
  if (first < 0x80) return text.empty() ? 0 : 1;
  if (first >= 0xc2 && first <= 0xdf) return follows(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    const bool shortest = first != 0xe0 || byte(1) >= 0xa0;
    const bool surrogate = first == 0xed && byte(1) >= 0xa0;
    return shortest && !surrogate && follows(1) && follows(2) ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    const bool shortest = first != 0xf0 || byte(1) >= 0x90;
    const bool in_range = first != 0xf4 || byte(1) <= 0x8f;
    return shortest && in_range && follows(1) && follows(2) && follows(3) ? 4 : 0;
  }
  return 0;
}

void append_json_escaped(std::string& out, std::string_view text) {
  for (;;) {
    append_plain(out, text, kJson);
    if (text.empty()) return;
    const auto byte = static_cast<unsigned char>(text[0]);
    std::size_t taken = 1;
    if (const char letter = short_escape(byte); letter != 0) {
      out.append({'\\', letter});
    } else if (byte < 0x80) {
      out.append({'\\', 'u', '0', '0', kHex[byte >> 4U], kHex[byte & 15U]});
    } else if (taken = utf8_sequence_length(text); taken > 0) {
      out.append(text.substr(0, taken));
    } else {
      taken = 1;
      out.append("\\ufffd");
    }
    text.remove_prefix(taken);
  }
}

void append_text_escaped(std::string& out, std::string_view text, TextContext context) {
  const std::uint8_t purpose = context == TextContext::message  ? kMessage
                               : context == TextContext::quoted ? kQuoted
                                                                : kWord;
  for (;;) {
    append_plain(out, text, purpose);
    if (text.empty()) return;
    const auto byte = static_cast<unsigned char>(text[0]);
    std::size_t taken = byte < 0x80 ? 0 : utf8_sequence_length(text);
    const bool c1_control = taken == 2 && byte == 0xc2 && static_cast<unsigned char>(text[1]) < 0xa0;
    if (taken > 0 && !c1_control) {
      out.append(text.substr(0, taken));
    } else if (const char letter = short_escape(byte); letter != 0) {
      taken = 1;
      out.append({'\\', letter});
    } else {
      taken = 1;
      out.append({'\\', 'x', kHex[byte >> 4U], kHex[byte & 15U]});
    }
    text.remove_prefix(taken);
  }
}

}  // namespace lb
