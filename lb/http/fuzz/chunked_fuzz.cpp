// Any bytes as a chunked body: in one piece and cut anywhere the payload, the end and the error are the
// same; the payload, chunked anew, decodes to itself.
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "lb/http/chunked.hpp"
#include "lb/http/fuzz/fuzz_support.hpp"

namespace {

using namespace lb::http;
using namespace lb::http::fuzz;

struct Decoded {
  std::string payload;
  std::size_t consumed = 0;
  bool done = false;
  bool failed = false;
  std::string_view error;
  friend bool operator==(const Decoded&, const Decoded&) = default;
};

// Returns whether more is wanted.
bool feed(ChunkDecoder& decoder, std::string_view piece, Decoded& result) {
  const ExactBytes exact(piece);
  std::string_view rest = exact.view();
  while (!rest.empty()) {
    const ChunkDecoder::Step step = decoder.step(rest);
    require(step.consumed <= rest.size() && step.payload.size() <= step.consumed,
            "no more is used than there is");
    require(
        step.payload.empty() || (step.payload.data() >= rest.data() &&
                                 step.payload.data() + step.payload.size() <= rest.data() + step.consumed),
        "payload lies in what was used");
    result.payload += step.payload;
    result.consumed += step.consumed;
    if (step.failed) {
      require(step.payload.empty() && !step.done, "failed comes alone");
      result.failed = true;
      result.error = decoder.error().detail;
      return false;
    }
    if (step.done) {
      result.done = true;
      return false;
    }
    require(step.consumed > 0, "each step gets further");
    rest.remove_prefix(step.consumed);
  }
  return true;
}

Decoded decode_in_pieces(std::string_view input, Cuts& cuts) {
  ChunkDecoder decoder;
  Decoded result;
  while (!input.empty()) {
    const std::size_t size = cuts.next(input.size());
    if (!feed(decoder, input.substr(0, size), result)) break;
    input.remove_prefix(size);
  }
  return result;
}

std::string encode(std::string_view payload, Cuts& cuts) {
  std::string body;
  while (!payload.empty()) {
    const std::size_t size = cuts.next(payload.size());
    std::array<char, kChunkHeadBytesMax> line;
    body.append(line.data(), write_chunk_head(size, line.data()))
        .append(payload.substr(0, size))
        .append(kChunkEnd);
    payload.remove_prefix(size);
  }
  return body.append(kLastChunk);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  ChunkDecoder decoder;
  Decoded whole;
  feed(decoder, input, whole);
  Cuts cuts(input);
  for (int i = 0; i < 3; ++i) require(decode_in_pieces(input, cuts) == whole, "the same whole and in pieces");

  const std::string body = encode(whole.payload, cuts);
  const Decoded again = decode_in_pieces(body, cuts);
  require(again.done && again.payload == whole.payload && again.consumed == body.size(), "encoded anew");
  return 0;
}
