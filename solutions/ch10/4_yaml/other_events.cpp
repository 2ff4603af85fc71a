// Another right answer: the library's events are only written down, in a flat list. When the whole text has
// been read without a fault, a recursive walk over the list makes the tree. So nothing has to be undone, the
// list is known to be balanced, and an alias is a second walk over the events of its anchor: no tree is ever
// copied. Numbers are recognised by std::from_chars and what it leaves over.
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <sstream>
#include <unordered_map>

#include "lb/config/wording.hpp"
#include "lb/config/yaml_reader.hpp"
#include "lb/config/yaml_text.hpp"

namespace lb {
namespace {

using YAML::anchor_t;
using YAML::Mark;
using Kind = Node::Kind;

/// What a plain scalar is, and whether it is to be refused.
struct Meaning {
  Kind kind = Kind::text;
  bool refused = false;
};

Meaning meaning_of(const std::string& word) {
  for (const std::string_view name : {"true", "True", "TRUE", "false", "False", "FALSE"}) {
    if (word == name) return {Kind::boolean};
  }
  if (word == ".nan" || word == ".NaN" || word == ".NAN") return {Kind::real, true};
  std::string digits = word;
  const bool underscores = !word.starts_with('_') && std::erase(digits, '_') > 0;
  const bool sign = word.starts_with('-') || word.starts_with('+');
  const std::string_view rest = std::string_view{digits}.substr(sign ? 1 : 0);
  if (rest == ".inf" || rest == ".Inf" || rest == ".INF") return {Kind::real, !underscores};
  const std::string_view raw = std::string_view{word}.substr(sign ? 1 : 0);
  if (raw.size() > 2 && raw[0] == '0' && std::string_view{"oOxXbB"}.contains(raw[1])) {
    const char base = static_cast<char>(raw[1] | 0x20);
    const std::string_view allowed = base == 'o'   ? "01234567_"
                                     : base == 'b' ? "01_"
                                                   : "0123456789abcdefABCDEF_";
    return {Kind::text, raw.find_first_not_of(allowed, 2) == std::string_view::npos};
  }
  // from_chars takes also "inf" and "nan", and a sign: a number begins with a digit or a point.
  if (rest.empty() || !std::string_view{"0123456789."}.contains(rest[0])) return {};
  double value = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
  if (error == std::errc::invalid_argument || end != rest.data() + rest.size()) return {};
  const std::size_t point = rest.find('.');
  const bool after_point = point == std::string_view::npos ||
                           (point + 1 < rest.size() && rest[point + 1] >= '0' && rest[point + 1] <= '9');
  const bool leading_zero = rest.size() > 1 && rest[0] == '0' && rest[1] >= '0' && rest[1] <= '9';
  const bool in_json = !underscores && word[0] != '+' && rest[0] != '.' && after_point && !leading_zero &&
                       std::isfinite(std::strtod(word.c_str(), nullptr));
  return {rest.find_first_of(".eE") == std::string_view::npos ? Kind::integer : Kind::real, !in_json};
}

struct Event {
  enum class Type : std::uint8_t { document, null, alias, scalar, begin_array, begin_object, end };
  Type type = Type::null;
  bool plain = false;
  bool tagged = false;
  bool flow = false;
  std::uint32_t offset = 0;
  Position at{};
  anchor_t anchor = 0;
  std::string value{};
  Meaning meaning{};  // of a scalar
};

class Recorder final : public YAML::EventHandler {
 public:
  explicit Recorder(YamlText& text) : text_(text) {}
  void OnDocumentStart(const Mark& mark) override { add(Event::Type::document, mark); }
  void OnDocumentEnd() override {}
  void OnNull(const Mark& mark, anchor_t anchor) override { add(Event::Type::null, mark, anchor); }
  void OnAlias(const Mark& mark, anchor_t anchor) override { add(Event::Type::alias, mark, anchor); }
  void OnScalar(const Mark& mark, const std::string& tag, anchor_t anchor,
                const std::string& value) override {
    Event& event = add(Event::Type::scalar, mark, anchor);
    event.plain = tag == "?";
    event.tagged = !event.plain && (tag != "!" || text_.at(text_.skip_anchor(event.offset)) == '!');
    event.value = value;
    if (event.plain) event.meaning = meaning_of(value);
  }
  void OnSequenceStart(const Mark& mark, const std::string& tag, anchor_t anchor,
                       YAML::EmitterStyle::value style) override {
    begin(Event::Type::begin_array, mark, tag, anchor, style);
  }
  void OnMapStart(const Mark& mark, const std::string& tag, anchor_t anchor,
                  YAML::EmitterStyle::value style) override {
    begin(Event::Type::begin_object, mark, tag, anchor, style);
  }
  void OnSequenceEnd() override { events.push_back({.type = Event::Type::end}); }
  void OnMapEnd() override { events.push_back({.type = Event::Type::end}); }

