#include "lb/http/chunked.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>

#include "lb/http/chars.hpp"

// size_first -hex-> size -CR-> size_lf -LF-> payload -all of it-> payload_cr -CR-> payload_lf -LF->
// size_first
//                    |  ;-> extension -CR->  |
//                    `blank-> size_blank -;-'`- size 0 -> trailer -empty line-> done
//
// trailer: line -tchar-> name -:-> value -CR-> line_lf -LF-> line;  line -CR-> last_lf -LF-> done

namespace lb::http {
namespace {

constexpr unsigned hex_value(char c) noexcept {
  return c <= '9' ? static_cast<unsigned>(c - '0') : static_cast<unsigned>((c | 0x20) - 'a') + 10U;
}

constexpr bool is_hex(char c) noexcept {
  return (char_class(c) & kHex) != 0;
}

}  // namespace

const char* ChunkDecoder::size_byte(char c) noexcept {
  if (is_hex(c)) {
    // At most 2^63 - 1, as for Content-Length, so that sums of sizes and offsets stay representable.
    constexpr std::uint64_t kBeforeMax =
        static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) >> 4U;
    if (remaining_ > kBeforeMax) return "chunk size is too large (RFC 9112 7.1)";
    remaining_ = remaining_ << 4U | hex_value(c);
    state_ = State::size;
    return nullptr;
  }
  if (state_ == State::size_first) return "chunk size is not hexadecimal digits (RFC 9112 7.1)";
  if (c == '\r') {
    state_ = State::size_lf;
  } else if (c == ';') {
    state_ = State::extension;
    quote_ = Quote::outside;
  } else if (is_blank(c)) {
    state_ = State::size_blank;
  } else {
    return "chunk size is not followed by CRLF or an extension (RFC 9112 7.1)";
  }
  return nullptr;
}

const char* ChunkDecoder::extension_byte(char c) noexcept {
  if (c == '\r') {
    if (quote_ != Quote::outside) return "chunk extension with an open quote (RFC 9112 7.1.1)";
    state_ = State::size_lf;
    return nullptr;
  }
  if ((char_class(c) & kValue) == 0) return "control character in a chunk extension (RFC 9112 7.1.1)";
  switch (quote_) {
    case Quote::outside:
      if (c == '"') quote_ = Quote::inside;
      break;
    case Quote::inside:
      if (c == '"') quote_ = Quote::outside;
      if (c == '\\') quote_ = Quote::escaped;
      break;
    case Quote::escaped:
      quote_ = Quote::inside;
      break;
  }
  return nullptr;
}

const char* ChunkDecoder::trailer_byte(char c) noexcept {
  switch (trailer_) {
    case Trailer::line:
      if (c == '\r') {
        trailer_ = Trailer::last_lf;
        return nullptr;
      }
      if ((char_class(c) & kToken) == 0) return "trailer name is not a token (RFC 9112 7.1.2)";
      trailer_ = Trailer::name;
      return nullptr;
    case Trailer::name:
      if (c == ':') {
        trailer_ = Trailer::value;
        return nullptr;
      }
      return (char_class(c) & kToken) == 0 ? "trailer name is not a token (RFC 9112 7.1.2)" : nullptr;
    case Trailer::value:
      if (c == '\r') {
        trailer_ = Trailer::line_lf;
        return nullptr;
      }
      return (char_class(c) & kValue) == 0 ? "control character in a trailer (RFC 9110 5.5)" : nullptr;
    case Trailer::line_lf:
      if (c != '\n') return "bare CR in a trailer (RFC 9112 2.2)";
      trailer_ = Trailer::line;
      return nullptr;
    case Trailer::last_lf:
      if (c != '\n') return "bare CR in a trailer (RFC 9112 2.2)";
      state_ = State::done;
      return nullptr;
  }
  return nullptr;
}

