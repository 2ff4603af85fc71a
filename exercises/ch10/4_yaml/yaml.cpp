// Exercise 10.4: YAML. The contract is lb/config/yaml_reader.hpp; read it first, every comment counts.
// yaml-cpp knows the grammar: it calls one method below for each event, you build the tree. What stands here
// is a suggestion: change it as you like, only read_yaml() at the end must stay. The balancer never crashes
// because of a hole: it then says that it reads no YAML. lb/config/yaml_text.hpp has what you need to know
// about the text beside the events.
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <sstream>

#include "lb/base/not_implemented.hpp"
#include "lb/config/wording.hpp"
#include "lb/config/yaml_reader.hpp"
#include "lb/config/yaml_text.hpp"

namespace lb {
namespace {

using YAML::anchor_t;
using YAML::Mark;  // mark.pos is an offset in bytes; YamlText::position() makes a line and a column of it

/// Thrown from an event to leave the library, and caught in read_yaml(): an event cannot end the reading
/// otherwise.
struct Refusal {
  ConfigError error;
};

/// What a plain scalar (one without quotes) is: 80 an integer, no a text, 010 a reason for a Refusal.
[[maybe_unused]] Node::Kind kind_of_plain(const std::string& word) {
  (void)word;
  not_implemented("kind_of_plain");
}

class Builder final : public YAML::EventHandler {
 public:
  explicit Builder(std::string_view text) : text_(text) {}

  void OnDocumentStart(const Mark& mark) override {
    (void)mark;  // How many documents may there be?
  }
  void OnDocumentEnd() override {}

  /// ~, null, or nothing at all; then `mark` is where the next thing stands.
  void OnNull(const Mark& mark, anchor_t anchor) override {
    (void)mark, (void)anchor;
    not_implemented("Builder::OnNull");
  }

  /// `anchor` numbers the value that was given this name; what if that is not complete yet?
  void OnAlias(const Mark& mark, anchor_t anchor) override {
    (void)mark, (void)anchor;
    not_implemented("Builder::OnAlias");
  }

  /// A value, or the key of a member. `tag`: "?" for a plain scalar, "!" for one in quotes, else it has a
  /// tag.
  void OnScalar(const Mark& mark, const std::string& tag, anchor_t anchor,
                const std::string& value) override {
    (void)mark, (void)tag, (void)anchor, (void)value;
    not_implemented("Builder::OnScalar");
  }

  void OnSequenceStart(const Mark& mark, const std::string& tag, anchor_t anchor,
                       YAML::EmitterStyle::value style) override {
    (void)mark, (void)tag, (void)anchor, (void)style;
    not_implemented("Builder::OnSequenceStart");
  }
  void OnSequenceEnd() override {}

  void OnMapStart(const Mark& mark, const std::string& tag, anchor_t anchor,
                  YAML::EmitterStyle::value style) override {
    (void)mark, (void)tag, (void)anchor, (void)style;
    not_implemented("Builder::OnMapStart");
  }
  void OnMapEnd() override {}

  /// What the library's exception means, as "found WHAT, expected WHAT".
  ConfigError explain(const YAML::Exception& thrown) {
    const Position at = text_.position(thrown.mark.pos < 0 ? 0 : static_cast<std::size_t>(thrown.mark.pos));
    return {at.line, at.column, "", "to do: " + thrown.msg};
  }

  Node take() { return std::move(root_); }

 private:
  YamlText text_;
  Node root_;
  std::vector<Node*> open_;  // the collections that are being read, the innermost last
};

}  // namespace

std::expected<Node, ConfigError> read_yaml(std::string_view text) {
  const auto checked = check_yaml_text(text);  // not too big, UTF-8, no control characters, no directives
  if (!checked) return std::unexpected(checked.error());
  Builder builder{*checked};
  try {
    std::istringstream stream{std::string{*checked}};
    YAML::Parser parser{stream};
    while (parser.HandleNextDocument(builder)) {
    }
    return builder.take();  // and if there was nothing in it?
  } catch (const Refusal& refusal) {
    return std::unexpected(refusal.error);
  } catch (const YAML::Exception& thrown) {
    return std::unexpected(builder.explain(thrown));
  }
}

}  // namespace lb
