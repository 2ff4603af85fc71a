// BodyFlow: one body on its way from one side to the other: decodes the framing it came in, counts, and
// frames it anew for the side it goes to. Sans-IO. One thread; lives inside an exchange.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "lb/http/chunked.hpp"
#include "lb/http/framing.hpp"
#include "lb/proxy/gather.hpp"

namespace lb {

class BodyFlow final {
 public:
  BodyFlow() noexcept = default;
  /// `in` as the sender frames it, `out` as the receiver shall see it; `out` may be chunked, length (then
  /// `in` is the same length), until_close, or none to drop the bytes. With `trailers` those that may go on
  /// do, from chunked to chunked; otherwise they are checked and dropped.
  BodyFlow(const http::BodyFraming& in, const http::BodyFraming& out, bool trailers = false) noexcept
      : remaining_(in.length),
        in_(in.kind),
        out_(out.kind),
        forwards_trailers_(trailers && out.kind == Kind::chunked),
        complete_(in.kind == http::BodyFraming::Kind::none) {}

  struct Fed {
    std::size_t consumed = 0;  // of the input; less than all when the body ended or `out` is full
    bool failed = false;       // the sender broke its framing
  };
  /// Moves body bytes from `input` to `out`, by copy or reference (to the input, or to what is kept here of
  /// its trailers). Stops at the end of the body.
  Fed feed(std::string_view input, Gather& out) noexcept;

  /// The sender closed: complete for until_close framing, cut short for others. Returns complete().
  bool feed_eof(Gather& out) noexcept;

  /// Bytes that may pass as they are, without being looked at: none when a coding has to be undone or made.
  [[nodiscard]] std::uint64_t raw_bytes_left() const noexcept {
    if (complete_ || in_ != out_) return 0;
    if (in_ == Kind::length) return remaining_;
    return in_ == Kind::until_close ? ~std::uint64_t{0} : 0;
  }
  /// So many of them went on without passing through feed().
  void pass(std::uint64_t bytes) noexcept {
    payload_bytes_ += bytes;
    if (in_ != Kind::length) return;
    remaining_ -= bytes;
    if (remaining_ == 0) complete_ = true;
  }

  [[nodiscard]] bool complete() const noexcept { return complete_; }
  [[nodiscard]] std::uint64_t payload_bytes() const noexcept { return payload_bytes_; }

 private:
  using Kind = http::BodyFraming::Kind;
  Fed feed_chunked(std::string_view input, Gather& out) noexcept;
  void emit(std::string_view payload, Gather& out) noexcept;
  void emit_end(Gather& out) noexcept;

  void keep_trailer(std::string_view bytes);

  http::ChunkDecoder decoder_;
  std::unique_ptr<std::string> trailers_;  // the section so far; at most ChunkDecoder::kTrailerBytesMax
  std::uint64_t remaining_ = 0;
  std::uint64_t payload_bytes_ = 0;
  Kind in_ = Kind::none;
  Kind out_ = Kind::none;
  bool forwards_trailers_ = false;
  bool complete_ = true;
};

}  // namespace lb
