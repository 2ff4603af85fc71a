#include "lb/net/socket_address.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <charconv>
#include <cstddef>
#include <cstring>

#include "lb/base/hash.hpp"
#include "lb/base/random.hpp"

namespace lb {
namespace {

std::size_t write_ipv4(const std::uint8_t* ip, char* out) noexcept {
  char* at = out;
  for (int i = 0; i < 4; ++i) {
    if (i > 0) *at++ = '.';
    at = std::to_chars(at, at + 3, ip[i]).ptr;
  }
  return static_cast<std::size_t>(at - out);
}

bool is_mapped_ipv4(const std::array<std::uint8_t, 16>& ip) noexcept {
  static constexpr std::array<std::uint8_t, 12> kPrefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  return std::memcmp(ip.data(), kPrefix.data(), kPrefix.size()) == 0;
}

}  // namespace

std::size_t IpAddress::write_text(char* out) const noexcept {
  if (family == AF_INET) return write_ipv4(ip.data(), out);
  if (family == AF_INET6) {
    if (is_mapped_ipv4(ip)) return write_ipv4(ip.data() + 12, out);
    if (inet_ntop(AF_INET6, ip.data(), out, kTextMax) != nullptr) return std::strlen(out);
  }
  std::memcpy(out, "unix", 4);
  return 4;
}

std::string IpAddress::text() const {
  std::array<char, kTextMax> buffer;
  return {buffer.data(), write_text(buffer.data())};
}

std::uint64_t IpAddress::hash() const noexcept {
  const bool v4 = family == AF_INET || (family == AF_INET6 && is_mapped_ipv4(ip));
  if (v4) {
    std::uint32_t word = 0;
    std::memcpy(&word, family == AF_INET ? ip.data() : ip.data() + 12, sizeof word);
    return mix64(word);
  }
  return hash_bytes({reinterpret_cast<const char*>(ip.data()), ip.size()});
}

std::uint64_t IpAddress::site_hash() const noexcept {
  if (family != AF_INET6 || is_mapped_ipv4(ip)) return hash();
  return hash_bytes({reinterpret_cast<const char*>(ip.data()), 8});
}

IpAddress IpAddress::from(const sockaddr_storage& storage) noexcept {
  IpAddress result;
  result.family = static_cast<std::uint8_t>(storage.ss_family);
  if (storage.ss_family == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(storage);
    std::memcpy(result.ip.data(), &in.sin_addr, 4);
    result.port = ntohs(in.sin_port);
  } else if (storage.ss_family == AF_INET6) {
    const auto& in = reinterpret_cast<const sockaddr_in6&>(storage);
    std::memcpy(result.ip.data(), &in.sin6_addr, 16);
    result.port = ntohs(in.sin6_port);
  }
  return result;
}

SocketAddress::SocketAddress(const sockaddr* address, socklen_t size) noexcept : size_(size) {
  LB_ASSERT(size <= sizeof storage_);
  std::memcpy(&storage_, address, size);
}

Result<SocketAddress> SocketAddress::from_literal(const Endpoint& endpoint) {
  if (endpoint.unix_socket) {
    sockaddr_un un{};
    un.sun_family = AF_UNIX;
    if (endpoint.host.size() >= sizeof un.sun_path) {
      return std::unexpected(system_error("unix socket", endpoint.host, ENAMETOOLONG));
    }
    std::memcpy(un.sun_path, endpoint.host.data(), endpoint.host.size());
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + endpoint.host.size() + 1);
    return SocketAddress{reinterpret_cast<const sockaddr*>(&un), size};
  }
  sockaddr_in in{};
  if (inet_pton(AF_INET, endpoint.host.c_str(), &in.sin_addr) == 1) {
    in.sin_family = AF_INET;
    in.sin_port = htons(endpoint.port);
    return SocketAddress{reinterpret_cast<const sockaddr*>(&in), sizeof in};
  }
  sockaddr_in6 in6{};
  if (inet_pton(AF_INET6, endpoint.host.c_str(), &in6.sin6_addr) == 1) {
    in6.sin6_family = AF_INET6;
    in6.sin6_port = htons(endpoint.port);
    return SocketAddress{reinterpret_cast<const sockaddr*>(&in6), sizeof in6};
  }
  return std::unexpected(
      Error{.fault = Fault::config, .message = endpoint.host + " is not a literal address"});
}

std::string SocketAddress::text() const {
  if (storage_.ss_family == AF_UNIX) {
    const auto& un = reinterpret_cast<const sockaddr_un&>(storage_);
    if (size_ <= offsetof(sockaddr_un, sun_path)) return "unix:";
    const std::size_t room = size_ - offsetof(sockaddr_un, sun_path);
    return "unix:" + std::string(un.sun_path, strnlen(un.sun_path, room));
  }
  const IpAddress ip = IpAddress::from(storage_);
  std::array<char, IpAddress::kTextMax> buffer{};
  if (storage_.ss_family == AF_INET6) {
    inet_ntop(AF_INET6, ip.ip.data(), buffer.data(), buffer.size());
    return "[" + std::string(buffer.data()) + "]:" + std::to_string(ip.port);
  }
  return ip.text() + ":" + std::to_string(ip.port);
}

void SocketAddress::set_port(std::uint16_t port) noexcept {
  if (storage_.ss_family == AF_INET) reinterpret_cast<sockaddr_in&>(storage_).sin_port = htons(port);
  if (storage_.ss_family == AF_INET6) reinterpret_cast<sockaddr_in6&>(storage_).sin6_port = htons(port);
}

}  // namespace lb
