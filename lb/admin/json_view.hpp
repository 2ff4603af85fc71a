// Reading JSON that may be of another version: what is missing, or of another type, reads as nothing. Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "lb/base/json_line.hpp"

namespace lb {

using OrderedJson = nlohmann::ordered_json;

/// "-" when there is none.
inline std::string text_of(const OrderedJson& json, const char* key) {
  if (!json.is_object()) return "-";
  const auto it = json.find(key);
  if (it == json.end() || it->is_null()) return "-";
  return it->is_string() ? it->get<std::string>() : json_line(*it);
}

inline double number_of(const OrderedJson& json, const char* key) {
  if (!json.is_object()) return 0;
  const auto it = json.find(key);
  return it != json.end() && it->is_number() ? it->get<double>() : 0;
}

inline std::uint64_t count_of(const OrderedJson& json, const char* key) {
  if (!json.is_object()) return 0;
  const auto it = json.find(key);
  return it != json.end() && it->is_number_unsigned() ? it->get<std::uint64_t>() : 0;
}

inline bool has_number(const OrderedJson& json, const char* key) {
  return json.is_object() && json.contains(key) && json[key].is_number();
}

inline bool flag_of(const OrderedJson& json, const char* key, bool otherwise) {
  if (!json.is_object()) return otherwise;
  const auto it = json.find(key);
  return it != json.end() && it->is_boolean() ? it->get<bool>() : otherwise;
}

inline const OrderedJson& list_of(const OrderedJson& json, const char* key) {
  static const OrderedJson kEmpty = OrderedJson::array();
  if (!json.is_object()) return kEmpty;
  const auto it = json.find(key);
  return it != json.end() && it->is_array() ? *it : kEmpty;
}

inline OrderedJson object_of(const OrderedJson& json, const char* key) {
  if (!json.is_object()) return OrderedJson::object();
  const auto it = json.find(key);
  return it != json.end() && it->is_object() ? *it : OrderedJson::object();
}

}  // namespace lb
