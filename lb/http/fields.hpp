// The field section that requests and responses share: lines into a FieldTable, what the known fields say
// into HeadFacts. Private to lb/http; the rules that only one side has are in the two parsers.
#pragma once

#include <cstdint>
#include <string_view>

#include "lb/http/message.hpp"
#include "lb/http/parser.hpp"

namespace lb::http {

/// The bytes of a head and how far they were read.
struct HeadCursor {
  const char* begin;
  const char* p;
  const char* end;
};

/// What the caller of parse_fields has to judge by itself.
struct FieldNotes {
  std::uint32_t host_count = 0;
  std::uint32_t expect_count = 0;
  std::uint32_t connection_option_count = 0;
  bool connection_nominates = false;  // an option that is the name of a field, perhaps
};

/// More options than this in Connection are refused: each may have to be looked for among all fields.
inline constexpr std::uint32_t kConnectionOptionCountMax = 32;

/// Field lines up to and with the empty line. Clears `table` and `facts` first. Marks fields as hop_by_hop.
/// need_more: cursor.p is undefined.
ParseOutcome parse_fields(HeadCursor& cursor, std::uint32_t field_count_max, FieldTable& table,
                          HeadFacts& facts, FieldNotes& notes) noexcept;

/// `name` must be a token.
FieldId field_id(std::string_view name) noexcept;

/// Whether `scanner` lets it be said without parsing that `bytes` is still incomplete; if so it is brought
/// up to date. Otherwise the head is to be parsed from its beginning.
bool surely_incomplete(std::string_view bytes, const HeadLimits& limits, HeadScanner& scanner) noexcept;

/// After a parse from the beginning that ended with need_more.
void remember_incomplete(std::string_view bytes, HeadScanner& scanner) noexcept;

inline ParseOutcome parse_error(std::uint16_t status, const char* detail) noexcept {
  return {ParseStatus::error, {status, detail}};
}
inline ParseOutcome parse_need_more() noexcept {
  return {ParseStatus::need_more, {}};
}
inline ParseOutcome parse_complete() noexcept {
  return {ParseStatus::complete, {}};
}

}  // namespace lb::http
