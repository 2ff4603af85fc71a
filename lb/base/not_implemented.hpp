// NotImplemented: how code that is still to be written says so. A stub of an exercise throws it instead of
// answering; the balancer catches it at the seam, logs it once and goes on without that ability. The one
// exception that may cross a module boundary, and only towards lb/base/guard.hpp. Any thread.
#pragma once

#include <source_location>
#include <stdexcept>
#include <string_view>

namespace lb {

class NotImplemented final : public std::logic_error {
 public:
  /// what(): "not implemented: RollbackPolicy::on_event (rollback.cpp:31)".
  NotImplemented(std::string_view what, std::source_location where);
};

[[noreturn]] void not_implemented(std::string_view what,
                                  std::source_location where = std::source_location::current());

}  // namespace lb
