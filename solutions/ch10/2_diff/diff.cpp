// The differences of two configurations by a walk over the key table (lb/config/keys.hpp) with both of them
// at once: a key that is new there is compared without a line here. Lists are paired by identity through a
// hash table.
#include "lb/config/diff.hpp"

#include <algorithm>
#include <cctype>
#include <unordered_map>
#include <utility>

#include "lb/base/result.hpp"
#include "lb/config/keys.hpp"
#include "lb/config/tree.hpp"
#include "lb/config/wording.hpp"

namespace lb {
namespace {

using Kind = ConfigChange::Kind;

constexpr std::string_view kSecretWords = "(secret)";
constexpr std::string_view kSecretJson = "\"(secret)\"";

// ---- Values in words and as JSON ----

/// As in "weight 3" and "idle: 60 -> 30".
std::string value_words(const KeySpec& key, const Slot& slot) {
  if (const auto* number = std::get_if<double*>(&slot)) return number_words(**number);
  if (const auto* text = std::get_if<std::string*>(&slot))
    return (*text)->empty() ? "none" : shown_text(**text);
  if (const auto* choice = std::get_if<Choice>(&slot))
    return std::string{key.choices[choice->get(choice->member)]};
  return value_json(key, slot);
}

/// The same of any key; what is an object stands as JSON.
std::string option_words(const KeySpec& key, void* owner) {
  return key.section != nullptr ? key_json(key, owner) : value_words(key, key.slot(owner));
}

bool is_printed(const KeySpec& key, const void* owner) {
  return key.printed == nullptr || key.printed(owner);
}

/// "per_ip 100, burst 20"
std::string object_words(const Section& section, void* owner) {
  std::string out;
  for (const KeySpec& key : section.keys) {
    if (!out.empty()) out += ", ";
    out += std::string{key.name} + " " + value_words(key, key.slot(owner));
  }
  return out;
}

/// ": mode tcp", the options that are not at their defaults, or nothing.
std::string listener_words(ListenerConfig& listener) {
  ListenerConfig defaults;
  std::string out;
  for (const KeySpec& key : listener_section().keys) {
    if (key.type == KeyType::listen_address || key_json(key, &listener) == key_json(key, &defaults)) continue;
    out += (out.empty() ? ": " : ", ") + std::string{key.name} + " " + option_words(key, &listener);
  }
  return out;
}

/// The keys that together make a backend's address, and the one that is its identity.
bool is_address_or_name(const KeySpec& key) {
  return key.type == KeyType::host || key.type == KeyType::unix_path || key.name == "port" ||
         key.name == "name";
}

/// "127.0.0.1:9003, weight 2": what an operator wants to see of a backend that comes or goes.
std::string backend_words(BackendConfig& backend) {
  BackendConfig defaults;
  std::string out = bare_words(backend.endpoint.text());
  for (const KeySpec& key : backend_section().keys) {
    if (is_address_or_name(key)) continue;
    const bool shown = key.name == "weight" || key_json(key, &backend) != key_json(key, &defaults);
    if (shown) out += ", " + std::string{key.name} + " " + option_words(key, &backend);
  }
  return out;
}

// ---- Lists ----

/// Two lists paired by identity: an item stands alone with its index, or with its partner.
struct Pairing {
  std::vector<std::size_t> removed;                         // indexes into before, ascending
  std::vector<std::pair<std::size_t, std::size_t>> stayed;  // (before, after), in the order of after
  std::vector<std::size_t> added;                           // indexes into after, ascending
};

template <class Item, class IdentityOf>
Pairing pair_up(const std::vector<Item>& before, const std::vector<Item>& after, IdentityOf identity_of) {
  std::unordered_map<std::string, std::size_t> place;
  place.reserve(before.size());
  for (std::size_t i = 0; i < before.size(); ++i) place.try_emplace(identity_of(before[i]), i);
  Pairing pairing;
  std::vector<bool> found(before.size());
  for (std::size_t i = 0; i < after.size(); ++i) {
    if (const auto it = place.find(identity_of(after[i])); it != place.end()) {
      pairing.stayed.emplace_back(it->second, i);
      found[it->second] = true;
    } else {
      pairing.added.push_back(i);
    }
  }
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (!found[i]) pairing.removed.push_back(i);
  }
  return pairing;
}

std::string lower_case(std::string_view text) {
  std::string lower{text};
  std::ranges::transform(lower, lower.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower;
}

// ---- The walk ----

/// Owners are mutable because slots are; nothing is written through them.
class Differ final {
 public:
  std::vector<ConfigChange> compare(Config& before, Config& after) {
    before_ = &before;
    after_ = &after;
    section(config_section(), Place{}, "", before_, after_);
    return std::move(changes_);
  }

 private:
  void section(const Section& section, const Place& place, const std::string& prefix, void* before,
               void* after);
  void optional_object(const KeySpec& key, const Place& place, const std::string& name, void* before,
                       void* after);
  void value(const KeySpec& key, const Place& place, const std::string& said, void* before, void* after);
  void listeners(const Place& list);
  void listener(ListenerConfig& before, ListenerConfig& after, const Place& place);
  void backends(const Place& list);
  void backend(BackendConfig& before, BackendConfig& after, const Place& place);
  void headers(const Place& list);
  void option(const KeySpec& key, const Place& place, const std::string& who, void* before, void* after);

  void add(const Place& place, std::string after, std::string words) {
    changes_.push_back({Kind::added, place.pointer(), {}, std::move(after), std::move(words)});
  }
  void remove(const Place& place, std::string before, std::string words) {
    changes_.push_back({Kind::removed, place.pointer(), std::move(before), {}, std::move(words)});
  }
  void change(const Place& place, std::string before, std::string after, std::string words) {
    changes_.push_back(
        {Kind::changed, place.pointer(), std::move(before), std::move(after), std::move(words)});
  }

  Config* before_ = nullptr;
  Config* after_ = nullptr;
  std::vector<ConfigChange> changes_{};
};

void Differ::section(const Section& section, const Place& place, const std::string& prefix, void* before,
                     void* after) {
  for (const KeySpec& key : section.keys) {
    if (!is_printed(key, before) && !is_printed(key, after)) continue;
    const Place here = place.member(key.name);
    const std::string name = prefix + std::string{key.name};
    switch (key.type) {
      case KeyType::object:
        this->section(*key.section, here, name + ".", key.children.at(before, 0), key.children.at(after, 0));
        break;
      case KeyType::optional_object:
        optional_object(key, here, name, before, after);
        break;
      case KeyType::objects:
        LB_ASSERT(key.section == &backend_section());
        backends(here);
        break;
      case KeyType::listen:
        listeners(here);
        break;
      case KeyType::headers:
        headers(here);
        break;
      default:
        value(key, here, name + ": ", before, after);
    }
  }
}

void Differ::optional_object(const KeySpec& key, const Place& place, const std::string& name, void* before,
                             void* after) {
  void* old = key.children.size(before) == 0 ? nullptr : key.children.at(before, 0);
  void* now = key.children.size(after) == 0 ? nullptr : key.children.at(after, 0);
  if (old != nullptr && now != nullptr) return section(*key.section, place, name + ".", old, now);
  if (old != nullptr) {
    remove(place, members_json(*key.section, old), name + " removed: " + object_words(*key.section, old));
  } else if (now != nullptr) {
    add(place, members_json(*key.section, now), name + " added: " + object_words(*key.section, now));
  }
}

/// `said` leads the words, up to the two values.
void Differ::value(const KeySpec& key, const Place& place, const std::string& said, void* before,
                   void* after) {
  const Slot old = key.slot(before);
  const Slot now = key.slot(after);
  std::string old_json = value_json(key, old);
  std::string now_json = value_json(key, now);
  if (old_json == now_json) return;
  change(place, std::move(old_json), std::move(now_json),
         said + value_words(key, old) + " -> " + value_words(key, now));
}

void Differ::listeners(const Place& list) {
  auto& before = before_->listen;
  auto& after = after_->listen;
  const Pairing pairing = pair_up(before, after, [](const Endpoint& endpoint) { return endpoint.text(); });
  const auto who = [](const Endpoint& endpoint) { return "listener " + bare_words(endpoint.text()); };
  for (const std::size_t i : pairing.removed) {
    remove(list.member(before[i].text()), listener_json(before[i]), who(before[i]) + " removed");
  }
  for (const auto& [old, now] : pairing.stayed) {
    if (before[old] != after[now]) listener(before[old], after[now], list.member(after[now].text()));
  }
  for (const std::size_t i : pairing.added) {
    add(list.member(after[i].text()), listener_json(after[i]),
        who(after[i]) + " added" + listener_words(after[i]));
  }
}

/// The options of a listener that stayed where it is.
void Differ::listener(ListenerConfig& before, ListenerConfig& after, const Place& place) {
  const std::string who = "listener " + bare_words(after.text()) + ": ";
  for (const KeySpec& key : listener_section().keys) {
    if (key.type != KeyType::listen_address) option(key, place, who, &before, &after);
  }
}

/// A key of an item of a list, of any type.
void Differ::option(const KeySpec& key, const Place& place, const std::string& who, void* before,
                    void* after) {
  std::string old = key_json(key, before);
  std::string now = key_json(key, after);
  if (old == now) return;
  change(place.member(key.name), std::move(old), std::move(now),
         who + std::string{key.name} + " " + option_words(key, before) + " -> " + option_words(key, after));
}

void Differ::backends(const Place& list) {
  auto& before = before_->backends;
  auto& after = after_->backends;
  const Pairing pairing = pair_up(before, after, [](const BackendConfig& backend) { return backend.name; });
  const auto words = [](BackendConfig& item, const char* verb) {
    return "backend " + bare_words(item.name) + verb + backend_words(item);
  };
  for (const std::size_t i : pairing.removed) {
    BackendConfig& item = before[i];
    remove(list.member(item.name), members_json(backend_section(), &item), words(item, " removed: "));
  }
  for (const auto& [old, now] : pairing.stayed) {
    if (before[old] != after[now]) backend(before[old], after[now], list.member(after[now].name));
  }
  for (const std::size_t i : pairing.added) {
    BackendConfig& item = after[i];
    add(list.member(item.name), members_json(backend_section(), &item), words(item, " added: "));
  }
}

void Differ::backend(BackendConfig& before, BackendConfig& after, const Place& place) {
  const std::string who = "backend " + bare_words(after.name) + ": ";
  if (before.endpoint != after.endpoint) {
    const std::string old = before.endpoint.text();
    const std::string now = after.endpoint.text();
    change(place.member("address"), json_string(old), json_string(now),
           who + "address " + bare_words(old) + " -> " + bare_words(now));
  }
  for (const KeySpec& key : backend_section().keys) {
    if (!is_address_or_name(key)) option(key, place, who, &before, &after);
  }
}

void Differ::headers(const Place& list) {
  struct Shown {
    explicit Shown(const HeaderField& field)
        : json(is_secret_header(field.name) ? kSecretJson : json_string(field.value)),
          words(is_secret_header(field.name) ? kSecretWords : shown_text(field.value)) {}
    std::string json;
    std::string words;
  };
  const auto& before = before_->response_headers;
  const auto& after = after_->response_headers;
  const Pairing pairing =
      pair_up(before, after, [](const HeaderField& field) { return lower_case(field.name); });
  const auto who = [](const HeaderField& field) { return "response_headers." + bare_words(field.name); };
  for (const std::size_t i : pairing.removed) {
    Shown old{before[i]};
    remove(list.member(before[i].name), std::move(old.json), who(before[i]) + " removed: " + old.words);
  }
  for (const auto& [i, k] : pairing.stayed) {
    if (before[i].value == after[k].value) continue;
    Shown old{before[i]};
    Shown now{after[k]};
    change(list.member(after[k].name), std::move(old.json), std::move(now.json),
           who(after[k]) + ": " + old.words + " -> " + now.words);
  }
  for (const std::size_t i : pairing.added) {
    Shown now{after[i]};
    add(list.member(after[i].name), std::move(now.json), who(after[i]) + " added: " + now.words);
  }
}

}  // namespace

std::vector<ConfigChange> config_diff(const Config& before, const Config& after) {
  return Differ{}.compare(const_cast<Config&>(before), const_cast<Config&>(after));
}

}  // namespace lb
