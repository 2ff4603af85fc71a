#include "lb/config/decode.hpp"

#include <algorithm>
#include <bitset>
#include <charconv>
#include <cmath>
#include <optional>

#include "lb/config/address.hpp"
#include "lb/config/keys.hpp"
#include "lb/config/wording.hpp"

namespace lb {
namespace {

constexpr std::size_t kKeysPerSectionMax = 64;
constexpr const char* kListenerExpected = R"(an address such as "0.0.0.0:8080", or an object with one)";
/// Which keys of a section an object gives, by their index in it.
using Given = std::bitset<kKeysPerSectionMax>;

template <class T>
std::optional<T> whole_number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool is_number(const Node& node) {
  return node.kind == Node::Kind::integer || node.kind == Node::Kind::real;
}

bool is_true(const Node& node) {
  return node.text.starts_with('t') || node.text.starts_with('T');  // YAML: True, TRUE
}

bool in_range(const KeySpec& key, double value) {
  return value >= key.min && value <= key.max;
}

/// A key of that name in another object: "ttl" written at the top belongs inside /pool.
const Section* section_with(std::string_view name, const Section& section, const Section& except) {
  for (const KeySpec& key : section.keys) {
    if (key.section == nullptr) continue;
    if (key.section != &except && find_key(*key.section, name) != nullptr) return key.section;
    if (const Section* deeper = section_with(name, *key.section, except)) return deeper;
  }
  return nullptr;
}

std::vector<std::string_view> names_of(const Section& section) {
  std::vector<std::string_view> names;
  for (const KeySpec& key : section.keys) {
    if (key.type != KeyType::ignored) names.push_back(key.name);
  }
  return names;
}

/// For a name that is near to none of the section's keys.
std::string unknown_key_message(const Section& section, std::string_view name) {
  if (const Section* home = section_with(name, config_section(), section)) {
    return "unknown key here; it belongs inside " + std::string{home->pointer};
  }
  const Section& top = config_section();
  if (&section != &top && find_key(top, name) != nullptr) return "unknown key here; it belongs at the top";
  std::vector<std::string_view> names = names_of(section);
  std::ranges::sort(names);
  std::string message = "unknown key, expected ";
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i > 0) message += i + 1 == names.size() ? " or " : ", ";
    message += names[i];
  }
  return message;
}

class Decoder final {
 public:
  Decoder(Decoded& out, ErrorList& errors) : out_(out), errors_(errors) {}

  void object(const Node& node, const Section& section, void* owner, const Place& place);

 private:
  std::optional<std::size_t> unknown_key(const Node& member, const Section& section, const Place& place);
  void value(const Node& node, const KeySpec& key, void* owner, const Place& place);
  void objects(const Node& node, const KeySpec& key, void* owner, const Place& place);
  void missing_keys(const Node& node, const Section& section, const Place& place, const Given& given);
  void backend_address(const Node& node, BackendConfig& backend, const Place& place, const Given& given);

  void scalar(const Node& node, const KeySpec& key, const Slot& slot, const Place& place);
  void integer(const Node& node, const KeySpec& key, const Slot& slot, const Place& place);
  void number(const Node& node, const KeySpec& key, const Slot& slot, const Place& place);
  void choice(const Node& node, const KeySpec& key, const Choice& slot, const Place& place);
  void text(const Node& node, const KeySpec& key, const Slot& slot, const Place& place);
  void listen_port(const Node& node, const KeySpec& key, std::vector<ListenerConfig>& listeners,
                   const Place& place);
  void listen(const Node& node, const KeySpec& key, std::vector<ListenerConfig>& listeners,
              const Place& place);
  void listener(const Node& node, const KeySpec& key, std::vector<ListenerConfig>& listeners,
                const Place& place);
  void networks(const Node& node, const KeySpec& key, std::vector<Network>& list, const Place& place);
  void headers(const Node& node, const KeySpec& key, std::vector<HeaderField>& fields, const Place& place);

  void report(Position at, const Place& place, std::string message) {
    errors_.add({at.line, at.column, place.pointer(), std::move(message)});
  }
  void mismatch(const Node& node, const Place& place, const std::string& expected) {
    report(node.at, place, "found " + found(node) + ", expected " + expected);
  }

  Decoded& out_;
  ErrorList& errors_;
};

