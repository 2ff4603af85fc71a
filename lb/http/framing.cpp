#include "lb/http/framing.hpp"

#include <cstdint>
#include <optional>

#include "lb/http/message.hpp"
#include "lb/http/parser.hpp"

namespace lb::http {
namespace {

using Kind = BodyFraming::Kind;

FramingOutcome refuse(std::uint16_t status, const char* detail) noexcept {
  return {{}, HttpError{status, detail}};
}

// The rules that both sides share; `status` for what is ambiguous, `unknown_coding_status` for what is not.
std::optional<HttpError> check_transfer_encoding(const HeadFacts& facts, std::uint8_t minor_version,
                                                 std::uint16_t status,
                                                 std::uint16_t unknown_coding_status) noexcept {
  if (facts.has_content_length) {
    return HttpError{status, "Content-Length together with Transfer-Encoding (RFC 9112 6.3)"};
  }
  if (minor_version == 0) return HttpError{status, "Transfer-Encoding in HTTP/1.0 (RFC 9112 6.1)"};
  if (facts.transfer_encoding_malformed) {
    return HttpError{status, "malformed or repeated Transfer-Encoding (RFC 9112 6.1)"};
  }
  if (!facts.transfer_encoding_is_chunked) {
    return HttpError{unknown_coding_status, "transfer coding other than chunked (RFC 9112 6.1)"};
  }
  return std::nullopt;
}

FramingOutcome by_length(std::uint64_t length) noexcept {
  return {{length == 0 ? Kind::none : Kind::length, length}, std::nullopt};
}

}  // namespace

FramingOutcome request_framing(const RequestHead& head) noexcept {
  const HeadFacts& facts = head.facts;
  if (facts.has_transfer_encoding) {
    const auto error = check_transfer_encoding(facts, head.minor_version, 400, 501);
    if (error) return {{}, error};
    return {{Kind::chunked, 0}, std::nullopt};
  }
  return by_length(facts.has_content_length ? facts.content_length : 0);
}

FramingOutcome response_framing(const ResponseHead& head, Method request_method,
                                bool upgrade_requested) noexcept {
  const HeadFacts& facts = head.facts;
  if (facts.has_transfer_encoding) {
    const auto error = check_transfer_encoding(facts, head.minor_version, 502, 502);
    if (error) return {{}, error};
  }
  if (head.status == 101) {
    if (!upgrade_requested) return refuse(502, "101 without a request to upgrade (RFC 9110 7.8)");
    if (head.minor_version == 0) return refuse(502, "101 in HTTP/1.0 (RFC 9110 15.2)");
    return {{Kind::tunnel, 0}, std::nullopt};
  }
  if (head.status < 200 || head.status == 204 || head.status == 304 || request_method == Method::head) {
    return {};
  }
  if (facts.has_transfer_encoding) return {{Kind::chunked, 0}, std::nullopt};
  if (facts.has_content_length) return by_length(facts.content_length);
  return {{Kind::until_close, 0}, std::nullopt};
}

bool wants_keep_alive(const HeadFacts& facts, std::uint8_t minor_version) noexcept {
  if (facts.connection_close) return false;
  return minor_version > 0 || facts.connection_keep_alive;
}

}  // namespace lb::http