  std::vector<Event> events;

 private:
  Event& add(Event::Type type, const Mark& mark, anchor_t anchor = 0) {
    const auto offset = static_cast<std::uint32_t>(std::max(mark.pos, 0));
    events.push_back({.type = type, .offset = offset, .at = text_.position(offset), .anchor = anchor});
    return events.back();
  }
  void begin(Event::Type type, const Mark& mark, const std::string& tag, anchor_t anchor,
             YAML::EmitterStyle::value style) {
    Event& event = add(type, mark, anchor);
    event.tagged = tag != "?";
    event.flow = style == YAML::EmitterStyle::Flow;
  }

  YamlText& text_;
};

class Walk final {
 public:
  Walk(const std::vector<Event>& events, YamlText& text) : events_(events), text_(text) {}

  std::expected<Node, ConfigError> run() {
    if (events_.size() < 2 ||
        (events_[1].type == Event::Type::null && !is_spelt(events_[1], nullptr, nullptr))) {
      const Position end = text_.position(text_.all().size());
      return std::unexpected(
          ConfigError{end.line, end.column, "", "found the end of the file, expected an object"});
    }
    for (std::size_t i = 1; i < events_.size(); ++i) {
      const Event& event = events_[i];
      if (event.type == Event::Type::document)
        fail(event.at, Place{}, "found a second document, expected one");
    }
    next_ = 1;
    Node root;
    if (!value(root, Place{}, nullptr, nullptr, 0) || error_) return std::unexpected(*error_);
    return root;
  }

 private:
  using Type = Event::Type;

  bool fail(Position at, const Place& place, std::string message) {
    if (!error_) error_ = ConfigError{at.line, at.column, place.pointer(), std::move(message)};
    return false;
  }

  [[nodiscard]] bool is_spelt(const Event& event, const Event* around, const Event* key) const {
    const std::string_view word = text_.word_at(event.offset);
    if (event.anchor != 0) return true;
    if (word != "~" && word != "null" && word != "Null" && word != "NULL") return false;
    if (around == nullptr || around->flow || key == nullptr) return true;
    return event.at.line == key->at.line || event.at.column > key->at.column;
  }

  /// The value at next_, inside `around`, after `key`.
  bool value(Node& node, const Place& place, const Event* around, const Event* key, std::uint32_t depth) {
    const std::size_t index = next_++;
    const Event& event = events_[index];
    const Position at = alias_at_ ? *alias_at_ : event.at;
    node.at = at;
    if (++values_ > kConfigValuesMax) {
      return fail(at, place,
                  "found more than " + grouped(kConfigValuesMax) + " values, expected a smaller file");
    }
    if ((around == nullptr || !around->flow) && event.type != Type::null) {
      if (const auto tab = text_.tab_before(event.offset, false))
        return fail(text_.position(*tab), place, kFoundTab);
    }
    if (event.tagged) {
      const std::size_t tag = text_.at(event.offset) == '!' ? event.offset : text_.skip_anchor(event.offset);
      return fail(text_.position(tag), place,
                  "found " + text_.found_at(tag) + ", expected a value without a tag");
    }
    bool good = true;
    if (event.type == Type::alias) {
      good = alias(node, event, place, depth);
    } else if (event.type == Type::null) {
      good = null(node, event, place, around, key);
    } else if (event.type == Type::scalar) {
      good = scalar(node, event, place);
    } else {
      good = collection(node, event, place, depth);
    }
    if (event.anchor != 0 && event.type != Type::alias) complete_[event.anchor] = index;
    return good;
  }

  bool scalar(Node& node, const Event& event, const Place& place) {
    if (event.meaning.refused) {
      return fail(event.at, place,
                  "found " + printable(event.value, 40) + ", expected a number as JSON spells it");
    }
    const std::size_t begin = text_.skip_anchor(event.offset);
    const bool quoted = !event.plain && (text_.at(begin) == '"' || text_.at(begin) == '\'');
    if (quoted && !text_.closes_quote(begin)) {
      return fail(event.at, place, "found the end of the file inside a text, expected its closing quote");
    }
    node.kind = event.meaning.kind;
    node.text = event.value;
    return count_bytes(node.text.size(), node.at, place);
  }