void Decoder::object(const Node& node, const Section& section, void* owner, const Place& place) {
  LB_ASSERT(section.keys.size() <= kKeysPerSectionMax);
  if (node.kind != Node::Kind::object) return mismatch(node, place, "an object");
  Given seen;
  Given meant;  // by a misspelt key: not to be reported as missing too
  for (const Node& member : node.children) {
    const Place here = place.member(member.key);
    const KeySpec* key = find_key(section, member.key);
    if (key == nullptr) {
      if (const auto index = unknown_key(member, section, place)) meant.set(*index);
      continue;
    }
    const auto index = static_cast<std::size_t>(key - section.keys.data());
    if (seen.test(index)) {
      report(member.key_at, here, "duplicate key, expected it once in its object");
      continue;
    }
    seen.set(index);
    const std::uint64_t before = errors_.total();
    value(member, *key, owner, here);
    if (errors_.total() != before) out_.doubtful.insert(here.pointer());
  }
  missing_keys(node, section, place, seen | meant);
  if (&section == &backend_section())
    backend_address(node, *static_cast<BackendConfig*>(owner), place, seen | meant);
}

/// Reports it; the index of the key that was probably meant.
std::optional<std::size_t> Decoder::unknown_key(const Node& member, const Section& section,
                                                const Place& place) {
  const auto meant = nearest(member.key, names_of(section));
  const KeySpec* key = find_key(section, meant);
  report(member.key_at, place.member(member.key),
         key == nullptr ? unknown_key_message(section, member.key)
                        : "unknown key; did you mean " + json_string(meant) + "?");
  if (key == nullptr) return std::nullopt;
  out_.doubtful.insert(place.member(meant).pointer());
  return static_cast<std::size_t>(key - section.keys.data());
}

void Decoder::missing_keys(const Node& node, const Section& section, const Place& place, const Given& given) {
  for (std::size_t i = 0; i < section.keys.size(); ++i) {
    const KeySpec& key = section.keys[i];
    if (!key.required || given.test(i)) continue;
    report(node.at, place, "missing key " + json_string(key.name) + ", expected " + expected_text(key));
    out_.doubtful.insert(place.member(key.name).pointer());
  }
}

void Decoder::value(const Node& node, const KeySpec& key, void* owner, const Place& place) {
  switch (key.type) {
    case KeyType::object_or_bool:
      if (node.kind == Node::Kind::boolean) {
        if (is_true(node)) key.children.append(owner);
        return;
      }
      [[fallthrough]];
    case KeyType::optional_object:
      if (node.kind == Node::Kind::null) return;
      [[fallthrough]];
    case KeyType::object:
      if (node.kind != Node::Kind::object) return mismatch(node, place, expected_text(key));
      object(node, *key.section, key.children.append(owner), place);
      return;
    case KeyType::objects:
      return objects(node, key, owner, place);
    case KeyType::ignored:
      if (node.kind != Node::Kind::text) mismatch(node, place, expected_text(key));
      return;
    default:
      return scalar(node, key, key.slot(owner), place);
  }
}

void Decoder::objects(const Node& node, const KeySpec& key, void* owner, const Place& place) {
  if (node.kind != Node::Kind::array) return mismatch(node, place, expected_text(key));
  const std::size_t count = node.children.size();
  if (count < static_cast<std::size_t>(key.min)) {
    return mismatch(node, place,
                    "at least " + std::to_string(static_cast<std::size_t>(key.min)) + " object in it");
  }
  if (count > static_cast<std::size_t>(key.max)) {
    return report(node.at, place,
                  "found " + grouped(count) + " elements, expected at most " +
                      grouped(static_cast<std::uint64_t>(key.max)));
  }
  for (std::size_t i = 0; i < count; ++i) {
    const Place here = place.element(i);
    const std::uint64_t before = errors_.total();
    void* element = key.children.append(owner);
    object(node.children[i], *key.section, element, here);
    if (errors_.total() != before) out_.doubtful.insert(here.pointer());
  }
}

/// A backend is reached by host and port or by a Unix socket, and is named after that unless it has a name.
void Decoder::backend_address(const Node& node, BackendConfig& backend, const Place& place,
                              const Given& given) {
  const Section& section = backend_section();
  const auto has = [&](std::string_view name) {
    return given.test(static_cast<std::size_t>(find_key(section, name) - section.keys.data()));
  };
  const auto missing = [&](std::string_view name) {
    report(node.at, place,
           "missing key " + json_string(name) + ", expected " + expected_text(*find_key(section, name)));
  };
  if (has("unix") && (has("host") || has("port"))) {
    report(node.at, place, "found \"unix\" beside \"host\" or \"port\", expected one or the other");
  } else if (!has("unix") && !has("host") && !has("port")) {
    report(node.at, place, "missing keys \"host\" and \"port\" (or \"unix\")");
  } else if (!has("unix") && !has("host")) {
    missing("host");
  } else if (!has("unix") && !has("port")) {
    missing("port");
  }
  if (!has("name")) backend.name = backend.endpoint.text();
}

