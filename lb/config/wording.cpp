#include "lb/config/wording.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <vector>

namespace lb {
namespace {

constexpr std::size_t kShownCharactersMax = 60;
constexpr std::size_t kNearestBytesMax = 64;  // a longer key is no misspelling

void append_unicode_escape(std::string& out, std::uint32_t code) {
  static constexpr char kDigits[] = "0123456789abcdef";
  out += "\\u";
  for (std::uint32_t shift = 16; shift > 0;) {
    shift -= 4;
    out += kDigits[code >> shift & 15U];
  }
}

/// Appends one code point's bytes; false when they are a control character, which `out` then has escaped.
void append_visible(std::string& out, std::string_view bytes) {
  const auto first = static_cast<unsigned char>(bytes[0]);
  const bool c1 = bytes.size() == 2 && first == 0xc2 && static_cast<unsigned char>(bytes[1]) < 0xa0;
  if (c1) {
    append_unicode_escape(out, static_cast<unsigned char>(bytes[1]));
  } else if (first < 0x20 || first == 0x7f) {
    append_unicode_escape(out, first);
  } else {
    out += bytes;
  }
}

char folded(char c) {
  if (c >= 'A' && c <= 'Z') return static_cast<char>(c - 'A' + 'a');
  return c == '-' ? '_' : c;
}

std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before_last(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    before_last.swap(last);
    last.swap(row);
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const bool same = folded(a[i - 1]) == folded(b[j - 1]);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (same ? 0 : 1)});
      const bool swapped =
          i > 1 && j > 1 && folded(a[i - 1]) == folded(b[j - 2]) && folded(a[i - 2]) == folded(b[j - 1]);
      if (swapped) row[j] = std::min(row[j], before_last[j - 2] + 1);
    }
  }
  return row[b.size()];
}

}  // namespace

std::size_t utf8_length(std::string_view text) {
  if (text.empty()) return 0;
  const auto byte = [&](std::size_t i) -> unsigned {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
  };
  const auto continues = [&](std::size_t i) { return (byte(i) & 0xc0U) == 0x80U; };
  const unsigned b0 = byte(0);
  if (b0 < 0x80) return 1;
  if (b0 < 0xc2) return 0;
  if (b0 < 0xe0) return continues(1) ? 2 : 0;
  if (b0 < 0xf0) {
    const bool overlong = b0 == 0xe0 && byte(1) < 0xa0;
    const bool surrogate = b0 == 0xed && byte(1) >= 0xa0;
    return continues(1) && continues(2) && !overlong && !surrogate ? 3 : 0;
  }
  if (b0 < 0xf5) {
    const bool overlong = b0 == 0xf0 && byte(1) < 0x90;
    const bool beyond = b0 == 0xf4 && byte(1) >= 0x90;
    return continues(1) && continues(2) && continues(3) && !overlong && !beyond ? 4 : 0;
  }
  return 0;
}

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    if (length == 0) {
      out += "\\ufffd";
      text.remove_prefix(1);
      continue;
    }
    const char c = text[0];
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else {
      append_visible(out, text.substr(0, length));
    }
    text.remove_prefix(length);
  }
  out += '"';
}

std::string json_string(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

std::string printable(std::string_view text, std::size_t characters_max) {
  std::string out;
  for (std::size_t count = 0; !text.empty(); ++count) {
    if (count == characters_max) return out + "...";
    const std::size_t length = utf8_length(text);
    if (length == 0) {
      append_unicode_escape(out, 0xfffd);
    } else {
      append_visible(out, text.substr(0, length));
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return out;
}

std::string shown_text(std::string_view text) {
  std::size_t end = 0;
  for (std::size_t count = 0; end < text.size(); ++count) {
    if (count == kShownCharactersMax) return json_string(text.substr(0, end)) + "...";
    end += std::max<std::size_t>(utf8_length(text.substr(end)), 1);
  }
  return json_string(text);
}

std::string found(const Node& node) {
  switch (node.kind) {
    case Node::Kind::array:
      return node.children.empty() ? "an empty array" : "an array";
    case Node::Kind::object:
      return "an object";
    case Node::Kind::text:
      return shown_text(node.text);
    case Node::Kind::null:
    case Node::Kind::boolean:
    case Node::Kind::integer:
    case Node::Kind::real:
      break;
  }
  return printable(node.text, kShownCharactersMax);
}

std::string number_text(double value) {
  char buffer[32];
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, value);
  std::string text{buffer, result.ptr};
  // JSON has no text for these; a Config that holds one fails validation and is printed only for a human.
  return std::isfinite(value) ? text : "null";
}

std::string seconds_text(Milliseconds value) {
  const bool negative = value.count() < 0;
  const std::uint64_t ms =
      negative ? ~static_cast<std::uint64_t>(value.count()) + 1 : static_cast<std::uint64_t>(value.count());
  std::string text = negative ? "-" : "";
  text += std::to_string(ms / 1000);
  if (ms % 1000 == 0) return text;
  std::string fraction = std::to_string(1000 + ms % 1000).substr(1);
  fraction.erase(fraction.find_last_not_of('0') + 1);
  return text + "." + fraction;
}

std::string grouped(std::uint64_t value) {
  std::string text = std::to_string(value);
  for (std::size_t i = text.size(); i > 3; i -= 3) text.insert(i - 3, 1, ',');
  return text;
}

std::string_view nearest(std::string_view name, std::span<const std::string_view> known) {
  if (name.empty() || name.size() > kNearestBytesMax) return {};
  std::string_view best;
  std::size_t best_distance = std::max<std::size_t>(1, name.size() / 3) + 1;
  for (const std::string_view candidate : known) {
    const std::size_t steps = distance(name, candidate);
    if (steps < best_distance && steps < candidate.size()) {
      best = candidate;
      best_distance = steps;
    }
  }
  return best;
}

}  // namespace lb
