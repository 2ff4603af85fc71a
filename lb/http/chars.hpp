// Character classes of HTTP/1.1 (RFC 9110 5.5, 5.6.2; RFC 3986) and the scans built on them. Scans look at
// sixteen bytes at a time where SSE2 is there (every x86-64) and at one elsewhere; they never read outside
// [begin, end). Pure functions; private to lb/http.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

// LB_HTTP_PORTABLE leaves SSE2 out where it is there, to test what other machines run.
#if defined(__SSE2__) && !defined(LB_HTTP_PORTABLE)
#define LB_HTTP_SSE2 1
#include <emmintrin.h>
#endif

namespace lb::http {

enum CharClass : std::uint8_t {
  kToken = 1,       // tchar
  kUnderscore = 2,  // also a tchar, but CGI-like backends read it as '-'
  kTarget = 4,      // visible ASCII but '#'
  kValue = 8,       // HTAB, SP, visible ASCII, obs-text
  kDigit = 16,
  kHostName = 32,  // unreserved, sub-delims but ',', and '%' (which is checked further)
  kHex = 64,
};

namespace detail {

constexpr bool contains(std::string_view set, char c) noexcept {
  return set.find(c) != std::string_view::npos;
}

constexpr std::uint8_t class_of(unsigned byte) noexcept {
  const char c = static_cast<char>(byte);
  const bool digit = byte >= '0' && byte <= '9';
  const bool upper = byte >= 'A' && byte <= 'Z';
  const bool lower = byte >= 'a' && byte <= 'z';
  const bool alnum = digit || upper || lower;
  const bool visible = byte > 0x20 && byte < 0x7f;
  unsigned bits = 0;
  if (alnum || (visible && contains("!#$%&'*+-.^_`|~", c))) bits |= kToken;
  if (byte == '_') bits |= kUnderscore;
  if (visible && byte != '#') bits |= kTarget;
  if (byte == '\t' || (byte >= 0x20 && byte != 0x7f)) bits |= kValue;
  if (digit) bits |= kDigit;
  if (alnum || (visible && contains("-._~!$&'()*+;=%", c))) bits |= kHostName;
  if (digit || (byte >= 'a' && byte <= 'f') || (byte >= 'A' && byte <= 'F')) bits |= kHex;
  return static_cast<std::uint8_t>(bits);
}

constexpr std::array<std::uint8_t, 256> make_classes() noexcept {
  std::array<std::uint8_t, 256> classes{};
  for (unsigned i = 0; i < 256; ++i) classes[i] = class_of(i);
  return classes;
}

}  // namespace detail

inline constexpr std::array<std::uint8_t, 256> kCharClasses = detail::make_classes();

constexpr std::uint8_t char_class(char c) noexcept {
  return kCharClasses[static_cast<unsigned char>(c)];
}
constexpr bool is_blank(char c) noexcept {
  return c == ' ' || c == '\t';
}
constexpr char to_lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
}

constexpr bool equals_ignore_case(std::string_view a, std::string_view b) noexcept {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (to_lower(a[i]) != to_lower(b[i])) return false;
  }
  return true;
}

constexpr std::string_view trim_blanks(std::string_view text) noexcept {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

constexpr bool is_token(std::string_view text) noexcept {
  for (const char c : text) {
    if ((char_class(c) & kToken) == 0) return false;
  }
  return !text.empty();
}

/// Calls f(element) for each non-empty element of a comma-separated list (RFC 9110 5.6.1.2) until f
/// returns false; returns whether it never did. Elements are not checked: quoted commas would split.
template <class F>
bool for_each_element(std::string_view list, F&& f) {
  while (!list.empty()) {
    const std::size_t comma = list.find(',');
    const std::string_view element = trim_blanks(list.substr(0, comma));
    list = comma == std::string_view::npos ? std::string_view{} : list.substr(comma + 1);
    if (!element.empty() && !f(element)) return false;
  }
  return true;
}

namespace detail {

#if defined(LB_HTTP_SSE2)
/// A bit for each of the 16 bytes that may not stand in a field value.
inline std::uint32_t not_value_bits(__m128i bytes) noexcept {
  const __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
  const __m128i not_tab = _mm_andnot_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('\t')), low);
  const __m128i bad = _mm_or_si128(not_tab, _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f)));
  return static_cast<std::uint32_t>(_mm_movemask_epi8(bad));
}

/// The same for a request target.
inline std::uint32_t not_target_bits(__m128i bytes) noexcept {
  const __m128i good = _mm_cmpgt_epi8(bytes, _mm_set1_epi8(0x20));  // signed: obs-text is negative
  const __m128i bad =
      _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f)), _mm_cmpeq_epi8(bytes, _mm_set1_epi8('#')));
  return static_cast<std::uint32_t>(_mm_movemask_epi8(_mm_andnot_si128(bad, good))) ^ 0xffffU;
}

template <std::uint32_t (*StopBits)(__m128i), std::uint8_t Class>
inline const char* scan(const char* begin, const char* p, const char* end) noexcept {
  while (end - p >= 16) {
    const std::uint32_t stop = StopBits(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    if (stop != 0) return p + std::countr_zero(stop);
    p += 16;
  }
  if (p == end) return end;
  if (end - begin >= 16) {  // the last sixteen bytes, of which the first were seen already
    const std::uint32_t stop = StopBits(_mm_loadu_si128(reinterpret_cast<const __m128i*>(end - 16))) >>
                               static_cast<unsigned>(16 - (end - p));
    return stop != 0 ? p + std::countr_zero(stop) : end;
  }
  while (p != end && (char_class(*p) & Class) != 0) ++p;
  return p;
}
#endif

template <std::uint8_t Class>
inline const char* scan_bytes(const char* p, const char* end) noexcept {
  while (p != end && (char_class(*p) & Class) != 0) ++p;
  return p;
}

}  // namespace detail

/// The first byte in [p, end) that may not stand in a field value, or `end`. `begin` <= p is the first
/// readable byte.
inline const char* find_value_end(const char* begin, const char* p, const char* end) noexcept {
#if defined(LB_HTTP_SSE2)
  return detail::scan<detail::not_value_bits, kValue>(begin, p, end);
#else
  static_cast<void>(begin);
  return detail::scan_bytes<kValue>(p, end);
#endif
}

/// The same for a request target.
inline const char* find_target_end(const char* begin, const char* p, const char* end) noexcept {
#if defined(LB_HTTP_SSE2)
  return detail::scan<detail::not_target_bits, kTarget>(begin, p, end);
#else
  static_cast<void>(begin);
  return detail::scan_bytes<kTarget>(p, end);
#endif
}

}  // namespace lb::http