void Decoder::scalar(const Node& node, const KeySpec& key, const Slot& slot, const Place& place) {
  switch (key.type) {
    case KeyType::integer:
      return integer(node, key, slot, place);
    case KeyType::boolean:
      if (node.kind != Node::Kind::boolean) return mismatch(node, place, expected_text(key));
      *std::get<bool*>(slot) = is_true(node);
      return;
    case KeyType::number:
    case KeyType::seconds:
      return number(node, key, slot, place);
    case KeyType::choice:
      return choice(node, key, std::get<Choice>(slot), place);
    case KeyType::text:
    case KeyType::bytes:
    case KeyType::host:
    case KeyType::unix_path:
    case KeyType::listen_address:
      return text(node, key, slot, place);
    case KeyType::listen_port:
      return listen_port(node, key, *std::get<std::vector<ListenerConfig>*>(slot), place);
    case KeyType::listen:
      return listen(node, key, *std::get<std::vector<ListenerConfig>*>(slot), place);
    case KeyType::networks:
      return networks(node, key, *std::get<std::vector<Network>*>(slot), place);
    case KeyType::headers:
      return headers(node, key, *std::get<std::vector<HeaderField>*>(slot), place);
    case KeyType::object:
    case KeyType::optional_object:
    case KeyType::object_or_bool:
    case KeyType::objects:
    case KeyType::ignored:
      break;
  }
  LB_ASSERT(false);
}

void Decoder::integer(const Node& node, const KeySpec& key, const Slot& slot, const Place& place) {
  const auto value = node.kind == Node::Kind::integer ? whole_number<std::int64_t>(node.text) : std::nullopt;
  if (!value || !in_range(key, static_cast<double>(*value))) {
    const bool in_quotes = node.kind == Node::Kind::text && whole_number<std::int64_t>(node.text);
    return mismatch(node, place, expected_text(key) + (in_quotes ? ", without the quotes" : ""));
  }
  if (auto* const* small = std::get_if<std::uint16_t*>(&slot)) {
    **small = static_cast<std::uint16_t>(*value);
  } else if (auto* const* large = std::get_if<std::uint64_t*>(&slot)) {
    **large = static_cast<std::uint64_t>(*value);
  } else {
    *std::get<std::uint32_t*>(slot) = static_cast<std::uint32_t>(*value);
  }
}

void Decoder::number(const Node& node, const KeySpec& key, const Slot& slot, const Place& place) {
  const auto value = is_number(node) ? whole_number<double>(node.text) : std::nullopt;
  if (!value || !in_range(key, *value)) {
    const bool in_quotes = node.kind == Node::Kind::text && whole_number<double>(node.text);
    return mismatch(node, place, expected_text(key) + (in_quotes ? ", without the quotes" : ""));
  }
  if (auto* const* seconds = std::get_if<Milliseconds*>(&slot)) {
    **seconds = Milliseconds{std::llround(*value * 1000)};
  } else {
    *std::get<double*>(slot) = *value;
  }
}

void Decoder::choice(const Node& node, const KeySpec& key, const Choice& slot, const Place& place) {
  if (node.kind != Node::Kind::text) return mismatch(node, place, expected_text(key));
  const auto chosen = std::ranges::find(key.choices, node.text);
  if (chosen != key.choices.end()) {
    return slot.set(slot.member, static_cast<std::size_t>(chosen - key.choices.begin()));
  }
  const auto meant = nearest(node.text, key.choices);
  mismatch(node, place,
           expected_text(key) + (meant.empty() ? "" : "; did you mean " + json_string(meant) + "?"));
}

void Decoder::text(const Node& node, const KeySpec& key, const Slot& slot, const Place& place) {
  if (node.kind != Node::Kind::text) return mismatch(node, place, expected_text(key));
  if (key.type == KeyType::unix_path) {
    auto path = parse_unix_path(node.text);
    if (!path) return mismatch(node, place, path.error());
    *std::get<Endpoint*>(slot) = Endpoint{.host = *std::move(path), .port = 0, .unix_socket = true};
    return;
  }
  if (key.type == KeyType::listen_address) {
    auto endpoint = parse_listen_address(node.text);
    if (!endpoint) return mismatch(node, place, endpoint.error());
    *std::get<Endpoint*>(slot) = *std::move(endpoint);
    return;
  }
  if (key.type == KeyType::host) {
    auto host = parse_host(node.text);
    if (!host) return mismatch(node, place, host.error());
    *std::get<std::string*>(slot) = *std::move(host);
    return;
  }
  std::string value = node.text;
  if (auto fault = value_fault(key, &value); !fault.empty()) return report(node.at, place, std::move(fault));
  *std::get<std::string*>(slot) = std::move(value);
}

