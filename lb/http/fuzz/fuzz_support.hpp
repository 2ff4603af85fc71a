// For the fuzz targets of lb/http: copies of exact size, cuts that follow from the input, and a check that
// says what broke.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "lb/base/hash.hpp"
#include "lb/base/random.hpp"

namespace lb::http::fuzz {

inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

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

/// A generated head judged by its bytes alone, so that a parser that is wrong is no witness for itself:
/// `line_count` lines and the empty one, each ended by CRLF, no control character else but HTAB.
inline void require_clean_lines(std::string_view head, std::size_t line_count) {
  std::size_t lines = 0;
  for (std::size_t i = 0; i < head.size(); ++i) {
    const auto byte = static_cast<unsigned char>(head[i]);
    if (byte == '\r') {
      require(i + 1 < head.size() && head[i + 1] == '\n', "no bare CR is written");
      ++lines;
      ++i;
    } else {
      require((byte >= 0x20 && byte != 0x7f) || byte == '\t', "no control character is written");
    }
  }
  require(lines == line_count + 1, "one line a field");
  require(head.find("\r\n\r\n") == head.size() - 4, "one empty line, at the end");
}

/// Where to cut: drawn from a generator seeded by the input's hash, so that the corpus is plain messages and
/// any change of a byte moves the cuts.
class Cuts {
 public:
  explicit Cuts(std::string_view input) : random_(hash_bytes(input)) {}
  /// At least 1 and at most `left` (which is not 0): mostly short, sometimes all.
  std::size_t next(std::size_t left) {
    const std::uint32_t bound = random_.below(8) == 0 ? 4096 : 1U << random_.below(7);
    return std::min<std::size_t>(left, 1 + random_.below(bound));
  }
  std::uint32_t below(std::uint32_t bound) { return random_.below(bound); }

 private:
  Random random_;
};

}  // namespace lb::http::fuzz
