#include "lb/http/cookie.hpp"

#include <algorithm>

#include "lb/http/chars.hpp"

namespace lb::http {

std::string_view cookie_value(std::string_view field, std::string_view name) noexcept {
  while (!field.empty()) {
    const std::size_t end = std::min(field.find(';'), field.size());
    const std::string_view pair = field.substr(0, end);
    field.remove_prefix(std::min(end + 1, field.size()));
    const std::size_t equals = pair.find('=');
    if (equals == std::string_view::npos) continue;
    if (trim_blanks(pair.substr(0, equals)) == name) return trim_blanks(pair.substr(equals + 1));
  }
  return {};
}

std::string_view cookie_of(const FieldTable& table, std::string_view name) noexcept {
  for (const Field& field : table) {
    if (field.id != FieldId::other || !equals_ignore_case(field.name, "cookie")) continue;
    if (const std::string_view value = cookie_value(field.value, name); !value.empty()) return value;
  }
  return {};
}

}  // namespace lb::http
