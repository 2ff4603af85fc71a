#include "lb/config/json_locator.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include "lb/config/wording.hpp"

namespace lb {
namespace {

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}
bool digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_word(char c) {
  return digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '+' || c == '-' ||
         c == '.' || static_cast<unsigned char>(c) >= 0x80;
}

std::size_t digits_at(std::string_view text, std::size_t begin) {
  std::size_t end = begin;
  while (end < text.size() && digit(text[end])) ++end;
  return end - begin;
}

/// Length of the longest number (RFC 8259 section 6) that `text` begins with; 0 when none.
std::size_t number_length(std::string_view text) {
  std::size_t end = text.starts_with('-') ? 1 : 0;
  const std::size_t whole = digits_at(text, end);
  if (whole == 0) return 0;
  end += text[end] == '0' ? 1 : whole;
  if (end < text.size() && text[end] == '.') {
    const std::size_t fraction = digits_at(text, end + 1);
    if (fraction == 0) return end;
    end += 1 + fraction;
  }
  if (end < text.size() && (text[end] == 'e' || text[end] == 'E')) {
    const bool sign = end + 1 < text.size() && (text[end + 1] == '+' || text[end + 1] == '-');
    const std::size_t exponent = digits_at(text, end + 1 + (sign ? 1 : 0));
    if (exponent > 0) end += 1 + (sign ? 1 : 0) + exponent;
  }
  return end;
}

bool equals_ignoring_case(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char x, char y) {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
    return lower(x) == lower(y);
  });
}

template <std::size_t N>
bool is_one_of(std::string_view word, const std::array<std::string_view, N>& names) {
  return std::ranges::any_of(names, [&](std::string_view name) { return equals_ignoring_case(word, name); });
}

std::optional<std::uint32_t> hex4(std::string_view text) {
  if (text.size() < 4) return std::nullopt;
  std::uint32_t value = 0;
  for (const char c : text.substr(0, 4)) {
    const char lower = static_cast<char>(c | 0x20);
    if (!digit(c) && (lower < 'a' || lower > 'f')) return std::nullopt;
    value = value * 16 + static_cast<std::uint32_t>(digit(c) ? c - '0' : lower - 'a' + 10);
  }
  return value;
}

std::string begun_at(Position at) {
  return "begun at line " + std::to_string(at.line) + ", column " + std::to_string(at.column);
}

}  // namespace

std::string_view JsonLocator::advance(std::size_t bytes) {
  const std::string_view passed = text_.substr(offset_, bytes);
  for (const char c : passed) {
    if (c == '\n') {
      ++position_.line;
      position_.column = 1;
    } else if ((static_cast<unsigned char>(c) & 0xc0U) != 0x80U) {
      ++position_.column;
    }
  }
  offset_ += passed.size();
  return passed;
}

void JsonLocator::skip_space() {
  while (is_space(peek())) advance(1);
}

std::string_view JsonLocator::word_at(std::size_t offset) const {
  std::size_t end = offset;
  while (end < text_.size() && is_word(text_[end])) ++end;
  return text_.substr(offset, end - offset);
}

Position JsonLocator::find_token() {
  while (is_space(peek()) || peek() == ',' || peek() == ':') advance(1);
  after_scalar_ = false;
  return position_;
}

std::string_view JsonLocator::pass_bracket() {
  return advance(1);
}

std::string_view JsonLocator::pass_string() {
  std::size_t end = offset_ + 1;
  while (end < text_.size() && text_[end] != '"') end += text_[end] == '\\' ? 2 : 1;
  return advance(end + 1 - offset_);
}

std::string_view JsonLocator::pass_scalar() {
  scalar_begin_ = offset_;
  scalar_at_ = position_;
  after_scalar_ = true;
  const std::string_view rest = text_.substr(offset_);
  for (const std::string_view literal : {"true", "false", "null"}) {
    if (rest.starts_with(literal)) return advance(literal.size());
  }
  return advance(std::max<std::size_t>(number_length(rest), 1));
}

JsonLocator::Fault JsonLocator::explain(Next next, bool in_object, Position opened) {
  if (next == Next::separator || next == Next::end) {
    // A scalar and the junk stuck to it (01, 0x1F, 1.2.3, nullx) are one word to whoever wrote it.
    if (after_scalar_ && is_word(peek())) {
      position_ = scalar_at_;
      return explain_word(word_at(scalar_begin_));
    }
    skip_space();
    if (next == Next::end) return unexpected_here("nothing more after the end of the document");
    return explain_separator(in_object, opened);
  }
  skip_space();
  if (next == Next::first_key) return explain_key(false, opened);
  if (next == Next::key_value) {
    if (peek() != ':') {
      return at_end() ? ends_inside(in_object, opened) : unexpected_here("\":\" after the key");
    }
    advance(1);
    skip_space();
  }
  return explain_value(in_object, opened);
}

JsonLocator::Fault JsonLocator::explain_separator(bool in_object, Position opened) {
  if (at_end()) return ends_inside(in_object, opened);
  if (peek() != ',') return unexpected_here(in_object ? "\",\" or \"}\"" : "\",\" or \"]\"");
  Fault comma = fault("found a comma before the closing bracket, expected none after the last value");
  advance(1);
  skip_space();
  if (peek() == (in_object ? '}' : ']')) return comma;
  return in_object ? explain_key(true, opened) : explain_value(false, opened);
}

JsonLocator::Fault JsonLocator::explain_key(bool after_comma, Position opened) {
  if (at_end()) return ends_inside(true, opened);
  if (peek() == '"') return explain_string();
  return unexpected_here(after_comma ? "a key in double quotes" : "a key in double quotes or \"}\"");
}

