// Any bytes as what a backend answers to a few requests, passed on as a worker does. What the client is sent,
// read again, is exactly the answers that were begun: none more, none with another body, and one that was cut
// short is cut short for the client too.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lb/http/framing.hpp"
#include "lb/http/fuzz/fuzz_support.hpp"
#include "lb/http/parser.hpp"
#include "lb/http/writer.hpp"
#include "lb/proxy/body_flow.hpp"
#include "lb/proxy/gather.hpp"

namespace {

using namespace lb;
using namespace lb::http::fuzz;
using Kind = http::BodyFraming::Kind;

const http::HeadLimits kLimits{.head_bytes_max = 4096, .field_count_max = 24};
const http::HeadLimits kAgainLimits{.head_bytes_max = 16 * 1024};
constexpr std::size_t kExchangesMax = 4;

struct Answer {
  int status = 0;
  std::string body;
  bool complete = false;
  friend bool operator==(const Answer&, const Answer&) = default;
};

struct Asked {
  http::Method method = http::Method::get;
  bool trailers = false;
};

void append(const Gather& gather, std::string& out) {
  for (const iovec& piece : gather.pieces())
    out.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
}

/// Moves a body of `in` from the front of `bytes` to `out`, framed as `to`. False: malformed.
bool move_body(const http::BodyFraming& in, const http::BodyFraming& to, bool trailers,
               std::string_view& bytes, std::string& out, bool& complete) {
  BodyFlow flow{in, to, trailers};
  while (!bytes.empty() && !flow.complete()) {
    const ExactBytes exact(bytes);
    Gather gather;
    const BodyFlow::Fed fed = flow.feed(exact.view(), gather);
    append(gather, out);
    bytes.remove_prefix(fed.consumed);
    if (fed.failed) return false;
  }
  Gather gather;
  complete = flow.complete() || (bytes.empty() && flow.feed_eof(gather));
  append(gather, out);
  return true;
}

/// The head at the front of `bytes`, interim ones dropped. False: none, or refused.
bool next_head(std::string_view& bytes, const http::HeadLimits& limits, http::ResponseHead& head) {
  for (;;) {
    http::HeadScanner scanner;
    if (http::parse_response_head(bytes, limits, scanner, head).status != http::ParseStatus::complete)
      return false;
    bytes.remove_prefix(head.head_bytes);
    if (head.status >= 200 || head.status == 101) return true;
  }
}

struct Passed {
  std::vector<Answer> answers;
  std::string to_client;
};

Passed pass_on(std::string_view bytes, const std::vector<Asked>& asked) {
  Passed passed;
  const auto head = std::make_unique<http::ResponseHead>();
  for (const Asked& request : asked) {
    if (!next_head(bytes, kLimits, *head)) break;
    const http::FramingOutcome framed = http::response_framing(*head, request.method, false);
    if (framed.error) break;
    const http::BodyFraming to = http::client_framing(framed.framing, 1);
    const http::ResponseContext context{
        .via_name = "lb", .request_method = request.method, .trailers = request.trailers};
    std::string out(head->head_bytes + http::kHeadGrowthMax, '\0');
    const std::size_t size = http::write_client_head(*head, to, context, out);
    require(size > 0, "there is room for the head");
    passed.to_client.append(out, 0, size);
    Answer answer{.status = head->status};
    std::string_view again = bytes;
    bool complete = false;
    move_body(framed.framing, {Kind::until_close, 0}, false, again, answer.body, complete);
    move_body(framed.framing, to, request.trailers, bytes, passed.to_client, answer.complete);
    passed.answers.push_back(answer);
    const bool reused =
        framed.framing.kind != Kind::until_close && http::wants_keep_alive(head->facts, head->minor_version);
    if (!answer.complete || !reused) break;
  }
  return passed;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  Cuts choices(input);
  std::vector<Asked> asked;
  asked.reserve(kExchangesMax);
  for (std::size_t i = 0; i < kExchangesMax; ++i) {
    asked.push_back({choices.below(4) == 0 ? http::Method::head : http::Method::get, choices.below(2) == 0});
  }
  const Passed passed = pass_on(input, asked);

  std::vector<Answer> read;
  std::string_view bytes = passed.to_client;
  const auto head = std::make_unique<http::ResponseHead>();
  for (const Asked& request : asked) {
    if (bytes.empty()) break;
    require(next_head(bytes, kAgainLimits, *head), "each answer begins with a head");
    const http::FramingOutcome framed = http::response_framing(*head, request.method, false);
    require(!framed.error, "and says where it ends");
    require(framed.framing.kind != Kind::until_close, "not by a close, for a client of HTTP/1.1");
    Answer answer{.status = head->status};
    require(move_body(framed.framing, {Kind::until_close, 0}, false, bytes, answer.body, answer.complete),
            "what is passed on is well-formed");
    read.push_back(answer);
  }
  require(bytes.empty(), "no byte is left over at the client");
  require(read == passed.answers, "the client reads the answers that were passed on");
  return 0;
}
