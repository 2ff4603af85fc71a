#include "lb/config/address.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <optional>

namespace lb {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_name_character(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
}

bool has_control_character(std::string_view text) {
  return std::ranges::any_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

std::optional<std::string> canonical_ip(int family, std::string_view text) {
  char buffer[INET6_ADDRSTRLEN];
  if (text.size() >= sizeof buffer || text.contains('\0')) return std::nullopt;
  in6_addr address{};
  const std::string terminated{text};
  if (::inet_pton(family, terminated.c_str(), &address) != 1) return std::nullopt;
  if (::inet_ntop(family, &address, buffer, sizeof buffer) == nullptr) return std::nullopt;
  return buffer;
}

std::optional<std::uint16_t> parse_port(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  const bool whole = error == std::errc{} && end == text.data() + text.size();
  const bool leading_zero = text.size() > 1 && text[0] == '0';
  if (!whole || leading_zero) return std::nullopt;
  return port;
}

/// RFC 1123 section 2.1, and the underscore that container platforms put into service names.
std::expected<std::string, Expected> parse_name(std::string_view text) {
  const std::string_view name = text.ends_with('.') ? text.substr(0, text.size() - 1) : text;
  if (name.empty() || name.size() > kHostBytesMax) {
    return std::unexpected("a host name of 1 to " + std::to_string(kHostBytesMax) + " bytes");
  }
  std::string_view label;
  for (std::size_t begin = 0; begin <= name.size(); begin += label.size() + 1) {
    label = name.substr(begin, name.find('.', begin) - begin);
    if (label.empty()) return std::unexpected("a host name without empty parts between its dots");
    if (label.size() > 63) return std::unexpected("a host name whose parts have at most 63 bytes");
    if (!std::ranges::all_of(label, is_name_character)) {
      return std::unexpected(
          "an IPv4 or IPv6 address, or a DNS name of letters, digits, \"-\", \"_\" and \".\"");
    }
    if (label.front() == '-' || label.back() == '-') {
      return std::unexpected("a host name whose parts neither begin nor end with \"-\"");
    }
  }
  if (std::ranges::all_of(label, is_digit)) {
    return std::unexpected("an IPv4 address of four numbers from 0 to 255");
  }
  std::string lower{text};
  std::ranges::transform(lower, lower.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return lower;
}

}  // namespace

std::string Endpoint::text() const {
  if (unix_socket) return "unix:" + host;
  const bool ipv6 = host.contains(':');
  return (ipv6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

std::expected<std::string, Expected> parse_unix_path(std::string_view text) {
  const bool good = text.size() > 1 && text.front() == '/' && text.back() != '/' &&
                    text.size() <= kUnixPathBytesMax && !has_control_character(text);
  if (good) return std::string{text};
  return std::unexpected("an absolute path of a socket, at most " + std::to_string(kUnixPathBytesMax) +
                         " bytes");
}

std::expected<std::string, Expected> parse_host(std::string_view text) {
  if (text.contains("://")) return std::unexpected("a host alone, not a URL");
  if (text.contains('%')) return std::unexpected("an address without a zone");
  const bool bracketed = text.size() > 1 && text.front() == '[' && text.back() == ']';
  const std::string_view bare = bracketed ? text.substr(1, text.size() - 2) : text;
  if (auto address = canonical_ip(AF_INET6, bare)) return *address;
  if (!bracketed) {
    if (auto address = canonical_ip(AF_INET, text)) return *address;
    const std::size_t colon = text.find(':');
    const bool one_colon =
        colon != std::string_view::npos && text.find(':', colon + 1) == std::string_view::npos;
    const bool port_after_bracket = text.starts_with('[') && text.contains("]:");
    if ((one_colon && parse_port(text.substr(colon + 1))) || port_after_bracket) {
      return std::unexpected("a host alone; the port has a key of its own, \"port\"");
    }
  }
  if (bare.contains(':') || bracketed) return std::unexpected("an IPv6 address such as \"2001:db8::1\"");
  return parse_name(text);
}

std::expected<Endpoint, Expected> parse_listen_address(std::string_view text) {
  if (text.starts_with("unix:")) {
    auto path = parse_unix_path(text.substr(5));
    if (!path) return std::unexpected("\"unix:\" and " + path.error());
    return Endpoint{.host = *std::move(path), .port = 0, .unix_socket = true};
  }
  if (text.starts_with('/')) return std::unexpected("\"unix:\" before the path of a socket");
  if (text.contains("://")) return std::unexpected("an address such as \"0.0.0.0:8080\", not a URL");
  const std::size_t colon = text.rfind(':');
  const std::string_view host = text.substr(0, std::min(colon, text.size()));
  const bool bracketed = host.size() > 1 && host.front() == '[' && host.back() == ']';
  if (!bracketed && (host.contains(':') || (text.starts_with('[') && text.ends_with(']')))) {
    return std::unexpected("an IPv6 address in brackets and a port, such as \"[::1]:8080\"");
  }
  if (colon == std::string_view::npos) {
    return std::unexpected("an address and a port, such as \"0.0.0.0:8080\"");
  }
  const auto port = parse_port(text.substr(colon + 1));
  if (!port) return std::unexpected("a port from 0 to 65535 after the last colon");
  if (host.empty() || host == "*") return Endpoint{.host = "0.0.0.0", .port = *port};
  if (bracketed) {
    auto address = canonical_ip(AF_INET6, host.substr(1, host.size() - 2));
    if (!address) return std::unexpected("an IPv6 address in the brackets");
    return Endpoint{.host = *std::move(address), .port = *port};
  }
  auto address = canonical_ip(AF_INET, host);
  if (!address) return std::unexpected("an IPv4 address, or an IPv6 address in brackets, before the port");
  return Endpoint{.host = *std::move(address), .port = *port};
}

}  // namespace lb
