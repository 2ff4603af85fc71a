#include "lb/main/proxy_data_plane.hpp"

namespace lb {
namespace {

class ProxyDataPlane final : public DataPlane {
 public:
  explicit ProxyDataPlane(std::unique_ptr<Proxy> proxy) : proxy_(std::move(proxy)) {}

  void start() override { proxy_->start(); }
  void start_drain(std::shared_ptr<const Config> successor, Handoff handoff) override {
    if (successor) {
      reload_start_drain(*proxy_, std::move(successor), handoff);
    } else {
      proxy_->start_drain(handoff);
    }
  }
  void park(const Config* successor) override { proxy_->park(successor); }
  void let_go() override { proxy_->let_go(); }
  void resume(std::vector<ListeningSocket> more) override { proxy_->resume(std::move(more)); }
  std::vector<ListenerProbe> probe(Duration timeout) override { return proxy_->probe(timeout); }
  int handed_fd() const override { return proxy_->handed_fd(); }
  std::vector<HandedConnection> take_handed() override { return proxy_->take_handed(); }
  void pause_handoff(bool paused) override { proxy_->pause_handoff(paused); }
  void give_up_handoff() override { proxy_->give_up_handoff(); }
  void adopt(std::vector<HandedConnection> connections) override { proxy_->adopt(std::move(connections)); }
  int drained_fd() const override { return proxy_->drained_fd(); }
  DrainReport drain_report() const override { return proxy_->drain_report(); }
  Result<void> reopen_logs() override { return proxy_->reopen_logs(); }
  CounterTotals counters() const override { return proxy_->counters(); }
  std::vector<Proxy::BackendStatus> backends() const override { return proxy_->backends(); }
  Census census() const override { return proxy_->census(); }

 private:
  std::unique_ptr<Proxy> proxy_;
};

}  // namespace

Result<std::unique_ptr<DataPlane>> make_proxy_data_plane(ProxyOptions options) {
  auto proxy = Proxy::create(std::move(options));
  if (!proxy) return std::unexpected(proxy.error());
  return std::make_unique<ProxyDataPlane>(std::move(*proxy));
}

}  // namespace lb
