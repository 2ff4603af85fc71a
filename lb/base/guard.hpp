// guarded(): calls code behind a seam (see lb/README.md, "The four seams") and turns an exception into an
// Error, so that a stub, or an answer that throws, costs an ability and never the balancer. Any thread.
#pragma once

#include <exception>
#include <type_traits>
#include <utility>

#include "lb/base/not_implemented.hpp"
#include "lb/base/result.hpp"

namespace lb {

/// What `call` returns, or the Error (Fault::self) of what it threw; `name` says who in the message.
template <class Call>
auto guarded(std::string_view name, Call&& call) -> Result<std::invoke_result_t<Call>> {
  const auto failed = [](std::string message) {
    return std::unexpected(Error{.fault = Fault::self, .message = std::move(message)});
  };
  try {
    if constexpr (std::is_void_v<std::invoke_result_t<Call>>) {
      std::forward<Call>(call)();
      return {};
    } else {
      return std::forward<Call>(call)();
    }
  } catch (const NotImplemented& missing) {
    return failed(missing.what());
  } catch (const std::exception& thrown) {
    return failed(std::string{name} + " threw: " + thrown.what());
  } catch (...) {
    return failed(std::string{name} + " threw something that is no std::exception");
  }
}

}  // namespace lb
