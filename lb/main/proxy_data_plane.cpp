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
  int handed_fd() const override { return proxy_->handed_fd(); }
  std::vector<HandedClient> take_handed() override { return proxy_->take_handed(); }
  void give_up_handoff() override { proxy_->give_up_handoff(); }
  void adopt(std::vector<HandedClient> clients) override { proxy_->adopt(std::move(clients)); }
  int drained_fd() const override { return proxy_->drained_fd(); }
  DrainReport drain_report() const override { return proxy_->drain_report(); }
  Result<void> reopen_logs() override { return proxy_->reopen_logs(); }
  CounterTotals counters() const override { return proxy_->counters(); }
  std::vector<Proxy::BackendStatus> backends() const override { return proxy_->backends(); }

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
