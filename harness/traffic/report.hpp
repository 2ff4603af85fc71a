// A compared Case as JSON and as a table for humans; every key is documented in README.md. Pure.
#pragma once

#include <string>
#include <vector>

#include "harness/traffic/judge.hpp"

namespace lb::traffic {

struct ReportOptions {
  std::size_t slowest = 10;
  std::size_t lines = 300;    // connections drawn in the timeline
  std::size_t stories = 100;  // drops told in full
};

std::string report_json(const Case& judged, const ReportOptions& options);
std::string report_text(const Case& judged);

/// Exit status of the tool: 0, 1 or 2.
int exit_code(Verdict verdict) noexcept;
std::string_view name_of(Verdict verdict) noexcept;

/// Requests whose latency is compared between inside and outside of reload windows.
enum class LatencyClass : std::uint8_t { none, new_connection, kept_alive };
/// Only of kinds that are quick by design; by whether the request was the first on its connection.
LatencyClass latency_class(Kind kind, const TrafficRecord& record) noexcept;

}  // namespace lb::traffic
