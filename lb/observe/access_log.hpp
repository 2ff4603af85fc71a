// Access log lines: formatting only. The worker owns the buffer and the file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lb/base/time.hpp"
#include "lb/observe/event_log.hpp"

namespace lb {

struct AccessRecord {
  std::int64_t unix_time_us = 0;
  std::string_view client_ip;
  std::uint16_t client_port = 0;
  std::string_view method;
  std::string_view target;
  std::uint16_t status = 0;
  std::uint64_t response_body_bytes = 0;
  std::uint64_t request_body_bytes = 0;
  std::int64_t duration_us = 0;
  std::string_view backend;  // name, "-" when none was chosen
  std::uint64_t generation = 0;
  std::uint32_t retries = 0;
  /// A connection upgraded, or one in TCP mode, that has method "TCP", the listener as its target and status
  /// 0. Text has the bytes received from the client as in=N, for such alone.
  bool tunnel = false;
  std::string_view
      outcome;  // "ok", "client_closed", "upstream_closed", "timeout", "rejected", "drain_timeout", "reset"
};

/// Appends one line with its newline. Text:
///   127.0.0.1:5000 [2026-11-23T10:00:00.123456Z] "GET /x" 200 128 1.234ms backend=b1 gen=3 ok
/// with retries=N before the outcome when there were any, and an IPv6 address in brackets. JSON: one object,
/// the names of the struct's members as keys but `time` in RFC 3339. Quotes, control characters and bytes
/// that are not UTF-8 are escaped, so that a request cannot forge a line.
void append_access_line(std::string& out, LogFormat format, const AccessRecord& record);

}  // namespace lb