const char* ChunkDecoder::framing_byte(char c) noexcept {
  switch (state_) {
    case State::size_first:
    case State::size:
      return size_byte(c);
    case State::size_blank:
      if (is_blank(c)) return nullptr;
      if (c != ';') return "white space after a chunk size (RFC 9112 7.1)";
      state_ = State::extension;
      quote_ = Quote::outside;
      return nullptr;
    case State::extension:
      return extension_byte(c);
    case State::size_lf:
      if (c != '\n') return "bare CR in a chunk size line (RFC 9112 2.2)";
      state_ = remaining_ > 0 ? State::payload : State::trailer;
      return nullptr;
    case State::payload_cr:
      if (c != '\r') return "chunk is longer than its size, or ends with a bare LF (RFC 9112 7.1)";
      state_ = State::payload_lf;
      return nullptr;
    case State::payload_lf:
      if (c != '\n') return "bare CR after a chunk (RFC 9112 2.2)";
      state_ = State::size_first;
      return nullptr;
    case State::trailer:
      return trailer_byte(c);
    case State::payload:
    case State::done:
      break;
  }
  return nullptr;
}

std::size_t ChunkDecoder::usual_size_line(std::string_view input) noexcept {
  constexpr std::size_t kDigitsMax = 15;  // cannot overflow
  const std::size_t digits_end = std::min(input.size(), kDigitsMax);
  std::uint64_t size = 0;
  std::size_t at = 0;
  while (at < digits_end && is_hex(input[at])) size = size << 4U | hex_value(input[at++]);
  if (at == 0 || input.size() - at < 2 || input[at] != '\r' || input[at + 1] != '\n') return 0;
  remaining_ = size;
  counted_ = 0;
  state_ = size > 0 ? State::payload : State::trailer;
  return at + 2;
}

ChunkDecoder::Step ChunkDecoder::step(std::string_view input) noexcept {
  Step result;
  std::size_t at = 0;
  std::size_t trailer_at = std::string_view::npos;
  while (at < input.size() && state_ != State::done) {
    if (state_ == State::payload) {
      if (!result.payload.empty()) break;
      const std::size_t run = std::min<std::uint64_t>(remaining_, input.size() - at);
      result.payload = input.substr(at, run);
      at += run;
      remaining_ -= run;
      if (remaining_ == 0) state_ = State::payload_cr;
      continue;
    }
    // What chunks nearly always look like is taken in two strides, everything else byte by byte.
    if (state_ == State::payload_cr && input.size() - at >= 2 && input[at] == '\r' && input[at + 1] == '\n') {
      state_ = State::size_first;
      at += 2;
      continue;
    }
    if (state_ == State::size_first) {
      const std::size_t line_bytes = usual_size_line(input.substr(at));
      at += line_bytes;
      if (line_bytes > 0) continue;
      counted_ = 0;
    }
    const bool trailer = state_ == State::trailer;
    if (trailer) trailer_at = std::min(trailer_at, at);
    const bool line_end = state_ == State::size_lf;
    const char* broken = nullptr;
    if (counted_ == (trailer ? kTrailerBytesMax : kLineBytesMax)) {
      broken = trailer ? "trailer section is too long (RFC 9112 7.1.2)"
                       : "chunk size line is too long (RFC 9112 7.1.1)";
    } else {
      broken = framing_byte(input[at]);
    }
    if (broken != nullptr) {
      if (!result.payload.empty()) break;  // to be met again by the next step
      error_ = broken;
      result.failed = true;
      break;
    }
    counted_ = line_end ? 0 : counted_ + 1;
    ++at;
  }
  result.consumed = at;
  if (trailer_at != std::string_view::npos) result.trailer = input.substr(trailer_at, at - trailer_at);
  result.done = state_ == State::done;
  return result;
}

std::size_t write_chunk_head(std::uint64_t size, char* out) noexcept {
  char* const end = std::to_chars(out, out + kChunkHeadBytesMax - 2, size, 16).ptr;
  end[0] = '\r';
  end[1] = '\n';
  return static_cast<std::size_t>(end + 2 - out);
}

}  // namespace lb::http
