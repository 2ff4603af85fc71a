#include "lb/http/authority.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "lb/http/chars.hpp"

namespace lb::http {
namespace {

constexpr std::size_t kPortDigitsMax = 5;

bool is_valid_port(std::string_view port, PortRule rule) noexcept {
  if (port.empty()) return rule == PortRule::optional;
  if (port.size() > kPortDigitsMax) return false;
  std::uint32_t number = 0;
  for (const char c : port) {
    if ((char_class(c) & kDigit) == 0) return false;
    number = number * 10 + static_cast<std::uint32_t>(c - '0');
  }
  return number <= 65535;
}

// Not a full check of IPv6 syntax: what is inside the brackets cannot be taken for anything else.
bool is_bracketed_literal(std::string_view host) noexcept {
  if (host.size() < 4 || host.front() != '[' || host.back() != ']') return false;
  const std::string_view inside = host.substr(1, host.size() - 2);
  return inside.find(':') != std::string_view::npos && std::all_of(inside.begin(), inside.end(), [](char c) {
           return (char_class(c) & kHex) != 0 || c == ':' || c == '.';
         });
}

bool is_name(std::string_view host) noexcept {
  for (std::size_t i = 0; i < host.size(); ++i) {
    if ((char_class(host[i]) & kHostName) == 0) return false;
    if (host[i] != '%') continue;
    if (host.size() - i < 3) return false;
    if ((char_class(host[i + 1]) & kHex) == 0 || (char_class(host[i + 2]) & kHex) == 0) return false;
  }
  return !host.empty();
}

}  // namespace

bool is_valid_authority(std::string_view authority, PortRule port_rule) noexcept {
  if (authority.size() > kAuthorityBytesMax) return false;
  const bool bracketed = !authority.empty() && authority.front() == '[';
  const std::size_t host_bytes = bracketed ? std::min(authority.find(']'), authority.size() - 1) + 1
                                           : std::min(authority.find(':'), authority.size());
  const std::string_view host = authority.substr(0, host_bytes);
  const std::string_view rest = authority.substr(host_bytes);
  if (bracketed ? !is_bracketed_literal(host) : !is_name(host)) return false;
  if (rest.empty()) return port_rule == PortRule::optional;
  return rest.front() == ':' && is_valid_port(rest.substr(1), port_rule);
}

}  // namespace lb::http
