// What other_by_hand.cpp knows of YAML below its structure: a place in the text that moves on over blanks,
// comments, keys, and plain, quoted and block scalars, and tells where it is when something is wrong.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <regex>
#include <string>
#include <string_view>
#include <vector>

#include "lb/config/yaml_reader.hpp"
#include "lb/config/yaml_text.hpp"

namespace lb::by_hand {

using Kind = Node::Kind;
using Size = std::size_t;
constexpr Size kNone = std::string_view::npos;

struct Refusal {
  ConfigError error;
};

constexpr bool is_blank(char c) {
  return c == ' ' || c == '\t';
}
constexpr bool is_end(char c) {
  return c == '\0' || c == '\n' || c == '\r';
}
constexpr bool is_space(char c) {
  return is_blank(c) || is_end(c);
}

/// The kind of a plain scalar; nothing: to be refused.
inline std::optional<Kind> kind_of(const std::string& word) {
  static const std::regex kBoolean{"true|True|TRUE|false|False|FALSE"};
  static const std::regex kNull{"~|null|Null|NULL"};
  static const std::regex kInteger{"-?(0|[1-9][0-9]*)"};
  static const std::regex kReal{"-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][-+]?[0-9]+)?"};
  static const std::regex kOther{
      "[-+]?0([oO][0-7_]+|[xX][0-9a-fA-F_]+|[bB][01_]+)|[-+]?\\.(inf|Inf|INF)|\\.(nan|NaN|NAN)"};
  static const std::regex kCore{"[-+]?(\\.[0-9]+|[0-9]+(\\.[0-9]*)?)([eE][-+]?[0-9]+)?"};
  // The library's matcher calls itself for each character: it must not see a long word.
  if (word.size() > 512) {
    const bool number = word.find_first_not_of("0123456789.eE+-_") == kNone;
    return number ? std::nullopt : std::optional{Kind::text};
  }
  if (std::regex_match(word, kBoolean)) return Kind::boolean;
  if (std::regex_match(word, kNull)) return Kind::null;
  if (std::regex_match(word, kReal)) {
    if (!std::isfinite(std::strtod(word.c_str(), nullptr))) return std::nullopt;
    return std::regex_match(word, kInteger) ? Kind::integer : Kind::real;
  }
  std::string plain = word;
  if (!word.starts_with('_')) std::erase(plain, '_');
  if (std::regex_match(word, kOther) || std::regex_match(plain, kCore)) return std::nullopt;
  return Kind::text;
}

class Cursor {
 protected:
  explicit Cursor(std::string_view text) : text_(text), marks_(text) {}

  [[nodiscard]] char peek(Size ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }
  [[nodiscard]] int column(Size offset) const { return static_cast<int>(offset - marks_.line_begin(offset)); }
  [[nodiscard]] std::string found() const { return "found " + marks_.found_at(at_); }
  [[nodiscard]] bool marker(std::string_view three) const {
    return text_.substr(at_).starts_with(three) && is_space(peek(3)) && column(at_) == 0;
  }

  void pass(std::string_view three) {
    if (!marker(three)) return;
    at_ += 3;
    skip();
  }

  [[noreturn]] void fail(Size offset, std::string message) {
    const Position at = marks_.position(offset);
    std::string path;
    for (const std::string& step : path_) path += Place{}.member(step).pointer();
    throw Refusal{{at.line, at.column, path, std::move(message)}};
  }

  /// Over blanks, line breaks and comments. In block collections a tab may not stand before what comes next.
  void skip(bool flow = false) {
    for (;;) {
      while (is_blank(peek())) ++at_;
      if (peek() == '#' && (at_ == 0 || is_space(text_[at_ - 1])))
        at_ = std::min(text_.find('\n', at_), text_.size());
      if (peek() != '\n' && peek() != '\r') break;
      ++at_;
    }
    if (flow || at_ >= text_.size()) return;
    if (const auto tab = marks_.tab_before(at_, false)) fail(*tab, kFoundTab);
  }

  /// Where the key that begins here ends, when this line begins with one.
  [[nodiscard]] Size key_end() const {
    Size i = at_;
    if (peek() == '"' || peek() == '\'') {
      const char quote = peek();
      for (++i; i < text_.size() && text_[i] != quote; ++i) {
        if (is_end(text_[i])) return kNone;
        if (text_[i] == '\\' && quote == '"') ++i;
        if (quote == '\'' && text_.substr(i + 1, 2) == "''") i += 2;
      }
      ++i;
    } else if (std::string_view{"[{|>@`!%#,]}"}.contains(peek())) {
      return kNone;
    } else {
      while (i < text_.size() && !is_end(text_[i]) && !(text_[i] == ':' && is_space(end_at(i + 1)))) {
        if (text_[i] == '#' && is_blank(text_[i - 1])) return kNone;
        ++i;
      }
    }
    Size colon = i;
    while (colon < text_.size() && is_blank(text_[colon])) ++colon;
    return end_at(colon) == ':' && is_space(end_at(colon + 1)) ? i : kNone;
  }
  [[nodiscard]] char end_at(Size i) const { return i < text_.size() ? text_[i] : '\0'; }

