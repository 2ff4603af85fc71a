// config_schema and config_reference: the key table for machines and for people.
#include <nlohmann/json.hpp>

#include "lb/base/result.hpp"
#include "lb/config/config.hpp"
#include "lb/config/keys.hpp"

namespace lb {
namespace {

using Json = nlohmann::ordered_json;

/// Whole numbers without a fraction: "maximum": 65535.
Json bound(double value) {
  const auto whole = static_cast<std::int64_t>(value);
  return static_cast<double>(whole) == value ? Json(whole) : Json(value);
}

/// `text` is written in this module: JSON without a doubt.
Json own_json(std::string_view text) {
  Json value = Json::parse(text, nullptr, false);
  LB_ASSERT(!value.is_discarded());
  return value;
}

Json section_schema(const Section& section, void* owner);

/// The model's initial value as JSON, or "" when it is no default of its own or needs words.
/// `owner` is an object just made.
std::string default_json(const KeySpec& key, void* owner) {
  const bool plain = key.slot != nullptr && !key.required && key.default_words.empty();
  return plain ? value_json(key, key.slot(owner)) : std::string{};
}

Json listen_schema(const KeySpec& key, void* owner) {
  const Json text = {{"type", "string"}, {"minLength", 1}};
  const Json object = section_schema(*key.section, key.children.append(owner));
  const Json one = {{"oneOf", Json::array({text, object})}};
  const Json many = {{"type", "array"},
                     {"items", one},
                     {"minItems", bound(key.min)},
                     {"maxItems", bound(key.max)},
                     {"uniqueItems", true}};
  return {{"oneOf", Json::array({text, object, many})}};
}

/// `owner` is scratch: the objects behind the keys are made in it, to learn their defaults.
Json type_schema(const KeySpec& key, void* owner) {
  switch (key.type) {
    case KeyType::integer:
    case KeyType::listen_port:
      return {{"type", "integer"}, {"minimum", bound(key.min)}, {"maximum", bound(key.max)}};
    case KeyType::boolean:
      return {{"type", "boolean"}};
    case KeyType::number:
    case KeyType::seconds:
      return {{"type", "number"}, {"minimum", bound(key.min)}, {"maximum", bound(key.max)}};
    case KeyType::choice:
      return {{"type", "string"}, {"enum", key.choices}};
    case KeyType::text:
    case KeyType::bytes:
      return {{"type", "string"}, {"minLength", bound(key.min)}, {"maxLength", bound(key.max)}};
    case KeyType::host:
    case KeyType::listen_address:
      return {{"type", "string"}, {"minLength", 1}};
    case KeyType::unix_path:
      return {{"type", "string"}, {"pattern", "^/."}};
    case KeyType::listen:
      return listen_schema(key, owner);
    case KeyType::headers:
      return {{"type", "object"},
              {"additionalProperties", {{"type", "string"}, {"maxLength", kHeaderValueBytesMax}}},
              {"propertyNames",
               {{"pattern", "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"}, {"maxLength", kHeaderNameBytesMax}}},
              {"maxProperties", bound(key.max)}};
    case KeyType::object:
      return section_schema(*key.section, key.children.append(owner));
    case KeyType::optional_object:
      return {{"oneOf",
               Json::array({{{"type", "null"}}, section_schema(*key.section, key.children.append(owner))})}};
    case KeyType::object_or_bool:
      return {{"oneOf", Json::array({{{"type", "null"}},
                                     {{"type", "boolean"}},
                                     section_schema(*key.section, key.children.append(owner))})}};
    case KeyType::networks:
      return {{"type", "array"},
              {"items", {{"type", "string"}, {"minLength", 1}}},
              {"minItems", bound(key.min)},
              {"maxItems", bound(key.max)}};
    case KeyType::objects:
      return {{"type", "array"},
              {"items", section_schema(*key.section, key.children.append(owner))},
              {"minItems", bound(key.min)},
              {"maxItems", bound(key.max)}};
    case KeyType::ignored:
      return {{"type", "string"}};
  }
  return Json::object();
}

Json section_schema(const Section& section, void* owner) {
  Json properties = Json::object();
  Json required = Json::array();
  for (const KeySpec& key : section.keys) {
    Json schema = type_schema(key, owner);
    schema["description"] = key.help;
    if (const auto value = default_json(key, owner); !value.empty()) schema["default"] = own_json(value);
    if (!key.example.empty()) schema["examples"] = Json::array({own_json(key.example)});
    properties[std::string{key.name}] = std::move(schema);
    if (key.required) required.push_back(key.name);
  }
  Json schema = {{"type", "object"}, {"additionalProperties", false}, {"properties", std::move(properties)}};
  if (!required.empty()) schema["required"] = std::move(required);
  if (!section.schema_rule.empty()) schema.update(own_json(section.schema_rule));
  return schema;
}

std::string range_cell(const KeySpec& key) {
  const auto range = [&](std::string_view unit) {
    return bound(key.min).dump() + " to " + bound(key.max).dump() + std::string{unit};
  };
  switch (key.type) {
    case KeyType::integer:
    case KeyType::listen_port:
    case KeyType::number:
      return range("");
    case KeyType::seconds:
      return range(" seconds");
    case KeyType::text:
    case KeyType::bytes:
      return range(" bytes");
    case KeyType::listen:
      return range(" of them");
    case KeyType::networks:
      return range(" networks");
    case KeyType::objects:
      return range(" objects");
    case KeyType::headers:
      return range(" fields");
    case KeyType::choice: {
      std::string names;
      for (const std::string_view name : key.choices)
        names += (names.empty() ? "`" : ", `") + std::string{name} + "`";
      return names;
    }
    case KeyType::boolean:
    case KeyType::host:
    case KeyType::unix_path:
    case KeyType::listen_address:
    case KeyType::object:
    case KeyType::optional_object:
    case KeyType::object_or_bool:
    case KeyType::ignored:
      break;
  }
  return {};
}

std::string_view type_cell(KeyType type) {
  switch (type) {
    case KeyType::integer:
    case KeyType::listen_port:
      return "integer";
    case KeyType::boolean:
      return "true or false";
    case KeyType::number:
    case KeyType::seconds:
      return "number";
    case KeyType::choice:
    case KeyType::text:
    case KeyType::bytes:
    case KeyType::host:
    case KeyType::unix_path:
    case KeyType::listen_address:
    case KeyType::ignored:
      return "text";
    case KeyType::listen:
      return "text, object, or array of these";
    case KeyType::headers:
    case KeyType::object:
      return "object";
    case KeyType::networks:
      return "array of texts";
    case KeyType::object_or_bool:
      return "object, true, false or null";
    case KeyType::optional_object:
      return "object or null";
    case KeyType::objects:
      return "array of objects";
  }
  return {};
}

void append_rows(std::string& out, const Section& section, void* owner) {
  for (const KeySpec& key : section.keys) {
    const std::string initial = default_json(key, owner);
    const std::string fallback = initial.empty() ? std::string{key.default_words} : "`" + initial + "`";
    out += "| `" + std::string{section.pointer} + "/" + std::string{key.name} + "` | " +
           std::string{type_cell(key.type)} + " | " + range_cell(key) + " | " +
           (key.required ? "required" : fallback) + " | " + std::string{key.help} + " |\n";
    if (key.section != nullptr) append_rows(out, *key.section, key.children.append(owner));
  }
}

}  // namespace

std::string config_schema() {
  Json schema = {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                 {"title", "Configuration of lb"}};
  Config scratch;
  schema.update(section_schema(config_section(), &scratch));
  return schema.dump(2) + "\n";
}

std::string config_reference() {
  std::string out =
      "| Key | Type | Range | Default | Meaning |\n"
      "|---|---|---|---|---|\n";
  Config scratch;
  append_rows(out, config_section(), &scratch);
  return out;
}

}  // namespace lb
