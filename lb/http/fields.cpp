#include "lb/http/fields.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>

#include "lb/http/chars.hpp"

namespace lb::http {
namespace {

struct KnownField {
  std::string_view name;
  FieldId id = FieldId::other;
  bool hop_by_hop = false;
};

// Proxy-Authenticate and -Authorization belong to the connection between a client and a *forward* proxy
// (RFC 9110 11.7). A gateway asks for no such credentials and has no business passing them on, so both
// are dropped. TE is for one hop; Trailer goes where the trailers go: both are written anew.
constexpr std::array<KnownField, 20> kKnownFields{{
    {"connection", FieldId::connection, true},
    {"content-length", FieldId::content_length, false},
    {"transfer-encoding", FieldId::transfer_encoding, true},
    {"host", FieldId::host, false},
    {"expect", FieldId::expect, false},
    {"upgrade", FieldId::upgrade, true},
    {"te", FieldId::te, true},
    {"trailer", FieldId::trailer, true},
    {"keep-alive", FieldId::keep_alive, true},
    {"proxy-connection", FieldId::proxy_connection, true},
    {"proxy-authenticate", FieldId::proxy_authenticate, true},
    {"proxy-authorization", FieldId::proxy_authorization, true},
    {"via", FieldId::via, false},
    {"forwarded", FieldId::forwarded, false},
    {"x-forwarded-for", FieldId::x_forwarded_for, false},
    {"x-forwarded-proto", FieldId::x_forwarded_proto, false},
    {"x-forwarded-host", FieldId::x_forwarded_host, false},
    {"max-forwards", FieldId::max_forwards, false},
    {"date", FieldId::date, false},
    {"server", FieldId::server, false},
}};
constexpr std::size_t kKnownNameBytesMax = 19;
constexpr std::size_t kBuckets = 64;

// Setting bit 5 lowers a letter. Among the bytes of tokens it turns no other one into a letter or '-'.
constexpr unsigned lower_bits(char c) noexcept {
  return static_cast<unsigned char>(c) | 0x20U;
}

constexpr std::size_t bucket_of(std::string_view name) noexcept {
  return (name.size() + 2 * lower_bits(name.front()) + 3 * lower_bits(name.back())) % kBuckets;
}

// The known field of each bucket, as index into kKnownFields plus one; 0 when empty.
constexpr std::array<std::uint8_t, kBuckets> make_buckets() noexcept {
  std::array<std::uint8_t, kBuckets> buckets{};
  for (std::size_t i = 0; i < kKnownFields.size(); ++i) {
    buckets[bucket_of(kKnownFields[i].name)] = static_cast<std::uint8_t>(i + 1);
  }
  return buckets;
}
constexpr auto kBucketTable = make_buckets();
static_assert(std::count_if(kBucketTable.begin(), kBucketTable.end(), [](auto b) { return b != 0; }) ==
                  static_cast<std::ptrdiff_t>(kKnownFields.size()),
              "bucket_of must tell all known names apart");

const KnownField* known_field(std::string_view name) noexcept {
  const std::uint8_t index = kBucketTable[bucket_of(name)];
  if (index == 0) return nullptr;
  const KnownField& known = kKnownFields[index - 1U];
  if (known.name.size() != name.size()) return nullptr;
  for (std::size_t i = 0; i < name.size(); ++i) {
    if (lower_bits(name[i]) != static_cast<unsigned char>(known.name[i])) return nullptr;
  }
  return &known;
}

// "Content_Length" is an ordinary field to HTTP, but CGI, WSGI and their like hand it to the application
// as if it were Content-Length. Such look-alikes of the fields that a proxy vouches for are not forwarded.
bool imitates_known_field(std::string_view name) noexcept {
  if (name.size() > kKnownNameBytesMax) return false;
  std::array<char, kKnownNameBytesMax> dashed{};
  std::replace_copy(name.begin(), name.end(), dashed.begin(), '_', '-');
  return known_field({dashed.data(), name.size()}) != nullptr;
}

ParseOutcome note_content_length(std::string_view value, HeadFacts& facts) noexcept {
  if (facts.has_content_length) return parse_error(400, "several Content-Length fields (RFC 9112 6.3)");
  facts.has_content_length = true;
  if (value.empty()) return parse_error(400, "empty Content-Length (RFC 9110 8.6)");
  constexpr std::uint64_t kMax = std::numeric_limits<std::int64_t>::max();
  std::uint64_t length = 0;
  for (const char c : value) {
    if ((char_class(c) & kDigit) == 0) {
      return parse_error(400, "Content-Length is not one decimal number (RFC 9110 8.6)");
    }
    const auto digit = static_cast<std::uint64_t>(c - '0');
    if (length > (kMax - digit) / 10) return parse_error(400, "Content-Length is too large (RFC 9110 8.6)");
    length = length * 10 + digit;
  }
  facts.content_length = length;
  return parse_complete();
}

// What is wrong here is judged in framing.cpp, which knows the version and the side.
void note_transfer_encoding(std::string_view value, HeadFacts& facts) noexcept {
  if (facts.has_transfer_encoding) {
    facts.transfer_encoding_malformed = true;
    facts.transfer_encoding_is_chunked = false;
    return;
  }
  facts.has_transfer_encoding = true;
  if (equals_ignore_case(value, "chunked")) {
    facts.transfer_encoding_is_chunked = true;
    return;
  }
  // An unknown coding before a final chunked is a request that is well-formed and cannot be served.
  std::uint32_t count = 0;
  bool chunked_before = false;
  const bool tokens = for_each_element(value, [&](std::string_view coding) {
    ++count;
    if (chunked_before) return false;  // nothing may follow chunked (RFC 9112 6.1)
    chunked_before = equals_ignore_case(coding, "chunked");
    return is_token(coding);
  });
  facts.transfer_encoding_malformed = !tokens || count == 0 || (count == 1 && chunked_before);
}

ParseOutcome note_connection(std::string_view value, HeadFacts& facts, FieldNotes& notes) noexcept {
  if (equals_ignore_case(value, "keep-alive")) {  // what nearly every one says
    facts.connection_keep_alive = true;
    return parse_complete();
  }
  bool tokens = true;
  const bool all = for_each_element(value, [&](std::string_view option) {
    if (++notes.connection_option_count > kConnectionOptionCountMax) return false;
    if (equals_ignore_case(option, "close")) {
      facts.connection_close = true;
    } else if (equals_ignore_case(option, "keep-alive")) {
      facts.connection_keep_alive = true;
    } else if (equals_ignore_case(option, "upgrade")) {
      facts.connection_upgrade = true;
    } else {
      notes.connection_nominates = true;
      tokens = is_token(option);
    }
    return tokens;
  });
  if (!tokens) return parse_error(400, "Connection is not a list of tokens (RFC 9110 7.6.1)");
  if (!all) return parse_error(431, "too many options in Connection");
  return parse_complete();
}

ParseOutcome note_known(const Field& field, HeadFacts& facts, FieldNotes& notes) noexcept {
  switch (field.id) {
    case FieldId::connection:
      return note_connection(field.value, facts, notes);
    case FieldId::content_length:
      return note_content_length(field.value, facts);
    case FieldId::transfer_encoding:
      note_transfer_encoding(field.value, facts);
      break;
    case FieldId::upgrade:
      facts.has_upgrade = true;
      break;
    case FieldId::host:
      ++notes.host_count;
      break;
    case FieldId::expect:
      ++notes.expect_count;
      break;
    case FieldId::te:
      for_each_element(field.value, [&](std::string_view coding) {
        facts.te_trailers = facts.te_trailers || equals_ignore_case(coding, "trailers");
        return true;
      });
      break;
    case FieldId::trailer:
      facts.has_trailer = true;
      break;
    case FieldId::date:
      facts.has_date = true;
      break;
    default:
      break;
  }
  return parse_complete();
}

// A field named by Connection is for this hop only (RFC 9110 7.6.1). The known fields that are not
// hop-by-hop anyway cannot be named away: a client that could have Host, Content-Length, X-Forwarded-For or
// Via stripped on the way would speak to the backend with the proxy's word for it. RFC 9110 7.6.1 forbids
// senders to nominate fields that are meant for all recipients.
void mark_nominated(FieldTable& table) noexcept {
  for (const Field& connection : table) {
    if (connection.id != FieldId::connection) continue;
    for_each_element(connection.value, [&](std::string_view option) {
      for (std::uint32_t i = 0; i < table.field_count; ++i) {
        Field& field = table.fields[i];
        if (field.id == FieldId::other && equals_ignore_case(field.name, option)) field.hop_by_hop = true;
      }
      return true;
    });
  }
}

ParseOutcome bad_name(const char* name, const char* stop, bool first_line) noexcept {
  if (*stop == '\n') return parse_error(400, "line ends with a bare LF (RFC 9112 2.2)");
  if (is_blank(*stop)) {
    if (stop != name) return parse_error(400, "white space before the colon of a field (RFC 9112 5.1)");
    return first_line ? parse_error(400, "white space before the first field (RFC 9112 2.2)")
                      : parse_error(400, "folded field line (RFC 9112 5.2)");
  }
  if (*stop == ':') return parse_error(400, "empty field name (RFC 9110 5.1)");
  if (*stop == '\r') return parse_error(400, "field line without a colon (RFC 9112 5)");
  return parse_error(400, "field name is not a token (RFC 9110 5.1)");
}

ParseOutcome bad_value(char stop) noexcept {
  if (stop == '\n') return parse_error(400, "line ends with a bare LF (RFC 9112 2.2)");
  if (stop == '\r') return parse_error(400, "bare CR (RFC 9112 2.2)");
  return parse_error(400, "control character in a field value (RFC 9110 5.5)");
}

// One line: `at` is on its first byte and, when complete, moved behind its CRLF. The id is not looked up.
// `classes` tells which classes the bytes of the name have.
ParseOutcome parse_line(HeadCursor& cursor, bool first_line, Field& field, std::uint32_t& classes) noexcept {
  const char* const name = cursor.p;
  const char* const end = cursor.end;
  const char* p = name;
  std::uint32_t seen = 0;
  for (;; ++p) {
    if (p == end) return parse_need_more();
    const std::uint32_t c = char_class(*p);
    if ((c & kToken) == 0) break;
    seen |= c;
  }
  if (*p != ':' || p == name) {
    if (*p == '\r' && (p + 1 == end)) return parse_need_more();
    if (*p == '\r' && p[1] != '\n') return bad_value('\r');
    return bad_name(name, p, first_line);
  }
  field.name = {name, p};
  ++p;
  while (p != end && is_blank(*p)) ++p;
  const char* const value_end = find_value_end(cursor.begin, p, end);
  if (end - value_end < 2) {
    return value_end == end || *value_end == '\r' ? parse_need_more() : bad_value(*value_end);
  }
  if (value_end[0] != '\r' || value_end[1] != '\n') return bad_value(*value_end);
  const char* last = value_end;
  while (last != p && is_blank(last[-1])) --last;
  field.value = {p, last};
  cursor.p = value_end + 2;
  classes = seen;
  return parse_complete();
}

}  // namespace

FieldId field_id(std::string_view name) noexcept {
  const KnownField* const known = known_field(name);
  return known != nullptr ? known->id : FieldId::other;
}

ParseOutcome parse_fields(HeadCursor& cursor, std::uint32_t field_count_max, FieldTable& table,
                          HeadFacts& facts, FieldNotes& notes) noexcept {
  facts = HeadFacts{};
  table.field_count = 0;
  const std::uint32_t count_max = std::min(field_count_max, kFieldCountMax);
  for (std::uint32_t count = 0;; ++count) {
    if (cursor.p == cursor.end) return parse_need_more();
    if (*cursor.p == '\r') {
      if (cursor.end - cursor.p < 2) return parse_need_more();
      if (cursor.p[1] != '\n') return bad_value('\r');
      cursor.p += 2;
      table.field_count = count;
      break;
    }
    if (count == count_max) return parse_error(431, "too many fields (RFC 6585 5)");
    Field& field = table.fields[count];
    std::uint32_t classes = 0;
    const ParseOutcome line = parse_line(cursor, count == 0, field, classes);
    if (line.status != ParseStatus::complete) return line;
    const KnownField* const known = known_field(field.name);
    if (known == nullptr) {
      field.id = FieldId::other;
      field.hop_by_hop = (classes & kUnderscore) != 0 && imitates_known_field(field.name);
      continue;
    }
    field.id = known->id;
    field.hop_by_hop = known->hop_by_hop;
    const ParseOutcome noted = note_known(field, facts, notes);
    if (noted.status != ParseStatus::complete) return noted;
  }
  if (notes.connection_nominates) mark_nominated(table);
  return parse_complete();
}

bool surely_incomplete(std::string_view bytes, const HeadLimits& limits, HeadScanner& scanner) noexcept {
  const std::size_t size = bytes.size();
  const std::size_t scanned = scanner.scanned;
  if (scanned == 0 || scanned > size || size >= scanner.parse_again_at || size >= limits.head_bytes_max) {
    return false;
  }
  // An overlong request line is to be noticed when its limit is passed (an empty line may precede it).
  if (size > limits.request_line_bytes_max && scanned <= std::size_t{limits.request_line_bytes_max} + 2) {
    return false;
  }
  const char* const begin = bytes.data();
  const char* const end = begin + size;
  const char* p = begin + scanned - std::min<std::size_t>(scanned, 3);
  for (;;) {
    p = find_value_end(begin, p, end);
    if (p == end) break;
    if (*p == '\r') {
      if (end - p >= 2 && p[1] != '\n') return false;
      if (end - p >= 3 && p[2] == '\r') return false;
      p += std::min<std::ptrdiff_t>(2, end - p);
    } else if (*p == '\n' && p != begin && p[-1] == '\r') {
      ++p;
    } else {
      return false;
    }
  }
  scanner.scanned = static_cast<std::uint32_t>(size);
  return true;
}

// Parsing anew each time the bytes have doubled costs O(n) in all; short heads can afford it each time.
void remember_incomplete(std::string_view bytes, HeadScanner& scanner) noexcept {
  constexpr std::uint32_t kShort = 256;
  const auto size = static_cast<std::uint32_t>(bytes.size());
  scanner.scanned = size;
  scanner.parse_again_at = size < kShort ? size + 1 : size * 2;
}

}  // namespace lb::http
