#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "lb/http/chars.hpp"
#include "lb/http/fields.hpp"
#include "lb/http/parser.hpp"

namespace lb::http {
namespace {

ParseOutcome parse_version(HeadCursor& cursor, ResponseHead& out) noexcept {
  constexpr std::string_view kName = "HTTP/1.";
  const auto size = static_cast<std::size_t>(cursor.end - cursor.p);
  const char* const p = cursor.p;
  if (std::memcmp(p, kName.data(), std::min(size, kName.size())) != 0) {
    return parse_error(502, "response does not begin with HTTP/1.x (RFC 9112 4)");
  }
  if (size < 8) return parse_need_more();
  if ((char_class(p[7]) & kDigit) == 0) return parse_error(502, "version is not HTTP/1.x (RFC 9112 2.3)");
  out.minor_version = p[7] == '0' ? 0 : 1;
  if (size < 9) return parse_need_more();
  if (p[8] != ' ') return parse_error(502, "no single space after the version (RFC 9112 4)");
  cursor.p = p + 9;
  return parse_complete();
}

// Three digits; 600 to 999 are used in the wild and framed like any final answer.
ParseOutcome parse_status_code(HeadCursor& cursor, ResponseHead& out) noexcept {
  unsigned status = 0;
  for (std::ptrdiff_t i = 0; i < 3; ++i) {
    if (cursor.end - cursor.p <= i) return parse_need_more();
    if ((char_class(cursor.p[i]) & kDigit) == 0) {
      return parse_error(502, "status code is not three digits (RFC 9112 4)");
    }
    status = status * 10 + static_cast<unsigned>(cursor.p[i] - '0');
  }
  if (status < 100) return parse_error(502, "status code below 100 (RFC 9110 15)");
  out.status = static_cast<std::uint16_t>(status);
  cursor.p += 3;
  return parse_complete();
}

// SP [reason] CRLF; the SP is often forgotten when there is no reason.
ParseOutcome parse_reason(HeadCursor& cursor, ResponseHead& out) noexcept {
  if (cursor.p == cursor.end) return parse_need_more();
  if (*cursor.p == ' ') {
    ++cursor.p;
  } else if (*cursor.p != '\r') {
    return parse_error(502, "status code is not followed by a space (RFC 9112 4)");
  }
  const char* const stop = find_value_end(cursor.begin, cursor.p, cursor.end);
  if (stop == cursor.end) return parse_need_more();
  if (*stop != '\r') return parse_error(502, "control character or bare LF in the status line (RFC 9112 4)");
  if (cursor.end - stop < 2) return parse_need_more();
  if (stop[1] != '\n') return parse_error(502, "bare CR (RFC 9112 2.2)");
  out.reason = {cursor.p, stop};
  cursor.p = stop + 2;
  return parse_complete();
}

// A 1xx or 204 that announces content is wrong (RFC 9110 8.6, RFC 9112 6.1) though clear: it has none. If
// the backend sends some all the same, it must not be taken for the next answer, so the connection ends.
void check_no_content(ResponseHead& out) noexcept {
  if (out.status >= 200 && out.status != 204) return;
  if (out.facts.has_transfer_encoding || out.facts.content_length > 0) out.facts.connection_close = true;
}

ParseOutcome parse_whole(HeadCursor& cursor, const HeadLimits& limits, ResponseHead& out) noexcept {
  ParseOutcome outcome = parse_version(cursor, out);
  if (outcome.status == ParseStatus::complete) outcome = parse_status_code(cursor, out);
  if (outcome.status == ParseStatus::complete) outcome = parse_reason(cursor, out);
  if (outcome.status != ParseStatus::complete) return outcome;
  FieldNotes notes;
  outcome = parse_fields(cursor, limits.field_count_max, out.table, out.facts, notes);
  if (outcome.status == ParseStatus::complete) check_no_content(out);
  return outcome;
}

}  // namespace

ParseOutcome parse_response_head(std::string_view bytes, const HeadLimits& limits, HeadScanner& scanner,
                                 ResponseHead& out) noexcept {
  if (bytes.empty() || surely_incomplete(bytes, limits, scanner)) return parse_need_more();
  const std::size_t size = std::min<std::size_t>(bytes.size(), limits.head_bytes_max);
  HeadCursor cursor{bytes.data(), bytes.data(), bytes.data() + size};
  const ParseOutcome outcome = parse_whole(cursor, limits, out);
  switch (outcome.status) {
    case ParseStatus::complete:
      out.head_bytes = static_cast<std::uint32_t>(cursor.p - cursor.begin);
      break;
    case ParseStatus::error:
      return parse_error(502, outcome.error.detail);
    case ParseStatus::need_more:
      if (size == limits.head_bytes_max) return parse_error(502, "head is too large");
      remember_incomplete(bytes, scanner);
      break;
  }
  return outcome;
}

}  // namespace lb::http
