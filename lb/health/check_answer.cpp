#include "lb/health/check_answer.hpp"

#include <algorithm>
#include <memory>
#include <utility>

#include "lb/config/wording.hpp"

namespace lb {
namespace {

http::Method method_of(HealthCheckMethod method) noexcept {
  switch (method) {
    case HealthCheckMethod::get:
      return http::Method::get;
    case HealthCheckMethod::head:
      return http::Method::head;
    case HealthCheckMethod::options:
      return http::Method::options;
  }
  std::unreachable();
}

std::string_view name_of(HealthCheckMethod method) noexcept {
  switch (method) {
    case HealthCheckMethod::get:
      return "GET";
    case HealthCheckMethod::head:
      return "HEAD";
    case HealthCheckMethod::options:
      return "OPTIONS";
  }
  std::unreachable();
}

}  // namespace

std::string check_request(const HealthCheckConfig& check, std::string_view host) {
  if (check.type != HealthCheckType::http) return check.send;
  std::string request{name_of(check.method)};
  request += " " + check.path + " HTTP/1.1\r\nHost: ";
  request += check.host.empty() ? host : std::string_view{check.host};
  request += "\r\nUser-Agent: lb-health-check\r\nAccept: */*\r\nConnection: close\r\n\r\n";
  return request;
}

CheckAnswer::Verdict CheckAnswer::request_sent() const {
  const HealthCheckConfig& check = rules_->config;
  return check.type != HealthCheckType::http && check.expect.empty() ? Verdict::passed : Verdict::pending;
}

CheckAnswer::Verdict CheckAnswer::feed(std::string_view bytes) {
  if (rules_->config.type != HealthCheckType::http) {
    bytes_.append(bytes.substr(0, kCheckBytesMax - bytes_.size()));
    return search(rules_->config.expect, bytes_.size() == kCheckBytesMax);
  }
  if (in_body_) return read_body(bytes, false);
  bytes_.append(bytes);  // the parser bounds a head
  return read_head();
}

CheckAnswer::Verdict CheckAnswer::feed_eof() {
  if (rules_->config.type != HealthCheckType::http) {
    const bool silent = bytes_.empty();
    return silent ? fail("the connection was closed without an answer") : search(rules_->config.expect, true);
  }
  if (in_body_) return read_body({}, true);
  return fail(bytes_.empty() ? "the connection was closed without an answer" : "the answer was cut short");
}

CheckAnswer::Verdict CheckAnswer::fail(std::string reason) {
  reason_ = std::move(reason);
  return Verdict::failed;
}

CheckAnswer::Verdict CheckAnswer::read_head() {
  static constexpr http::HeadLimits kLimits;
  const auto head = std::make_unique<http::ResponseHead>();  // too large for a stack that is not ours
  for (;;) {
    const http::ParseOutcome outcome = http::parse_response_head(bytes_, kLimits, scanner_, *head);
    if (outcome.status == http::ParseStatus::need_more) return Verdict::pending;
    if (outcome.status == http::ParseStatus::error) {
      return fail("a malformed answer: " + std::string{outcome.error.detail});
    }
    if (head->status >= 200) break;
    if (++interim_ > kCheckInterimMax) return fail("too many interim answers");
    bytes_.erase(0, head->head_bytes);
    scanner_.reset();
  }
  if (!rules_->good_statuses.contains(head->status)) {
    return fail("status " + std::to_string(head->status) + ", expected " + rules_->config.expect_status);
  }
  if (rules_->config.expect_body.empty()) return Verdict::passed;
  const http::FramingOutcome framing = http::response_framing(*head, method_of(rules_->config.method), false);
  if (framing.error) return fail("a malformed answer: " + std::string{framing.error->detail});
  framing_ = framing.framing;
  body_left_ = framing_.length;
  body_whole_ = framing_.kind == http::BodyFraming::Kind::none;
  in_body_ = true;
  const std::string body = std::exchange(bytes_, {}).substr(head->head_bytes);
  return read_body(body, false);
}

CheckAnswer::Verdict CheckAnswer::read_body(std::string_view bytes, bool at_end) {
  const auto keep = [&](std::string_view payload) {
    bytes_.append(payload.substr(0, kCheckBytesMax - bytes_.size()));
  };
  if (framing_.kind == http::BodyFraming::Kind::length) {
    bytes = bytes.substr(0, body_left_);
    body_left_ -= bytes.size();
    body_whole_ = body_left_ == 0;
    keep(bytes);
  } else if (framing_.kind == http::BodyFraming::Kind::until_close) {
    keep(bytes);
  } else if (framing_.kind == http::BodyFraming::Kind::chunked) {
    while (!bytes.empty() && !body_whole_) {
      const http::ChunkDecoder::Step step = chunks_.step(bytes);
      if (step.failed) return fail("a malformed answer: " + std::string{chunks_.error().detail});
      keep(step.payload);
      bytes.remove_prefix(step.consumed);
      body_whole_ = step.done;
    }
  }
  return search(rules_->config.expect_body, at_end || body_whole_ || bytes_.size() == kCheckBytesMax);
}

/// Each byte is looked at about once, however small the pieces are in which it came.
CheckAnswer::Verdict CheckAnswer::search(std::string_view wanted, bool at_end) {
  if (bytes_.find(wanted, searched_) != std::string::npos) return Verdict::passed;
  if (at_end) return fail("the answer does not contain " + shown_text(wanted));
  if (bytes_.size() >= wanted.size()) searched_ = bytes_.size() - wanted.size() + 1;
  return Verdict::pending;
}

}  // namespace lb
