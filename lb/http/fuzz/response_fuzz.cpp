// Any bytes as a response: whole and in pieces it is the same; what is accepted, written for the client
// and read again has the same status, framing and end-to-end fields, and no more.
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

namespace {

using namespace lb::http;
using namespace lb::http::fuzz;

const HeadLimits kLimits{.head_bytes_max = 4096, .field_count_max = 24};

void check_incremental(std::string_view input, const ParseOutcome& whole, const ResponseHead& whole_head) {
  const auto head = std::make_unique<ResponseHead>();
  Cuts cuts(input);
  HeadScanner scanner;
  std::size_t size = 0;
  for (;;) {
    const ExactBytes bytes(input.substr(0, size));
    const ParseOutcome outcome = parse_response_head(bytes.view(), kLimits, scanner, *head);
    if (outcome.status != ParseStatus::need_more) {
      require(outcome.status == whole.status, "the same outcome whole and in pieces");
      require(std::string_view(outcome.error.detail) == std::string_view(whole.error.detail),
              "the same error");
      require(outcome.status == ParseStatus::error || head->head_bytes == whole_head.head_bytes,
              "the same length");
      return;
    }
    // What is wrong with an unfinished head may be noticed later in pieces (see parser.hpp).
    require(size < input.size() || whole.status != ParseStatus::complete, "no head is lost in pieces");
    if (size == input.size()) return;
    size += cuts.next(input.size() - size);
  }
}

bool is_generated(FieldId id) {
  return id == FieldId::content_length || id == FieldId::transfer_encoding || id == FieldId::connection ||
         id == FieldId::upgrade || id == FieldId::via;
}

std::vector<std::string> end_to_end_fields(const FieldTable& table) {
  std::vector<std::string> lines;
  for (const Field& field : table) {
    if (!field.hop_by_hop && !is_generated(field.id)) {
      lines.push_back(std::string(field.name).append(": ").append(field.value));
    }
  }
  return lines;
}

void check_written(const ResponseHead& head, const BodyFraming& upstream, const ResponseContext& context) {
  const BodyFraming framing = client_framing(upstream, context.client_minor_version);
  std::vector<char> out(head.head_bytes + kHeadGrowthMax);
  const std::size_t size = write_client_head(head, framing, context, out);
  require(size > 0, "kHeadGrowthMax is enough");
  std::vector<char> small(size - 1);
  require(write_client_head(head, framing, context, small) == 0, "too small is noticed");

  const ExactBytes bytes({out.data(), size});
  const auto again = std::make_unique<ResponseHead>();
  HeadScanner scanner;
  const HeadLimits limits{.head_bytes_max = 16 * 1024};
  const ParseOutcome outcome = parse_response_head(bytes.view(), limits, scanner, *again);
  require(outcome.status == ParseStatus::complete, "what was written is accepted");
  require(again->head_bytes == size, "it is one head and nothing behind it");
  require_clean_lines(bytes.view(), 1 + again->table.field_count);
  require(again->status == head.status && again->reason == head.reason, "the same status line");
  const bool upgrade = upstream.kind == BodyFraming::Kind::tunnel;
  const FramingOutcome framed = response_framing(*again, context.request_method, upgrade);
  require(!framed.error && framed.framing == framing, "the client reads the framing that was meant");
  require(end_to_end_fields(again->table) == end_to_end_fields(head.table), "the same end-to-end fields");
  if (head.status < 200) return;
  require(again->facts.connection_close == !context.keep_alive, "Connection is ours alone");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const ExactBytes bytes(input);
  const auto head = std::make_unique<ResponseHead>();
  HeadScanner scanner;
  const ParseOutcome outcome = parse_response_head(bytes.view(), kLimits, scanner, *head);
  require(outcome.status != ParseStatus::error || outcome.error.status == 502, "errors are 502");
  check_incremental(input, outcome, *head);
  if (outcome.status != ParseStatus::complete) return 0;
  Cuts choices(input);
  ResponseContext context;
  context.via_name = "lb";
  context.request_method = choices.below(3) == 0 ? Method::head : Method::get;
  context.client_minor_version = choices.below(3) == 0 ? 0 : 1;
  const bool upgrade = choices.below(2) == 0;
  const FramingOutcome framed = response_framing(*head, context.request_method, upgrade);
  if (framed.error) {
    require(framed.error->status == 502, "framing errors are 502");
    return 0;
  }
  const BodyFraming to_client = client_framing(framed.framing, context.client_minor_version);
  context.keep_alive = to_client.kind != BodyFraming::Kind::until_close && choices.below(2) == 0;
  check_written(*head, framed.framing, context);
  return 0;
}
