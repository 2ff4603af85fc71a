// CheckAnswer: judges what a backend sends in answer to one health check, byte by byte as it comes. Sans-IO;
// one check each, one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "lb/config/model.hpp"
#include "lb/config/status_set.hpp"
#include "lb/http/chunked.hpp"
#include "lb/http/framing.hpp"
#include "lb/http/parser.hpp"

namespace lb {

inline constexpr std::size_t kCheckBytesMax = 64 * 1024;  // of an answer; what is expected must stand there
inline constexpr std::size_t kCheckInterimMax = 8;        // 1xx heads before the answer

/// A check as it is configured, ready for use.
struct CheckRules {
  explicit CheckRules(const HealthCheckConfig& check)
      : config(check), good_statuses(StatusSet::parse(check.expect_status).value_or(StatusSet{})) {}
  HealthCheckConfig config;  // valid
  StatusSet good_statuses;
};

/// What is sent to begin with; empty for a check that only connects, or only listens. `host` is the value of
/// the Host field.
std::string check_request(const HealthCheckConfig& check, std::string_view host);

class CheckAnswer final {
 public:
  enum class Verdict : std::uint8_t { pending, passed, failed };

  /// `rules` outlive this.
  explicit CheckAnswer(const CheckRules& rules) noexcept : rules_(&rules) {}

  /// The connection is there and the request has left. Passed: nothing more is asked.
  [[nodiscard]] Verdict request_sent() const;
  /// More bytes of the answer. Not to be called after a verdict.
  Verdict feed(std::string_view bytes);
  /// The backend has closed its side.
  Verdict feed_eof();

  /// Why it failed, for people: "status 503, expected 200-299". Empty while it has not.
  [[nodiscard]] const std::string& reason() const noexcept { return reason_; }

 private:
  Verdict fail(std::string reason);
  Verdict read_head();
  Verdict read_body(std::string_view bytes, bool at_end);
  Verdict search(std::string_view wanted, bool at_end);

  const CheckRules* rules_;
  std::string bytes_;  // the head while it is incomplete; then the body, decoded
  std::string reason_;
  std::size_t interim_ = 0;
  std::size_t searched_ = 0;  // in bytes_: what is wanted does not begin before
  bool in_body_ = false;
  bool body_whole_ = false;
  std::uint64_t body_left_ = 0;  // of a body of known length
  http::HeadScanner scanner_;
  http::BodyFraming framing_;
  http::ChunkDecoder chunks_;
};

}  // namespace lb
