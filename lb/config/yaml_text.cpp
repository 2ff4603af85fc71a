#include "lb/config/yaml_text.hpp"

#include <algorithm>

#include "lb/config/text_check.hpp"
#include "lb/config/wording.hpp"

namespace lb {
namespace {

bool is_blank(char c) {
  return c == ' ' || c == '\t';
}
bool is_break(char c) {
  return c == '\n' || c == '\r';
}

/// YAML 1.2.2 section 5.1: what is not printable.
bool is_control(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  const auto second = static_cast<unsigned char>(text.size() > 1 ? text[1] : '\0');
  const bool c1 = first == 0xc2 && second < 0xa0 && second != 0x85;
  return c1 || first == 0x7f || (first < 0x20 && !is_blank(text[0]) && !is_break(text[0]));
}

}  // namespace

std::expected<std::string_view, ConfigError> check_yaml_text(std::string_view bytes) {
  const auto checked = check_text(bytes);
  if (!checked) return checked;
  const std::string_view text = *checked;
  const auto refuse = [&](std::size_t offset, std::string message) {
    const Position at = YamlText{text}.position(offset);
    return std::unexpected(ConfigError{at.line, at.column, "", std::move(message)});
  };
  std::uint32_t marks = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if ((c == '[' || c == '{' || c == ',') && ++marks > kConfigValuesMax) {
      return refuse(i, "found more than " + grouped(kConfigValuesMax) + " values, expected a smaller file");
    }
    if (c == '\r' && text.substr(i + 1, 1) != "\n") {
      return refuse(i, "found a carriage return alone, expected lines to end in \\n or \\r\\n");
    }
    if (c == '%' && (i == 0 || is_break(text[i - 1]))) {
      return refuse(i, "found a directive, expected none; a text that begins like this needs quotes");
    }
    if (is_control(text.substr(i, 2))) return refuse(i, "found a control character, expected text");
  }
  return text;
}

std::size_t YamlText::line_begin(std::size_t offset) const {
  const std::size_t before = offset == 0 ? std::string_view::npos : text_.rfind('\n', offset - 1);
  return before == std::string_view::npos ? 0 : before + 1;
}

bool YamlText::begins_line(std::size_t offset) const {
  const std::size_t begin = line_begin(offset);
  return std::ranges::all_of(text_.substr(begin, offset - begin), is_blank);
}

Position YamlText::position(std::size_t offset) {
  offset = std::min(offset, text_.size());
  if (offset < offset_) {
    const std::size_t begin = line_begin(offset);
    position_.line -=
        static_cast<std::uint32_t>(std::ranges::count(text_.substr(begin, offset_ - begin), '\n'));
    position_.column = 1;
    offset_ = begin;
  }
  for (; offset_ < offset; ++offset_) {
    if (text_[offset_] == '\n') {
      ++position_.line;
      position_.column = 1;
    } else if ((static_cast<unsigned char>(text_[offset_]) & 0xc0U) != 0x80U) {
      ++position_.column;
    }
  }
  return position_;
}

std::string_view YamlText::word_at(std::size_t offset) const {
  offset = std::min(offset, text_.size());
  return text_.substr(offset, std::min(text_.find_first_of(" \t\r\n,[]{}", offset), text_.size()) - offset);
}

std::size_t YamlText::skip_anchor(std::size_t offset) const {
  if (at(offset) != '&') return offset;
  offset += word_at(offset).size();
  while (offset < text_.size() &&
         (is_blank(text_[offset]) || is_break(text_[offset]) || text_[offset] == '#')) {
    offset = text_[offset] == '#' ? std::min(text_.find('\n', offset), text_.size()) : offset + 1;
  }
  return offset;
}

bool YamlText::closes_quote(std::size_t offset) const {
  const char quote = at(offset);
  for (std::size_t i = offset + 1; i < text_.size(); ++i) {
    if (text_[i] == '\\' && quote == '"') {
      ++i;
    } else if (text_[i] == quote) {
      if (quote == '"' || at(i + 1) != quote) return true;
      ++i;
    }
  }
  return false;
}

std::optional<std::size_t> YamlText::tab_before(std::size_t offset, bool dashes) const {
  std::optional<std::size_t> tab;
  // Backwards, and no further than blanks go: a line may be long.
  for (std::size_t i = offset; i > 0 && !is_break(text_[i - 1]); --i) {
    if (text_[i - 1] == '\t') tab = i - 1;
    if (!is_blank(text_[i - 1]) && !(dashes && text_[i - 1] == '-')) return std::nullopt;
  }
  return tab;
}

std::string YamlText::found_at(std::size_t offset) const {
  if (offset >= text_.size()) return "the end of the file";
  if (is_break(text_[offset])) return "the end of the line";
  std::string_view word = word_at(offset);
  if (word.size() > 1 && word.ends_with(':')) word.remove_suffix(1);
  if (word.starts_with('"') || word.starts_with('\'')) return "a text in quotes";
  const bool sign = word.empty() || std::string_view{":?-@`%|>"}.contains(word[0]);
  return sign ? json_string(text_.substr(offset, 1)) : printable(word, kShownWordMax);
}

}  // namespace lb
