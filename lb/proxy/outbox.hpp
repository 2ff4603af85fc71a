// Outbox: what a socket was given and the kernel has not taken yet: a pipe with spliced bytes, and after
// those the bytes of a queue. Empty it owns no memory. Bounded by its user. One thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "lb/proxy/byte_queue.hpp"
#include "lb/proxy/splice_pipe.hpp"

namespace lb {

class Outbox final {
 public:
  [[nodiscard]] bool empty() const noexcept { return bytes_.empty() && pipe_ == nullptr; }
  /// Of the queue; a pipe is not counted.
  [[nodiscard]] std::uint32_t size() const noexcept { return bytes_.size(); }
  [[nodiscard]] std::string_view view() const noexcept { return bytes_.view(); }
  void append(std::string_view bytes) { bytes_.append(bytes); }
  void consume(std::size_t n) noexcept { bytes_.consume(n); }
  void clear() noexcept {
    bytes_.clear();
    pipe_.reset();
  }

  [[nodiscard]] SplicePipe* pipe() const noexcept { return pipe_.get(); }
  /// Its bytes come before everything else, so nothing may be waiting.
  void put_pipe(std::unique_ptr<SplicePipe> pipe) noexcept {
    LB_ASSERT(empty());
    pipe_ = std::move(pipe);
  }
  std::unique_ptr<SplicePipe> take_pipe() noexcept { return std::move(pipe_); }

 private:
  ByteQueue bytes_;
  std::unique_ptr<SplicePipe> pipe_;
};

}  // namespace lb
