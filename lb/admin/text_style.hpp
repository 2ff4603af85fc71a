// TextStyle: colours of text for people, or none. A value.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lb {

struct TextStyle {
  bool colour = false;

  [[nodiscard]] std::string bold(std::string_view text) const { return paint("1", text); }
  [[nodiscard]] std::string good(std::string_view text) const { return paint("32", text); }
  [[nodiscard]] std::string bad(std::string_view text) const { return paint("1;31", text); }
  [[nodiscard]] std::string careful(std::string_view text) const { return paint("33", text); }
  [[nodiscard]] std::string faint(std::string_view text) const { return paint("2", text); }

 private:
  [[nodiscard]] std::string paint(std::string_view code, std::string_view text) const {
    return colour ? fmt::format("\x1b[{}m{}\x1b[0m", code, text) : std::string{text};
  }
};

/// A tree of one level: each branch has a name in a column of its own, and lines. In plain ASCII:
///
///   HEADING
///   |- name       first line
///   |             second line
///   `- other      line
class TextTree final {
 public:
  explicit TextTree(const TextStyle& style) : style_(style) {}
  /// Text without line ends. A branch without lines is not shown.
  void branch(std::string_view name) { branches_.push_back({std::string{name}, {}}); }
  void line(std::string text) { branches_.back().lines.push_back(std::move(text)); }
  [[nodiscard]] std::string take() {
    std::string out;
    std::erase_if(branches_, [](const Branch& branch) { return branch.lines.empty(); });
    for (std::size_t i = 0; i < branches_.size(); ++i) {
      const bool last = i + 1 == branches_.size();
      for (std::size_t n = 0; n < branches_[i].lines.size(); ++n) {
        const bool first = n == 0;
        out += style_.faint(first ? (last ? "`- " : "|- ") : (last ? "   " : "|  "));
        out += fmt::format("{:<10} {}\n", first ? branches_[i].name : "", branches_[i].lines[n]);
      }
    }
    return out;
  }

 private:
  struct Branch {
    std::string name;
    std::vector<std::string> lines;
  };
  TextStyle style_;
  std::vector<Branch> branches_;
};

}  // namespace lb
