// Parts of the report that are made in files of their own. Internal to report*.cpp.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "harness/traffic/judge.hpp"
#include "harness/traffic/report.hpp"
#include "harness/traffic/statistics.hpp"

namespace lb::traffic {

/// Which connections are told or drawn in full, and their requests in order of time.
class ConnectionPick final {
 public:
  ConnectionPick(const Case& judged, std::size_t lines, std::size_t stories);
  /// Indices into the case's items, in order of t_send; empty when the connection was not picked.
  [[nodiscard]] const std::vector<std::uint32_t>& requests_of(std::uint32_t connection) const;
  /// To be drawn.
  [[nodiscard]] const std::vector<std::uint32_t>& lines() const noexcept { return lines_; }
  /// Indices of the drops to be told, in order of time.
  [[nodiscard]] const std::vector<std::uint32_t>& drops() const noexcept { return drops_; }

 private:
  void pick_lines(const Case& judged, std::size_t lines);
  std::vector<std::uint32_t> slot_of_;  // by connection; 0: not picked
  std::vector<std::vector<std::uint32_t>> requests_;
  std::vector<std::uint32_t> lines_;
  std::vector<std::uint32_t> drops_;
};

nlohmann::json latency_json(const LatencySummary& summary);
nlohmann::json drops_json(const Case& judged, const ConnectionPick& pick);
nlohmann::json slowest_json(const Case& judged, std::size_t count);
nlohmann::json timeline_json(const Case& judged, const ConnectionPick& pick);
nlohmann::json marks_json(const Case& judged);
/// By kind; what belongs to a reload goes into its mark, under "long_lived".
nlohmann::json long_lived_json(const Case& judged, nlohmann::json& marks);

/// Seconds since the run began; null for 0 (never).
nlohmann::json relative_s(const Case& judged, Nanos at);
nlohmann::json text_or_null(const std::vector<std::string>& texts, std::uint16_t index);

}  // namespace lb::traffic
