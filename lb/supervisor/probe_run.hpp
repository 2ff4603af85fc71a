// ProbeRun: a self-probe on a thread of its own, as it blocks, for a loop that waits for a descriptor. One at
// a time; one thread. Ends with its owner, at the latest when the probe's own time is over.
#pragma once

#include <functional>
#include <thread>
#include <vector>

#include "lb/base/fd.hpp"
#include "lb/proxy/self_probe.hpp"

namespace lb {

class ProbeRun final {
 public:
  using Work = std::function<std::vector<ListenerProbe>()>;
  ProbeRun() = default;
  ~ProbeRun() { finish(); }
  ProbeRun(const ProbeRun&) = delete;
  ProbeRun& operator=(const ProbeRun&) = delete;

  /// False: one is running, or there are no descriptors or threads to be had.
  bool begin(Work work);
  /// Readable once the probe is over; -1 while none runs.
  [[nodiscard]] int fd() const noexcept { return done_.get(); }
  /// Waits for the end of the probe, and takes what it found.
  std::vector<ListenerProbe> finish();

 private:
  Fd done_;
  std::thread thread_;
  std::vector<ListenerProbe> found_;  // the thread's, until it has ended
};

}  // namespace lb
