#include "lb/proxy/handed_client.hpp"

#include <algorithm>

namespace lb {
namespace {

constexpr std::size_t kPackedBytes = 19;  // of one: family, port, address

void pack(std::string& out, const IpAddress& address) {
  out.push_back(static_cast<char>(address.family));
  out.push_back(static_cast<char>(address.port >> 8U));
  out.push_back(static_cast<char>(address.port & 0xffU));
  out.append(reinterpret_cast<const char*>(address.ip.data()), address.ip.size());
}

IpAddress unpack(std::string_view bytes) {
  IpAddress address;
  const auto byte = [&](std::size_t at) { return static_cast<std::uint8_t>(bytes[at]); };
  address.family = byte(0);
  address.port = static_cast<std::uint16_t>(byte(1) << 8U | byte(2));
  std::copy_n(bytes.begin() + 3, address.ip.size(), reinterpret_cast<char*>(address.ip.data()));
  return address;
}

}  // namespace

std::string pack_addresses(const std::optional<ToldAddresses>& told) {
  std::string out;
  if (!told) return out;
  pack(out, told->source);
  pack(out, told->destination);
  return out;
}

bool unpack_addresses(std::string_view bytes, std::optional<ToldAddresses>& told) noexcept {
  told.reset();
  if (bytes.empty()) return true;
  if (bytes.size() != 2 * kPackedBytes) return false;
  told = ToldAddresses{unpack(bytes), unpack(bytes.substr(kPackedBytes))};
  return true;
}

}  // namespace lb
