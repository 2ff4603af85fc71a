// DataPlane: what a generation's main loop needs of the proxy, so that processes can be tested without one.
// The real one is lb/main/proxy_data_plane.hpp. One thread.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "lb/proxy/proxy.hpp"

namespace lb {

class DataPlane {
 public:
  virtual ~DataPlane() = default;
  virtual void start() = 0;
  /// Every further request goes to the backends of `successor` (null: the own ones stay); accepting ends.
  /// Returns once that is so. Called again with each further successor while the drain lasts.
  virtual void start_drain(std::shared_ptr<const Config> successor, Handoff handoff) = 0;
  // See Proxy for these.
  virtual void park(const Config* successor) = 0;
  virtual void let_go() = 0;
  virtual void resume(std::vector<ListeningSocket> more) = 0;
  [[nodiscard]] virtual std::vector<ListenerProbe> probe(Duration timeout) = 0;
  [[nodiscard]] virtual int handed_fd() const = 0;
  [[nodiscard]] virtual std::vector<HandedConnection> take_handed() = 0;
  virtual void pause_handoff(bool paused) = 0;
  virtual void give_up_handoff() = 0;
  virtual void adopt(std::vector<HandedConnection> connections) = 0;
  [[nodiscard]] virtual int drained_fd() const = 0;
  [[nodiscard]] virtual DrainReport drain_report() const = 0;
  virtual Result<void> reopen_logs() = 0;
  [[nodiscard]] virtual CounterTotals counters() const = 0;
  [[nodiscard]] virtual std::vector<Proxy::BackendStatus> backends() const = 0;
  [[nodiscard]] virtual Census census() const = 0;
};

using MakeDataPlane = std::function<Result<std::unique_ptr<DataPlane>>(ProxyOptions)>;

}  // namespace lb