void Decoder::listen_port(const Node& node, const KeySpec& key, std::vector<ListenerConfig>& listeners,
                          const Place& place) {
  ListenerConfig listener{{.host = "0.0.0.0"}};
  const std::uint64_t before = errors_.total();
  integer(node, key, &listener.port, place);
  if (errors_.total() != before) return;
  // First wherever the key stands, so that the order of keys never matters.
  listeners.insert(listeners.begin(), std::move(listener));
  out_.listen_pointers.insert(out_.listen_pointers.begin(), place.pointer());
}

void Decoder::listen(const Node& node, const KeySpec& key, std::vector<ListenerConfig>& listeners,
                     const Place& place) {
  if (node.kind != Node::Kind::array) return listener(node, key, listeners, place);
  if (node.children.empty()) return mismatch(node, place, "at least one address in it");
  if (node.children.size() > kListenersMax) {
    return report(
        node.at, place,
        "found " + grouped(node.children.size()) + " elements, expected at most " + grouped(kListenersMax));
  }
  for (std::size_t i = 0; i < node.children.size(); ++i) {
    listener(node.children[i], key, listeners, place.element(i));
  }
}

/// One of them, an address or an object with one. What has a fault is left out.
void Decoder::listener(const Node& node, const KeySpec& key, std::vector<ListenerConfig>& listeners,
                       const Place& place) {
  const bool plain = node.kind == Node::Kind::text;
  if (!plain && node.kind != Node::Kind::object) {
    return mismatch(node, place, place.is_index ? std::string{kListenerExpected} : expected_text(key));
  }
  ListenerConfig listener;
  const std::uint64_t before = errors_.total();
  if (plain) {
    text(node, *find_key(listener_section(), "address"), static_cast<Endpoint*>(&listener), place);
  } else {
    object(node, listener_section(), &listener, place);
  }
  if (errors_.total() != before) return;
  listeners.push_back(std::move(listener));
  out_.listen_pointers.push_back(place.pointer());
}

void Decoder::networks(const Node& node, const KeySpec& key, std::vector<Network>& list, const Place& place) {
  if (node.kind != Node::Kind::array) return mismatch(node, place, expected_text(key));
  const std::size_t count = node.children.size();
  if (count < 1 || count > kNetworksMax) {
    return report(node.at, place,
                  "found " + grouped(count) + " elements, expected 1 to " + grouped(kNetworksMax));
  }
  for (std::size_t i = 0; i < count; ++i) {
    const Node& element = node.children[i];
    const Place here = place.element(i);
    if (element.kind != Node::Kind::text) {
      mismatch(element, here, "a text such as \"10.0.0.0/8\"");
    } else if (auto network = parse_network(element.text)) {
      list.push_back(*network);
    } else {
      mismatch(element, here, network.error());
    }
  }
}

void Decoder::headers(const Node& node, const KeySpec& key, std::vector<HeaderField>& fields,
                      const Place& place) {
  if (node.kind != Node::Kind::object) return mismatch(node, place, expected_text(key));
  if (node.children.size() > kResponseHeadersMax) {
    return report(node.at, place,
                  "found " + grouped(node.children.size()) + " header fields, expected at most " +
                      grouped(kResponseHeadersMax));
  }
  std::vector<std::string_view> names;
  for (const Node& member : node.children) {
    const Place here = place.member(member.key);
    const auto same =
        std::ranges::find_if(names, [&](auto name) { return same_header_name(name, member.key); });
    if (auto fault = header_name_fault(member.key); !fault.empty()) {
      report(member.key_at, here, "found the header name " + shown_text(member.key) + ", " + fault);
    } else if (same != names.end()) {
      report(member.key_at, here,
             "duplicate header name, the same as " + shown_text(*same) + "; letter case is ignored");
    } else if (member.kind != Node::Kind::text) {
      mismatch(member, here, "a text");
    } else if (fault = header_value_fault(member.text); !fault.empty()) {
      report(member.at, here, "found " + shown_text(member.text) + ", " + fault);
    } else {
      fields.push_back({.name = member.key, .value = member.text});
    }
    names.push_back(member.key);
  }
}

}  // namespace

Decoded decode_config(const Node& root, ErrorList& errors) {
  Decoded out;
  Decoder{out, errors}.object(root, config_section(), &out.config, Place{});
  return out;
}

}  // namespace lb
