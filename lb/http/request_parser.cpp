#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "lb/http/authority.hpp"
#include "lb/http/chars.hpp"
#include "lb/http/fields.hpp"
#include "lb/http/parser.hpp"

namespace lb::http {
namespace {

/// No registered method is longer than 17; RFC 9112 3 suggests 501 for one longer than any known.
constexpr std::ptrdiff_t kMethodBytesMax = 64;

Method method_of(std::string_view text) noexcept {
  switch (text.size()) {
    case 3:
      if (text == "GET") return Method::get;
      if (text == "PUT") return Method::put;
      break;
    case 4:
      if (text == "HEAD") return Method::head;
      if (text == "POST") return Method::post;
      break;
    case 5:
      if (text == "PATCH") return Method::patch;
      if (text == "TRACE") return Method::trace;
      break;
    case 6:
      if (text == "DELETE") return Method::delete_;
      break;
    case 7:
      if (text == "OPTIONS") return Method::options;
      if (text == "CONNECT") return Method::connect;
      break;
    default:
      break;
  }
  return Method::other;
}

ParseOutcome bad_line_end(char stop) noexcept {
  if (stop == '\n') return parse_error(400, "line ends with a bare LF (RFC 9112 2.2)");
  if (stop == '\r') return parse_error(400, "bare CR (RFC 9112 2.2)");
  return parse_error(400, "request line does not end after the version (RFC 9112 3)");
}

ParseOutcome parse_method(HeadCursor& cursor, RequestHead& out) noexcept {
  const char* p = cursor.p;
  while (p != cursor.end && (char_class(*p) & kToken) != 0 && p - cursor.p <= kMethodBytesMax) ++p;
  if (p - cursor.p > kMethodBytesMax) return parse_error(501, "method is too long (RFC 9112 3)");
  if (p == cursor.end) return parse_need_more();
  if (p == cursor.p || *p != ' ') {
    return parse_error(400, "method is not a token followed by one space (RFC 9112 3.1)");
  }
  out.method_text = {cursor.p, p};
  out.method = method_of(out.method_text);
  cursor.p = p + 1;
  return parse_complete();
}

// Which form a target must have depends on the method, and so does what goes upstream (RFC 9112 3.2).
ParseOutcome classify_target(RequestHead& out) noexcept {
  const std::string_view target = out.target;
  out.authority = {};
  out.path = target;
  if (out.method == Method::connect) {
    if (!is_valid_authority(target, PortRule::required)) {
      return parse_error(400, "target of CONNECT is not host:port (RFC 9112 3.2.3)");
    }
    out.authority = target;
    return parse_complete();
  }
  if (target.front() == '/') return parse_complete();
  if (target == "*") {
    if (out.method == Method::options) return parse_complete();
    return parse_error(400, "target * without OPTIONS (RFC 9112 3.2.4)");
  }
  std::size_t scheme_bytes = 0;
  if (equals_ignore_case(target.substr(0, 7), "http://")) scheme_bytes = 7;
  if (equals_ignore_case(target.substr(0, 8), "https://")) scheme_bytes = 8;
  if (scheme_bytes == 0) {
    return parse_error(400, "target is neither a path nor an http or https URI (RFC 9112 3.2)");
  }
  const std::string_view rest = target.substr(scheme_bytes);
  const std::size_t authority_bytes = std::min(rest.find_first_of("/?"), rest.size());
  out.authority = rest.substr(0, authority_bytes);
  out.path = rest.substr(authority_bytes);
  if (!is_valid_authority(out.authority, PortRule::optional)) {
    return parse_error(400, "invalid authority in the target (RFC 9110 4.2)");
  }
  if (out.path.empty()) out.path = out.method == Method::options ? "*" : "/";  // RFC 9112 3.2.4
  return parse_complete();
}

ParseOutcome parse_target(HeadCursor& cursor, RequestHead& out) noexcept {
  const char* const stop = find_target_end(cursor.begin, cursor.p, cursor.end);
  if (stop == cursor.end) return parse_need_more();
  if (*stop != ' ') {
    cursor.p = stop;
    if (*stop == '\r' || *stop == '\n')
      return parse_error(400, "request line without a version (RFC 9112 3)");
    return parse_error(400, "target holds a character that no URI has (RFC 3986 2)");
  }
  if (stop == cursor.p) return parse_error(400, "empty target or several spaces (RFC 9112 3)");
  out.target = {cursor.p, stop};
  cursor.p = stop + 1;
  return parse_complete();
}

// "HTTP/1.x" CRLF. A higher minor version is served as 1.1, the highest known (RFC 9110 2.5).
ParseOutcome parse_version(HeadCursor& cursor, RequestHead& out) noexcept {
  constexpr std::string_view kName = "HTTP/";
  const auto size = static_cast<std::size_t>(cursor.end - cursor.p);
  const char* const p = cursor.p;
  const std::size_t common = std::min(size, kName.size());
  if (std::memcmp(p, kName.data(), common) != 0) {
    return parse_error(400, "version is not HTTP/x.y or preceded by more than one space (RFC 9112 2.3)");
  }
  for (std::size_t i = kName.size(); i < std::min<std::size_t>(size, 8); ++i) {
    const bool good = i == 6 ? p[i] == '.' : (char_class(p[i]) & kDigit) != 0;
    if (!good) return parse_error(400, "version is not HTTP/x.y (RFC 9112 2.3)");
  }
  if (size < 8) return parse_need_more();
  if (p[5] != '1') return parse_error(505, "only HTTP/1.0 and HTTP/1.1 are spoken here (RFC 9110 15.6.6)");
  out.minor_version = p[7] == '0' ? 0 : 1;
  if (size < 9) return parse_need_more();
  if (p[8] != '\r') return bad_line_end(p[8]);
  if (size < 10) return parse_need_more();
  if (p[9] != '\n') return bad_line_end('\r');
  cursor.p = p + 10;
  return parse_complete();
}

ParseOutcome parse_request_line(HeadCursor& cursor, const HeadLimits& limits, RequestHead& out) noexcept {
  const char* const line = cursor.p;
  ParseOutcome outcome = parse_method(cursor, out);
  if (outcome.status == ParseStatus::complete) outcome = parse_target(cursor, out);
  if (outcome.status == ParseStatus::complete) outcome = parse_version(cursor, out);
  // How far the line is known to go: to where parsing stopped or, while incomplete, through all bytes.
  const char* reached = cursor.p;
  if (outcome.status == ParseStatus::complete) reached -= 2;
  if (outcome.status == ParseStatus::need_more) {
    reached = cursor.end;
    if (reached != line && reached[-1] == '\r') --reached;  // only the LF is missing
  }
  if (reached - line > static_cast<std::ptrdiff_t>(limits.request_line_bytes_max)) {
    return parse_error(414, "request line is too long (RFC 9110 15.5.15)");
  }
  return outcome;
}

ParseOutcome check_host(const FieldNotes& notes, RequestHead& out) noexcept {
  if (notes.host_count == 0) {
    if (out.minor_version == 0) return parse_complete();
    return parse_error(400, "HTTP/1.1 request without Host (RFC 9112 3.2)");
  }
  if (notes.host_count > 1) return parse_error(400, "several Host fields (RFC 9112 3.2)");
  const std::string_view host = out.table.find(FieldId::host)->value;
  if (!is_valid_authority(host, PortRule::optional)) return parse_error(400, "invalid Host (RFC 9112 3.2)");
  if (out.authority.empty()) out.authority = host;
  return parse_complete();
}

// 100-continue is the only expectation there is (RFC 9110 10.1.1). It means nothing from HTTP/1.0 or
// without content; then it is not passed on either, so that no backend waits or answers 100 for it.
ParseOutcome check_expect(const FieldNotes& notes, bool has_content, RequestHead& out) noexcept {
  if (notes.expect_count == 0) return parse_complete();
  for (std::uint32_t i = 0; i < out.table.field_count; ++i) {
    Field& field = out.table.fields[i];
    if (field.id != FieldId::expect) continue;
    if (notes.expect_count > 1 || !equals_ignore_case(field.value, "100-continue")) {
      return parse_error(417, "Expect is not one 100-continue (RFC 9110 10.1.1)");
    }
    out.facts.expect_continue = out.minor_version > 0 && has_content;
    field.hop_by_hop = !out.facts.expect_continue;
  }
  return parse_complete();
}

// Upgrade is ignored from HTTP/1.0 (RFC 9110 7.8). With content it is ignored too, for where the content
// ends the new protocol begins, and two servers may differ on that. "h2c" is ignored because RFC 9113
// withdrew it and a tunnel to HTTP/2 would pass by every rule applied to requests here.
void check_upgrade(bool has_content, RequestHead& out) noexcept {
  HeadFacts& facts = out.facts;
  if (!facts.connection_upgrade) return;
  if (out.minor_version == 0 || has_content || !facts.has_upgrade) {
    facts.connection_upgrade = false;
    return;
  }
  for (const Field& field : out.table) {
    if (field.id != FieldId::upgrade) continue;
    const bool no_h2c = for_each_element(
        field.value, [](std::string_view protocol) { return !equals_ignore_case(protocol, "h2c"); });
    if (!no_h2c) facts.connection_upgrade = false;
  }
}

ParseOutcome parse_whole(HeadCursor& cursor, const HeadLimits& limits, RequestHead& out) noexcept {
  if (cursor.p != cursor.end && *cursor.p == '\r') {  // an empty line, RFC 9112 2.2
    if (cursor.end - cursor.p < 2) return parse_need_more();
    if (cursor.p[1] != '\n') return bad_line_end('\r');
    cursor.p += 2;
  }
  const ParseOutcome line = parse_request_line(cursor, limits, out);
  if (line.status != ParseStatus::complete) return line;
  const ParseOutcome target = classify_target(out);
  if (target.status != ParseStatus::complete) return target;
  FieldNotes notes;
  const ParseOutcome fields = parse_fields(cursor, limits.field_count_max, out.table, out.facts, notes);
  if (fields.status != ParseStatus::complete) return fields;
  const ParseOutcome host = check_host(notes, out);
  if (host.status != ParseStatus::complete) return host;
  const bool has_content = out.facts.has_transfer_encoding || out.facts.content_length > 0;
  const ParseOutcome expect = check_expect(notes, has_content, out);
  if (expect.status != ParseStatus::complete) return expect;
  check_upgrade(has_content, out);
  return parse_complete();
}

}  // namespace

ParseOutcome parse_request_head(std::string_view bytes, const HeadLimits& limits, HeadScanner& scanner,
                                RequestHead& out) noexcept {
  if (bytes.empty() || surely_incomplete(bytes, limits, scanner)) return parse_need_more();
  const std::size_t size = std::min<std::size_t>(bytes.size(), limits.head_bytes_max);
  HeadCursor cursor{bytes.data(), bytes.data(), bytes.data() + size};
  const ParseOutcome outcome = parse_whole(cursor, limits, out);
  if (outcome.status == ParseStatus::complete) {
    out.head_bytes = static_cast<std::uint32_t>(cursor.p - cursor.begin);
  } else if (outcome.status == ParseStatus::need_more) {
    if (size == limits.head_bytes_max) return parse_error(431, "head is too large (RFC 6585 5)");
    remember_incomplete(bytes, scanner);
  }
  return outcome;
}

}  // namespace lb::http
