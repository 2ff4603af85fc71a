#include "lb/net/proxy_header.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <optional>

namespace lb {
namespace {

using Status = ProxyHeaderOutcome::Status;

constexpr std::string_view kV1Begin = "PROXY ";
constexpr std::string_view kV2Signature{"\r\n\r\n\0\r\nQUIT\n", 12};
constexpr std::size_t kV2FixedBytes = 16;

constexpr ProxyHeaderOutcome malformed(std::string_view fault) {
  return {Status::malformed, fault};
}

/// Whether `bytes` begins with `mark`, or could once there are more.
bool may_begin(std::string_view bytes, std::string_view mark) {
  const std::size_t size = std::min(bytes.size(), mark.size());
  return bytes.substr(0, size) == mark.substr(0, size);
}

// ---- Version 1: one line of text ----

/// Cuts `line` at its next space, of which there must be one unless `last`.
std::optional<std::string_view> next_word(std::string_view& line, bool last = false) {
  const std::size_t space = line.find(' ');
  if ((space == std::string_view::npos) != last) return std::nullopt;
  const std::string_view word = line.substr(0, space);
  line.remove_prefix(last ? line.size() : space + 1);
  return word.empty() ? std::nullopt : std::optional{word};
}

bool read_ip(std::string_view text, std::uint8_t family, IpAddress& out) {
  std::array<char, INET6_ADDRSTRLEN> terminated{};
  if (text.size() >= terminated.size() || text.contains('\0')) return false;
  std::ranges::copy(text, terminated.begin());
  out.family = family;
  return ::inet_pton(family, terminated.data(), out.ip.data()) == 1;
}

bool read_port(std::string_view text, IpAddress& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out.port);
  const bool whole = error == std::errc{} && end == text.data() + text.size();
  return whole && (text.size() == 1 || text.front() != '0');
}

ProxyHeaderOutcome parse_v1(std::string_view bytes, ProxyHeader& header) {
  const std::string_view window = bytes.substr(0, kProxyV1BytesMax);
  const std::size_t end = window.find('\n');
  if (end == std::string_view::npos) {
    return window.size() < kProxyV1BytesMax ? ProxyHeaderOutcome{} : malformed("the PROXY line is too long");
  }
  if (window[end - 1] != '\r') return malformed("the PROXY line does not end with CR LF");
  header.bytes = end + 1;
  std::string_view line = window.substr(kV1Begin.size(), end - 1 - kV1Begin.size());
  if (line == "UNKNOWN" || line.starts_with("UNKNOWN ")) return {Status::complete, {}};
  const auto protocol = next_word(line);
  if (protocol != "TCP4" && protocol != "TCP6") return malformed("the PROXY line names no known protocol");
  const auto family = static_cast<std::uint8_t>(protocol == "TCP4" ? AF_INET : AF_INET6);
  const auto source = next_word(line);
  const auto destination = next_word(line);
  const auto source_port = next_word(line);
  const auto destination_port = next_word(line, true);
  if (!source || !destination || !read_ip(*source, family, header.source) ||
      !read_ip(*destination, family, header.destination)) {
    return malformed("the PROXY line has no two addresses of its protocol");
  }
  if (!source_port || !destination_port || !read_port(*source_port, header.source) ||
      !read_port(*destination_port, header.destination)) {
    return malformed("the PROXY line has no two ports at its end");
  }
  header.has_addresses = true;
  return {Status::complete, {}};
}

// ---- Version 2: binary ----

std::uint16_t big_endian(std::string_view bytes, std::size_t at) {
  return static_cast<std::uint16_t>(static_cast<unsigned char>(bytes[at]) << 8U |
                                    static_cast<unsigned char>(bytes[at + 1]));
}

/// Two addresses of `size` bytes and two ports, then extensions.
void read_addresses(std::string_view body, std::size_t size, std::uint8_t family, ProxyHeader& header) {
  std::memcpy(header.source.ip.data(), body.data(), size);
  std::memcpy(header.destination.ip.data(), body.data() + size, size);
  header.source.port = big_endian(body, 2 * size);
  header.destination.port = big_endian(body, 2 * size + 2);
  header.source.family = header.destination.family = family;
  header.has_addresses = true;
}

/// The extensions, type-length-value, are skipped; they must fill the rest exactly.
bool whole_extensions(std::string_view tlvs) {
  while (!tlvs.empty()) {
    if (tlvs.size() < 3) return false;
    const std::size_t size = std::size_t{3} + big_endian(tlvs, 1);
    if (size > tlvs.size()) return false;
    tlvs.remove_prefix(size);
  }
  return true;
}

ProxyHeaderOutcome parse_v2(std::string_view bytes, ProxyHeader& header) {
  if (bytes.size() < kV2FixedBytes) return {};
  const auto version_command = static_cast<unsigned char>(bytes[12]);
  const auto family_protocol = static_cast<unsigned char>(bytes[13]);
  if (version_command >> 4U != 2) return malformed("the PROXY header is of an unknown version");
  const unsigned command = version_command & 0xfU;
  const unsigned family = family_protocol >> 4U;
  const unsigned protocol = family_protocol & 0xfU;
  if (command > 1) return malformed("the PROXY header has an unknown command");
  if (family > 3 || protocol > 2) return malformed("the PROXY header has an unknown address family");
  header.bytes = kV2FixedBytes + big_endian(bytes, 14);
  if (header.bytes > kProxyHeaderBytesMax) return malformed("the PROXY header is too long");
  constexpr std::array<std::size_t, 4> kAddressBytes{0, 12, 36, 216};  // of both, with their ports
  const std::size_t size = kAddressBytes[family];
  const bool meant = command == 1 && family != 0;
  if (meant && protocol != 1) return malformed("the PROXY header is not of a stream");
  if (meant && header.bytes - kV2FixedBytes < size)
    return malformed("the PROXY header has no room for its addresses");
  if (bytes.size() < header.bytes) return {};
  if (!meant) return {Status::complete, {}};
  const std::string_view body = bytes.substr(kV2FixedBytes, header.bytes - kV2FixedBytes);
  if (!whole_extensions(body.substr(size))) return malformed("the PROXY header's extensions are cut");
  if (family == 1) read_addresses(body, 4, AF_INET, header);
  if (family == 2) read_addresses(body, 16, AF_INET6, header);
  if (family == 3) {
    header.source.family = header.destination.family = AF_UNIX;
    header.has_addresses = true;
  }
  return {Status::complete, {}};
}

// ---- Writing ----

/// As the family it is written with: IPv4 in its IPv6 form where the other address is IPv6.
std::array<std::uint8_t, 16> as_ipv6(const IpAddress& address) {
  if (address.family == AF_INET6) return address.ip;
  std::array<std::uint8_t, 16> mapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  std::copy_n(address.ip.begin(), 4, mapped.begin() + 12);
  return mapped;
}

/// An IPv4 address that was accepted on an IPv6 socket is one of IPv4 again.
IpAddress unmapped(const IpAddress& address) {
  constexpr std::array<std::uint8_t, 12> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (address.family != AF_INET6 || !std::equal(kMapped.begin(), kMapped.end(), address.ip.begin()))
    return address;
  IpAddress plain{.port = address.port, .family = AF_INET};
  std::copy_n(address.ip.begin() + 12, 4, plain.ip.begin());
  return plain;
}

bool is_ip(const IpAddress& address) {
  return address.family == AF_INET || address.family == AF_INET6;
}

char* append(char* at, std::string_view text) {
  return std::ranges::copy(text, at).out;
}

char* append_big_endian(char* at, std::size_t value) {
  *at++ = static_cast<char>(value >> 8U);
  *at++ = static_cast<char>(value & 0xffU);
  return at;
}

}  // namespace

