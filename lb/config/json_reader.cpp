#include "lb/config/json_reader.hpp"

#include <nlohmann/json.hpp>

#include "lb/config/json_locator.hpp"
#include "lb/config/text_check.hpp"
#include "lb/config/wording.hpp"

namespace lb {
namespace {

/// nlohmann/json calls one method a token; each builds a node of the tree and moves the locator along.
class TreeBuilder final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit TreeBuilder(std::string_view text) : locator_(text) {}

  bool null() override { return scalar(Node::Kind::null); }
  bool boolean(bool) override { return scalar(Node::Kind::boolean); }
  // The library decides between integer and float by size; the file's own spelling decides here.
  bool number_integer(number_integer_t) override { return number(); }
  bool number_unsigned(number_unsigned_t) override { return number(); }
  bool number_float(number_float_t, const string_t&) override { return number(); }
  bool binary(binary_t&) override { return false; }  // not in JSON

  bool string(string_t& value) override {
    Node* node = begin_value(Node::Kind::text);
    if (node == nullptr) return false;
    locator_.pass_string();
    node->text = std::move(value);
    end_value();
    return true;
  }
  bool key(string_t& value) override {
    key_at_ = locator_.find_token();
    locator_.pass_string();
    key_ = std::move(value);
    next_ = JsonLocator::Next::key_value;
    return true;
  }
  bool start_object(std::size_t) override { return open(Node::Kind::object, JsonLocator::Next::first_key); }
  bool start_array(std::size_t) override { return open(Node::Kind::array, JsonLocator::Next::first_element); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool parse_error(std::size_t, const std::string&, const nlohmann::json::exception&) override {
    const bool inside = !open_.empty();
    const bool in_object = inside && open_.back()->kind == Node::Kind::object;
    // The explanation looks at the text anew: the library's words speak to programmers.
    auto fault =
        locator_.explain(next_, in_object, inside ? open_.back()->at : Position{.line = 0, .column = 0});
    std::string path = pointer();
    const bool about_last_value =
        next_ == JsonLocator::Next::separator && inside && open_.back()->children.back().at == fault.at;
    if (about_last_value) {
      const Node& last = open_.back()->children.back();
      const Place root;
      path += (in_object ? root.member(last.key) : root.element(open_.back()->children.size() - 1)).pointer();
    }
    error_ = ConfigError{fault.at.line, fault.at.column, std::move(path), std::move(fault.message)};
    return false;
  }

  std::expected<Node, ConfigError> finish(bool accepted) {
    if (accepted) return std::move(root_);
    return std::unexpected(std::move(error_));
  }

 private:
  /// The node for a value that begins at the next token; null when a limit is passed.
  Node* begin_value(Node::Kind kind) {
    const Position at = locator_.find_token();
    if (++values_ > kConfigValuesMax) {
      return refuse(at, "found more than " + grouped(kConfigValuesMax) + " values, expected a smaller file");
    }
    Node* node = &root_;
    if (!open_.empty()) node = &open_.back()->children.emplace_back();
    node->kind = kind;
    node->at = at;
    if (!open_.empty() && open_.back()->kind == Node::Kind::object) {
      node->key = std::move(key_);
      node->key_at = key_at_;
      key_.clear();
    }
    return node;
  }

  void end_value() { next_ = open_.empty() ? JsonLocator::Next::end : JsonLocator::Next::separator; }

  bool scalar(Node::Kind kind) {
    Node* node = begin_value(kind);
    if (node == nullptr) return false;
    node->text = locator_.pass_scalar();
    end_value();
    return true;
  }

  bool number() {
    Node* node = begin_value(Node::Kind::integer);
    if (node == nullptr) return false;
    node->text = locator_.pass_scalar();
    if (node->text.find_first_of(".eE") != std::string::npos) node->kind = Node::Kind::real;
    end_value();
    return true;
  }

  bool open(Node::Kind kind, JsonLocator::Next next) {
    if (open_.size() == kConfigNestingMax) {
      refuse(locator_.find_token(), "found more than " + std::to_string(kConfigNestingMax) +
                                        " levels of nesting, expected a flatter file");
      return false;
    }
    Node* node = begin_value(kind);
    if (node == nullptr) return false;
    locator_.pass_bracket();
    // Only the innermost open node gains children, so a pointer to it stays good until it is closed.
    open_.push_back(node);
    next_ = next;
    return true;
  }

  bool close() {
    locator_.find_token();
    locator_.pass_bracket();
    open_.pop_back();
    end_value();
    return true;
  }

  Node* refuse(Position at, std::string message) {
    error_ = ConfigError{at.line, at.column, pointer(), std::move(message)};
    return nullptr;
  }

  /// JSON pointer of the value being read: each open node is the last child of the one around it.
  [[nodiscard]] std::string pointer() const {
    std::string path;
    for (std::size_t i = 0; i < open_.size(); ++i) {
      const Node& node = *open_[i];
      const bool last = i + 1 == open_.size();
      if (node.kind == Node::Kind::object) {
        if (last && next_ != JsonLocator::Next::key_value) break;
        const Place root;
        path +=
            root.member(last ? std::string_view{key_} : std::string_view{node.children.back().key}).pointer();
      } else if (!last) {
        path += "/" + std::to_string(node.children.size() - 1);
      } else if (next_ != JsonLocator::Next::separator) {
        path += "/" + std::to_string(node.children.size());
      }
    }
    return path;
  }

  JsonLocator locator_;
  JsonLocator::Next next_ = JsonLocator::Next::value;
  Node root_;
  std::vector<Node*> open_;
  std::string key_;
  Position key_at_;
  std::uint32_t values_ = 0;
  ConfigError error_;
};

}  // namespace

std::expected<Node, ConfigError> read_json(std::string_view text) {
  const auto checked = check_text(text);
  if (!checked) return std::unexpected(checked.error());
  TreeBuilder builder{*checked};
  const bool accepted = nlohmann::json::sax_parse(checked->begin(), checked->end(), &builder);
  return builder.finish(accepted);
}

}  // namespace lb
