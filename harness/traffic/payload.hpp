// The deterministic bytes of request and response bodies: whoever knows the nonce can produce and verify
// every byte at any offset. Pure; any thread. Byte i is byte i mod 8 of mix64(key + i / 8), see README.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lb::traffic {

enum class Direction : std::uint8_t { request, response };

/// The key of one body; the two directions differ, so an echoed request body is no valid response.
std::uint64_t payload_key(std::uint64_t nonce, Direction direction) noexcept;

/// Appends bytes [offset, offset + size) of the stream to `out`.
void payload_append(std::string& out, std::uint64_t key, std::uint64_t offset, std::size_t size);

/// Whether `bytes` are exactly those of the stream from `offset` on.
bool payload_matches(std::string_view bytes, std::uint64_t key, std::uint64_t offset) noexcept;

/// 16 lower-case hex digits, appended.
void append_nonce(std::string& out, std::uint64_t nonce);

/// False when `text` is not 1 to 16 hex digits.
bool parse_nonce(std::string_view text, std::uint64_t& nonce) noexcept;

}  // namespace lb::traffic
