// The reloads of a run as the driver noted them, and what follows from them: when a request counts as inside
// a reload window, and from when on a backend may no longer be used. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/traffic/clock.hpp"
#include "lb/base/result.hpp"

namespace lb::traffic {

struct Mark {
  std::string name;
  Nanos t_request = 0;
  Nanos t_answer = 0;
  Nanos window_end = 0;
  bool ok = true;
  std::vector<std::string> removed;
  std::vector<std::string> added;
  std::optional<std::string> label;
};

/// A JSON list, see README.md; the result is in order of t_request.
Result<std::vector<Mark>> parse_marks(std::string_view json);

/// The union of all marks' windows.
class Windows final {
 public:
  explicit Windows(const std::vector<Mark>& marks);
  /// Whether [from, to] touches one.
  [[nodiscard]] bool touches(Nanos from, Nanos to) const noexcept;

 private:
  struct Span {
    Nanos from;
    Nanos to;
  };
  std::vector<Span> spans_;  // disjoint, in order
};

/// When which backend was not configured.
class Removals final {
 public:
  explicit Removals(const std::vector<Mark>& marks);
  /// Since when `backend` was forbidden for a request sent at `sent` that reached it at `reached`: it must
  /// have been chosen in between, so both times have to lie in the forbidden time. Empty when it was allowed.
  [[nodiscard]] std::optional<Nanos> forbidden_since(std::string_view backend, Nanos sent,
                                                     Nanos reached) const noexcept;
  [[nodiscard]] bool empty() const noexcept { return spans_.empty(); }

 private:
  struct Span {
    Nanos from;
    Nanos to;
  };
  std::map<std::string, std::vector<Span>, std::less<>> spans_;
};

/// The last mark requested at or before `at`, else the first; -1 when there is none.
int nearest_mark(const std::vector<Mark>& marks, Nanos at) noexcept;

}  // namespace lb::traffic
