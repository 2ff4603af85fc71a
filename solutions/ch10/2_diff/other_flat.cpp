// Another answer: each configuration by itself becomes a flat list of things (a backend, a listener, a header
// field, a section), each with its identity and its parts, by a walk over the key table. What differs is then
// found without knowing what any of them is: things are looked up by identity, parts stand side by side.
#include <algorithm>
#include <cctype>
#include <unordered_map>
#include <utility>

#include "lb/config/diff.hpp"
#include "lb/config/keys.hpp"
#include "lb/config/wording.hpp"

namespace lb {
namespace {

using Kind = ConfigChange::Kind;

/// A value in three forms; two are the same when `exact` is.
struct Part {
  std::string path, said;  // "/pool/ttl", "pool.ttl: "
  std::string exact, json, words;
};
struct Thing {
  std::string identity, path, who;
  std::string json, coming, going;  // what is told of it as a whole; nothing of one that is always there
  std::vector<Part> parts{};
};
/// The things of one key of the document.
using Group = std::vector<Thing>;

std::string member(const std::string& path, std::string_view name) {
  std::string out = path + "/";
  for (const char c : name) out += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
  return out;
}

/// What leads the words of a change.
std::string said(const std::string& who, const char* between, const std::string& key, const char* behind) {
  return who + between + key + behind;
}

std::string value_words(const KeySpec& key, void* owner) {
  if (key.section != nullptr) return key_json(key, owner);
  const Slot slot = key.slot(owner);
  if (const auto* number = std::get_if<double*>(&slot)) return number_words(**number);
  if (const auto* text = std::get_if<std::string*>(&slot)) {
    return (*text)->empty() ? "none" : shown_text(**text);
  }
  if (const auto* choice = std::get_if<Choice>(&slot)) {
    return std::string{key.choices[choice->get(choice->member)]};
  }
  return value_json(key, slot);
}

Part part(const KeySpec& key, void* owner, const std::string& path, const std::string& said) {
  const std::string json = key_json(key, owner);
  return {path, said, json, json, value_words(key, owner)};
}

/// The keys that differ from their defaults, "weight" in any case: ", weight 1, backup true".
std::string options_of(const Section& section, void* owner, void* defaults, bool (*told)(const KeySpec&)) {
  std::string out;
  for (const KeySpec& key : section.keys) {
    if (!told(key) || (key.name != "weight" && key_json(key, owner) == key_json(key, defaults))) continue;
    out += ", " + std::string{key.name} + " " + value_words(key, owner);
  }
  return out;
}

bool is_option_of_backend(const KeySpec& key) {
  return key.name != "name" && key.name != "host" && key.name != "port" && key.name != "unix";
}

bool is_option_of_listener(const KeySpec& key) {
  return key.name != "address";
}

Thing thing_of(BackendConfig& backend) {
  BackendConfig defaults;
  Thing thing{.identity = backend.name,
              .path = member("/backends", backend.name),
              .who = "backend " + bare_words(backend.name),
              .json = members_json(backend_section(), &backend)};
  const std::string address = backend.endpoint.text();
  thing.coming =
      ": " + bare_words(address) + options_of(backend_section(), &backend, &defaults, is_option_of_backend);
  thing.going = thing.coming;
  thing.parts.push_back({thing.path + "/address", thing.who + ": address ", address, json_string(address),
                         bare_words(address)});
  for (const KeySpec& key : backend_section().keys) {
    if (!is_option_of_backend(key)) continue;
    const std::string name{key.name};
    thing.parts.push_back(part(key, &backend, member(thing.path, name), said(thing.who, ": ", name, " ")));
  }
  return thing;
}

Thing thing_of(ListenerConfig& listener) {
  ListenerConfig defaults;
  const std::string address = listener.text();
  Thing thing{.identity = address,
              .path = member("/listen", address),
              .who = "listener " + bare_words(address),
              .json = listener_json(listener)};
  thing.coming = options_of(listener_section(), &listener, &defaults, is_option_of_listener);
  if (!thing.coming.empty()) thing.coming.replace(0, 1, ":");
  for (const KeySpec& key : listener_section().keys) {
    if (!is_option_of_listener(key)) continue;
    const std::string name{key.name};
    thing.parts.push_back(part(key, &listener, member(thing.path, name), said(thing.who, ": ", name, " ")));
  }
  return thing;
}

Thing thing_of(HeaderField& field) {
  const bool secret = is_secret_header(field.name);
  Thing thing{.path = member("/response_headers", field.name), .who = "response_headers." + field.name};
  for (const unsigned char c : field.name) thing.identity += static_cast<char>(std::tolower(c));
  thing.json = secret ? "\"(secret)\"" : json_string(field.value);
  const std::string words = secret ? "(secret)" : shown_text(field.value);
  thing.coming = thing.going = ": " + words;
  thing.parts.push_back({thing.path, thing.who + ": ", field.value, thing.json, words});
  return thing;
}

/// A section, or a single value, which is a section without a name of its own.
Thing thing_of(const Section& section, void* owner, const std::string& name) {
  Thing thing{.identity = name, .path = "/" + name, .who = name, .json = members_json(section, owner)};
  for (const KeySpec& key : section.keys) {
    const std::string inner{key.name};
    thing.parts.push_back(part(key, owner, member(thing.path, inner), said(name, ".", inner, ": ")));
    thing.coming += (thing.coming.empty() ? ": " : ", ") + inner + " " + value_words(key, owner);
  }
  thing.going = thing.coming;
  return thing;
}

template <class Item>
Group group_of(std::vector<Item>& items) {
  Group group;
  for (Item& item : items) group.push_back(thing_of(item));
  return group;
}

std::vector<Group> groups_of(Config& config) {
  std::vector<Group> groups;
  for (const KeySpec& key : config_section().keys) {
    Group& group = groups.emplace_back();
    const std::string name{key.name};
    if (key.type == KeyType::listen) {
      group = group_of(config.listen);
    } else if (key.type == KeyType::objects) {
      group = group_of(config.backends);
    } else if (key.type == KeyType::headers) {
      group = group_of(config.response_headers);
    } else if (key.section != nullptr) {
      const std::size_t count = key.children.size(&config);
      for (std::size_t i = 0; i < count; ++i) {
        group.push_back(thing_of(*key.section, key.children.at(&config, i), name));
      }
    } else if (key.slot != nullptr && key.type != KeyType::listen_port) {
      group.push_back({.parts = {part(key, &config, "/" + name, said(name, ": ", "", ""))}});
    }
  }
  return groups;
}

using Index = std::unordered_map<std::string_view, const Thing*>;

Index index_of(const Group& group) {
  Index index;
  index.reserve(group.size());
  for (const Thing& thing : group) index.emplace(thing.identity, &thing);
  return index;
}

void append_changes(std::vector<ConfigChange>& changes, const Group& before, const Group& after) {
  const Index old = index_of(before);
  const Index now = index_of(after);
  for (const Thing& thing : before) {
    if (now.contains(thing.identity)) continue;
    changes.push_back({Kind::removed, thing.path, thing.json, {}, thing.who + " removed" + thing.going});
  }
  for (const Thing& thing : after) {
    const auto it = old.find(thing.identity);
    if (it == old.end()) continue;
    for (std::size_t i = 0; i < thing.parts.size(); ++i) {
      const Part& was = it->second->parts[i];
      const Part& is = thing.parts[i];
      if (was.exact == is.exact) continue;
      changes.push_back({Kind::changed, is.path, was.json, is.json, is.said + was.words + " -> " + is.words});
    }
  }
  for (const Thing& thing : after) {
    if (old.contains(thing.identity)) continue;
    changes.push_back({Kind::added, thing.path, {}, thing.json, thing.who + " added" + thing.coming});
  }
}

}  // namespace

std::vector<ConfigChange> config_diff(const Config& before, const Config& after) {
  const std::vector<Group> old = groups_of(const_cast<Config&>(before));
  const std::vector<Group> now = groups_of(const_cast<Config&>(after));
  std::vector<ConfigChange> changes;
  for (std::size_t i = 0; i < old.size(); ++i) append_changes(changes, old[i], now[i]);
  return changes;
}

}  // namespace lb
