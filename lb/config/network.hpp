// Network: a range of addresses in CIDR notation, or "unix", every Unix socket: who is trusted to say for
// whom it speaks. A value; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace lb {

struct Network {
  std::array<std::uint8_t, 16>
      prefix{};               // IPv6; an IPv4 address is ::ffff:a.b.c.d, so that 10.0.0.0/8 has 104
  std::uint8_t bits = 0;      // how many of them count
  bool unix_sockets = false;  // then nothing else

  /// Of an address in the same form.
  [[nodiscard]] bool contains(const std::array<std::uint8_t, 16>& address) const noexcept;
  /// "10.0.0.0/8", "::1/128", "unix".
  [[nodiscard]] std::string text() const;
  friend bool operator==(const Network&, const Network&) = default;
};

/// "10.0.0.0/8", "2001:db8::/32", an address alone for just that one, "unix". The error is what was expected.
std::expected<Network, std::string> parse_network(std::string_view text);

}  // namespace lb
