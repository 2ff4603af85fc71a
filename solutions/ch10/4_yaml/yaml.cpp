// The reader of YAML behind lb/config/yaml_reader.hpp: yaml-cpp knows the grammar, and calls one method an
// event; each builds a node of the tree. What yaml-cpp does not give is made here:
//
//   columns in code points     its marks count bytes: Locator
//   limits                     its scanner reads a whole flow collection ahead before the first event, so
//   that the
//                              number of brackets and commas is bounded before it starts: fault_of_text()
//   what JSON does not have    tags, merge keys, other numbers, keys that are no texts
//   what YAML does not have    it accepts tabs in front of keys, [a, , b], and keys without a colon
//   words                      its messages speak to whoever knows its scanner: Builder::explain()
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <sstream>

#include "lb/config/wording.hpp"
#include "lb/config/yaml_reader.hpp"
#include "lb/config/yaml_text.hpp"

namespace lb {
namespace {

using YAML::anchor_t;
using YAML::Mark;
using Kind = Node::Kind;

constexpr std::size_t kShownWordMax = 40;
std::string too_deep() {
  return "found more than " + std::to_string(kConfigNestingMax) +
         " levels of nesting, expected a flatter file";
}

/// Leaves the library, whose handlers cannot end the reading in another way; caught in this file.
struct Refusal {
  ConfigError error;
};

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// ---- Plain scalars ----

std::size_t digits_at(std::string_view text, std::size_t begin) {
  std::size_t end = begin;
  while (end < text.size() && is_digit(text[end])) ++end;
  return end - begin;
}

struct Number {
  bool is_number = false;     // of YAML's core schema: +5, .5, 5. and 007 too
  bool in_json = false;       // spelt as JSON spells it (RFC 8259 section 6)
  bool leading_zero = false;  // the reason that it is not
  bool real = false;
};

/// YAML 1.2.2 section 10.3.2.
Number parse_number(std::string_view text) {
  const std::size_t sign = text.starts_with('-') || text.starts_with('+') ? 1 : 0;
  const std::size_t whole = digits_at(text, sign);
  std::size_t end = sign + whole;
  std::size_t fraction = 0;
  const bool point = end < text.size() && text[end] == '.';
  if (point) {
    fraction = digits_at(text, end + 1);
    end += 1 + fraction;
  }
  if (whole + fraction == 0) return {};
  const bool exponent = end < text.size() && (text[end] == 'e' || text[end] == 'E');
  if (exponent) {
    const bool signed_exponent = end + 1 < text.size() && (text[end + 1] == '+' || text[end + 1] == '-');
    const std::size_t begin = end + (signed_exponent ? 2 : 1);
    const std::size_t digits = digits_at(text, begin);
    if (digits == 0) return {};
    end = begin + digits;
  }
  if (end != text.size()) return {};
  const bool leading_zero = whole > 1 && text[sign] == '0';
  const bool in_json = !text.starts_with('+') && whole > 0 && !leading_zero && (!point || fraction > 0);
  return {.is_number = true, .in_json = in_json, .leading_zero = leading_zero, .real = point || exponent};
}

/// 0o10, 0x1F, 0b11, with a sign or underscores too: numbers to one reader of YAML or another.
bool is_other_base(std::string_view word) {
  if (word.starts_with('-') || word.starts_with('+')) word.remove_prefix(1);
  if (word.size() < 3 || word[0] != '0') return false;
  const std::string_view digits = word[1] == 'o' || word[1] == 'O'   ? "01234567_"
                                  : word[1] == 'x' || word[1] == 'X' ? "0123456789abcdefABCDEF_"
                                  : word[1] == 'b' || word[1] == 'B' ? "01_"
                                                                     : "";
  return word.find_first_not_of(digits, 2) == std::string_view::npos;
}

bool is_not_finite(std::string_view word) {
  if (word == ".nan" || word == ".NaN" || word == ".NAN") return true;
  if (word.starts_with('-') || word.starts_with('+')) word.remove_prefix(1);
  return word == ".inf" || word == ".Inf" || word == ".INF";
}

struct Scalar {
  Kind kind = Kind::text;
  std::string expected{};  // not empty: to be refused, with this said
};

/// What a plain scalar means. A number must be spelt as in JSON: readers of YAML differ about the others.
Scalar resolve(const std::string& word) {
  static constexpr std::string_view kBooleans[] = {"true", "True", "TRUE", "false", "False", "FALSE"};
  if (std::ranges::find(kBooleans, word) != std::end(kBooleans)) return {.kind = Kind::boolean};
  const auto refused = [](std::string_view expected) {
    return Scalar{.kind = Kind::real, .expected = std::string{expected} + ", or a text in quotes"};
  };
  if (is_not_finite(word)) return refused("a finite number");
  if (is_other_base(word)) return refused("a decimal number such as 10 or 0.5");
  const Number number = parse_number(word);
  if (!number.is_number) {
    std::string digits = word;
    const bool underscored = std::erase(digits, '_') > 0 && !word.starts_with('_');
    return underscored && parse_number(digits).is_number ? refused("a number without \"_\"") : Scalar{};
  }
  if (number.in_json) {
    if (!std::isfinite(std::strtod(word.c_str(), nullptr))) return refused("a number that a double can hold");
    return {.kind = number.real ? Kind::real : Kind::integer};
  }
  if (word.starts_with('+')) return refused("a number without \"+\"");
  return refused(number.leading_zero ? "a number without leading zeros"
                                     : "a decimal number such as 10 or 0.5");
}

// ---- The tree ----

class Builder final : public YAML::EventHandler {
 public:
  explicit Builder(std::string_view text) : text_(text) {}

