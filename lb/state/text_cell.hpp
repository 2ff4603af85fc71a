// TextCell: a short text, or secret bytes, in memory that several processes share. A text that was being
// written when its writer was killed, or that two wrote at once, is no text: the sum tells. Any thread, any
// process.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "lb/base/hash.hpp"

namespace lb::state {

template <std::size_t Words>
class TextCell final {
 public:
  static constexpr std::size_t kBytesMax = Words * sizeof(std::uint64_t);

  /// What is longer is cut.
  void set(std::string_view text) noexcept {
    text = text.substr(0, kBytesMax);
    sum_.store(0, std::memory_order_release);
    std::array<std::uint64_t, Words> words{};
    std::memcpy(words.data(), text.data(), text.size());
    for (std::size_t i = 0; i < Words; ++i) words_[i].store(words[i], std::memory_order_relaxed);
    sum_.store(sum_of(words, text.size()), std::memory_order_release);
  }
  /// Empty when there is none, or it is not whole.
  [[nodiscard]] std::string get() const {
    const std::uint64_t sum = sum_.load(std::memory_order_acquire);
    std::array<std::uint64_t, Words> words{};
    for (std::size_t i = 0; i < Words; ++i) words[i] = words_[i].load(std::memory_order_relaxed);
    const std::size_t size = sum & kLengthMask;
    if (sum == 0 || size > kBytesMax || sum != sum_of(words, size)) return {};
    std::string text(size, '\0');
    std::memcpy(text.data(), words.data(), size);
    return text;
  }

 private:
  static constexpr std::uint64_t kLengthMask = 0xffff;
  static std::uint64_t sum_of(const std::array<std::uint64_t, Words>& words, std::size_t size) noexcept {
    std::array<char, kBytesMax> bytes{};
    std::memcpy(bytes.data(), words.data(), kBytesMax);
    return (hash_bytes({bytes.data(), bytes.size()}, size) & ~kLengthMask) | size;
  }

  std::atomic<std::uint64_t> sum_{0};  // of the text and its length, with the length; 0: there is none
  std::array<std::atomic<std::uint64_t>, Words> words_{};
};

}  // namespace lb::state
