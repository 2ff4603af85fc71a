// DrainLedger: what keeps the drain of a generation from being over, and the connections that wait to be
// taken by its successor. Each worker that has connections left holds it, so does each batch of connections
// on its way to a worker, and so does the queue until it is taken. Owns the two descriptors that the main
// thread polls. Thread-safe; used in a drain only, so never on the path of a request outside of one.
#pragma once

#include <cstddef>
#include <mutex>
#include <vector>

#include "lb/base/fd.hpp"
#include "lb/base/result.hpp"
#include "lb/base/time.hpp"
#include "lb/proxy/handed_client.hpp"

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

  void queue(std::vector<HandedClient> clients);
  std::vector<HandedClient> take();

  /// When the drain was over; kNever while it is not.
  [[nodiscard]] Instant over_since() const;

 private:
  void check_over();

  Fd drained_;
  Fd handed_;
  mutable std::mutex mutex_;
  std::size_t held_ = 0;
  std::vector<HandedClient> queue_;
  Instant over_since_ = kNever;
};

}  // namespace lb