  void OnDocumentStart(const Mark& mark) override {
    if (++documents_ == 1) return;
    const std::size_t at = offset_of(mark);
    const bool marked = text_.all().substr(at).starts_with("---");
    refuse(at, "",
           marked ? "found a second document, expected one"
                  : "found " + text_.found_at(at) + ", expected nothing more after the end of the document");
  }
  void OnDocumentEnd() override {}
  void OnNull(const Mark& mark, anchor_t anchor) override;
  void OnAlias(const Mark& mark, anchor_t anchor) override;
  void OnScalar(const Mark& mark, const std::string& tag, anchor_t anchor, const std::string& value) override;
  void OnSequenceStart(const Mark& mark, const std::string& tag, anchor_t anchor,
                       YAML::EmitterStyle::value style) override {
    open(Kind::array, mark, tag, anchor, style);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const Mark& mark, const std::string& tag, anchor_t anchor,
                  YAML::EmitterStyle::value style) override {
    open(Kind::object, mark, tag, anchor, style);
  }
  void OnMapEnd() override { close(); }

  /// What the library's exception means.
  [[nodiscard]] ConfigError explain(const YAML::Exception& thrown);
  std::expected<Node, ConfigError> finish();

 private:
  /// A collection that is being read. Only the innermost one gains children, so a pointer to it stays good.
  struct Open {
    Node* node = nullptr;
    std::size_t offset = 0;
    bool flow = false;
    bool has_key = false;  // of an object: key_ is read, its value is not
    std::size_t key_offset = 0;
    std::uint32_t height = 1;  // levels of nesting, itself included
    anchor_t anchor = 0;
  };
  /// A value with a name. Kept as its way from the root: nodes move while the tree grows.
  struct Anchor {
    std::vector<std::uint32_t> way{};
    std::uint32_t values = 0;  // before it; once it is complete, its own
    std::size_t bytes = 0;     // likewise
    std::uint32_t height = 0;
    bool complete = false;
  };

  [[nodiscard]] static std::size_t offset_of(const Mark& mark) {
    return mark.pos < 0 ? 0 : static_cast<std::size_t>(mark.pos);
  }
  [[nodiscard]] bool at_key() const {
    return !open_.empty() && open_.back().node->kind == Kind::object && !open_.back().has_key;
  }

  void open(Kind kind, const Mark& mark, const std::string& tag, anchor_t anchor,
            YAML::EmitterStyle::value style);
  void close();
  Node& add(Kind kind, Position at);
  void begin_anchor(anchor_t anchor);
  void end_anchor(anchor_t anchor, std::uint32_t height);
  void check_column(std::size_t offset, bool block_array);
  void read_key(std::size_t offset, bool plain, const std::string& value);
  void check_head(std::size_t offset, const std::string& tag, bool scalar);
  [[nodiscard]] bool is_spelt(std::size_t offset) const;
  void refuse_key(std::size_t offset, std::string message, bool doubtful = false);
  [[nodiscard]] ConfigError error_at(std::size_t offset, std::string path, std::string message);
  [[noreturn]] void refuse(std::size_t offset, std::string path, std::string message) {
    throw Refusal{error_at(offset, std::move(path), std::move(message))};
  }
  [[nodiscard]] std::string path(bool of_element) const;
  [[nodiscard]] ConfigError explain_open_bracket(std::size_t offset);

