// HTTP/1.1 heads as parsed values. Every string_view points into the bytes given to the parser and lives
// as long as they do. A head object is large (it holds its field table) and meant to be reused: one per
// worker. One thread.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace lb::http {

enum class Method : std::uint8_t { get, head, post, put, delete_, connect, options, trace, patch, other };

/// Safe or idempotent (RFC 9110 9.2.2): may be sent again when the connection died before a response.
constexpr bool idempotent(Method m) noexcept {
  return m == Method::get || m == Method::head || m == Method::put || m == Method::delete_ ||
         m == Method::options || m == Method::trace;
}

/// The fields that a proxy itself looks at; everything else is `other`.
enum class FieldId : std::uint8_t {
  other,
  connection,
  content_length,
  transfer_encoding,
  host,
  expect,
  upgrade,
  te,
  trailer,
  keep_alive,
  proxy_connection,
  proxy_authenticate,
  proxy_authorization,
  via,
  forwarded,
  x_forwarded_for,
  x_forwarded_proto,
  x_forwarded_host,
  max_forwards,
  date,
  server,
};

struct Field {
  std::string_view name;   // as received
  std::string_view value;  // without surrounding white space
  FieldId id = FieldId::other;
  bool hop_by_hop = false;  // not to be forwarded: RFC 9110 7.6.1, or named by Connection
};

inline constexpr std::uint32_t kFieldCountMax = 128;

/// Limits of one head. Each is answered with the status beside it.
struct HeadLimits {
  std::uint32_t head_bytes_max = 32 * 1024;          // 431 (a response: 502)
  std::uint32_t request_line_bytes_max = 16 * 1024;  // 414
  std::uint32_t field_count_max = 100;               // 431; at most kFieldCountMax
};

/// What Connection, Transfer-Encoding, Content-Length and Upgrade said, gathered while parsing. Framing is
/// decided from this in framing.hpp and nowhere else.
struct HeadFacts {
  std::uint64_t content_length = 0;
  bool has_content_length = false;
  bool has_transfer_encoding = false;
  bool transfer_encoding_is_chunked = false;  // exactly "chunked"
  bool transfer_encoding_malformed = false;   // several fields, no list of tokens, or chunked not last
  bool connection_close = false;
  bool connection_keep_alive = false;
  bool connection_upgrade = false;  // of a request: only when the upgrade may be passed on, see parser.hpp
  bool has_upgrade = false;
  bool expect_continue = false;
  bool te_trailers = false;  // of a request: its sender takes trailers (RFC 9110 10.1.4)
  bool has_trailer = false;  // the field that announces them
  bool has_date = false;
};

struct FieldTable {
  std::array<Field, kFieldCountMax> fields;
  std::uint32_t field_count = 0;
  [[nodiscard]] const Field* begin() const noexcept { return fields.data(); }
  [[nodiscard]] const Field* end() const noexcept { return fields.data() + field_count; }
  /// The first field with this id, or nullptr.
  [[nodiscard]] const Field* find(FieldId id) const noexcept {
    for (const Field& f : *this) {
      if (f.id == id) return &f;
    }
    return nullptr;
  }
};

struct RequestHead {
  FieldTable table;
  HeadFacts facts;
  std::string_view method_text;
  std::string_view target;     // as received: origin-form, absolute-form or "*"
  std::string_view authority;  // from absolute-form (it overrides Host, RFC 9112 3.2.2), else Host's value
  std::string_view path;  // origin-form part of the target: what goes upstream; "/" when empty. May begin
                          // with '?' (http://host?query): the writer puts the '/' before it
  Method method = Method::other;
  std::uint8_t minor_version = 1;  // HTTP/1.minor
  std::uint32_t head_bytes = 0;    // consumed, final CRLF included
};

struct ResponseHead {
  FieldTable table;
  HeadFacts facts;
  std::string_view reason;
  std::uint16_t status = 0;
  std::uint8_t minor_version = 1;
  std::uint32_t head_bytes = 0;
};

}  // namespace lb::http
