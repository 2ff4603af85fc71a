// The list of protocols of a TLS listener's `alpn`. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lb {

inline constexpr std::size_t kAlpnNameBytesMax = 255;  // RFC 7301 3.1

/// "h2, http/1.1" is {"h2", "http/1.1"}; blanks around a name do not count. Of an empty list nothing; an
/// empty name between commas is an empty text.
inline std::vector<std::string> alpn_names(std::string_view list) {
  std::vector<std::string> names;
  while (!list.empty()) {
    const std::size_t comma = list.find(',');
    std::string_view name = list.substr(0, comma);
    while (name.starts_with(' ')) name.remove_prefix(1);
    while (name.ends_with(' ')) name.remove_suffix(1);
    names.emplace_back(name);
    if (comma == std::string_view::npos) break;
    list.remove_prefix(comma + 1);
    if (list.empty()) names.emplace_back();
  }
  return names;
}

}  // namespace lb
