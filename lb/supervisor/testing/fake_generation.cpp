// A generation with a fake data plane, for the tests of the supervisor: the real Generation, channel and
// listeners, but connections are only greeted with "generation N" and closed. What goes wrong is said by the
// configuration itself, in a response header "X-Fault".
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include "lb/supervisor/generation.hpp"

namespace lb {
namespace {

std::string fault_of(const Config& config) {
  for (const auto& header : config.response_headers) {
    if (header.name == "X-Fault") return header.value;
  }
  return {};
}

[[noreturn]] void hang() {
  for (;;) ::pause();
}

class FakeDataPlane final : public DataPlane {
 public:
  explicit FakeDataPlane(ProxyOptions options)
      : options_(std::move(options)),
        fault_(fault_of(*options_.config)),
        drained_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~FakeDataPlane() override { stop(); }

  void start() override {
    thread_ = std::thread{[this] { serve(); }};
  }
  int handed_fd() const override { return -1; }
  std::vector<HandedClient> take_handed() override { return {}; }
  void give_up_handoff() override {}
  void adopt(std::vector<HandedClient>) override {}
  void start_drain(std::shared_ptr<const Config>, Handoff) override {
    if (fault_ == "crash-drain") std::raise(SIGKILL);
    stop();
    if (fault_ == "hang-drain") hang();
    options_.listeners.clear();
    if (fault_ != "endless-drain") signal(drained_);
  }
  int drained_fd() const override { return drained_.get(); }
  DrainReport drain_report() const override { return {.completed = greeted_.load()}; }
  Result<void> reopen_logs() override { return {}; }
  CounterTotals counters() const override {
    CounterTotals totals;
    totals.connections_accepted = greeted_.load();
    return totals;
  }
  std::vector<Proxy::BackendStatus> backends() const override {
    std::vector<Proxy::BackendStatus> list;
    for (const auto& backend : options_.config->backends) {
      list.push_back({.name = backend.name, .endpoint = backend.endpoint.text()});
    }
    return list;
  }

 private:
  static void signal(const Fd& event) {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto n = ::write(event.get(), &one, sizeof one);
  }
  void stop() {
    signal(wake_);
    if (thread_.joinable()) thread_.join();
  }
  void serve() {
    std::vector<pollfd> fds{{wake_.get(), POLLIN, 0}};
    for (const auto& listener : options_.listeners) fds.push_back({listener.fd.get(), POLLIN, 0});
    const std::string greeting = "generation " + std::to_string(options_.generation) + "\n";
    for (;;) {
      ::poll(fds.data(), fds.size(), -1);
      if (fds[0].revents != 0) return;
      for (std::size_t i = 1; i < fds.size(); ++i) {
        const Fd client{::accept4(fds[i].fd, nullptr, nullptr, SOCK_CLOEXEC)};
        if (!client) continue;
        [[maybe_unused]] const auto n = ::send(client.get(), greeting.data(), greeting.size(), MSG_NOSIGNAL);
        ++greeted_;
      }
    }
  }

  ProxyOptions options_;
  std::string fault_;
  Fd drained_;
  Fd wake_;
  std::thread thread_;
  std::atomic<std::uint64_t> greeted_{0};
};

Result<std::unique_ptr<DataPlane>> make(ProxyOptions options) {
  const std::string fault = fault_of(*options.config);
  if (fault == "crash-warming") {
    std::fprintf(stderr, "about to crash\nfake generation: out of luck\n");
    std::abort();
  }
  if (fault == "hang-warming") hang();
  if (fault == "slow-warming") ::usleep(300'000);
  if (fault == "exit-warming") std::_Exit(0);
  if (fault == "fail-warming")
    return std::unexpected(Error{.message = "the fake data plane does not want to"});
  return std::make_unique<FakeDataPlane>(std::move(options));
}

std::expected<ReloadCandidate, ConfigErrors> load(const std::string& path) {
  auto loaded = config_load(path);
  if (!loaded) return std::unexpected(loaded.error());
  const std::string fault = fault_of(*loaded->config);
  if (fault == "crash-loading") std::raise(SIGKILL);
  if (fault == "hang-loading") hang();
  ReloadCandidate candidate{.loaded = std::move(*loaded)};
  if (fault == "warn") candidate.warnings.emplace_back("backend \"b\": does not answer");
  return candidate;
}

}  // namespace
}  // namespace lb

int main() {
  return lb::run_generation({.reload_config = lb::load, .make_data_plane = lb::make});
}
