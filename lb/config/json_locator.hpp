// Walks a JSON text token by token beside the parser, to know the line and column of each value, and to say
// in plain words what is wrong where the parser gave up. Trusts the parser for the grammar: pass_*() may be
// called only for a token that the parser has accepted. Works on text that is valid UTF-8 without NUL bytes.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "lb/config/tree.hpp"

namespace lb {

class JsonLocator final {
 public:
  /// What may come next, seen from the last token passed.
  enum class Next : std::uint8_t { value, first_key, first_element, key_value, separator, end };
  struct Fault {
    Position at;
    std::string message;
  };

  explicit JsonLocator(std::string_view text) : text_(text) {}

  /// Steps over white space, commas and colons, and tells where the next token begins.
  Position find_token();
  /// Step over a token and return its spelling (a string's with its quotes).
  std::string_view pass_bracket();
  std::string_view pass_string();
  std::string_view pass_scalar();

  /// Why the text cannot be read on from here. `opened` is where the innermost array or object begins.
  Fault explain(Next next, bool in_object, Position opened);

 private:
  [[nodiscard]] bool at_end() const { return offset_ == text_.size(); }
  [[nodiscard]] char peek() const { return at_end() ? '\0' : text_[offset_]; }
  [[nodiscard]] std::string_view word_at(std::size_t offset) const;
  std::string_view advance(std::size_t bytes);
  void skip_space();
  Fault explain_value(bool in_object, Position opened);
  Fault explain_separator(bool in_object, Position opened);
  Fault explain_key(bool after_comma, Position opened);
  Fault explain_string();
  Fault explain_escape();
  [[nodiscard]] Fault explain_word(std::string_view word) const;
  [[nodiscard]] Fault fault(std::string message) const { return {position_, std::move(message)}; }
  [[nodiscard]] Fault unexpected_here(std::string_view expected) const;
  [[nodiscard]] Fault ends_inside(bool in_object, Position opened) const;

  std::string_view text_;
  std::size_t offset_ = 0;
  Position position_;
  std::size_t scalar_begin_ = 0;  // the last scalar passed, while it is also the last token
  Position scalar_at_;
  bool after_scalar_ = false;
};

}  // namespace lb
