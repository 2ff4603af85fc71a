// Heads for the other side, generated from a parsed head: hop-by-hop fields dropped, framing regenerated,
// forwarding fields set. Nothing is copied verbatim but field names and values that passed the parser.
// Writes into memory of the caller; allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "lb/http/framing.hpp"
#include "lb/http/message.hpp"

namespace lb::http {

/// What the proxy adds to a request.
struct ForwardContext {
  std::string_view client_ip;     // appended to X-Forwarded-For
  std::string_view proto;         // X-Forwarded-Proto, "http" or "https"
  std::string_view via_name;      // pseudonym in Via: "1.1 NAME", 1.0 for a message received with that
  std::string_view backend_host;  // Host when the request (HTTP/1.0) has none
};

/// The request head for the upstream side: always HTTP/1.1 and origin-form, one Host field (the
/// authority), X-Forwarded-For appended to, X-Forwarded-Proto and -Host set, Via appended to, framing
/// from `framing`, Connection only for an upgrade and for `TE: trailers`, which is passed on for a client
/// that said so (RFC 9110 10.1.4), as Trailer is with a chunked body. Max-Forwards of TRACE and OPTIONS is
/// one less (RFC 9110 7.6.2). Expect: 100-continue is passed on with content. Returns the bytes written, or 0
/// when `out` is too small (kHeadGrowthMax more than the received head is always enough).
std::size_t write_upstream_head(const RequestHead& head, const BodyFraming& framing,
                                const ForwardContext& context, std::span<char> out) noexcept;

/// How the response goes to the client.
struct ResponseContext {
  std::string_view via_name;
  std::string_view extra_block;              // ready-made lines "Name: value\r\n" ...; may be empty
  std::span<const std::string> extra_names;  // the fields set by extra_block: the backend's are dropped
  Method request_method = Method::get;
  std::uint8_t client_minor_version = 1;
  bool keep_alive = true;  // false writes "Connection: close"; true to a 1.0 client "Connection: keep-alive"
  bool trailers = false;   // trailers of a chunked body go on, and so does the field that announces them
  std::string_view date;   // for a final response that has no Date (RFC 9110 6.6.1); empty: none is added
};

/// The framing towards the client for an upstream framing: until_close becomes chunked for a 1.1 client;
/// chunked becomes until_close for a 1.0 client (and then keep_alive must be false).
BodyFraming client_framing(const BodyFraming& upstream, std::uint8_t client_minor_version) noexcept;

/// The response head for the client: HTTP/1.1 status line, framing from `framing` (client_framing()'s
/// result; for HEAD and 304 a Content-Length of the backend is kept), Via appended to, Date added where it is
/// missing. 1xx heads carry neither a Connection field nor extra_block nor a Date of ours; a 101 keeps
/// Upgrade and "Connection: upgrade". A 426 keeps Upgrade too. Returns bytes written or 0 when `out` is too
/// small.
std::size_t write_client_head(const ResponseHead& head, const BodyFraming& framing,
                              const ResponseContext& context, std::span<char> out) noexcept;

/// Added to a received head's size this bounds the generated one, given context strings of at most 1 KiB in
/// total beside extra_block.
inline constexpr std::size_t kHeadGrowthMax = 2048;

/// A whole short response made by the proxy itself: text/plain body "STATUS Reason: detail\n".
/// `retry_after_s` 0: no such field. To HEAD the body is left out, its length is not. `date`: the value of
/// the Date field; empty: none.
std::string make_response(std::uint16_t status, std::string_view detail, bool keep_alive,
                          Method request_method, std::uint32_t retry_after_s, std::string_view extra_block,
                          std::string_view date = {});

/// The answer to OPTIONS for whom this proxy is the last recipient (RFC 9110 7.6.2, 9.3.7): 200, no content.
std::string make_options_response(bool keep_alive, std::string_view extra_block, std::string_view date);

/// The same for TRACE (RFC 9110 9.3.8): the request as it was received, without the fields that are likely
/// to hold what must not come back: credentials, cookies, tokens, keys.
std::string make_trace_response(const RequestHead& head, bool keep_alive, std::string_view extra_block,
                                std::string_view date);

/// The standard reason phrase, "Unknown" for others.
std::string_view reason_phrase(std::uint16_t status) noexcept;

}  // namespace lb::http
