// Trailer sections on their way through (RFC 9110 6.5, RFC 9112 7.1.2): which fields may go on. Any thread.
#pragma once

#include <string>
#include <string_view>

namespace lb::http {

/// False for the fields that a recipient might act on although they came late: framing, routing, request
/// modifiers, credentials, cookies, what describes content or controls a response (RFC 9110 6.5.1), and what
/// a proxy vouches for. '_' counts as '-', see fields.cpp.
bool may_be_trailer(std::string_view name) noexcept;

/// `section` is one that ChunkDecoder has checked: lines and the empty one that ends it. Takes the fields out
/// that may not go on and returns the lines that are left, without the empty one: inside `section`.
std::string_view forwardable_trailers(std::string& section) noexcept;

}  // namespace lb::http
