// Gather: one outgoing write, collected from generated heads, small copies and references to received
// bytes, so that a head and its body leave in one system call. One a worker, cleared for each use; what it
// refers to must live until it is sent. One thread.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>

#include "lb/base/result.hpp"

namespace lb {

class Gather final {
 public:
  static constexpr std::size_t kPiecesMax = 64;
  static constexpr std::size_t kArenaBytes = 128 * 1024;
  static constexpr std::size_t kCopyMax = 4096;  // shorter pieces are copied: cheaper than another iovec

  void clear() noexcept { count_ = arena_used_ = total_ = 0; }
  [[nodiscard]] bool empty() const noexcept { return total_ == 0; }
  [[nodiscard]] std::size_t total() const noexcept { return total_; }
  /// Whether another chunk (head, payload, end) and a trailer section still fit.
  [[nodiscard]] bool has_room() const noexcept {
    return count_ + 6 <= kPiecesMax && arena_used_ + kCopyMax + 64 <= kArenaBytes;
  }
  [[nodiscard]] std::span<const iovec> pieces() const noexcept { return {pieces_.data(), count_}; }

  /// Memory to generate into, followed by commit() of what was used.
  [[nodiscard]] std::span<char> room() noexcept {
    return {arena_.get() + arena_used_, kArenaBytes - arena_used_};
  }
  void commit(std::size_t n) noexcept {
    extend(arena_.get() + arena_used_, n);
    arena_used_ += n;
  }

  void add(std::string_view bytes) noexcept {
    if (bytes.empty()) return;
    if (bytes.size() <= kCopyMax && arena_used_ + bytes.size() <= kArenaBytes) {
      std::memcpy(arena_.get() + arena_used_, bytes.data(), bytes.size());
      commit(bytes.size());
    } else {
      extend(const_cast<char*>(bytes.data()), bytes.size());
    }
  }

 private:
  void extend(char* bytes, std::size_t n) noexcept {
    total_ += n;
    if (count_ > 0) {
      iovec& last = pieces_[count_ - 1];
      if (static_cast<char*>(last.iov_base) + last.iov_len == bytes) {
        last.iov_len += n;
        return;
      }
    }
    LB_ASSERT(count_ < kPiecesMax);
    pieces_[count_++] = iovec{bytes, n};
  }

  std::unique_ptr<char[]> arena_ = std::make_unique_for_overwrite<char[]>(kArenaBytes);
  std::array<iovec, kPiecesMax> pieces_;
  std::size_t count_ = 0;
  std::size_t arena_used_ = 0;
  std::size_t total_ = 0;
};

}  // namespace lb
