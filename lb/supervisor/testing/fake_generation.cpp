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
#include <utility>

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
  void park(const Config*) override {
    if (fault_ == "crash-parking") std::raise(SIGKILL);
    parked_ = true;
  }
  void let_go() override {
    if (!std::exchange(parked_, false)) return;
    options_.listeners.clear();
  }
  void resume(std::vector<ListeningSocket> more) override {
    if (fault_ == "crash-resuming") std::raise(SIGKILL);
    if (fault_ == "hang-resuming") hang();
    parked_ = false;
    for (auto& socket : more) options_.listeners.push_back(std::move(socket));
    std::uint64_t count = 0;
    for (const Fd* event : {&drained_, &wake_}) {
      [[maybe_unused]] const auto n = ::read(event->get(), &count, sizeof count);
    }
    start();
  }
  std::vector<ListenerProbe> probe(Duration) override {
    const bool ok = fault_ != "deaf";
    return {{.listener = "the fake one", .ok = ok, .us = 1, .error = ok ? "" : "the fake one is deaf"}};
  }
  int handed_fd() const override { return -1; }
  std::vector<HandedConnection> take_handed() override { return {}; }
  void pause_handoff(bool) override {}
  void give_up_handoff() override {}
  void adopt(std::vector<HandedConnection>) override {}
  void start_drain(std::shared_ptr<const Config>, Handoff) override {
    if (fault_ == "crash-drain") std::raise(SIGKILL);
    stop();
    if (fault_ == "hang-drain") hang();
    if (!parked_) options_.listeners.clear();
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
  Census census() const override { return {}; }

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
        if (fault_ == "crash-serving") std::raise(SIGSEGV);
        [[maybe_unused]] const auto n = ::send(client.get(), greeting.data(), greeting.size(), MSG_NOSIGNAL);
        ++greeted_;
        if (options_.state) bump(options_.state->counters(0).connections_accepted);
      }
    }
  }

  ProxyOptions options_;
  std::string fault_;
  bool parked_ = false;
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
