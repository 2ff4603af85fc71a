// How a fake backend behaves: a script for all of its requests, parts of which the query of a request's
// target overrides. Pure; the keys are documented in README.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "harness/traffic/clock.hpp"
#include "lb/base/result.hpp"

namespace lb::traffic {

enum class Mode : std::uint8_t {
  normal,
  refuse,
  reset,
  hang,
  garbage,
  status,
  truncate,
  wrong,
  duplicate,
  close
};
enum class ResetAt : std::uint8_t { accept, request, head, mid };
enum class Echo : std::uint8_t { none, headers, body };

/// A number, or the ends of a range of numbers.
struct Span {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
};

/// One answer. A plain value: copied for each request, then overridden by its query.
struct Reply {
  std::uint64_t size = 128;
  std::uint64_t chunk = 4096;
  std::uint64_t rate = 0;  // body bytes per second; 0 is at once
  Nanos delay = 0;
  std::uint16_t status = 200;
  Mode mode = Mode::normal;
  ResetAt at = ResetAt::request;
  Echo echo = Echo::none;
  bool chunked = false;
  bool close = false;
  bool trailer = false;
  bool interim = false;
  bool events = false;  // a stream of server-sent events
  // Conversations: what this side says, how often, and for how long (0: until the client leaves).
  Span flow_ms{500, 2000};
  Span flow_bytes{1, 500};
  Span life_ms;
};

struct Script {
  Reply reply;
  std::uint32_t every = 1;
  std::uint32_t close_after = 0;
  std::uint32_t drop_idle_after = 0;
  Nanos idle_close = 0;
  std::uint64_t read_rate = 0;
  std::uint64_t slice = 0;  // bytes of an answer sent at once; 0: all
  Nanos close_delay = 0;    // before the FIN that ends a connection
  std::uint16_t health_status = 200;
  bool early_response = false;
  std::string headers;  // "Name: value\r\n" each
};

/// A script from JSON text. All keys are optional; an unknown one is an error.
Result<Script> parse_script(std::string_view json);

/// Overrides from the query of `target`; what is not understood is ignored, as a real backend would.
void apply_query(Reply& reply, std::string_view target) noexcept;

}  // namespace lb::traffic
