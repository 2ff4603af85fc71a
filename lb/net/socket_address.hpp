// Socket addresses: IpAddress is the compact value a connection keeps about its peer; SocketAddress is what
// bind(2) and connect(2) take. Values; any thread.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "lb/base/result.hpp"
#include "lb/config/model.hpp"

namespace lb {

/// 20 bytes. `family` is AF_INET (then ip holds 4 bytes), AF_INET6 (16) or AF_UNIX (none).
struct IpAddress {
  std::array<std::uint8_t, 16> ip{};
  std::uint16_t port = 0;
  std::uint8_t family = 0;

  static constexpr std::size_t kTextMax = 46;
  /// Writes the address without port ("127.0.0.1", "::1", "unix") to `out`, which has room for kTextMax;
  /// returns its length. An IPv4 address mapped into IPv6 is written as IPv4.
  std::size_t write_text(char* out) const noexcept;
  [[nodiscard]] std::string text() const;
  /// Equal for all ports of one address: the client's identity for ip_hash.
  [[nodiscard]] std::uint64_t hash() const noexcept;
  /// The client's identity for limits, where it could choose among many addresses: of IPv6 the /64 that a
  /// site has.
  [[nodiscard]] std::uint64_t site_hash() const noexcept;

  static IpAddress from(const sockaddr_storage& storage) noexcept;
};

class SocketAddress final {
 public:
  SocketAddress() noexcept = default;
  SocketAddress(const sockaddr* address, socklen_t size) noexcept;

  /// From a literal address or a Unix path. A DNS name is an error here (see resolver.hpp).
  static Result<SocketAddress> from_literal(const Endpoint& endpoint);

  [[nodiscard]] const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&storage_); }
  [[nodiscard]] socklen_t size() const noexcept { return size_; }
  [[nodiscard]] int family() const noexcept { return storage_.ss_family; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  /// "127.0.0.1:80", "[::1]:80", "unix:/path".
  [[nodiscard]] std::string text() const;
  void set_port(std::uint16_t port) noexcept;

 private:
  sockaddr_storage storage_{};
  socklen_t size_ = 0;
};

}  // namespace lb
