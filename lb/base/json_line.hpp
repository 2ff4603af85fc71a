// JSON as text of one line. Pure.
#pragma once

#include <string>

namespace lb {

/// `json`: a nlohmann::basic_json. Never throws for its text: bytes that are no UTF-8 become U+FFFD.
template <class Json>
std::string json_line(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace lb
