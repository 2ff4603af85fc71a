// Tells what the balancer's table of keys (lb/config/keys.hpp) holds, for the judge of exercise 10.2: so that
// a key that is added there is known, and checked, without a line elsewhere. Holds nothing of a submission.
//
//   {"keys": [{"name", "kind", "choice", "default", "shown", "keys"}, ...],
//    "samples": [{"path": "/pool/ttl", "before": CONFIG, "after": CONFIG}, ...]}
//
// kind is value, object, optional (null or an object) or list. shown: whether `lb check --print` shows the
// key at its default. A sample is a pair of valid configurations that differ in one key; there is one for
// each key of which a valid value other than the default could be made up.
#include <cstdio>
#include <exception>
#include <iostream>
#include <nlohmann/json.hpp>

#include "lb/config/config.hpp"
#include "lb/config/keys.hpp"

namespace {

using Json = nlohmann::ordered_json;

const char* kind_of(const lb::KeySpec& key) {
  switch (key.type) {
    case lb::KeyType::object:
      return "object";
    case lb::KeyType::optional_object:
    case lb::KeyType::object_or_bool:
      return "optional";
    case lb::KeyType::listen:
    case lb::KeyType::listen_port:
    case lb::KeyType::objects:
    case lb::KeyType::headers:
    case lb::KeyType::networks:
      return "list";
    default:
      return "value";
  }
}

Json default_of(const lb::KeySpec& key, void* owner) {
  if (key.required || key.slot == nullptr || kind_of(key) != std::string_view{"value"}) return nullptr;
  return Json::parse(lb::value_json(key, key.slot(owner)), nullptr, false);
}

/// `owner` is scratch, just made: the objects behind its keys are made in it, to learn their defaults.
Json keys_of(const lb::Section& section, void* owner) {
  Json list = Json::array();
  for (const lb::KeySpec& key : section.keys) {
    if (key.type == lb::KeyType::ignored || key.type == lb::KeyType::listen_port) continue;
    Json one = {{"name", key.name},
                {"kind", kind_of(key)},
                {"choice", key.type == lb::KeyType::choice},
                {"default", default_of(key, owner)},
                {"shown", key.printed == nullptr || key.printed(owner)}};
    if (key.section != nullptr) one["keys"] = keys_of(*key.section, key.children.append(owner));
    list.push_back(std::move(one));
  }
  return list;
}

// ---- Samples ----

/// JSON values that `key` might take; most of them are not valid.
std::vector<Json> candidates(const lb::KeySpec& key, const Json& value) {
  std::vector<Json> list;
  if (key.type == lb::KeyType::boolean) return {!value.get<bool>()};
  for (const std::string_view choice : key.choices) list.emplace_back(choice);
  if (!key.example.empty()) list.push_back(Json::parse(key.example, nullptr, false));
  if (value.is_number()) {
    for (const double number :
         {value.get<double>() + 1, value.get<double>() - 1, value.get<double>() / 2, key.max}) {
      const auto whole = static_cast<std::int64_t>(number);
      list.push_back(static_cast<double>(whole) == number ? Json(whole) : Json(number));
    }
  } else if (value.is_string()) {
    list.emplace_back("/run/another");
    list.emplace_back("another");
  }
  return list;
}

bool is_valid(const Json& config) {
  return lb::config_parse(config.dump()).has_value();
}

Json required_of(const lb::Section& section) {
  Json object = Json::object();
  for (const lb::KeySpec& key : section.keys) {
    if (key.required) object[std::string{key.name}] = Json::parse(key.example, nullptr, false);
  }
  return object;
}

/// A pair for each value of `section`, which stands at `at` of `smallest` ("" for the document itself).
void append_samples(Json& samples, const Json& smallest, const lb::Section& section, void* owner,
                    const std::string& at) {
  const auto place = [&](Json& config) -> Json& {
    return at == "/backends" ? config["backends"][0] : at.empty() ? config : config[at.substr(1)];
  };
  const std::string list = at + "/";
  for (const lb::KeySpec& key : section.keys) {
    if (kind_of(key) != std::string_view{"value"} || key.slot == nullptr) continue;
    Json before = smallest;
    if (!at.empty() && at != "/backends") place(before) = required_of(section);
    const std::string name{key.name};
    const Json value = key.required && at != "/backends"
                           ? place(before)[name]
                           : Json::parse(lb::value_json(key, key.slot(owner)), nullptr, false);
    for (const Json& candidate : candidates(key, value)) {
      Json after = before;
      place(after)[name] = candidate;
      if (candidate == value || !is_valid(before) || !is_valid(after)) continue;
      samples.push_back({{"path", list + name}, {"before", before}, {"after", after}});
      break;
    }
  }
}

Json samples() {
  const Json smallest = {{"listen", "127.0.0.1:80"},
                         {"backends", Json::array({{{"name", "b1"}, {"host", "10.0.0.1"}, {"port", 9001}},
                                                   {{"name", "b2"}, {"host", "10.0.0.1"}, {"port", 9002}}})}};
  Json list = Json::array();
  lb::Config scratch;
  append_samples(list, smallest, lb::config_section(), &scratch, "");
  for (const lb::KeySpec& key : lb::config_section().keys) {
    const bool walked = key.section != nullptr && key.type != lb::KeyType::listen;
    if (walked)
      append_samples(list, smallest, *key.section, key.children.append(&scratch),
                     "/" + std::string{key.name});
  }
  std::erase_if(list.get_ref<Json::array_t&>(),
                [](const Json& sample) {  // who or where a backend is, is no option of it
                  const auto& path = sample["path"].get_ref<const std::string&>();
                  return path == "/backends/name" || path == "/backends/host" || path == "/backends/port" ||
                         path == "/backends/unix";
                });
  return list;
}

}  // namespace

int main() try {
  lb::Config scratch;
  std::cout << Json{{"keys", keys_of(lb::config_section(), &scratch)}, {"samples", samples()}}.dump() << '\n';
  return std::cout ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "config_keys: %s\n", error.what());
  return 1;
}
