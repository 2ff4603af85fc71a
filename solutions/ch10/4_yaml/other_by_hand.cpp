// Another right answer: no library. A recursive reader that goes through the text once, line by line and
// column by column, and knows of YAML only what a configuration may use. It tells what it found where it
// stands, so that no message has to be guessed afterwards; the price is that it has to know how lines are
// folded: by_hand_text.hpp. Here is what collections, keys, anchors and limits are.
#include <algorithm>
#include <map>
#include <utility>

#include "lb/config/wording.hpp"
#include "lb/config/yaml_reader.hpp"
#include "lb/config/yaml_text.hpp"
#include "solutions/ch10/4_yaml/by_hand_text.hpp"

namespace lb {
namespace {

using namespace by_hand;  // NOLINT: the other half of this file

constexpr int kRoot = -1;  // the indentation around the document
constexpr char kEmpty[] = "found the end of the file, expected an object";
constexpr char kTooDeep[] = "found more than 32 levels of nesting, expected a flatter file";
constexpr char kTooMany[] = "found more than 2,000,000 values, expected a smaller file";
constexpr char kTooLong[] = "found more than 67,108,864 bytes, expected a smaller file";

class Reader final : private Cursor {
 public:
  explicit Reader(std::string_view text) : Cursor(text) {}

  Node document() {
    skip();
    pass("---");
    Node root;
    if (at_ >= text_.size() || marker("---")) fail(text_.size(), kEmpty);
    value(root, kRoot, false);
    skip();
    pass("...");
    if (marker("---")) fail(at_, "found a second document, expected one");
    if (at_ < text_.size()) fail(at_, found() + ", expected nothing more after the end of the document");
    return root;
  }

 private:
  struct Named {
    Node node;
    std::uint32_t values = 0;  // before it; once it is complete, its own; and so the bytes
    Size bytes = 0;
    int height = 0;
    bool complete = false;
  };

  [[noreturn]] void fail_key(Size offset) {
    const char c = end_at(offset);
    const std::string what = c == '[' ? "an array" : c == '{' ? "an object" : marks_.found_at(offset);
    fail(offset, "found " + what + ", expected a key that is a text");
  }

  Node& begin(Node& node, Kind kind, Size offset) {
    if (++values_ > kConfigValuesMax) fail(offset, kTooMany);
    node.kind = kind;
    const Size anchor = std::exchange(anchor_at_, kNone);
    node.at = marks_.position(anchor == kNone ? offset : anchor);
    return node;
  }
  void enter(Size offset) {
    if (++depth_ > static_cast<int>(kConfigNestingMax)) fail(offset, kTooDeep);
    deepest_ = std::max(deepest_, depth_);
  }

  /// The value that begins here, in a collection indented by `indent`; `in_line`: after a key on the same
  /// line.
  void value(Node& node, int indent, bool in_line) {
    const Size start = at_;
    std::string name;
    if (peek() == '&') {
      name = marks_.word_at(at_ + 1);
      if (name.empty()) fail(at_, "found \"&\", expected a name after it");
      at_ += 1 + name.size();
      named_[name] = {.values = values_, .bytes = bytes_};
      const Size line = marks_.line_begin(at_);
      skip();
      in_line = in_line && marks_.line_begin(at_) == line;
      if (at_ >= text_.size() || (marks_.line_begin(at_) != line && column(at_) <= indent && peek() != '-')) {
        begin(node, Kind::null, start).text = "null";
        return keep(name, node, 0);
      }
    }
    const int outer = std::exchange(deepest_, depth_);
    if (!name.empty()) anchor_at_ = start;
    content(node, indent, in_line);
    keep(name, node, deepest_ - depth_);
    deepest_ = std::max(deepest_, outer);
  }

  void keep(const std::string& name, const Node& node, int height) {
    if (name.empty()) return;
    Named& named = named_[name];
    named = {node, values_ - named.values, bytes_ - named.bytes, height, true};
  }

