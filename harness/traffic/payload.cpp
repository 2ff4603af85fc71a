#include "harness/traffic/payload.hpp"

#include <charconv>
#include <cstring>

#include "lb/base/random.hpp"

namespace lb::traffic {
namespace {

constexpr std::size_t kWord = sizeof(std::uint64_t);

std::uint8_t byte_at(std::uint64_t key, std::uint64_t i) noexcept {
  return static_cast<std::uint8_t>(mix64(key + i / kWord) >> (8 * (i % kWord)));
}

}  // namespace

std::uint64_t payload_key(std::uint64_t nonce, Direction direction) noexcept {
  return mix64(direction == Direction::response ? nonce : ~nonce);
}

void payload_append(std::string& out, std::uint64_t key, std::uint64_t offset, std::size_t size) {
  const std::size_t start = out.size();
  out.resize(start + size);
  char* to = out.data() + start;
  std::size_t i = 0;
  for (; i < size && (offset + i) % kWord != 0; ++i) to[i] = static_cast<char>(byte_at(key, offset + i));
  for (; i + kWord <= size; i += kWord) {
    const std::uint64_t word = mix64(key + (offset + i) / kWord);
    std::memcpy(to + i, &word, kWord);
  }
  for (; i < size; ++i) to[i] = static_cast<char>(byte_at(key, offset + i));
}

bool payload_matches(std::string_view bytes, std::uint64_t key, std::uint64_t offset) noexcept {
  const std::size_t size = bytes.size();
  std::size_t i = 0;
  for (; i < size && (offset + i) % kWord != 0; ++i) {
    if (static_cast<std::uint8_t>(bytes[i]) != byte_at(key, offset + i)) return false;
  }
  for (; i + kWord <= size; i += kWord) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + i, kWord);
    if (word != mix64(key + (offset + i) / kWord)) return false;
  }
  for (; i < size; ++i) {
    if (static_cast<std::uint8_t>(bytes[i]) != byte_at(key, offset + i)) return false;
  }
  return true;
}

void append_nonce(std::string& out, std::uint64_t nonce) {
  constexpr char kDigits[] = "0123456789abcdef";
  char text[16];
  for (int i = 15; i >= 0; --i, nonce >>= 4U) text[i] = kDigits[nonce & 0xfU];
  out.append(text, sizeof text);
}

bool parse_nonce(std::string_view text, std::uint64_t& nonce) noexcept {
  if (text.empty() || text.size() > 16) return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), nonce, 16);
  return error == std::errc{} && end == text.data() + text.size();
}

}  // namespace lb::traffic
