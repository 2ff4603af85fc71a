// Any bytes as a client connection: requests read one after the other and passed on, as a worker does. Cut
// anywhere they are the same requests; and what the backend is sent, read again, is exactly those requests
// and not one byte more. That is what "no request is smuggled" means.
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

const http::HeadLimits kLimits{.head_bytes_max = 4096, .request_line_bytes_max = 1024, .field_count_max = 24};
const http::HeadLimits kAgainLimits{.head_bytes_max = 16 * 1024};
constexpr http::ForwardContext kContext{"192.0.2.1", "http", "lb", "backend:1"};

struct Request {
  std::string method;
  std::string path;
  std::string authority;
  std::string body;
  friend bool operator==(const Request&, const Request&) = default;
};

/// Reads requests from pieces of a connection; `sent` collects what goes to the backend.
class Session {
 public:
  explicit Session(const http::HeadLimits& limits) : limits_(limits) {}

  /// False: refused, nothing more is read.
  bool feed(std::string_view piece) {
    inbox_ += piece;
    while (!inbox_.empty()) {
      const std::size_t before = inbox_.size();
      if (!(in_body_ ? read_body() : read_head())) return false;
      if (inbox_.size() == before) return true;  // more is needed
    }
    return true;
  }

  std::vector<Request> requests;  // complete ones
  std::string sent;               // of complete ones
  [[nodiscard]] bool at_rest() const { return !in_body_ && inbox_.empty(); }

 private:
  bool read_head() {
    const ExactBytes bytes(inbox_);
    const http::ParseOutcome outcome = http::parse_request_head(bytes.view(), limits_, scanner_, *head_);
    if (outcome.status == http::ParseStatus::need_more) return true;
    if (outcome.status == http::ParseStatus::error) return false;
    const http::FramingOutcome framed = http::request_framing(*head_);
    if (framed.error || head_->method == http::Method::connect) return false;
    std::string out(head_->head_bytes + http::kHeadGrowthMax, '\0');
    const std::size_t size = http::write_upstream_head(*head_, framed.framing, kContext, out);
    require(size > 0, "there is room for the head");
    pending_ = out.substr(0, size);
    const bool slash = head_->path.empty() || head_->path.front() == '?';
    request_ = {std::string(head_->method_text), (slash ? "/" : "") + std::string(head_->path),
                std::string(head_->authority.empty() ? kContext.backend_host : head_->authority), ""};
    body_ = BodyFlow{framed.framing, framed.framing, true};
    payload_ = BodyFlow{framed.framing, {Kind::until_close, 0}};
    in_body_ = true;
    scanner_.reset();
    inbox_.erase(0, head_->head_bytes);
    if (body_.complete()) finish();
    return true;
  }

  bool read_body() {
    const ExactBytes bytes(inbox_);
    Gather framed;
    const BodyFlow::Fed fed = body_.feed(bytes.view(), framed);
    if (fed.failed) return false;
    append(framed, pending_);
    for (std::size_t done = 0; done < fed.consumed && !payload_.complete();) {
      Gather plain;
      const BodyFlow::Fed part = payload_.feed(bytes.view().substr(done, fed.consumed - done), plain);
      require(!part.failed, "both flows read the same");
      append(plain, request_.body);
      done += part.consumed;
      if (part.consumed == 0) break;
    }
    inbox_.erase(0, fed.consumed);
    if (body_.complete()) finish();
    return true;
  }

  static void append(const Gather& gather, std::string& out) {
    for (const iovec& piece : gather.pieces())
      out.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
  }

  void finish() {
    require(payload_.complete(), "both flows end together");
    require(body_.payload_bytes() == request_.body.size(), "the payload is counted");
    in_body_ = false;
    requests.push_back(request_);
    sent += pending_;
  }

  const http::HeadLimits& limits_;
  std::unique_ptr<http::RequestHead> head_ = std::make_unique<http::RequestHead>();
  http::HeadScanner scanner_;
  std::string inbox_;
  std::string pending_;
  Request request_;
  BodyFlow body_;
  BodyFlow payload_;
  bool in_body_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  Session whole{kLimits};
  const bool good = whole.feed(input);

  Cuts cuts(input);
  Session pieces{kLimits};
  bool good_in_pieces = true;
  for (std::size_t at = 0; at < size && good_in_pieces;) {
    const std::size_t n = cuts.next(size - at);
    good_in_pieces = pieces.feed(input.substr(at, n));
    at += n;
  }
  require(pieces.requests == whole.requests, "the same requests whole and in pieces");
  require(good || !good_in_pieces || !pieces.at_rest(), "what is refused whole is not accepted in pieces");

  Session backend{kAgainLimits};
  require(backend.feed(whole.sent), "the backend refuses nothing");
  require(backend.at_rest(), "no byte is left over at the backend");
  require(backend.requests == whole.requests, "the backend reads the same requests");
  return 0;
}
