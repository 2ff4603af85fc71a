// The value of one cookie of a request, for balancing by it. Pure; any thread.
#pragma once

#include <string_view>

#include "lb/http/message.hpp"

namespace lb::http {

/// The value of the first cookie called `name` in a Cookie field's value (RFC 6265 4.2.1), as sent: quotes
/// stay. Empty when there is none. Names are compared exactly. Lenient about blanks, and a part without "="
/// is passed over, as servers do (5.2 and 6.1 say nothing better): no request is refused for its cookies.
std::string_view cookie_value(std::string_view field, std::string_view name) noexcept;

/// The same over all Cookie fields of a request.
std::string_view cookie_of(const FieldTable& table, std::string_view name) noexcept;

}  // namespace lb::http
