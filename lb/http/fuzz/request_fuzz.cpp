// Any bytes as a request: whole and in pieces it is the same; what is accepted, written for the upstream
// side and read again has the same framing, method, path, authority and end-to-end fields, and no more.
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
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

const HeadLimits kLimits{.head_bytes_max = 4096, .request_line_bytes_max = 1024, .field_count_max = 24};
constexpr ForwardContext kContext{"192.0.2.1", "https", "lb", "backend:1"};

ParseOutcome parse(std::string_view bytes, RequestHead& head, HeadScanner& scanner) {
  return parse_request_head(bytes, kLimits, scanner, head);
}

bool same(const ParseOutcome& a, const ParseOutcome& b) {
  return a.status == b.status && (a.status != ParseStatus::error ||
                                  (a.error.status == b.error.status &&
                                   std::string_view(a.error.detail) == std::string_view(b.error.detail)));
}

void check_incremental(std::string_view input, const ParseOutcome& whole, const RequestHead& whole_head) {
  const auto head = std::make_unique<RequestHead>();
  Cuts cuts(input);
  HeadScanner scanner;
  std::size_t size = 0;
  for (;;) {
    const ExactBytes bytes(input.substr(0, size));
    const ParseOutcome outcome = parse(bytes.view(), *head, scanner);
    if (outcome.status != ParseStatus::need_more) {
      require(same(outcome, whole), "the same outcome whole and in pieces");
      if (outcome.status == ParseStatus::complete) {
        require(head->head_bytes == whole_head.head_bytes, "the same length of head");
        require(head->table.field_count == whole_head.table.field_count, "the same fields");
      }
      return;
    }
    // What is wrong with an unfinished head may be noticed later in pieces (see parser.hpp).
    require(size < input.size() || whole.status != ParseStatus::complete, "no head is lost in pieces");
    if (size == input.size()) return;
    size += cuts.next(input.size() - size);
  }
}

bool is_generated(FieldId id) {
  return id == FieldId::host || id == FieldId::content_length || id == FieldId::transfer_encoding ||
         id == FieldId::connection || id == FieldId::upgrade || id == FieldId::via ||
         id == FieldId::x_forwarded_for || id == FieldId::x_forwarded_proto ||
         id == FieldId::x_forwarded_host || id == FieldId::max_forwards;
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

std::size_t count_id(const FieldTable& table, FieldId id) {
  std::size_t count = 0;
  for (const Field& field : table) count += field.id == id ? 1 : 0;
  return count;
}

void check_written(const RequestHead& head, const BodyFraming& framing) {
  std::vector<char> out(head.head_bytes + kHeadGrowthMax);
  const std::size_t size = write_upstream_head(head, framing, kContext, out);
  require(size > 0, "kHeadGrowthMax is enough");
  std::vector<char> small(size - 1);
  require(write_upstream_head(head, framing, kContext, small) == 0, "too small is noticed");

  const ExactBytes bytes({out.data(), size});
  const auto again = std::make_unique<RequestHead>();
  HeadScanner scanner;
  const HeadLimits limits{.head_bytes_max = 16 * 1024};
  const ParseOutcome outcome = parse_request_head(bytes.view(), limits, scanner, *again);
  require(outcome.status == ParseStatus::complete, "what was written is accepted");
  require(again->head_bytes == size, "it is one head and nothing behind it");
  require_clean_lines(bytes.view(), 1 + again->table.field_count);
  const FramingOutcome framed = request_framing(*again);
  require(!framed.error && framed.framing == framing, "the same framing");
  require(again->minor_version == 1, "always HTTP/1.1");
  require(again->method_text == head.method_text, "the same method");
  if (head.method == Method::connect) return;
  const std::string path = head.path.front() == '?' ? "/" + std::string(head.path) : std::string(head.path);
  require(again->path == path && again->target == path, "the same path, in origin-form");
  require(again->authority == (head.authority.empty() ? kContext.backend_host : head.authority),
          "the same host");
  require(end_to_end_fields(again->table) == end_to_end_fields(head.table), "the same end-to-end fields");
  require(count_id(again->table, FieldId::x_forwarded_for) == 1, "one X-Forwarded-For");
  require(again->table.find(FieldId::x_forwarded_for)->value.ends_with(kContext.client_ip),
          "our client last");
  require(count_id(again->table, FieldId::x_forwarded_proto) == 1, "one X-Forwarded-Proto");
  require(again->table.find(FieldId::x_forwarded_proto)->value == "https", "our X-Forwarded-Proto");
  require(count_id(again->table, FieldId::x_forwarded_host) <= 1, "one X-Forwarded-Host");
  require(count_id(again->table, FieldId::via) == 1, "one Via");
  require(forwards_upgrade(again->facts) == forwards_upgrade(head.facts), "the same upgrade");
  require(again->facts.expect_continue == head.facts.expect_continue, "the same expectation");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const ExactBytes bytes(input);
  const auto head = std::make_unique<RequestHead>();
  HeadScanner scanner;
  const ParseOutcome outcome = parse(bytes.view(), *head, scanner);
  require(outcome.status != ParseStatus::error || outcome.error.status >= 400, "errors have a status");
  check_incremental(input, outcome, *head);
  if (outcome.status != ParseStatus::complete) return 0;
  require(head->head_bytes <= size, "no more is used than there is");
  const FramingOutcome framed = request_framing(*head);
  if (!framed.error) check_written(*head, framed.framing);
  return 0;
}
