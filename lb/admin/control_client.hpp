// The client's side of the control socket: sends one request, waits for one answer. Blocking; for `lb
// reload`, `lb status` and `lb plan`.
#pragma once

#include <string>

#include "lb/admin/control_protocol.hpp"
#include "lb/base/result.hpp"
#include "lb/base/time.hpp"

namespace lb {

/// The answer's line without its end. Fails when nobody listens at `path`, the connection ends without an
/// answer, or `timeout` passes.
Result<std::string> ask_control(const std::string& path, const ControlQuery& query, Duration timeout);

}  // namespace lb
