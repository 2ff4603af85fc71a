// Another right answer: no library. A recursive reader that goes through the text once, line by line and
// column by column, and knows of YAML only what a configuration may use. It tells what it found where it
// stands, so that no message has to be guessed afterwards; the price is that it has to know how lines are
// folded.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <regex>
#include <utility>

#include "lb/config/wording.hpp"
#include "lb/config/yaml_reader.hpp"
#include "lb/config/yaml_text.hpp"

namespace lb {
namespace {

using Kind = Node::Kind;
using Size = std::size_t;
constexpr Size kNone = std::string_view::npos;
constexpr int kRoot = -1;  // the indentation around the document

struct Refusal {
  ConfigError error;
};

constexpr auto is_blank = [](char c) { return c == ' ' || c == '\t'; };
constexpr auto is_end = [](char c) { return c == '\0' || c == '\n' || c == '\r'; };
constexpr auto is_space = [](char c) { return is_blank(c) || is_end(c); };
constexpr char kEmpty[] = "found the end of the file, expected an object";
constexpr char kTooDeep[] = "found more than 32 levels of nesting, expected a flatter file";
constexpr char kTooMany[] = "found more than 2,000,000 values, expected a smaller file";
constexpr char kTooLong[] = "found more than 67,108,864 bytes, expected a smaller file";

/// The kind of a plain scalar; nothing: to be refused.
std::optional<Kind> kind_of(const std::string& word) {
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

class Reader final {
 public:
  explicit Reader(std::string_view text) : text_(text), marks_(text) {}

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
    if (c == '|' || c == '>') return block_text(node, indent);
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
  void block_text(Node& node, int indent) {
    begin(node, Kind::text, at_);
    const bool fold = text_[at_++] == '>';
    const bool strip = peek() == '-';
    if (strip) ++at_;
    while (is_blank(peek())) ++at_;
    if (peek() == '#') at_ = std::min(text_.find('\n', at_), text_.size());
    if (!is_end(peek())) fail(at_, found() + ", expected the end of the line");
    std::string& out = node.text;
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
    bytes_ += out.size();
  }

  /// How many spaces, and no tabs, the line of `offset` begins with.
  [[nodiscard]] int spaces(Size offset) const {
    const Size line = marks_.line_begin(offset);
    return static_cast<int>(text_.find_first_not_of(' ', line) - line);
  }

  std::string_view text_;
  YamlText marks_;
  Size at_ = 0;
  Size anchor_at_ = kNone;  // of the value that begins next
  int depth_ = 0;
  int deepest_ = 0;
  std::uint32_t values_ = 0;
  Size bytes_ = 0;
  std::vector<std::string> path_;
  std::map<std::string, Named> named_;
};

}  // namespace

std::expected<Node, ConfigError> read_yaml(std::string_view bytes) {
  const auto text = check_yaml_text(bytes);
  if (!text) return std::unexpected(text.error());
  try {
    return Reader{*text}.document();
  } catch (const Refusal& refusal) {
    return std::unexpected(refusal.error);
  }
}

}  // namespace lb
