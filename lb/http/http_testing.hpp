// For the tests of lb/http: a message judged whole and cut at every boundary, from memory of exactly its size
// (so that a sanitizer sees a read beyond it).
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>

#include "lb/http/framing.hpp"
#include "lb/http/message.hpp"
#include "lb/http/parser.hpp"

namespace lb::http::testing {

/// Bytes on the heap with nothing readable behind them.
class ExactBytes {
 public:
  explicit ExactBytes(std::string_view text)
      : bytes_(std::make_unique<char[]>(text.size())), size_(text.size()) {
    std::copy(text.begin(), text.end(), bytes_.get());
  }
  [[nodiscard]] std::string_view view() const { return {bytes_.get(), size_}; }

 private:
  std::unique_ptr<char[]> bytes_;
  std::size_t size_;
};

/// What became of a message: accepted, incomplete, or refused with a status.
struct Verdict {
  static constexpr int kAccepted = 0;
  static constexpr int kIncomplete = -1;
  int status = kIncomplete;
  std::string detail;
  std::uint32_t head_bytes = 0;
  BodyFraming framing;

  friend bool operator==(const Verdict&, const Verdict&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Verdict& v) {
    if (v.status == kIncomplete) return out << "incomplete";
    if (v.status != kAccepted) return out << "refused with " << v.status << ": " << v.detail;
    return out << "accepted, head of " << v.head_bytes << " bytes, framing kind "
               << static_cast<int>(v.framing.kind) << " length " << v.framing.length;
  }
};

inline Verdict verdict_of(const ParseOutcome& outcome, std::uint32_t head_bytes,
                          const FramingOutcome& framed) {
  Verdict verdict;
  if (outcome.status == ParseStatus::error) {
    verdict.status = outcome.error.status;
    verdict.detail = outcome.error.detail;
  } else if (outcome.status == ParseStatus::complete && framed.error) {
    verdict.status = framed.error->status;
    verdict.detail = framed.error->detail;
  } else if (outcome.status == ParseStatus::complete) {
    verdict.status = Verdict::kAccepted;
    verdict.head_bytes = head_bytes;
    verdict.framing = framed.framing;
  }
  return verdict;
}

/// A parser with what it needs between calls.
struct RequestJudge {
  HeadLimits limits;
  HeadScanner scanner;
  std::unique_ptr<RequestHead> head = std::make_unique<RequestHead>();

  Verdict operator()(std::string_view bytes) {
    const ParseOutcome outcome = parse_request_head(bytes, limits, scanner, *head);
    const bool complete = outcome.status == ParseStatus::complete;
    return verdict_of(outcome, head->head_bytes, complete ? request_framing(*head) : FramingOutcome{});
  }
};

struct ResponseJudge {
  HeadLimits limits;
  Method request_method = Method::get;
  bool upgrade_requested = false;
  HeadScanner scanner;
  std::unique_ptr<ResponseHead> head = std::make_unique<ResponseHead>();

  Verdict operator()(std::string_view bytes) {
    const ParseOutcome outcome = parse_response_head(bytes, limits, scanner, *head);
    const bool complete = outcome.status == ParseStatus::complete;
    return verdict_of(
        outcome, head->head_bytes,
        complete ? response_framing(*head, request_method, upgrade_requested) : FramingOutcome{});
  }
};

/// Judges `bytes` in one piece, byte by byte, and in two pieces cut at every boundary. All must agree; a
/// proper prefix may be incomplete or already refused the same way. Leaves the judge as after one piece.
template <class Judge>
Verdict judge_at_every_cut(Judge& judge, std::string_view bytes) {
  const ExactBytes whole(bytes);
  judge.scanner.reset();
  const Verdict verdict = judge(whole.view());
  const std::size_t decided = verdict.status == Verdict::kAccepted ? verdict.head_bytes : bytes.size();
  judge.scanner.reset();
  for (std::size_t cut = 0; cut < decided; ++cut) {
    const ExactBytes prefix(bytes.substr(0, cut));
    const Verdict early = judge(prefix.view());
    if (early.status == Verdict::kIncomplete) continue;
    EXPECT_EQ(early, verdict) << "byte by byte, after " << cut << " bytes";
    break;
  }
  EXPECT_EQ(judge(whole.view()), verdict) << "at the end of byte by byte";
  for (std::size_t cut = 0; cut < decided; ++cut) {
    judge.scanner.reset();
    const ExactBytes prefix(bytes.substr(0, cut));
    if (const Verdict early = judge(prefix.view()); early.status != Verdict::kIncomplete) {
      EXPECT_EQ(early, verdict) << "cut after " << cut;
    }
    EXPECT_EQ(judge(whole.view()), verdict) << "whole after a cut at " << cut;
  }
  judge.scanner.reset();
  judge(bytes);
  return verdict;
}

inline std::string readable(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    if (c == '\r') {
      text += "\\r";
    } else if (c == '\n') {
      text += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f) {
      constexpr std::string_view kDigits = "0123456789abcdef";
      text += "\\x";
      text += kDigits[static_cast<unsigned char>(c) >> 4U];
      text += kDigits[static_cast<unsigned char>(c) & 15U];
    } else {
      text += c;
    }
  }
  return text;
}

}  // namespace lb::http::testing