ProxyHeaderOutcome parse_proxy_header(std::string_view bytes, ProxyHeader& header) noexcept {
  header = {};
  if (bytes.empty()) return {};
  if (may_begin(bytes, kV1Begin))
    return bytes.size() < kV1Begin.size() ? ProxyHeaderOutcome{} : parse_v1(bytes, header);
  if (may_begin(bytes, kV2Signature)) return parse_v2(bytes, header);
  return malformed("the connection does not begin with a PROXY header");
}

std::size_t write_proxy_v1(const IpAddress& from, const IpAddress& to,
                           std::span<char, kProxyWrittenMax> out) noexcept {
  const IpAddress source = unmapped(from);
  const IpAddress destination = unmapped(to);
  char* at = append(out.data(), kV1Begin);
  if (!is_ip(source) || !is_ip(destination)) {
    at = append(at, "UNKNOWN\r\n");
    return static_cast<std::size_t>(at - out.data());
  }
  const bool v4 = source.family == AF_INET && destination.family == AF_INET;
  at = append(at, v4 ? "TCP4" : "TCP6");
  for (const IpAddress* address : {&source, &destination}) {
    *at++ = ' ';
    if (v4) {
      at += address->write_text(at);
    } else {
      const auto ip = as_ipv6(*address);
      ::inet_ntop(AF_INET6, ip.data(), at, INET6_ADDRSTRLEN);
      at += std::strlen(at);
    }
  }
  for (const IpAddress* address : {&source, &destination}) {
    *at++ = ' ';
    at = std::to_chars(at, at + 5, address->port).ptr;
  }
  at = append(at, "\r\n");
  return static_cast<std::size_t>(at - out.data());
}

std::size_t write_proxy_v2(const IpAddress& from, const IpAddress& to,
                           std::span<char, kProxyWrittenMax> out) noexcept {
  const IpAddress source = unmapped(from);
  const IpAddress destination = unmapped(to);
  constexpr char kVersionAndProxy = 0x21;
  char* at = append(out.data(), kV2Signature);
  *at++ = kVersionAndProxy;
  if (!is_ip(source) || !is_ip(destination)) {
    *at++ = 0;
    at = append_big_endian(at, 0);
    return static_cast<std::size_t>(at - out.data());
  }
  const bool v4 = source.family == AF_INET && destination.family == AF_INET;
  const std::size_t size = v4 ? 4 : 16;
  *at++ = v4 ? 0x11 : 0x21;
  at = append_big_endian(at, 2 * size + 4);
  for (const IpAddress* address : {&source, &destination}) {
    const auto ip = v4 ? address->ip : as_ipv6(*address);
    std::memcpy(at, ip.data(), size);
    at += size;
  }
  at = append_big_endian(at, source.port);
  at = append_big_endian(at, destination.port);
  return static_cast<std::size_t>(at - out.data());
}

std::string_view proxy_header_of_our_own(int version) noexcept {
  using namespace std::string_view_literals;
  return version == 1 ? "PROXY UNKNOWN\r\n"sv : "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"sv;
}

}  // namespace lb
