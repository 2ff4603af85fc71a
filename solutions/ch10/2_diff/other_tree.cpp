// Another answer: knows neither the members of Config nor the key table. It compares what `lb check --print`
// shows of the two configurations, as JSON trees, and turns lists into objects with identities for keys
// before that.
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

std::string words_of(std::string_view key, const Json& value) {
  if (value.is_number_float()) return number_words(value.get<double>());
  if (!value.is_string()) return spaced(value);
  const auto& text = value.get_ref<const std::string&>();
  if (key == "algorithm" || key == "mode" || key == "send_proxy") return text;
  return text.empty() ? "none" : shown_text(text);
}

std::string address_of(const Json& backend) {
  if (backend.contains("unix")) return "unix:" + backend["unix"].get<std::string>();
  return Endpoint{.host = backend["host"], .port = backend["port"]}.text();
}

bool is_place(std::string_view key) {
  return key == "name" || key == "host" || key == "port" || key == "unix";
}

std::string whole_backend(const Json& backend) {
  std::string text = bare_words(address_of(backend));
  for (const auto& [key, value] : backend.items()) {
    const bool shown = key == "weight" || (value != 0 && value != false);
    if (!is_place(key) && shown) text += ", " + key + " " + words_of(key, value);
  }
  return text;
}

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
          plain(part(key) + part(inner), inner, key + "." + inner + ": ", value, now[inner]);
        }
      } else if (old.is_null() != now.is_null()) {
        section(key, old, now);
      } else {
        plain(part(key), key, key + ": ", old, now);
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

  void plain(std::string path, std::string_view key, const std::string& said, const Json& old,
             const Json& now) {
    if (old == now) return;
    changes.push_back({Kind::changed, std::move(path), dump(old), dump(now),
                       said + words_of(key, old) + " -> " + words_of(key, now)});
  }

  void section(const std::string& key, const Json& old, const Json& now) {
    std::string words;
    for (const auto& [inner, value] : (now.is_null() ? old : now).items()) {
      words += (words.empty() ? "" : ", ") + inner + " " + words_of(inner, value);
    }
    if (now.is_null()) {
      changes.push_back({Kind::removed, part(key), dump(old), {}, key + " removed: " + words});
    } else {
      changes.push_back({Kind::added, part(key), {}, dump(now), key + " added: " + words});
    }
  }

  /// The options of a listener with their defaults where it gives none: it is an address or an object.
  static Json options(const Json& listener) {
    Config defaults;
    defaults.listen.push_back({{.host = "/", .unix_socket = true}, ListenMode::tcp});  // shown as an object
    Json all = Json::parse(config_print(defaults), nullptr, false)["listen"][0];
    all["mode"] = "http";
    all["proxy_protocol"] = nullptr;
    all.erase("address");
    if (listener.is_object()) {
      for (const auto& [key, value] : listener.items()) {
        if (key != "address") all[key] = value;
      }
    }
    return all;
  }

  void listeners(const Items& before, const Items& after) {
    const auto tell = [&](Kind kind, const Item& item, const std::string& verb) {
      const std::string json = dump(*item.value);
      changes.push_back({kind, "/listen" + part(item.name), kind == Kind::removed ? json : "",
                         kind == Kind::added ? json : "", "listener " + bare_words(item.name) + verb});
    };
    const auto compare = [&](const Item& item, const Item& other) {
      const Json old = options(*item.value);
      const Json now = options(*other.value);
      for (const auto& [key, value] : old.items()) {
        plain("/listen" + part(other.name) + part(key), key,
              "listener " + bare_words(other.name) + ": " + key + " ", value, now[key]);
      }
    };
    match(
        before, after, [&](const Item& item) { tell(Kind::removed, item, " removed"); }, compare,
        [&](const Item& item) {
          const Json defaults = options("");
          std::string words;
          const Json given = options(*item.value);
          for (const auto& [key, value] : given.items()) {
            if (value == defaults[key]) continue;
            words += (words.empty() ? ": " : ", ") + key + " " + words_of(key, value);
          }
          tell(Kind::added, item, " added" + words);
        });
  }

  void backends(const Items& before, const Items& after) {
    const auto tell = [&](Kind kind, const Item& item, const char* verb) {
      const std::string json = dump(*item.value);
      changes.push_back({kind, "/backends" + part(item.name), kind == Kind::removed ? json : "",
                         kind == Kind::added ? json : "",
                         "backend " + bare_words(item.name) + verb + whole_backend(*item.value)});
    };
    const auto compare = [&](const Item& old, const Item& now) {
      if (*old.value == *now.value) return;
      const std::string path = "/backends" + part(now.name);
      const std::string who = "backend " + bare_words(now.name) + ": ";
      const std::string was = address_of(*old.value);
      if (const std::string is = address_of(*now.value); was != is) {
        changes.push_back({Kind::changed, path + "/address", dump(was), dump(is),
                           who + "address " + bare_words(was) + " -> " + bare_words(is)});
      }
      Json all = *old.value;  // one that is off is not shown
      if (now.value->contains("send_proxy") && !all.contains("send_proxy")) all["send_proxy"] = "off";
      for (const auto& [key, value] : all.items()) {
        if (!is_place(key))
          plain(path + part(key), key, who + key + " ", value, now.value->value(key, Json("off")));
      }
    };
    match(
        before, after, [&](const Item& item) { tell(Kind::removed, item, " removed: "); }, compare,
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
