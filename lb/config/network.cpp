#include "lb/config/network.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <optional>

namespace lb {
namespace {

constexpr std::array<std::uint8_t, 16> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
constexpr unsigned kMappedBits = 96;

bool is_mapped(const Network& network) {
  return network.bits >= kMappedBits &&
         std::equal(kMapped.begin(), kMapped.begin() + 12, network.prefix.begin());
}

/// The bits of byte `index` that lie inside the first `bits`.
std::uint8_t mask(unsigned bits, std::size_t index) {
  const auto begin = static_cast<unsigned>(index) * 8;
  if (bits >= begin + 8) return 0xff;
  if (bits <= begin) return 0;
  return static_cast<std::uint8_t>(0xffU << (begin + 8 - bits));
}

std::optional<unsigned> parse_bits(std::string_view text, unsigned most) {
  unsigned bits = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bits);
  const bool whole = error == std::errc{} && end == text.data() + text.size();
  if (!whole || bits > most || (text.size() > 1 && text.front() == '0')) return std::nullopt;
  return bits;
}

}  // namespace

bool Network::contains(const std::array<std::uint8_t, 16>& address) const noexcept {
  if (unix_sockets) return false;
  for (std::size_t i = 0; i < address.size(); ++i) {
    if (((address[i] ^ prefix[i]) & mask(bits, i)) != 0) return false;
  }
  return true;
}

std::string Network::text() const {
  if (unix_sockets) return "unix";
  char buffer[INET6_ADDRSTRLEN];
  const bool v4 = is_mapped(*this);
  ::inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? prefix.data() + 12 : prefix.data(), buffer, sizeof buffer);
  return std::string{buffer} + "/" + std::to_string(v4 ? bits - kMappedBits : bits);
}

std::expected<Network, std::string> parse_network(std::string_view text) {
  if (text == "unix") return Network{.unix_sockets = true};
  const std::size_t slash = std::min(text.find('/'), text.size());
  const std::string address{text.substr(0, slash)};
  Network network;
  const bool v4 = ::inet_pton(AF_INET, address.c_str(), network.prefix.data() + 12) == 1;
  const bool known =
      !address.contains('\0') && (v4 || ::inet_pton(AF_INET6, address.c_str(), network.prefix.data()) == 1);
  if (!known) return std::unexpected("a network such as \"10.0.0.0/8\" or \"2001:db8::/32\", or \"unix\"");
  if (v4) std::copy_n(kMapped.begin(), 12, network.prefix.begin());
  const unsigned most = v4 ? 32 : 128;
  const auto bits = slash == text.size() ? most : parse_bits(text.substr(slash + 1), most);
  if (!bits) return std::unexpected("a network with 0 to " + std::to_string(most) + " bits behind its \"/\"");
  network.bits = static_cast<std::uint8_t>(*bits + (v4 ? kMappedBits : 0));
  Network masked = network;
  for (std::size_t i = 0; i < masked.prefix.size(); ++i) masked.prefix[i] &= mask(masked.bits, i);
  if (masked != network)
    return std::unexpected("a network without bits behind its prefix: \"" + masked.text() + "\"");
  return network;
}

}  // namespace lb
