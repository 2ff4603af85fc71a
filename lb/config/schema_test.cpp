// The schema against the files: a small checker for the keywords that the schema uses, and no others.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "lb/base/file.hpp"
#include "lb/config/config.hpp"
#include "lb/config/keys.hpp"

namespace lb {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

bool conforms(const Json& value, const Json& schema);

bool is_type(const Json& value, const std::string& type) {
  if (type == "integer") return value.is_number_integer();
  if (type == "number") return value.is_number();
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_boolean();
  if (type == "array") return value.is_array();
  if (type == "object") return value.is_object();
  EXPECT_EQ(type, "null");
  return value.is_null();
}

std::size_t count_conforming(const Json& value, const Json& schemas) {
  return static_cast<std::size_t>(
      std::ranges::count_if(schemas, [&](const Json& schema) { return conforms(value, schema); }));
}

bool has_all(const Json& object, const Json& names) {
  return std::ranges::all_of(names,
                             [&](const Json& name) { return object.contains(name.get<std::string>()); });
}

bool members_conform(const Json& value, const Json& schema) {
  for (const auto& [name, member] : value.items()) {
    if (schema.contains("properties") && schema["properties"].contains(name)) {
      if (!conforms(member, schema["properties"][name])) return false;
      continue;
    }
    const Json& rest = schema.value("additionalProperties", Json(true));
    if (rest.is_boolean() ? !rest.get<bool>() : !conforms(member, rest)) return false;
  }
  return true;
}

/// One keyword; a keyword that applies to another type of value always holds.
bool holds(const std::string& keyword, const Json& rule, const Json& value, const Json& schema) {
  static const std::set<std::string> notes = {"$schema", "title", "description", "default", "examples"};
  if (notes.contains(keyword)) return true;
  if (keyword == "type") return is_type(value, rule);
  if (keyword == "enum") return std::ranges::find(rule, value) != rule.end();
  if (keyword == "minimum") return !value.is_number() || value >= rule;
  if (keyword == "maximum") return !value.is_number() || value <= rule;
  if (keyword == "minLength") return !value.is_string() || value.get<std::string>().size() >= rule;
  if (keyword == "maxLength") return !value.is_string() || value.get<std::string>().size() <= rule;
  if (keyword == "pattern") {
    return !value.is_string() ||
           std::regex_search(value.get<std::string>(), std::regex{rule.get<std::string>()});
  }
  if (keyword == "minItems") return !value.is_array() || value.size() >= rule;
  if (keyword == "maxItems") return !value.is_array() || value.size() <= rule;
  if (keyword == "uniqueItems")
    return !value.is_array() || std::set<Json>(value.begin(), value.end()).size() == value.size();
  if (keyword == "items") {
    return !value.is_array() ||
           std::ranges::all_of(value, [&](const Json& item) { return conforms(item, rule); });
  }
  if (keyword == "maxProperties") return !value.is_object() || value.size() <= rule;
  if (keyword == "required") return !value.is_object() || has_all(value, rule);
  if (keyword == "properties" || keyword == "additionalProperties") {
    return !value.is_object() || members_conform(value, schema);
  }
  if (keyword == "propertyNames") {
    if (!value.is_object()) return true;
    const auto items = value.items();
    return std::all_of(items.begin(), items.end(),
                       [&](const auto& item) { return conforms(Json(item.key()), rule); });
  }
  if (keyword == "dependentRequired") {
    const auto items = rule.items();
    return !value.is_object() || std::all_of(items.begin(), items.end(), [&](const auto& item) {
      return !value.contains(item.key()) || has_all(value, item.value());
    });
  }
  if (keyword == "oneOf") return count_conforming(value, rule) == 1;
  if (keyword == "anyOf") return count_conforming(value, rule) >= 1;
  ADD_FAILURE() << "the schema uses a keyword that this test does not know: " << keyword;
  return false;
}

bool conforms(const Json& value, const Json& schema) {
  for (const auto& [keyword, rule] : schema.items()) {
    if (!holds(keyword, rule, value, schema)) return false;
  }
  return true;
}

/// The file as JSON; discarded when it is none.
Json json_of(const fs::path& path) {
  const auto text = read_file(path, kConfigBytesMax);
  EXPECT_TRUE(text) << path;
  return Json::parse(*text, nullptr, false);
}

void for_each_file(const char* folder,
                   const std::function<void(const std::string& name, const Json&)>& check) {
  for (const auto& entry : fs::directory_iterator(fs::path{LB_SOURCE_DIR} / "fixtures/config" / folder)) {
    if (entry.path().extension() == ".json") check(entry.path().stem(), json_of(entry.path()));
  }
}

TEST(Schema, ListsEveryKeyAndNoOther) {
  const Json schema = Json::parse(config_schema());
  EXPECT_EQ(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
  const auto check = [](const auto& self, const Section& section, const Json& object) -> void {
    EXPECT_EQ(object["additionalProperties"], false) << section.pointer;
    EXPECT_EQ(object["properties"].size(), section.keys.size()) << section.pointer;
    for (const KeySpec& key : section.keys) {
      const Json& property = object["properties"][std::string{key.name}];
      EXPECT_EQ(property.value("description", ""), key.help);
      if (key.section == nullptr) continue;
      const Json& inner = key.type == KeyType::objects           ? property["items"]
                          : key.type == KeyType::optional_object ? property["oneOf"][1]
                          : key.type == KeyType::listen          ? property["oneOf"][1]
                          : key.type == KeyType::object_or_bool  ? property["oneOf"][2]
                                                                 : property;
      self(self, *key.section, inner);
    }
  };
  check(check, config_section(), schema);
}

TEST(Schema, GoodFilesConform) {
  const Json schema = Json::parse(config_schema());
  for_each_file("good", [&](const std::string& name, const Json& file) {
    ASSERT_FALSE(file.is_discarded()) << name;
    EXPECT_TRUE(conforms(file, schema)) << name;
  });
}

/// What a schema cannot say: spelling of addresses, bytes, duplicates, sums, what holds between sections.
TEST(Schema, BadFilesDoNotConform) {
  static const std::set<std::string> beyond = {"backend_duplicate",          "backend_duplicate_name",
                                               "backend_duplicate_spelling", "backend_weights_all_0",
                                               "backend_name_control",       "duplicate_key",
                                               "listen_bad_addresses",       "listen_duplicate",
                                               "listen_object_duplicate",    "listen_unix_too_long",
                                               "pid_file_control",           "response_headers_duplicate",
                                               "nesting_too_deep",           "backends_only_backups",
                                               "hash_of_another_algorithm",  "tls_rules",
                                               "health_check_tls",           "tls_alpn"};
  const Json schema = Json::parse(config_schema());
  std::size_t rejected = 0;
  for_each_file("bad", [&](const std::string& name, const Json& file) {
    if (file.is_discarded() || beyond.contains(name)) return;
    EXPECT_FALSE(conforms(file, schema)) << name;
    ++rejected;
  });
  EXPECT_GE(rejected, 50U);
}

TEST(Schema, DefaultsAreTheModels) {
  const Json schema = Json::parse(config_schema());
  EXPECT_EQ(schema["properties"]["algorithm"]["default"], "round_robin");
  EXPECT_EQ(schema["properties"]["drain_timeout"]["default"], 30);
  EXPECT_EQ(schema["properties"]["max_connections"]["default"], 50'000);
  EXPECT_EQ(schema["properties"]["pool"]["properties"]["max_size"]["default"], 64);
  EXPECT_EQ(schema["properties"]["timeouts"]["properties"]["tunnel"]["default"], 3600);
  EXPECT_EQ(schema["properties"]["backends"]["items"]["properties"]["weight"]["default"], 1);
}

/// Values that the table gives as defaults and examples must be valid themselves.
TEST(Keys, DefaultsAndExamplesAreValid) {
  const Json schema = Json::parse(config_schema());
  const std::function<void(const Json&)> check = [&](const Json& node) {
    if (node.contains("default")) {
      EXPECT_TRUE(conforms(node["default"], node)) << node;
    }
    for (const Json& example : node.value("examples", Json::array()))
      EXPECT_TRUE(conforms(example, node)) << node;
    const Json properties = node.value("properties", Json::object());
    for (const auto& [name, property] : properties.items()) check(property);
    if (node.contains("items")) check(node["items"]);
    for (const Json& one : node.value("oneOf", Json::array())) check(one);
  };
  check(schema);
}

TEST(Keys, EveryKeyIsDescribed) {
  const std::function<void(const Section&)> check = [&](const Section& section) {
    std::set<std::string_view> names;
    for (const KeySpec& key : section.keys) {
      EXPECT_TRUE(names.insert(key.name).second) << "twice: " << section.pointer << "/" << key.name;
      EXPECT_TRUE(key.help.ends_with('.')) << section.pointer << "/" << key.name;
      EXPECT_EQ(key.help.find('|'), std::string_view::npos) << "would break the reference table";
      EXPECT_LE(key.min, key.max) << section.pointer << "/" << key.name;
      if (key.section != nullptr) check(*key.section);
    }
  };
  check(config_section());
}

TEST(Reference, HasARowForEveryKey) {
  const std::string table = config_reference();
  const std::function<void(const Section&)> check = [&](const Section& section) {
    for (const KeySpec& key : section.keys) {
      const std::string row = "\n| `" + std::string{section.pointer} + "/" + std::string{key.name} + "` | ";
      EXPECT_THAT(table, ::testing::HasSubstr(row));
      if (key.section != nullptr) check(*key.section);
    }
  };
  check(config_section());
}

}  // namespace
}  // namespace lb