JsonLocator::Fault JsonLocator::explain_value(bool in_object, Position opened) {
  if (at_end()) {
    return opened.line == 0 ? fault("found the end of the file, expected an object")
                            : ends_inside(in_object, opened);
  }
  if (peek() == '"') return explain_string();
  if (is_word(peek())) return explain_word(word_at(offset_));
  return unexpected_here("a value");
}

JsonLocator::Fault JsonLocator::explain_word(std::string_view word) const {
  static constexpr std::array<std::string_view, 5> kNotNumbers = {"nan", "infinity", "inf", "-infinity",
                                                                  "-inf"};
  static constexpr std::array<std::string_view, 4> kNulls = {"null", "none", "nil", "undefined"};
  const std::string head = "found " + printable(word, kShownWordMax);
  const std::size_t sign = word.starts_with('+') || word.starts_with('-') ? 1 : 0;
  if (is_one_of(word, kNotNumbers))
    return fault(head + ", expected a number; JSON has no NaN and no infinity");
  if (equals_ignoring_case(word, "true")) return fault(head + ", expected true in small letters");
  if (equals_ignoring_case(word, "false")) return fault(head + ", expected false in small letters");
  if (is_one_of(word, kNulls)) return fault(head + ", expected null");
  if (sign == 1 || digit(word[0]) || word[0] == '.') {
    // A word that JSON's grammar takes and the parser does not is one that a double cannot hold.
    if (number_length(word) == word.size()) return fault(head + ", expected a number that a double can hold");
    if (word.starts_with('+')) return fault(head + ", expected a number without \"+\"");
    if (number_length(word) == sign + 1 && word[sign] == '0' && word.size() > sign + 1 &&
        digit(word[sign + 1])) {
      return fault(head + ", expected a number without leading zeros");
    }
    return fault(head + ", expected a decimal number such as 10 or 0.5");
  }
  return fault(head + ", expected a value; a text needs double quotes");
}

JsonLocator::Fault JsonLocator::explain_string() {
  const Position begin = position_;
  advance(1);
  while (!at_end() && peek() != '"') {
    const char c = peek();
    if (c == '\n' || c == '\r') {
      return {begin, "found the end of the line inside a text, expected its closing double quote"};
    }
    if (static_cast<unsigned char>(c) < 0x20) {
      return fault("found a control character inside a text, expected " +
                   std::string{c == '\t' ? "\\t" : "\\u and four hexadecimal digits"});
    }
    if (c == '\\') {
      Fault escape = explain_escape();
      if (!escape.message.empty()) return escape;
      continue;
    }
    advance(1);
  }
  if (at_end()) return {begin, "found the end of the file inside a text, expected its closing double quote"};
  return {begin, "found a text that cannot be read"};  // explain() is asked only about a fault: not reached
}

/// Steps over one escape sequence. The message is empty when it is a good one.
JsonLocator::Fault JsonLocator::explain_escape() {
  static constexpr std::string_view kSimple = "\"\\/bfnrt";
  const std::string_view rest = text_.substr(offset_);
  if (rest.size() < 2) {
    advance(rest.size());
    return {};
  }
  if (rest[1] != 'u') {
    if (!kSimple.contains(rest[1])) {
      const std::size_t length = 1 + std::max<std::size_t>(utf8_length(rest.substr(1)), 1);
      return fault(
          "found " + printable(rest.substr(0, length), 2) +
          " inside a text, expected \\\\ for a backslash or one of \\\" \\/ \\b \\f \\n \\r \\t \\u");
    }
    advance(2);
    return {};
  }
  const auto first = hex4(rest.substr(2));
  if (!first) {
    const std::string_view shown = rest.substr(0, std::min(rest.find_first_of("\"\n\r"), std::size_t{6}));
    return fault("found " + printable(shown, 6) +
                 " inside a text, expected four hexadecimal digits after \\u");
  }
  const bool high = *first >= 0xd800 && *first < 0xdc00;
  const bool low = *first >= 0xdc00 && *first < 0xe000;
  const auto second = rest.substr(6).starts_with("\\u") ? hex4(rest.substr(8)) : std::nullopt;
  const bool paired = high && second && *second >= 0xdc00 && *second < 0xe000;
  if (low || (high && !paired)) {
    return fault("found " + std::string{rest.substr(0, 6)} +
                 " inside a text, expected both halves of a surrogate pair");
  }
  advance(paired ? 12 : 6);
  return {};
}

JsonLocator::Fault JsonLocator::ends_inside(bool in_object, Position opened) const {
  return fault(std::string{"found the end of the file, expected the end of the "} +
               (in_object ? "object " : "array ") + begun_at(opened));
}

JsonLocator::Fault JsonLocator::unexpected_here(std::string_view expected) const {
  const std::string tail = ", expected " + std::string{expected};
  if (at_end()) return fault("found the end of the file" + tail);
  const std::string_view rest = text_.substr(offset_);
  if (rest.starts_with("//") || rest.starts_with("/*") || rest.starts_with('#')) {
    return fault("found a comment" + tail + "; JSON has no comments");
  }
  if (rest.starts_with('\'')) return fault("found a single quote" + tail + "; JSON has double quotes only");
  if (rest.starts_with('"')) {
    const std::size_t end = std::min(rest.find_first_of("\"\\\n", 1), rest.size());
    return fault("found " + shown_text(rest.substr(1, end - 1)) + tail);
  }
  const std::string_view word = word_at(offset_);
  const std::string_view shown = word.empty() ? rest.substr(0, 1) : word;
  return fault("found " + (word.empty() ? json_string(shown) : printable(shown, kShownWordMax)) + tail);
}

}  // namespace lb
