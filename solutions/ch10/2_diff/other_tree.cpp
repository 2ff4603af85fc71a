// Another answer: knows neither the members of Config nor the key table. It compares what `lb check --print`
// shows of the two configurations, as JSON trees, and turns lists into objects with identities for keys
// before that. Which texts are choices, and what is not shown at its default, it learns from the JSON Schema.
#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <utility>

#include "lb/config/diff.hpp"
#include "lb/config/wording.hpp"

namespace lb {
namespace {

using Json = nlohmann::ordered_json;
using Kind = ConfigChange::Kind;

/// A list or an object as a list again, each item with its identity.
struct Item {
  std::string identity;
  std::string name;
  const Json* value = nullptr;
};
using Items = std::vector<Item>;

std::string part(std::string_view key) {
  std::string text = "/";
  for (const char c : key) {
    if (c == '~') {
      text += "~0";
    } else if (c == '/') {
      text += "~1";
    } else {
      text += c;
    }
  }
  return text;
}

/// What leads the words of a change.
std::string said(const std::string& who, const char* between, const std::string& key, const char* behind) {
  return who + between + key + behind;
}

std::string dump(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// As `lb check --print` spells it, on one line.
std::string spaced(const Json& value) {
  if (!value.is_structured()) return dump(value);
  std::string text;
  for (const auto& [key, inner] : value.items()) {
    text += (text.empty() ? "" : ", ") + (value.is_object() ? dump(key) + ": " : "") + spaced(inner);
  }
  return value.is_object() ? "{" + text + "}" : "[" + text + "]";
}

/// `schema`: of this value.
std::string words_of(const Json& schema, const Json& value) {
  if (value.is_number_float()) return number_words(value.get<double>());
  if (!value.is_string()) return spaced(value);
  const auto& text = value.get_ref<const std::string&>();
  if (schema.contains("enum")) return text;
  return text.empty() ? "none" : shown_text(text);
}

std::string address_of(const Json& backend) {
  if (backend.contains("unix")) return "unix:" + backend["unix"].get<std::string>();
  return Endpoint{.host = backend["host"], .port = backend["port"]}.text();
}

bool is_place(std::string_view key) {
  return key == "name" || key == "host" || key == "port" || key == "unix";
}

/// The keys of an object by its schema, which may be one of several (null, a text, the object).
const Json& keys_of(const Json& schema) {
  if (schema.contains("properties")) return schema["properties"];
  for (const Json& one : schema["oneOf"]) {
    if (one.contains("properties")) return one["properties"];
  }
  static const Json kNone = Json::object();
  return kNone;
}

/// Of the document; read once.
const Json& document_keys() {
  static const Json kSchema = Json::parse(config_schema(), nullptr, false);
  return kSchema["properties"];
}

/// The options of an item of a list, in the order of the schema, with their defaults where it gives none.
class Options final {
 public:
  /// `shown`: an item at its defaults.
  Options(const Json& schema, const Json& shown) : keys_(keys_of(schema)) {
    for (const auto& [key, inner] : keys_.items()) {
      if (key != "address" && !is_place(key)) defaults_[key] = inner.value("default", Json{});
    }
    overlay(defaults_, shown);
  }

  [[nodiscard]] Json of(const Json& item) const {
    Json all = defaults_;
    overlay(all, item);
    return all;
  }
  [[nodiscard]] std::string words(const std::string& key, const Json& value) const {
    return key + " " + words_of(keys_[key], value);
  }
  [[nodiscard]] const Json& key(const std::string& name) const { return keys_[name]; }
  /// What differs from the defaults, and `always`.
  [[nodiscard]] std::vector<std::string> told(const Json& item, std::string_view always) const {
    std::vector<std::string> list;
    const Json all = of(item);
    for (const auto& [key, value] : all.items()) {
      if (key == always || value != defaults_[key]) list.push_back(words(key, value));
    }
    return list;
  }

 private:
  static void overlay(Json& all, const Json& item) {
    if (!item.is_object()) return;
    for (const auto& [key, value] : item.items()) {
      if (all.contains(key)) all[key] = value;
    }
  }

  const Json& keys_;
  Json defaults_ = Json::object();
};

class Trees final {
 public:
  std::vector<ConfigChange> changes;

  void files(const Json& before, const Json& after) {
    for (const auto& [key, old] : before.items()) {
      const Json& now = after[key];
      if (key == "listen") {
        listeners(list_items(old), list_items(now));
      } else if (key == "backends") {
        backends(list_items(old), list_items(now));
      } else if (key == "response_headers") {
        headers(object_items(old), object_items(now));
      } else if (old.is_object() && now.is_object()) {
        for (const auto& [inner, value] : old.items()) {
          plain(part(key) + part(inner), keys_of(keys_[key])[inner], said(key, ".", inner, ": "), value,
                now[inner]);
        }
      } else if (old.is_null() != now.is_null()) {
        section(key, old, now);
      } else {
        plain(part(key), keys_[key], key + ": ", old, now);
      }
    }
  }

 private:
  static Items list_items(const Json& list) {
    Items items;
    for (const Json& item : list) {
      const auto identity = (!item.is_object()          ? item
                             : item.contains("address") ? item["address"]
                                                        : item["name"])
                                .get<std::string>();
      items.push_back({identity, identity, &item});
    }
    return items;
  }

  static Items object_items(const Json& object) {
    Items items;
    for (const auto& [name, value] : object.items()) {
      std::string lower = name;
      std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
      items.push_back({lower, name, &value});
    }
    return items;
  }

  /// Calls removed(item), stayed(old, new), added(item), each kind after the one before.
  template <class Removed, class Stayed, class Added>
  static void match(const Items& before, const Items& after, Removed removed, Stayed stayed, Added added) {
    const auto index = [](const Items& items) {
      std::unordered_map<std::string_view, const Item*> by_identity;
      for (const Item& item : items) by_identity.emplace(item.identity, &item);
      return by_identity;
    };
    const auto old = index(before);
    const auto now = index(after);
    for (const Item& item : before) {
      if (!now.contains(item.identity)) removed(item);
    }
    for (const Item& item : after) {
      if (const auto it = old.find(item.identity); it != old.end()) stayed(*it->second, item);
    }
    for (const Item& item : after) {
      if (!old.contains(item.identity)) added(item);
    }
  }

  void plain(std::string path, const Json& schema, const std::string& said, const Json& old,
             const Json& now) {
    if (old == now) return;
    changes.push_back({Kind::changed, std::move(path), dump(old), dump(now),
                       said + words_of(schema, old) + " -> " + words_of(schema, now)});
  }

  void section(const std::string& key, const Json& old, const Json& now) {
    std::string words;
    for (const auto& [inner, value] : (now.is_null() ? old : now).items()) {
      words += (words.empty() ? "" : ", ") + inner + " " + words_of(keys_of(keys_[key])[inner], value);
    }
    if (now.is_null()) {
      changes.push_back({Kind::removed, part(key), dump(old), {}, key + " removed: " + words});
    } else {
      changes.push_back({Kind::added, part(key), {}, dump(now), key + " added: " + words});
    }
  }

  void listeners(const Items& before, const Items& after) {
    const Options options{keys_["listen"], {}};
    const auto tell = [&](Kind kind, const Item& item, const std::string& verb) {
      const std::string json = dump(*item.value);
      changes.push_back({kind, "/listen" + part(item.name), kind == Kind::removed ? json : "",
                         kind == Kind::added ? json : "", "listener " + bare_words(item.name) + verb});
    };
    match(
        before, after, [&](const Item& item) { tell(Kind::removed, item, " removed"); },
        [&](const Item& old, const Item& now) {
          compare(options, "/listen" + part(now.name), "listener " + bare_words(now.name), old, now);
        },
        [&](const Item& item) {
          std::string words;
          for (const std::string& one : options.told(*item.value, "")) {
            words += (words.empty() ? ": " : ", ") + one;
          }
          tell(Kind::added, item, " added" + words);
        });
  }

  void compare(const Options& options, const std::string& path, const std::string& who, const Item& old,
               const Item& now) {
    const Json was = options.of(*old.value);
    const Json is = options.of(*now.value);
    for (const auto& [key, value] : was.items()) {
      plain(path + part(key), options.key(key), said(who, ": ", key, " "), value, is[key]);
    }
  }

  void backends(const Items& before, const Items& after) {
    const Json shown = Json::parse(config_print(Config{.backends = {BackendConfig{}}}), nullptr, false);
    const Options options{keys_["backends"]["items"], shown["backends"][0]};
    const auto tell = [&](Kind kind, const Item& item, const char* verb) {
      const std::string json = dump(*item.value);
      std::string words = bare_words(address_of(*item.value));
      for (const std::string& one : options.told(*item.value, "weight")) words += ", " + one;
      changes.push_back({kind, "/backends" + part(item.name), kind == Kind::removed ? json : "",
                         kind == Kind::added ? json : "", "backend " + bare_words(item.name) + verb + words});
    };
    match(
        before, after, [&](const Item& item) { tell(Kind::removed, item, " removed: "); },
        [&](const Item& old, const Item& now) {
          if (*old.value == *now.value) return;
          const std::string path = "/backends" + part(now.name);
          const std::string who = "backend " + bare_words(now.name);
          const std::string was = address_of(*old.value);
          if (const std::string is = address_of(*now.value); was != is) {
            changes.push_back({Kind::changed, path + "/address", dump(was), dump(is),
                               who + ": address " + bare_words(was) + " -> " + bare_words(is)});
          }
          compare(options, path, who, old, now);
        },
        [&](const Item& item) { tell(Kind::added, item, " added: "); });
  }

  void headers(const Items& before, const Items& after) {
    const auto json = [](const Item& item) {
      return is_secret_header(item.name) ? "\"(secret)\"" : dump(*item.value);
    };
    const auto words = [](const Item& item) {
      return is_secret_header(item.name) ? "(secret)" : shown_text(item.value->get<std::string>());
    };
    const auto path = [](const Item& item) { return "/response_headers" + part(item.name); };
    const auto who = [](const Item& item) { return "response_headers." + item.name; };
    match(
        before, after,
        [&](const Item& item) {
          changes.push_back(
              {Kind::removed, path(item), json(item), {}, who(item) + " removed: " + words(item)});
        },
        [&](const Item& old, const Item& now) {
          if (*old.value == *now.value) return;
          changes.push_back({Kind::changed, path(now), json(old), json(now),
                             who(now) + ": " + words(old) + " -> " + words(now)});
        },
        [&](const Item& item) {
          changes.push_back({Kind::added, path(item), {}, json(item), who(item) + " added: " + words(item)});
        });
  }

  const Json& keys_ = document_keys();
};

}  // namespace

std::vector<ConfigChange> config_diff(const Config& before, const Config& after) {
  Trees trees;
  const Json old = Json::parse(config_print(before), nullptr, false);
  const Json now = Json::parse(config_print(after), nullptr, false);
  trees.files(old, now);
  return std::move(trees.changes);
}

}  // namespace lb
