// The text of a YAML file, seen beside the library that reads it: where an offset of the library is for
// whoever wrote the file, and what stands there. Pure; an object belongs to one thread.
#pragma once

#include <cstddef>
#include <expected>
#include <optional>
#include <string>
#include <string_view>

#include "lb/config/config.hpp"
#include "lb/config/tree.hpp"

namespace lb {

inline constexpr char kFoundTab[] = "found a tab, expected spaces; tabs do not indent in YAML";

/// What check_text() says; and what must not reach yaml-cpp, which takes 0x04 for the end of the file, passes
/// silently over a line that begins with %, and needs some 300 bytes for each bracket and comma of a
/// collection before it tells of the first: refused are control characters, carriage returns without a line
/// feed, lines that begin with %, and more than kConfigValuesMax brackets and commas.
std::expected<std::string_view, ConfigError> check_yaml_text(std::string_view bytes);

class YamlText final {
 public:
  /// Keeps a view of `text`, which check_yaml_text() has returned.
  explicit YamlText(std::string_view text) : text_(text) {}

  [[nodiscard]] std::string_view all() const { return text_; }
  [[nodiscard]] char at(std::size_t offset) const { return offset < text_.size() ? text_[offset] : '\0'; }

  /// Line and column (in code points) of the byte at `offset`, or of the end. Cheap when called in the order
  /// of the file.
  Position position(std::size_t offset);

  [[nodiscard]] std::size_t line_begin(std::size_t offset) const;
  /// Nothing but blanks stand before it on its line.
  [[nodiscard]] bool begins_line(std::size_t offset) const;
  /// From `offset` to the next blank, line break, bracket or comma.
  [[nodiscard]] std::string_view word_at(std::size_t offset) const;
  /// Where the value begins whose anchor (&name) begins at `offset`; `offset` when there is no anchor.
  [[nodiscard]] std::size_t skip_anchor(std::size_t offset) const;
  /// Whether the quoted text that begins at `offset` ends: the library takes the end of the file for its end.
  [[nodiscard]] bool closes_quote(std::size_t offset) const;
  /// The first tab among the blanks before `offset`, when nothing else stands before it on its line; with
  /// `dashes`, the dashes of arrays may.
  [[nodiscard]] std::optional<std::size_t> tab_before(std::size_t offset, bool dashes) const;
  /// In words, for "found ...": `word`, `":"`, `the end of the line`, `the end of the file`.
  [[nodiscard]] std::string found_at(std::size_t offset) const;

 private:
  std::string_view text_;
  std::size_t offset_ = 0;  // where position_ is known
  Position position_;
};

}  // namespace lb
