// Where a message ends: decided here, from one parsed head, and nowhere else (RFC 9112 6.3). Everything
// ambiguous is an error; what goes to the other side is framed anew from the result, never copied.
#pragma once

#include <cstdint>
#include <optional>

#include "lb/http/message.hpp"
#include "lb/http/parser.hpp"

namespace lb::http {

struct BodyFraming {
  enum class Kind : std::uint8_t {
    none,    // no body: the message ends with its head
    length,  // exactly `length` bytes
    chunked,
    until_close,  // responses only
    tunnel,       // 101: the connection leaves HTTP
  };
  Kind kind = Kind::none;
  std::uint64_t length = 0;  // for Kind::length; never 0 (that is none)
  friend bool operator==(const BodyFraming&, const BodyFraming&) = default;
};

struct FramingOutcome {
  BodyFraming framing;
  std::optional<HttpError> error;
};

/// Content-Length with Transfer-Encoding, a coding other than one `chunked`, Transfer-Encoding in
/// HTTP/1.0: errors.
FramingOutcome request_framing(const RequestHead& head) noexcept;

/// `request_method` is that of the request answered; `upgrade_requested` whether it asked to switch
/// protocols (else a 101 is an error). 1xx, 204, 304 and answers to HEAD have no body. A present
/// Content-Length of such an answer is kept by the head writer.
FramingOutcome response_framing(const ResponseHead& head, Method request_method,
                                bool upgrade_requested) noexcept;

/// Whether the sender will keep its connection open after this message, by version and Connection
/// (RFC 9112 9.3); until_close framing is judged by the caller.
bool wants_keep_alive(const HeadFacts& facts, std::uint8_t minor_version) noexcept;

/// Whether a request's upgrade goes upstream; the `upgrade_requested` of response_framing(). False from
/// HTTP/1.0, for h2c and for requests with content: the parser saw to that.
constexpr bool forwards_upgrade(const HeadFacts& request) noexcept {
  return request.connection_upgrade && request.has_upgrade;
}

}  // namespace lb::http
