// The sans-IO HTTP/1.1 head parser: bytes in, a head or an error out. Strict (RFC 9112): what two
// implementations could read differently is refused. Stateless but for HeadScanner, which remembers how
// far the search for the end of the head has come, so that a head arriving byte by byte costs O(n).
#pragma once

#include <cstdint>
#include <string_view>

#include "lb/http/message.hpp"

namespace lb::http {

/// Why a message was refused. `status` is the answer to a client (400, 414, 431, 501, 505 ...); for a response
/// of a backend it is 502. `detail` is a literal naming the rule, with its RFC section.
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
  std::uint32_t scanned = 0;
  void reset() noexcept { scanned = 0; }
};

/// Parses the request head at the beginning of `bytes`. Up to one empty line before it is skipped
/// (RFC 9112 2.2) and counted in head_bytes. need_more: nothing in `out` is valid; call again with the
/// same bytes and more. Errors that are certain before the head is complete (an overlong line or head, a
/// bare CR, a method that is no token) are reported at once.
ParseOutcome parse_request_head(std::string_view bytes, const HeadLimits& limits, HeadScanner& scanner,
                                RequestHead& out) noexcept;

/// The same for the head of a response, which may be a 1xx.
ParseOutcome parse_response_head(std::string_view bytes, const HeadLimits& limits, HeadScanner& scanner,
                                 ResponseHead& out) noexcept;

}  // namespace lb::http
