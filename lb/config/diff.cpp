// What every answer to exercise 10.2 needs: how changes are shown, and what must not be shown.
#include "lb/config/diff.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "lb/config/wording.hpp"

namespace lb {
namespace {

using Json = nlohmann::ordered_json;

const char* kind_name(ConfigChange::Kind kind) {
  switch (kind) {
    case ConfigChange::Kind::added:
      return "added";
    case ConfigChange::Kind::removed:
      return "removed";
    case ConfigChange::Kind::changed:
      return "changed";
  }
  return "?";
}

/// A value as JSON; text that is none (an answer's fault) as a string, so that the whole stays JSON.
Json value_of(const std::string& text) {
  if (text.empty()) return nullptr;
  Json value = Json::parse(text, nullptr, false);
  return value.is_discarded() ? Json(text) : value;
}

}  // namespace

bool is_secret_header(std::string_view name) {
  std::string lower(name);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
  static constexpr auto kNames =
      std::to_array<std::string_view>({"authorization", "proxy-authorization", "cookie", "set-cookie"});
  static constexpr auto kParts = std::to_array<std::string_view>({"secret", "token", "password", "api-key"});
  return std::ranges::find(kNames, lower) != kNames.end() ||
         std::ranges::any_of(kParts, [&](std::string_view part) { return lower.contains(part); });
}

std::string bare_words(std::string_view text) {
  return printable(text, text.size());
}

std::string number_words(double value) {
  if (!std::isfinite(value)) return number_text(value);
  char buffer[400];  // the largest double has 309 digits, the smallest 324 places
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed);
  return std::string{buffer, end.ptr};
}

std::string change_line(const ConfigChange& change) {
  switch (change.kind) {
    case ConfigChange::Kind::added:
      return "+ " + change.words;
    case ConfigChange::Kind::removed:
      return "- " + change.words;
    case ConfigChange::Kind::changed:
      return "~ " + change.words;
  }
  return change.words;
}

std::string changes_json(const std::vector<ConfigChange>& changes) {
  Json list = Json::array();
  for (const ConfigChange& change : changes) {
    list.push_back({{"kind", kind_name(change.kind)},
                    {"path", change.path},
                    {"before", value_of(change.before)},
                    {"after", value_of(change.after)},
                    {"words", change.words}});
  }
  // DEL and C1, which JSON allows in a text, are a terminal's commands; outside of texts there are none.
  const std::string text = list.dump(-1, ' ', false, Json::error_handler_t::replace);
  return printable(text, text.size());
}

}  // namespace lb
