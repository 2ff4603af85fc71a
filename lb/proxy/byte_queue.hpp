// ByteQueue: bytes that a socket would not take yet, or that came before they were wanted. Empty it owns
// no memory, so an idle connection costs 24 bytes of it. Bounded by its user. One thread.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>

#include "lb/base/result.hpp"

namespace lb {

class ByteQueue final {
 public:
  [[nodiscard]] bool empty() const noexcept { return begin_ == end_; }
  [[nodiscard]] std::uint32_t size() const noexcept { return end_ - begin_; }
  [[nodiscard]] std::string_view view() const noexcept { return {data_.get() + begin_, size()}; }

  void append(std::string_view bytes) {
    if (bytes.empty()) return;
    if (end_ + bytes.size() > capacity_) make_room(bytes.size());
    std::memcpy(data_.get() + end_, bytes.data(), bytes.size());
    end_ += static_cast<std::uint32_t>(bytes.size());
  }

  /// Forgets the first `n` bytes; the memory goes when none are left.
  void consume(std::size_t n) noexcept {
    LB_ASSERT(n <= size());
    begin_ += static_cast<std::uint32_t>(n);
    if (begin_ == end_) clear();
  }

  void clear() noexcept {
    data_.reset();
    begin_ = end_ = capacity_ = 0;
  }

 private:
  void make_room(std::size_t more) {
    const std::size_t needed = size() + more;
    LB_ASSERT(needed < (1U << 30U));
    const std::size_t grown = size() == 0 ? needed : needed + needed / 2;
    auto bigger = std::make_unique_for_overwrite<char[]>(grown);
    if (size() > 0) std::memcpy(bigger.get(), data_.get() + begin_, size());
    end_ = size();
    begin_ = 0;
    capacity_ = static_cast<std::uint32_t>(grown);
    data_ = std::move(bigger);
  }

  std::unique_ptr<char[]> data_;
  std::uint32_t begin_ = 0;
  std::uint32_t end_ = 0;
  std::uint32_t capacity_ = 0;
};

}  // namespace lb