  void content(Node& node, int indent, bool in_line) {
    const char c = peek();
    if (c == '!') fail(at_, "found the tag " + marks_.found_at(at_) + ", expected a value without a tag");
    if (c == '-' && is_space(peek(1))) {
      if (in_line) fail(at_, "found \"-\", expected a value; a list begins on a line of its own");
      return block_array(node);
    }
    if (c == '?' && is_space(peek(1))) {
      at_ += 2;
      fail_key(at_);
    }
    if (!in_line && key_end() != kNone) return block_object(node);
    if (c == '|' || c == '>') {
      begin(node, Kind::text, at_);
      node.text = block_text(indent);
      bytes_ += node.text.size();
      return;
    }
    inline_value(node, indent, false);
    while (is_blank(peek())) ++at_;
    if (peek() == ':') fail(at_, "found \":\", expected the end of the line");
    if (!is_end(peek()) && !(peek() == '#' && is_blank(text_[at_ - 1])))
      fail(at_, found() + ", expected the end of the line");
  }

  /// What can stand in flow collections too.
  void inline_value(Node& node, int indent, bool flow) {
    const Size start = at_;
    const char c = peek();
    if (c == '[' || c == '{') {
      flow_collection(node);
      Size after = at_;
      while (is_blank(end_at(after))) ++after;
      const bool key =
          end_at(after) == ':' && is_space(end_at(after + 1)) && (flow || marks_.begins_line(start));
      if (key) fail_key(start);
      return;
    }
    if (c == '*') return alias(node);
    if (c == '!') fail(at_, "found the tag " + marks_.found_at(at_) + ", expected a value without a tag");
    if (c == '"' || c == '\'') {
      begin(node, Kind::text, start).text = quoted();
    } else {
      std::string word = plain(indent, flow);
      const auto kind = kind_of(word);
      if (!kind) fail(start, "found " + printable(word, 40) + ", expected a number as JSON spells it");
      begin(node, *kind, start).text = *kind == Kind::null ? "null" : std::move(word);
    }
    bytes_ += node.text.size();
  }

  void alias(Node& node) {
    const std::string name{marks_.word_at(at_ + 1)};
    if (anchor_at_ != kNone) fail(at_, "found *" + name + ", expected a value that has no name yet");
    const auto it = named_.find(name);
    if (it == named_.end()) fail(at_, "found *" + name + ", expected an anchor of that name before it");
    const Named& named = it->second;
    if (!named.complete) fail(at_, "found *" + name + " inside the value that it names");
    if (named.values > kConfigValuesMax - values_) fail(at_, kTooMany);
    if (bytes_ + named.bytes > kConfigBytesMax) fail(at_, kTooLong);
    if (depth_ + named.height > static_cast<int>(kConfigNestingMax)) fail(at_, kTooDeep);
    deepest_ = std::max(deepest_, depth_ + named.height);
    values_ += named.values;
    bytes_ += named.bytes;
    node.kind = named.node.kind;
    node.text = named.node.text;
    node.children = named.node.children;
    put(node, marks_.position(at_));
    at_ += 1 + name.size();
  }
  static void put(Node& node, Position at) {
    node.at = at;
    for (Node& child : node.children) {
      child.key_at = at;
      put(child, at);
    }
  }

  void nothing(Node& node, Position at) {
    begin(node, Kind::null, at_).text = "null";
    node.at = at;
  }

  void block_array(Node& node) {
    const int dash = column(at_);
    begin(node, Kind::array, at_);
    enter(at_);
    while (at_ < text_.size() && column(at_) == dash && peek() == '-' && is_space(peek(1)) &&
           !marker("---")) {
      Node& child = node.children.emplace_back();
      path_.push_back(std::to_string(node.children.size() - 1));
      const Size line = marks_.line_begin(at_);
      ++at_;
      skip();
      const auto tab = marks_.tab_before(at_, true);
      if (tab && key_end() != kNone) fail(*tab, kFoundTab);
      const bool here = at_ < text_.size() && (marks_.line_begin(at_) == line || column(at_) > dash);
      here && !marker("---") ? value(child, dash, false) : nothing(child, node.at);
      path_.pop_back();
      skip();
    }
    if (at_ < text_.size() && column(at_) > dash)
      fail(at_, found() + ", expected \"- \" in the array's column");
    --depth_;
  }

