// DrainLedger: what keeps the drain of a generation from being over, and the connections that wait to be
// taken by its successor. Each worker that has connections left holds it, so does each batch of connections
// on its way to a worker, and so does the queue until it is taken. Owns the two descriptors that the main
// thread polls. Thread-safe; used in a drain only, so never on the path of a request outside of one.
#pragma once

#include <atomic>
#include <cstddef>
#include <mutex>
#include <vector>

#include "lb/base/fd.hpp"
#include "lb/base/result.hpp"
#include "lb/base/time.hpp"
#include "lb/proxy/census.hpp"
#include "lb/proxy/handed_connection.hpp"

namespace lb {

class DrainLedger final {
 public:
  /// Opens the descriptors. Once, before anything else.
  Result<void> open();

  /// Readable while the drain is over: it was held, and nobody holds it any more.
  [[nodiscard]] int drained_fd() const noexcept { return drained_.get(); }
  /// Readable while take() has something.
  [[nodiscard]] int handed_fd() const noexcept { return handed_.get(); }

  /// `n` more have something left. Ends "over" if it was said already.
  void hold(std::size_t n);
  void release(std::size_t n);

  /// As many more may be queued now: a queue stays short, so that a connection is out of everybody's hands
  /// for a moment only, and those that do not fit are served meanwhile. 0 while paused.
  [[nodiscard]] std::size_t room() const;
  /// The same without a lock, for those who only want to know whether to bother; may be a moment old.
  [[nodiscard]] bool has_room() const noexcept { return has_room_.load(std::memory_order_relaxed); }
  /// Nothing is to be queued for the time being. What is queued stays.
  void pause(bool paused);

  void queue(std::vector<HandedConnection> connections);
  std::vector<HandedConnection> take();

  /// One that drain_timeout closed while it was busy; the first kForcedMax are kept.
  static constexpr std::size_t kForcedMax = 32;
  [[nodiscard]] bool wants_forced() const;
  void forced(ForceClosed closed);
  [[nodiscard]] std::vector<ForceClosed> all_forced() const;

  /// The drain is called off: nobody holds it, and it is not over. The queue has been taken.
  void reset();

  /// When the drain was over; kNever while it is not.
  [[nodiscard]] Instant over_since() const;

 private:
  static constexpr std::size_t kQueueMax = 128;
  void check_over();
  void note_room() noexcept;

  Fd drained_;
  Fd handed_;
  mutable std::mutex mutex_;
  std::size_t held_ = 0;
  std::vector<HandedConnection> queue_;
  bool paused_ = false;
  std::atomic<bool> has_room_{true};
  std::vector<ForceClosed> forced_;
  Instant over_since_ = kNever;
};

}  // namespace lb
