// BackendQueue: the places in which requests wait when every backend that could serve them is at its
// max_connections, and whose turn it is when one of those becomes free. Shared by the workers of a set of
// backends: each keeps its own requests in order (worker_queue.cpp), and the turns go round among the workers
// in which somebody waits. Lock-free; any thread.
//
// No wake-up is lost: who frees a place asks for the next turn after that, who waits looks for a free place
// after it has entered, and both change the same counter: whichever comes second sees what the other did.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>

namespace lb {

class BackendQueue final {
 public:
  /// At most `size_max` requests wait at once, over `workers` workers.
  BackendQueue(std::uint32_t size_max, std::uint32_t workers)
      : size_max_(size_max), workers_(workers), lanes_(std::make_unique<Lane[]>(workers)) {}

  enum class Entry : std::uint8_t {
    full,    // every place is taken
    first,   // nobody else waits: what was freed just before was announced to nobody, so look for it
    behind,  // what is freed is announced to those that wait
  };
  /// Takes a place for a request of `worker`.
  Entry enter(std::uint32_t worker) noexcept;
  /// Gives it back.
  void leave(std::uint32_t worker) noexcept;

  /// A new request must not overtake those that wait.
  [[nodiscard]] bool anybody_waits() const noexcept { return waiting_.load(std::memory_order_relaxed) != 0; }
  [[nodiscard]] std::uint32_t waiting() const noexcept { return waiting_.load(std::memory_order_relaxed); }

  /// A backend has a place again: the worker whose turn it is, or none when nobody waits.
  std::optional<std::uint32_t> next_turn() noexcept;

 private:
  struct alignas(64) Lane {
    std::atomic<std::uint32_t> waiting{0};
  };
  const std::uint32_t size_max_;
  const std::uint32_t workers_;
  std::unique_ptr<Lane[]> lanes_;
  alignas(64) std::atomic<std::uint32_t> waiting_{0};
  alignas(64) std::atomic<std::uint32_t> last_turn_{0};
};

}  // namespace lb