  YamlText text_;
  std::vector<Open> open_;
  Node root_;
  std::string key_;
  Position key_at_;
  std::vector<Anchor> anchors_;  // the library numbers them from 1
  std::uint32_t values_ = 0;
  std::size_t bytes_ = 0;  // of texts and keys
  std::uint32_t documents_ = 0;
  bool empty_ = true;
  // A key that is no text, in a flow collection. While that is not closed, the library may have made up a key
  // from what is none; so this waits for the end. From here on no event is looked at.
  std::optional<ConfigError> doubt_;
  std::size_t doubt_offset_ = 0;
};

ConfigError Builder::error_at(std::size_t offset, std::string path, std::string message) {
  const Position at = text_.position(offset);
  return {at.line, at.column, std::move(path), std::move(message)};
}

/// JSON pointer of the value being read. In an array: of the element to come, or of the array itself.
std::string Builder::path(bool of_element) const {
  std::string out;
  for (std::size_t i = 0; i < open_.size(); ++i) {
    const Node& node = *open_[i].node;
    const bool last = i + 1 == open_.size();
    const Place root;
    if (node.kind == Kind::array) {
      if (!last) out += root.element(node.children.size() - 1).pointer();
      if (last && of_element) out += root.element(node.children.size()).pointer();
    } else if (!last) {
      out += root.member(node.children.back().key).pointer();
    } else if (open_[i].has_key) {
      out += root.member(key_).pointer();
    }
  }
  return out;
}

/// A new node where the reading stands.
Node& Builder::add(Kind kind, Position at) {
  if (++values_ > kConfigValuesMax) {
    throw Refusal{{at.line, at.column, path(true),
                   "found more than " + grouped(kConfigValuesMax) + " values, expected a smaller file"}};
  }
  empty_ = false;
  Node* node = &root_;
  if (!open_.empty()) {
    Open& around = open_.back();
    node = &around.node->children.emplace_back();
    if (around.has_key) {
      node->key = std::move(key_);
      node->key_at = key_at_;
      key_.clear();
      around.has_key = false;
    }
  }
  node->kind = kind;
  node->at = at;
  return *node;
}

/// Called before the node is added: the way ends with the child to come.
void Builder::begin_anchor(anchor_t anchor) {
  if (anchor == 0) return;
  if (anchors_.size() < anchor) anchors_.resize(anchor);
  Anchor& named = anchors_[anchor - 1];
  for (std::size_t i = 0; i < open_.size(); ++i) {
    const std::size_t children = open_[i].node->children.size();
    named.way.push_back(static_cast<std::uint32_t>(i + 1 == open_.size() ? children : children - 1));
  }
  named.values = values_;
  named.bytes = bytes_;
}

void Builder::end_anchor(anchor_t anchor, std::uint32_t height) {
  if (anchor == 0) return;
  Anchor& named = anchors_[anchor - 1];
  named.values = values_ - named.values;
  named.bytes = bytes_ - named.bytes;
  named.height = height;
  named.complete = true;
}

/// The part of a value before its content: anchor and tag.
void Builder::check_head(std::size_t offset, const std::string& tag, bool scalar) {
  std::size_t at = text_.skip_anchor(offset);
  // "!" is also the library's way to say that a scalar was quoted.
  if (tag == "?" || (scalar && tag == "!" && text_.at(at) != '!')) return;
  if (text_.at(at) != '!') at = offset;
  refuse(at, path(!at_key()), "found the tag " + text_.found_at(at) + ", expected a value without a tag");
}

void Builder::refuse_key(std::size_t offset, std::string message, bool doubtful) {
  ConfigError error = error_at(offset, path(false), std::move(message));
  if (!open_.back().flow && !doubtful) throw Refusal{std::move(error)};
  doubt_ = std::move(error);
  doubt_offset_ = offset;
}

void Builder::read_key(std::size_t offset, bool plain, const std::string& value) {
  Open& object = open_.back();
  if (!object.flow) {
    if (const auto tab = text_.tab_before(offset, true)) refuse(*tab, path(false), kFoundTab);
  }
  if (text_.at(offset) == '&') {
    return refuse_key(offset, "found " + text_.found_at(offset) + ", expected a key without an anchor");
  }
  if (plain && value == "<<") {
    return refuse_key(offset,
                      "found <<, expected a key; merge keys are not read: write out what they stand for");
  }
  if (plain && resolve(value).kind != Kind::text) {
    return refuse_key(offset, "found " + printable(value, kShownWordMax) +
                                  ", expected a key that is a text: \"" + printable(value, kShownWordMax) +
                                  "\"");
  }
  key_ = value;
  key_at_ = text_.position(offset);
  bytes_ += value.size();
  object.has_key = true;
  object.key_offset = offset;
}

/// A value of a block collection stands deeper than its key, but for an array's dashes, and is indented with
/// spaces.
void Builder::check_column(std::size_t offset, bool block_array) {
  if (!open_.empty() && open_.back().flow) return;
  if (const auto tab = text_.tab_before(offset, false)) refuse(*tab, path(true), kFoundTab);
  if (open_.empty() || open_.back().node->kind != Kind::object || !text_.begins_line(offset)) return;
  const std::size_t key = open_.back().key_offset;
  const std::size_t key_column = key - text_.line_begin(key);
  const std::size_t column = offset - text_.line_begin(offset);
  if (column > key_column || (block_array && column == key_column)) return;
  refuse(offset, path(true),
         "found " + text_.found_at(offset) + ", expected a value further right than its key");
}

void Builder::OnScalar(const Mark& mark, const std::string& tag, anchor_t anchor, const std::string& value) {
  if (doubt_) return;
  const std::size_t offset = offset_of(mark);
  check_head(offset, tag, true);
  const bool plain = tag == "?";
  const std::size_t begin = text_.skip_anchor(offset);
  if (!plain && (text_.at(begin) == '"' || text_.at(begin) == '\'') && !text_.closes_quote(begin)) {
    refuse(begin, path(true), "found the end of the file inside a text, expected its closing quote");
  }
  if (at_key()) return read_key(offset, plain, value);
  check_column(offset, false);
  const Scalar scalar = plain ? resolve(value) : Scalar{};
  if (!scalar.expected.empty()) {
    refuse(offset, path(true), "found " + printable(value, kShownWordMax) + ", expected " + scalar.expected);
  }
  begin_anchor(anchor);
  add(scalar.kind, text_.position(offset)).text = value;
  bytes_ += value.size();
  end_anchor(anchor, 0);
}

/// Whether a null was written (~ or null), and not just nothing: then the library reports what comes next.
bool Builder::is_spelt(std::size_t offset) const {
  const std::string_view word = text_.word_at(offset);
  if (word != "~" && word != "null" && word != "Null" && word != "NULL") return false;
  // What comes next may be a key that begins with "null ", on a line of its own, no deeper than the last.
  if (open_.empty() || open_.back().flow || open_.back().node->kind != Kind::object) return true;
  const std::size_t key = open_.back().key_offset;
  return !text_.begins_line(offset) || offset - text_.line_begin(offset) > key - text_.line_begin(key);
}

void Builder::OnNull(const Mark& mark, anchor_t anchor) {
  if (doubt_) return;
  const std::size_t offset = offset_of(mark);
  if (at_key()) {
    return refuse_key(offset, "found " + text_.found_at(offset) + ", expected a key that is a text");
  }
  const Open* around = open_.empty() ? nullptr : &open_.back();
  const bool in_object = around != nullptr && around->node->kind == Kind::object;
  if (in_object && !around->flow && offset <= around->key_offset) {
    open_.back().has_key = false;  // it is about the object
    refuse(around->key_offset, path(false),
           "found " + text_.found_at(around->key_offset) + ", expected \":\" after the key");
  }
  Position at;
  if (anchor != 0 || is_spelt(offset)) {
    check_column(offset, false);
    at = text_.position(offset);
  } else if (around == nullptr) {
    return;  // finish() says it
  } else if (in_object) {
    at = key_at_;
  } else if (around->flow) {
    refuse(offset, path(true), "found " + text_.found_at(offset) + ", expected a value");
  } else {
    at = around->node->at;
  }
  begin_anchor(anchor);
  add(Kind::null, at).text = "null";
  end_anchor(anchor, 0);
}

/// Gives each part of an alias's value the alias's position.
void put_at(Node& node, Position at) {
  node.at = at;
  for (Node& child : node.children) {
    child.key_at = at;
    put_at(child, at);
  }
}

void Builder::OnAlias(const Mark& mark, anchor_t anchor) {
  if (doubt_) return;
  const std::size_t offset = offset_of(mark);
  const std::string name = text_.found_at(offset);
  if (at_key()) return refuse_key(offset, "found " + name + ", expected a key that is a text");
  check_column(offset, false);
  const std::string here = path(true);
  LB_ASSERT(anchor >= 1 && anchor <= anchors_.size());
  const Anchor& named = anchors_[anchor - 1];
  if (!named.complete) refuse(offset, here, "found " + name + " inside the value that it names");
  // Before anything is copied: a bomb of aliases costs no more than its file.
  if (named.values > kConfigValuesMax - values_) {
    refuse(offset, here,
           "found more than " + grouped(kConfigValuesMax) +
               " values with what aliases stand for, expected a smaller file");
  }
  if (named.bytes > kConfigBytesMax - std::min(bytes_, kConfigBytesMax)) {
    refuse(offset, here,
           "found more than " + grouped(kConfigBytesMax) +
               " bytes with what aliases stand for, expected a smaller file");
  }
  if (open_.size() + named.height > kConfigNestingMax) {
    refuse(offset, here, too_deep());
  }
  const Node* target = &root_;
  for (const std::uint32_t step : named.way) target = &target->children[step];
  Node copy = *target;
  put_at(copy, text_.position(offset));
  Node& node = add(copy.kind, copy.at);
  node.text = std::move(copy.text);
  node.children = std::move(copy.children);
  values_ += named.values - 1;
  bytes_ += named.bytes;
  if (!open_.empty()) open_.back().height = std::max(open_.back().height, named.height + 1);
}

void Builder::open(Kind kind, const Mark& mark, const std::string& tag, anchor_t anchor,
                   YAML::EmitterStyle::value style) {
  if (doubt_) return;
  const std::size_t offset = offset_of(mark);
  check_head(offset, tag, false);
  if (at_key()) {
    const std::string what = kind == Kind::array ? "an array" : "an object";
    return refuse_key(offset, "found " + what + ", expected a key that is a text", true);
  }
  if (open_.size() == kConfigNestingMax) {
    refuse(offset, path(true), too_deep());
  }
  const bool flow = style == YAML::EmitterStyle::Flow;
  check_column(offset, kind == Kind::array && !flow);
  begin_anchor(anchor);
  Node& node = add(kind, text_.position(offset));
  open_.push_back({.node = &node, .offset = offset, .flow = flow, .anchor = anchor});
}

void Builder::close() {
  if (doubt_) return;
  const Open closed = open_.back();
  open_.pop_back();
  end_anchor(closed.anchor, closed.height);
  if (!open_.empty()) open_.back().height = std::max(open_.back().height, closed.height + 1);
}

std::expected<Node, ConfigError> Builder::finish() {
  if (doubt_) return std::unexpected(*std::move(doubt_));
  if (!empty_) return std::move(root_);
  return std::unexpected(error_at(text_.all().size(), "", "found the end of the file, expected an object"));
}

// ---- Words ----

/// For "end of ... not found", in the innermost bracket that is open.
ConfigError Builder::explain_open_bracket(std::size_t offset) {
  // An object that the library made up begins at an array's bracket: not meant.
  const auto bracket = std::find_if(open_.rbegin(), open_.rend(), [&](const Open& open) {
    return text_.all()
        .substr(text_.skip_anchor(open.offset))
        .starts_with(open.node->kind == Kind::array ? '[' : '{');
  });
  const bool array =
      doubt_ ? text_.at(doubt_offset_) == '[' : bracket == open_.rend() || bracket->node->kind == Kind::array;
  if (offset < text_.all().size() || (bracket == open_.rend() && !doubt_)) {
    return error_at(
        offset, path(false),
        "found " + text_.found_at(offset) + ", expected \",\" or \"" + (array ? "]" : "}") + "\"");
  }
  const Position begun = doubt_ ? text_.position(doubt_offset_) : bracket->node->at;
  return error_at(offset, path(false),
                  "found the end of the file, expected the end of the " +
                      std::string{array ? "array" : "object"} + " begun at line " +
                      std::to_string(begun.line) + ", column " + std::to_string(begun.column));
}

ConfigError Builder::explain(const YAML::Exception& thrown) {
  namespace Msg = YAML::ErrorMsg;
  struct Meaning {
    std::string_view theirs;
    std::string_view expected;
  };
  static const Meaning kMeanings[] = {
      {Msg::MAP_VALUE,
       "the end of the value; the keys of one object begin in one column, and a text with \": \" in it needs "
       "quotes"},
      {Msg::MAP_KEY, "a value; a key begins on a line of its own"},
      {Msg::BLOCK_ENTRY, "a value; a list begins on a line of its own"},
      {Msg::FLOW_END, "no closing bracket, or the one that fits"},
      {Msg::UNKNOWN_TOKEN, "a value; a text that begins like this needs quotes"},
      {Msg::EOF_IN_SCALAR, "the closing quote of the text"},
      {Msg::DOC_IN_SCALAR, "the closing quote of the text"},
      {Msg::CHAR_IN_BLOCK, "the end of the line, after | or > and its indicators"},
      {Msg::ZERO_INDENT_IN_BLOCK, "an indentation from 1 to 9"},
      {Msg::ANCHOR_NOT_FOUND, "a name after &"},
      {Msg::ALIAS_NOT_FOUND, "a name after *"},
      {Msg::UNKNOWN_ANCHOR, "an anchor of that name before it"},
      {Msg::MULTIPLE_ANCHORS, "one anchor for a value"},
      {Msg::INVALID_HEX, "hexadecimal digits after \\x, \\u or \\U"},
  };
  const std::size_t offset = std::min(offset_of(thrown.mark), text_.all().size());
  const std::string_view message = thrown.msg;
  if (message == Msg::BAD_FILE) {  // its own limit of recursion
    ConfigError error = doubt_ ? *doubt_ : error_at(offset, path(true), "");
    error.message = too_deep();
    return error;
  }
  if (message == Msg::TAB_IN_INDENTATION) return error_at(offset, path(false), kFoundTab);
  const bool structure = message == Msg::MAP_VALUE || message == Msg::END_OF_MAP ||
                         message == Msg::END_OF_SEQ || message == Msg::BLOCK_ENTRY || message == Msg::MAP_KEY;
  if (structure) {
    const std::size_t line = text_.line_begin(offset);
    const std::size_t begin = std::min(text_.all().find_first_not_of(" \t-", line), offset);
    if (const auto tab = text_.tab_before(begin, true)) return error_at(*tab, path(false), kFoundTab);
  }
  if (message == Msg::END_OF_SEQ_FLOW || message == Msg::END_OF_MAP_FLOW) return explain_open_bracket(offset);
  const std::string found = "found " + text_.found_at(offset) + ", expected ";
  if (message == Msg::END_OF_MAP || message == Msg::END_OF_SEQ) {
    const bool first = text_.begins_line(offset);
    const bool array = message == Msg::END_OF_SEQ;
    return error_at(offset, path(false),
                    found + (!first  ? "the end of the line after the value"
                             : array ? "\"- \" in the column of the array's other elements"
                                     : "a key in the column of the object's other keys"));
  }
  if (message.starts_with(Msg::INVALID_ESCAPE)) {
    return error_at(
        offset, path(false),
        "found an unknown escape inside a text, expected \\\\ for a backslash, or no double quotes");
  }
  if (message.starts_with(Msg::INVALID_UNICODE)) {
    return error_at(offset, path(false),
                    "found half a surrogate pair inside a text, expected \\U and eight digits");
  }
  for (const Meaning& meaning : kMeanings) {
    if (message == meaning.theirs)
      return error_at(offset, path(false), found + std::string{meaning.expected});
  }
  const bool tag = message.contains("tag");
  return error_at(offset, path(false), found + (tag ? "a value without a tag" : "what YAML allows here"));
}

}  // namespace

std::expected<Node, ConfigError> read_yaml(std::string_view text) {
  const auto checked = check_yaml_text(text);
  if (!checked) return std::unexpected(checked.error());
  Builder builder{*checked};
  try {
    std::istringstream stream{std::string{*checked}};
    YAML::Parser parser{stream};
    while (parser.HandleNextDocument(builder)) {
    }
    return builder.finish();
  } catch (const Refusal& refusal) {
    return std::unexpected(refusal.error);
  } catch (const YAML::Exception& thrown) {
    return std::unexpected(builder.explain(thrown));
  }
}

}  // namespace lb
