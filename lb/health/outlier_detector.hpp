// OutlierDetector: which backends do so badly with real requests that they are left alone for a while, and
// for how long. Pure: it is told of failures in a row and shown the counts now and then, and answers with
// what to do. Not thread-safe: the caller locks.
//
//   in --- failures in a row, or a share of them over the window ---> out ... until its time is over ---> in
//
// Each time out is twice the last one, up to a maximum; a backend that stayed in for longer than it was
// last out begins anew.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lb/base/time.hpp"

namespace lb {

struct OutlierRules {
  double failure_share = 0;  // over the window; 0: not looked at
  Duration window = std::chrono::seconds{10};
  std::uint32_t requests_min = 20;  // in the window; fewer say nothing
  Duration ejection = std::chrono::seconds{30};
  Duration ejection_max = std::chrono::seconds{300};
  double ejected_share_max = 0.5;  // of all backends; one may always be out where there are several
};

/// What was counted of a backend since the beginning.
struct OutlierCounts {
  std::uint64_t requests = 0;
  std::uint64_t failures = 0;
};

class OutlierDetector final {
 public:
  OutlierDetector(const OutlierRules& rules, std::uint32_t backends, Instant now);

  /// A backend that is out from now on. `until` may have been chosen before: a backend is told once each
  /// time.
  struct Ejection {
    std::uint32_t backend = 0;
    Instant until{};
    std::string reason{};
  };

  /// `failures` requests in a row failed. Nothing when the backend is out already, or too many others are.
  std::optional<Ejection> failed_in_row(std::uint32_t backend, std::uint32_t failures, Instant now);

  struct Changes {
    std::vector<Ejection> out{};
    std::vector<std::uint32_t> back{};  // their time is over
  };
  /// All counts, now and then: at least a few times a window.
  Changes sample(std::span<const OutlierCounts> counts, Instant now);

  /// What another detector has found out about it: it is out until then (or was), for that long, and why.
  void learn(std::uint32_t index, Instant until, Duration length, std::string reason);
  [[nodiscard]] Instant out_until(std::uint32_t backend) const noexcept {
    return backends_[backend].out_until;
  }

  /// Why the backend is out; null when it is in.
  [[nodiscard]] const std::string* reason(std::uint32_t backend, Instant now) const noexcept;

 private:
  struct Backend {
    OutlierCounts at_begin{};  // of the window
    Instant out_until{};
    Duration last_out{};
    bool out = false;  // and its return was not told yet
    std::string reason{};
  };
  std::optional<Ejection> eject(std::uint32_t index, std::string reason, Instant now);
  [[nodiscard]] bool may_eject(Instant now) const noexcept;

  OutlierRules rules_;
  std::vector<Backend> backends_;
  Instant window_began_;
};

}  // namespace lb
