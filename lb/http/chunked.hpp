// The chunked transfer coding (RFC 9112 7.1), sans-IO. The decoder is strict: chunk extensions are skipped
// within a limit, trailers are checked like fields and handed out as they came, a bare LF or CR is an error,
// and a size never overflows. 24 bytes, so it lives inside an exchange.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "lb/http/parser.hpp"

namespace lb::http {

class ChunkDecoder final {
 public:
  struct Step {
    std::size_t consumed = 0;  // bytes of input used up, payload included
    std::string_view payload;  // decoded bytes, inside the input; may be empty
    std::string_view trailer;  // bytes of the trailer section, its last CRLF included; inside the input
    bool done = false;         // the last chunk and the trailer section are complete
    bool failed = false;       // see error()
  };

  static constexpr std::uint32_t kLineBytesMax = 4 * 1024;  // a size line: extensions and CRLF included
  static constexpr std::uint32_t kTrailerBytesMax =
      16 * 1024;  // the whole trailer section, its last CRLF included

  /// Decodes one run of payload and the framing on both sides of it. Call again with the rest of the input
  /// until that is empty, done or failed. Payload may come together with done (the end followed it), never
  /// with failed. Not to be called after done or failed.
  Step step(std::string_view input) noexcept;

  [[nodiscard]] HttpError error() const noexcept { return error_ ? HttpError{400, error_} : HttpError{}; }

 private:
  enum class State : std::uint8_t {
    size_first,
    size,
    size_blank,
    extension,
    size_lf,
    payload,
    payload_cr,
    payload_lf,
    trailer,
    done
  };
  enum class Quote : std::uint8_t { outside, inside, escaped };               // of an extension
  enum class Trailer : std::uint8_t { line, name, value, line_lf, last_lf };  // where in a trailer line

  /// Takes a size line without extension that is there as a whole; returns its length or 0.
  std::size_t usual_size_line(std::string_view input) noexcept;

  // Each consumes one byte: a literal naming the rule that it breaks, or nullptr. Breaking a rule changes
  // nothing, so that the byte may be left for the next step.
  const char* framing_byte(char c) noexcept;
  const char* size_byte(char c) noexcept;
  const char* extension_byte(char c) noexcept;
  const char* trailer_byte(char c) noexcept;

  State state_ = State::size_first;
  Quote quote_ = Quote::outside;
  Trailer trailer_ = Trailer::line;
  std::uint32_t counted_ = 0;    // bytes of this size line, later of the trailer section
  std::uint64_t remaining_ = 0;  // of the chunk's payload; 0 when a size line begins
  const char* error_ = nullptr;
};

/// Writes the size line that opens a chunk of `size` > 0 bytes ("1f\r\n") to `out`, which has room for
/// kChunkHeadBytesMax; returns its length. The payload and "\r\n" follow.
inline constexpr std::size_t kChunkHeadBytesMax = 18;
std::size_t write_chunk_head(std::uint64_t size, char* out) noexcept;
inline constexpr std::string_view kChunkEnd = "\r\n";
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

}  // namespace lb::http
