#include "lb/config/diff.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace lb {
namespace {

using Json = nlohmann::ordered_json;
using Kind = ConfigChange::Kind;

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// A part of a JSON pointer (RFC 6901).
std::string part(const std::string& key) {
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

bool keyed_by_name(const Json& list) {
  return std::all_of(list.begin(), list.end(),
                     [](const Json& item) { return item.is_object() && item.contains("name"); });
}

/// Backends as an object of name -> the rest.
Json by_name(const Json& list) {
  Json object = Json::object();
  for (const Json& item : list) {
    Json rest = item;
    rest.erase("name");
    object[item["name"].get<std::string>()] = std::move(rest);
  }
  return object;
}

/// Also a lone value as a list of one: "listen": "a" and "listen": ["a"] are the same.
Json as_list(const Json& value) {
  return value.is_array() ? value : Json::array({value});
}

class Differ final {
 public:
  std::vector<ConfigChange> changes;

  void compare(const std::string& path, const Json& before, const Json& after) {
    if (before == after) return;
    if (before.is_array() || after.is_array()) {
      return compare_lists(path, as_list(before), as_list(after));
    }
    if (before.is_object() && after.is_object()) return compare_objects(path, before, after);
    changes.push_back({Kind::changed, path, dump(before), dump(after), path + ": " + dump(before) + " -> " + dump(after)});
  }

 private:
  void compare_objects(const std::string& path, const Json& before, const Json& after) {
    for (const auto& [key, value] : before.items()) {
      if (const auto it = after.find(key); it != after.end()) {
        compare(path + part(key), value, *it);
      } else {
        changes.push_back({Kind::removed, path + part(key), dump(value), {}, path + part(key) + " removed"});
      }
    }
    for (const auto& [key, value] : after.items()) {
      if (!before.contains(key)) changes.push_back({Kind::added, path + part(key), {}, dump(value), path + part(key) + " added"});
    }
  }

  void compare_lists(const std::string& path, const Json& before, const Json& after) {
    if (keyed_by_name(before) && keyed_by_name(after)) {
      return compare_objects(path, by_name(before), by_name(after));
    }
    const auto missing_in = [](const Json& list, const Json& item) {
      return std::find(list.begin(), list.end(), item) == list.end();
    };
    for (const Json& item : before) {
      if (missing_in(after, item)) changes.push_back({Kind::removed, path, dump(item), {}, path + " " + dump(item) + " removed"});
    }
    for (const Json& item : after) {
      if (missing_in(before, item)) changes.push_back({Kind::added, path, {}, dump(item), path + " " + dump(item) + " added"});
    }
  }
};

Json effective(const Config& config) {
  return Json::parse(config_print(config), nullptr, false);
}

}  // namespace

std::vector<ConfigChange> config_diff(const Config& before, const Config& after) {
  Differ differ;
  differ.compare("", effective(before), effective(after));
  return std::move(differ.changes);
}

}  // namespace lb
