#include "lb/proxy/hash_key.hpp"

#include <string_view>

#include "lb/base/hash.hpp"
#include "lb/http/chars.hpp"
#include "lb/http/cookie.hpp"

namespace lb {
namespace {

/// The first that is not empty.
std::string_view header_of(const http::FieldTable& table, std::string_view name) noexcept {
  for (const http::Field& field : table) {
    if (!field.value.empty() && http::equals_ignore_case(field.name, name)) return field.value;
  }
  return {};
}

std::string_view part_of(const HashConfig& hash, const http::RequestHead& head) noexcept {
  switch (hash.by) {
    case HashBy::client_ip:
      return {};
    case HashBy::header:
      return header_of(head.table, hash.name);
    case HashBy::cookie:
      return http::cookie_of(head.table, hash.name);
    case HashBy::path: {
      const std::string_view path = head.path.substr(0, head.path.find('?'));
      return path.empty() ? "/" : path;
    }
    case HashBy::uri:
      return head.path;
  }
  return {};
}

}  // namespace

std::uint64_t hash_key(const HashConfig& hash, const http::RequestHead& head,
                       std::uint64_t client_hash) noexcept {
  const std::string_view part = part_of(hash, head);
  return part.empty() ? client_hash : hash_bytes(part);
}

}  // namespace lb