  bool null(Node& node, const Event& event, const Place& place, const Event* around, const Event* key) {
    node.text = "null";
    if (is_spelt(event, around, key)) return true;
    if (key == nullptr) {
      node.at = alias_at_ ? *alias_at_ : around->at;
      return !around->flow ||
             fail(event.at, place, "found " + text_.found_at(event.offset) + ", expected a value");
    }
    node.at = alias_at_ ? *alias_at_ : key->at;
    if (around->flow || event.offset > key->offset) return true;
    return fail(key->at, *place.parent,
                "found " + printable(key->value, 40) + ", expected \":\" after the key");
  }

  bool collection(Node& node, const Event& event, const Place& place, std::uint32_t depth) {
    if (depth == kConfigNestingMax) {
      return fail(node.at, place,
                  "found more than " + std::to_string(kConfigNestingMax) +
                      " levels of nesting, expected a flatter file");
    }
    const bool object = event.type == Type::begin_object;
    node.kind = object ? Kind::object : Kind::array;
    while (events_[next_].type != Type::end) {
      Node& child = node.children.emplace_back();
      const Event* key = nullptr;
      if (object) {
        key = &events_[next_++];
        if (!this->key(child, *key, event, place)) return false;
      }
      const Place here = object ? place.member(child.key) : place.element(node.children.size() - 1);
      if (!value(child, here, &event, key, depth + 1)) return false;
    }
    ++next_;
    return true;
  }

  bool key(Node& child, const Event& event, const Event& around, const Place& place) {
    if (!around.flow) {
      if (const auto tab = text_.tab_before(event.offset, true))
        return fail(text_.position(*tab), place, kFoundTab);
    }
    const bool is_key = event.meaning.kind == Kind::text && !event.meaning.refused;
    const bool merge = event.plain && event.value == "<<";
    const bool text = event.type == Type::scalar && !event.tagged && event.anchor == 0 && is_key && !merge;
    if (!text) {
      const std::string found = event.type == Type::begin_array    ? "an array"
                                : event.type == Type::begin_object ? "an object"
                                : event.type == Type::scalar       ? printable(event.value, 40)
                                                                   : text_.found_at(event.offset);
      return fail(event.at, place, "found " + found + ", expected a key that is a text");
    }
    child.key = event.value;
    child.key_at = alias_at_ ? *alias_at_ : event.at;
    return count_bytes(child.key.size(), child.key_at, place);
  }

  bool count_bytes(std::size_t more, Position at, const Place& place) {
    bytes_ += more;
    if (bytes_ <= kConfigBytesMax) return true;
    return fail(at, place, "found more than " + grouped(kConfigBytesMax) + " bytes, expected a smaller file");
  }

  bool alias(Node& node, const Event& event, const Place& place, std::uint32_t depth) {
    const auto target = complete_.find(event.anchor);
    if (target == complete_.end()) {
      return fail(event.at, place,
                  "found " + text_.found_at(event.offset) + " inside the value that it names");
    }
    const auto outer = alias_at_;
    if (!alias_at_) alias_at_ = event.at;
    const std::size_t after = next_;
    next_ = target->second;
    --values_;  // the alias is its value
    const bool good = value(node, place, nullptr, nullptr, depth);
    next_ = after;
    alias_at_ = outer;
    return good;
  }

  const std::vector<Event>& events_;
  YamlText& text_;
  std::size_t next_ = 0;
  std::optional<Position> alias_at_;                    // of the outermost alias that is being walked
  std::unordered_map<anchor_t, std::size_t> complete_;  // anchors, and the events where their values begin
  std::uint32_t values_ = 0;
  std::size_t bytes_ = 0;
  std::optional<ConfigError> error_;
};

/// The library's exception. A tab in front of what it stopped at is what it is about.
ConfigError error_of(const YAML::Exception& thrown, YamlText& text) {
  std::size_t offset = static_cast<std::size_t>(std::max(thrown.mark.pos, 0));
  const std::size_t begin =
      std::min(text.all().find_first_not_of(" \t-", text.line_begin(offset)), text.all().size());
  const auto tab = text.tab_before(begin, true);
  if (tab) offset = *tab;
  const Position at = text.position(offset);
  return {at.line, at.column, "",
          tab ? kFoundTab : "found " + text.found_at(offset) + ", expected what YAML allows here"};
}

}  // namespace

std::expected<Node, ConfigError> read_yaml(std::string_view text) {
  const auto checked = check_yaml_text(text);
  if (!checked) return std::unexpected(checked.error());
  YamlText file{*checked};
  Recorder recorder{file};
  try {
    std::istringstream stream{std::string{*checked}};
    YAML::Parser parser{stream};
    while (parser.HandleNextDocument(recorder)) {
    }
  } catch (const YAML::Exception& thrown) {
    return std::unexpected(error_of(thrown, file));
  }
  return Walk{recorder.events, file}.run();
}

}  // namespace lb