  void block_object(Node& node) {
    const int indent = column(at_);
    begin(node, Kind::object, at_);
    enter(at_);
    while (at_ < text_.size() && column(at_) == indent && !marker("---") && !marker("...")) {
      Node& child = node.children.emplace_back();
      const Size end = key_end();
      if (end == kNone) {
        if (peek() == '[' || peek() == '{') inline_value(child, indent, false);
        if (peek() == '-' || peek() == '!' || peek() == '?') content(child, indent, true);
        fail(at_, found() + ", expected a key and \":\"");
      }
      if (const auto tab = marks_.tab_before(at_, true)) fail(*tab, kFoundTab);
      key(child, end);
      path_.push_back(child.key);
      const Size line = marks_.line_begin(at_);
      skip();
      const bool same_line = marks_.line_begin(at_) == line;
      const bool dashes =
          !same_line && column(at_) == indent && peek() == '-' && is_space(peek(1)) && !marker("---");
      const bool here = at_ < text_.size() && (same_line || column(at_) > indent || dashes);
      here ? value(child, indent, same_line) : nothing(child, child.key_at);
      path_.pop_back();
      skip();
    }
    if (at_ < text_.size() && column(at_) > indent)
      fail(at_, found() + ", expected a key in the object's column");
    --depth_;
  }

  [[nodiscard]] static bool is_text_key(const std::string& key) {
    return key != "<<" && !std::string_view{"*&!"}.contains(key[0]) && kind_of(key) == Kind::text;
  }
  /// The key up to `end`, and its colon.
  void key(Node& child, Size end) {
    const Size start = at_;
    const std::string word{text_.substr(at_, end - at_)};
    child.key_at = marks_.position(at_);
    if (peek() == '"' || peek() == '\'') {
      child.key = quoted();
    } else {
      child.key = word.substr(0, word.find_last_not_of(" \t") + 1);
      if (!is_text_key(child.key)) fail_key(start);
    }
    bytes_ += child.key.size();
    at_ = std::min(text_.find(':', end), text_.size()) + 1;
  }

  void flow_collection(Node& node) {
    const Size start = at_;
    const bool object = peek() == '{';
    const char close = object ? '}' : ']';
    begin(node, object ? Kind::object : Kind::array, at_++);
    enter(start);
    for (;;) {
      skip(true);
      if (peek() == close) break;
      flow_end(object);
      Node& child = node.children.emplace_back();
      if (object) {
        flow_key(child);
        path_.push_back(child.key);
        skip(true);
        peek() == ',' || peek() == close ? nothing(child, child.key_at) : flow_value(child);
      } else {
        path_.push_back(std::to_string(node.children.size() - 1));
        if (peek() == ',') fail(at_, "found \",\", expected a value");
        flow_value(child);
      }
      path_.pop_back();
      skip(true);
      if (peek() == close) break;
      flow_end(object);
      if (peek() != ',') fail(at_, found() + ", expected \",\" or \"" + close + "\"");
      ++at_;
    }
    ++at_;
    --depth_;
  }
  void flow_end(bool object) {
    if (at_ >= text_.size())
      fail(at_, std::string{"found the end of the file, expected "} + (object ? "}" : "]"));
  }
  void flow_key(Node& child) {
    const Size start = at_;
    if (peek() == '[' || peek() == '{') fail_key(start);
    const bool in_quotes = peek() == '"' || peek() == '\'';
    child.key_at = marks_.position(start);
    child.key = in_quotes ? quoted() : plain(kRoot, true);
    if (!in_quotes && !is_text_key(child.key)) fail_key(start);
    bytes_ += child.key.size();
    skip(true);
    if (peek() == ':') ++at_;
  }
  /// An element of a flow collection; `a: b` in an array is an object of one member.
  void flow_value(Node& child) {
    const Size start = at_;
    std::string name;
    if (peek() == '&') {
      name = marks_.word_at(at_ + 1);
      at_ += 1 + name.size();
      named_[name] = {.values = values_, .bytes = bytes_};
      skip(true);
    }
    const int outer = std::exchange(deepest_, depth_);
    if (!name.empty()) anchor_at_ = start;
    if (peek() == ',' || peek() == ']' || peek() == '}') {
      begin(child, Kind::null, at_).text = "null";
    } else {
      inline_value(child, kRoot, true);
    }
    keep(name, child, deepest_ - depth_);
    deepest_ = std::max(deepest_, outer);
  }

  Size anchor_at_ = kNone;  // of the value that begins next
  int depth_ = 0;
  int deepest_ = 0;
  std::uint32_t values_ = 0;
  Size bytes_ = 0;
  std::map<std::string, Named> named_;
};

}  // namespace

std::expected<Node, ConfigError> read_yaml(std::string_view text) {
  const auto checked = check_yaml_text(text);
  if (!checked) return std::unexpected(checked.error());
  try {
    return Reader{*checked}.document();
  } catch (const Refusal& refusal) {
    return std::unexpected(refusal.error);
  }
}

}  // namespace lb
