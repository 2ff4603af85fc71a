#include "lb/proxy/body_flow.hpp"

#include <algorithm>
#include <array>

#include "lb/http/trailers.hpp"

namespace lb {

BodyFlow::Fed BodyFlow::feed(std::string_view input, Gather& out) noexcept {
  if (complete_ || input.empty()) return {};
  if (in_ == Kind::chunked) return feed_chunked(input, out);
  std::size_t n = input.size();
  if (in_ == Kind::length) {
    n = static_cast<std::size_t>(std::min<std::uint64_t>(n, remaining_));
    remaining_ -= n;
  }
  emit(input.substr(0, n), out);
  if (in_ == Kind::length && remaining_ == 0) {
    complete_ = true;
    emit_end(out);
  }
  return Fed{.consumed = n};
}

BodyFlow::Fed BodyFlow::feed_chunked(std::string_view input, Gather& out) noexcept {
  Fed fed;
  while (!complete_ && fed.consumed < input.size() && out.has_room()) {
    const http::ChunkDecoder::Step step = decoder_.step(input.substr(fed.consumed));
    fed.consumed += step.consumed;
    if (step.failed) {
      fed.failed = true;
      return fed;
    }
    emit(step.payload, out);
    if (forwards_trailers_) keep_trailer(step.trailer);
    if (step.done) {
      complete_ = true;
      emit_end(out);
    } else if (step.consumed == 0) {
      break;
    }
  }
  return fed;
}

bool BodyFlow::feed_eof(Gather& out) noexcept {
  if (!complete_ && in_ == Kind::until_close) {
    complete_ = true;
    emit_end(out);
  }
  return complete_;
}

void BodyFlow::emit(std::string_view payload, Gather& out) noexcept {
  if (payload.empty()) return;
  payload_bytes_ += payload.size();
  if (out_ == Kind::none) return;
  if (out_ != Kind::chunked) {
    out.add(payload);
    return;
  }
  std::array<char, http::kChunkHeadBytesMax> head;
  out.add({head.data(), http::write_chunk_head(payload.size(), head.data())});
  out.add(payload);
  out.add(http::kChunkEnd);
}

void BodyFlow::emit_end(Gather& out) noexcept {
  if (out_ != Kind::chunked) return;
  const std::string_view trailers = trailers_ ? http::forwardable_trailers(*trailers_) : std::string_view{};
  if (trailers.empty()) return out.add(http::kLastChunk);
  out.add("0\r\n");
  out.add(trailers);
  out.add("\r\n");
}

/// A section without fields, which is what nearly every body ends with, costs no memory. It is one empty
/// line, of which the LF may come alone, after a CR that was not kept.
void BodyFlow::keep_trailer(std::string_view bytes) {
  if (bytes.empty()) return;
  if (!trailers_) {
    if (bytes.front() == '\r' || bytes.front() == '\n') return;
    trailers_ = std::make_unique<std::string>();
  }
  trailers_->append(bytes);
}

}  // namespace lb
