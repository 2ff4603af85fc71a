#include "lb/config/text_check.hpp"

#include <optional>

#include "lb/config/tree.hpp"
#include "lb/config/wording.hpp"

namespace lb {
namespace {

/// A fault that makes the bytes no text at all.
std::optional<ConfigError> fault_of_bytes(std::string_view text) {
  Position at;
  for (std::size_t offset = 0; offset < text.size();) {
    const auto byte = static_cast<unsigned char>(text[offset]);
    if (byte >= 0x20 && byte < 0x80) {  // nearly every byte of nearly every file
      ++offset;
      ++at.column;
      continue;
    }
    const std::size_t length = utf8_length(text.substr(offset));
    if (byte == 0) return ConfigError{at.line, at.column, "", "found a NUL byte, expected text"};
    if (length == 0) {
      static constexpr char kDigits[] = "0123456789abcdef";
      const std::string shown{'0', 'x', kDigits[byte >> 4U], kDigits[byte & 15U]};
      return ConfigError{at.line, at.column, "", "found the byte " + shown + ", expected text in UTF-8"};
    }
    at = byte == '\n' ? Position{at.line + 1, 1} : Position{at.line, at.column + 1};
    offset += length;
  }
  return std::nullopt;
}

}  // namespace

std::expected<std::string_view, ConfigError> check_text(std::string_view text) {
  if (text.size() > kConfigBytesMax) {
    return std::unexpected(ConfigError{
        1, 1, "", "found " + grouped(text.size()) + " bytes, expected at most " + grouped(kConfigBytesMax)});
  }
  if (text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff")) {
    return std::unexpected(ConfigError{1, 1, "", "found text in UTF-16, expected text in UTF-8"});
  }
  // A byte order mark says nothing in UTF-8 and is skipped, once: a library would silently skip a second.
  static constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  if (text.starts_with(kByteOrderMark)) {
    return std::unexpected(ConfigError{1, 1, "", "found a second byte order mark, expected an object"});
  }
  if (auto fault = fault_of_bytes(text)) return std::unexpected(*std::move(fault));
  return text;
}

}  // namespace lb