  /// A plain scalar, its lines folded into one.
  std::string plain(int indent, bool flow) {
    if (is_end(peek()) || std::string_view{flow ? ",[]{}#&*!|>'\"%@`" : "]},#&*!|>'\"%@`"}.contains(peek()) ||
        (std::string_view{"?:-"}.contains(peek()) && is_space(peek(1)))) {
      fail(at_, found() + ", expected a value; a text that begins like this needs quotes");
    }
    std::string out;
    for (;;) {
      const Size begin = at_;
      while (!is_end(peek()) && !(peek() == '#' && at_ > 0 && is_blank(text_[at_ - 1])) &&
             !(peek() == ':' && ends_key(flow)) && !(flow && std::string_view{",[]{}"}.contains(peek()))) {
        ++at_;
      }
      out += text_.substr(begin, at_ - begin);
      out.erase(out.find_last_not_of(" \t") + 1);
      const Size end = at_;
      if (!is_end(peek()) || at_ >= text_.size()) return out;
      const std::string breaks = folded_breaks();
      const bool more = at_ < text_.size() && peek() != '#' &&
                        (flow || (spaces(at_) > indent && !marker("---") && !marker("..."))) &&
                        !(flow && std::string_view{",[]{}:"}.contains(peek()));
      if (!more) {
        at_ = end;
        return out;
      }
      out += breaks;
    }
  }
  [[nodiscard]] bool ends_key(bool flow) const {
    return is_space(peek(1)) || (flow && std::string_view{",[]{}"}.contains(peek(1)));
  }

  std::string folded_breaks() {
    Size breaks = 0;
    while (is_space(peek()) && at_ < text_.size()) breaks += text_[at_++] == '\n' ? 1 : 0;
    return breaks > 1 ? std::string(breaks - 1, '\n') : " ";
  }

  std::string quoted() {
    const Size start = at_;
    const char quote = text_[at_++];
    std::string out;
    for (;;) {
      if (at_ >= text_.size())
        fail(start, "found the end of the file inside a text, expected its closing quote");
      const char c = text_[at_];
      if (c == quote) {
        ++at_;
        if (quote == '"' || peek() != '\'') return out;
        out += text_[at_++];
      } else if (c == '\n' || c == '\r') {
        while (!out.empty() && is_blank(out.back())) out.pop_back();
        out += folded_breaks();
        if (marker("---") || marker("...")) fail(at_, found() + ", expected the closing quote of the text");
      } else if (c == '\\' && quote == '"') {
        escape(out);
      } else {
        out += c;
        ++at_;
      }
    }
  }

  void escape(std::string& out) {
    static constexpr std::string_view kNames = "0abtnvfre \"/\\\t";  // of kValues, in the same order
    static constexpr std::string_view kValues{"\0\a\b\t\n\v\f\r\x1b \"/\\\t", 14};
    const char c = peek(1);
    const Size digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (digits == 0) {
      const Size index = kNames.find(c);
      if (index == kNone) fail(at_, "found an unknown escape inside a text, expected \\\\ for a backslash");
      out += kValues[index];
      at_ += 2;
      return;
    }
    const std::string hex{text_.substr(at_ + 2, digits)};
    const bool good = hex.size() == digits && hex.find_first_not_of("0123456789abcdefABCDEF") == kNone;
    const unsigned long code = good ? std::strtoul(hex.c_str(), nullptr, 16) : 0x110000;
    if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
      fail(at_, found() + ", expected a character's number");
    const auto put = [&](unsigned long lead, int shift) {
      out += static_cast<char>(lead | (code >> shift));
      while (shift > 0) out += static_cast<char>(0x80U | ((code >> (shift -= 6)) & 0x3fU));
    };
    code < 0x80 ? put(0, 0) : code < 0x800 ? put(0xc0, 6) : code < 0x10000 ? put(0xe0, 12) : put(0xf0, 18);
    at_ += 2 + digits;
  }

  /// | keeps its lines; > folds those that are not indented further. Of the indicators after them only - is
  /// known.
  std::string block_text(int indent) {
    const bool fold = text_[at_++] == '>';
    const bool strip = peek() == '-';
    if (strip) ++at_;
    while (is_blank(peek())) ++at_;
    if (peek() == '#') at_ = std::min(text_.find('\n', at_), text_.size());
    if (!is_end(peek())) fail(at_, found() + ", expected the end of the line");
    std::string out;
    int deep = 0;  // the indentation of the content, once known
    bool begun = false;
    bool was_more = false;
    Size empty = 0;
    while (at_ < text_.size()) {
      at_ = std::min(text_.find('\n', at_), text_.size() - 1) + 1;
      const Size line = at_;
      const Size first = std::min(text_.find_first_not_of(' ', line), text_.size());
      const int lead = static_cast<int>(first - line);
      if (is_end(end_at(first)) && (!begun || lead <= deep)) {
        if (first >= text_.size()) break;
        ++empty;
        at_ = first;
        continue;
      }
      if (lead <= indent || (begun && lead < deep)) break;
      if (!begun) deep = lead;
      const bool more = lead > deep || end_at(line + static_cast<Size>(deep)) == '\t';
      if (begun && fold && !more && !was_more) {
        out += empty == 0 ? std::string{" "} : std::string(empty, '\n');
      } else {
        out += std::string(empty + (begun ? 1 : 0), '\n');
      }
      Size end = std::min(text_.find('\n', line), text_.size());
      at_ = end;
      if (end > line && text_[end - 1] == '\r') --end;
      out += text_.substr(line + static_cast<Size>(deep), end - line - static_cast<Size>(deep));
      begun = true;
      was_more = more;
      empty = 0;
    }
    if (begun && !strip) out += '\n';
    return out;
  }

  /// How many spaces, and no tabs, the line of `offset` begins with.
  [[nodiscard]] int spaces(Size offset) const {
    const Size line = marks_.line_begin(offset);
    return static_cast<int>(text_.find_first_not_of(' ', line) - line);
  }

  std::string_view text_;
  YamlText marks_;
  Size at_ = 0;
  std::vector<std::string> path_;  // of the value that is being read
};

}  // namespace lb::by_hand
