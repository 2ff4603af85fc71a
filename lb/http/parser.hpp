// The sans-IO HTTP/1.1 head parser: bytes in, a head or an error out. Strict (RFC 9112): what two
// implementations could read differently is refused. Stateless but for HeadScanner, which remembers how
// far the search for the end of the head has come, so that a head arriving byte by byte costs O(n).
#pragma once

#include <cstdint>
#include <string_view>

#include "lb/http/message.hpp"

namespace lb::http {

/// Why a message was refused. `status` is the answer to a client (400, 414, 431, 501, 505 ...); for a
/// response of a backend it is 502. `detail` is a literal naming the rule, with its RFC section.
struct HttpError {
  std::uint16_t status = 400;
  const char* detail = "";
};

enum class ParseStatus : std::uint8_t { complete, need_more, error };

struct ParseOutcome {
  ParseStatus status = ParseStatus::need_more;
  HttpError error;  // when status is error
};

/// Remembers what was searched already. Reset when the head's first byte changes (a new message).
struct HeadScanner {
  std::uint32_t scanned = 0;         // bytes in which the end of the head is known not to be
  std::uint32_t parse_again_at = 0;  // private to the parser: how many bytes make another attempt worth it
  void reset() noexcept { scanned = parse_again_at = 0; }
};

/// Parses the request head at the beginning of `bytes`. Up to one empty line before it is skipped
/// (RFC 9112 2.2) and counted in head_bytes. need_more: nothing in `out` is valid; call again with the
/// same bytes and more. Errors that are certain before the head is complete are reported early: overlong
/// lines and heads, control characters, bare CR and LF at once, as is everything in the first 256 bytes; the
/// rest at the latest when the bytes have doubled.
///
/// What the parser decides beside syntax, so that all later code may rely on the facts:
/// - fields named by Connection are hop_by_hop, unless they are among the known ids: those cannot be named
///   away. Fields that imitate known ones with '_' for '-' are not forwarded either.
/// - facts.connection_upgrade is false from HTTP/1.0, with content, without Upgrade, and for h2c.
/// - facts.expect_continue is false, and Expect not forwarded, from HTTP/1.0 and without content.
ParseOutcome parse_request_head(std::string_view bytes, const HeadLimits& limits, HeadScanner& scanner,
                                RequestHead& out) noexcept;

/// The same for the head of a response, which may be a 1xx. No empty line is skipped. A 1xx or 204 that
/// announces content has facts.connection_close, for the connection must not be used again.
ParseOutcome parse_response_head(std::string_view bytes, const HeadLimits& limits, HeadScanner& scanner,
                                 ResponseHead& out) noexcept;

}  // namespace lb::http
