#include "lb/http/trailers.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace lb::http {
namespace {

// RFC 9110 6.5.1 names the kinds; these are their registered fields.
constexpr auto kForbidden = std::to_array<std::string_view>({
    // framing and routing
    "transfer-encoding",
    "content-length",
    "host",
    "connection",
    "keep-alive",
    "upgrade",
    "trailer",
    "te",
    "via",
    "forwarded",
    "alt-svc",
    "http2-settings",
    // request modifiers
    "cache-control",
    "expect",
    "max-forwards",
    "pragma",
    "range",
    "origin",
    "referer",
    // authentication and cookies
    "authorization",
    "www-authenticate",
    "authentication-info",
    "cookie",
    "cookie2",
    "set-cookie",
    "set-cookie2",
    // control of responses
    "age",
    "date",
    "expires",
    "location",
    "retry-after",
    "vary",
    "warning",
    "server",
    "etag",
    "last-modified",
    "strict-transport-security",
    "clear-site-data",
    // processing of content
    "content-encoding",
    "content-type",
    "content-range",
    "content-location",
    "content-disposition",
    "content-security-policy",
    "content-language",
});
constexpr auto kForbiddenBeginnings =
    std::to_array<std::string_view>({"proxy-", "x-forwarded-", "x-real-", "if-", "sec-", "access-control-"});

constexpr std::size_t kNameBytesMax =
    std::ranges::max(kForbidden, {}, [](std::string_view name) { return name.size(); }).size();

}  // namespace

bool may_be_trailer(std::string_view name) noexcept {
  std::array<char, kNameBytesMax> memory{};
  const std::size_t size = std::min(name.size(), memory.size());
  std::transform(name.begin(), name.begin() + static_cast<std::ptrdiff_t>(size), memory.begin(), [](char c) {
    if (c == '_') return '-';
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
  });
  const std::string_view lower(memory.data(), size);
  if (std::ranges::any_of(kForbiddenBeginnings, [&](auto begin) { return lower.starts_with(begin); })) {
    return false;
  }
  return name.size() > size || std::ranges::find(kForbidden, lower) == kForbidden.end();
}

std::string_view forwardable_trailers(std::string& section) noexcept {
  std::size_t kept = 0;
  for (std::size_t at = 0; at < section.size() && section[at] != '\r';) {
    const std::size_t next = std::min(section.find('\n', at), section.size() - 1) + 1;
    const std::string_view line = std::string_view(section).substr(at, next - at);
    if (may_be_trailer(line.substr(0, line.find(':')))) {
      std::copy(line.begin(), line.end(), section.begin() + static_cast<std::ptrdiff_t>(kept));
      kept += line.size();
    }
    at = next;
  }
  return std::string_view(section).substr(0, kept);
}

}  // namespace lb::http
