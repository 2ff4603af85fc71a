// The chunked transfer coding (RFC 9112 7.1), sans-IO. The decoder is strict: chunk extensions are skipped
// within a limit, trailers are checked like fields and dropped, a bare LF or CR is an error, and a size
// never overflows. 24 bytes, so it lives inside an exchange.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "lb/http/parser.hpp"

namespace lb::http {

class ChunkDecoder final {
 public:
  struct Step {
    std::size_t consumed = 0;   // bytes of input used up, payload included
    std::string_view payload;   // decoded bytes, inside the input; may be empty
    bool done = false;          // the last chunk and the trailer section are complete
    bool failed = false;        // see error()
  };

  static constexpr std::uint32_t kLineBytesMax = 4 * 1024;      // a size line with its extensions
  static constexpr std::uint32_t kTrailerBytesMax = 16 * 1024;  // the whole trailer section

  /// Decodes up to the end of one run of payload. Call again with the rest of the input until consumed is
  /// 0 (it needs more), done or failed. Not to be called after done or failed.
  Step step(std::string_view input) noexcept;

  [[nodiscard]] HttpError error() const noexcept { return error_ ? HttpError{400, error_} : HttpError{}; }

 private:
  enum class State : std::uint8_t {
    size_first, size, extension, size_lf, payload, payload_cr, payload_lf, trailer, done
  };
  // The author of chunked.cpp may change the private part.
  State state_ = State::size_first;
  std::uint8_t trailer_state_ = 0;
  std::uint32_t counted_ = 0;
  std::uint64_t remaining_ = 0;
  const char* error_ = nullptr;
};

/// Writes the size line that opens a chunk of `size` > 0 bytes ("1f\r\n") to `out`, which has room for
/// kChunkHeadBytesMax; returns its length. The payload and "\r\n" follow.
inline constexpr std::size_t kChunkHeadBytesMax = 18;
std::size_t write_chunk_head(std::uint64_t size, char* out) noexcept;
inline constexpr std::string_view kChunkEnd = "\r\n";
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

}  // namespace lb::http
