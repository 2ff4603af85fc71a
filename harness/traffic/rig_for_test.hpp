// Backends, traffic and (when wanted) the faulty balancer in one process and one thread, for tests. Loopback,
// port 0.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "harness/traffic/backend_server.hpp"
#include "harness/traffic/faulty_balancer.hpp"
#include "harness/traffic/judge.hpp"
#include "harness/traffic/traffic_engine.hpp"

namespace lb::traffic {

/// The value, or the test's end.
template <class T>
T must(Result<T> result) {
  if (!result) {
    ADD_FAILURE() << result.error().message;
    std::abort();
  }
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

class TestFolder final {
 public:
  TestFolder() {
    char name[] = "/tmp/lb_traffic_test_XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~TestFolder() {
    const std::string remove = "rm -rf '" + path_ + "'";
    if (std::system(remove.c_str()) != 0) ADD_FAILURE() << remove;
  }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;
  [[nodiscard]] std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

class Rig final {
 public:
  /// With `tls` the backends speak TLS.
  explicit Rig(int backends = 2, bool tls = false)
      : backend_loop(must(Loop::make())), server(backend_loop, 1'000'000) {
    if (tls) {
      make_certificate();
      must(server.set_certificate(folder / "cert.pem", folder / "key.pem"));
    }
    for (int i = 1; i <= backends; ++i) {
      const std::string name = "b" + std::to_string(i);
      addresses.push_back("127.0.0.1:" +
                          std::to_string(must(server.add(name, tls ? "tls:127.0.0.1:0" : "127.0.0.1:0"))));
    }
  }

  /// cert.pem and key.pem in the folder, for lb.test.
  void make_certificate() const {
    const std::string command =
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=lb.test "
        "-addext subjectAltName=DNS:lb.test -keyout '" +
        (folder / "key.pem") + "' -out '" + (folder / "cert.pem") + "' 2>/dev/null";
    if (std::system(command.c_str()) != 0) ADD_FAILURE() << command;
  }

  void script(const std::string& json) { must(server.set_script("*", must(parse_script(json)))); }

  void put_balancer(Control control, Nanos window) {
    balancer_loop = std::make_unique<Loop>(must(Loop::make()));
    balancer = std::make_unique<FaultyBalancer>(*balancer_loop, control, window);
    balancer->set_backends(list(addresses.size()));
    balancer_port = must(balancer->listen(must(parse_address("127.0.0.1:0"))));
  }

  /// The first `count` backends.
  [[nodiscard]] std::vector<Address> list(std::size_t count) const {
    std::vector<Address> all;
    for (std::size_t i = 0; i < count; ++i) all.push_back(must(parse_address(addresses[i])));
    return all;
  }

  /// Load on the balancer if there is one, else on the backends themselves.
  void put_traffic(const std::string& spec, std::uint64_t seed = 11) {
    TrafficOptions options;
    options.spec = must(parse_traffic_spec(spec));
    options.seed = seed;
    options.records_max = 1'000'000;
    options.targets =
        balancer ? std::vector<Address>{must(parse_address("127.0.0.1:" + std::to_string(balancer_port)))}
                 : list(addresses.size());
    traffic_loop = std::make_unique<Loop>(must(Loop::make()));
    traffic = std::make_unique<TrafficEngine>(*traffic_loop, std::move(options));
    must(traffic->prepare());
    traffic->start(now_ns());
  }

  void turn() {
    const Nanos now = now_ns();
    backend_loop.turn(
        now, [&](Token t, std::uint32_t e) { server.on_io(t, e); },
        [&](Token t, std::uint32_t g) { server.on_timer(t, g); });
    server.reap();
    if (balancer) {
      balancer_loop->turn(
          now, [&](Token t, std::uint32_t e) { balancer->on_io(t, e); },
          [&](Token t, std::uint32_t g) { balancer->on_timer(t, g); });
      balancer->end_turn();
    }
    traffic_loop->turn(
        now, [&](Token t, std::uint32_t e) { traffic->on_io(t, e); },
        [&](Token t, std::uint32_t g) { traffic->on_timer(t, g); });
    traffic->end_turn(now_ns());
  }

  void run_for(Nanos duration) {
    run_until([] { return false; }, duration);
  }

  template <class F>
  bool run_until(F&& done, Nanos limit = 10 * kSecond) {
    const Nanos end = now_ns() + limit;
    while (!done()) {
      if (now_ns() >= end) return false;
      turn();
    }
    return true;
  }

  [[nodiscard]] std::uint64_t done() const {
    std::uint64_t sum = 0;
    for (const StreamCounters& n : traffic->counters()) sum += n.done;
    return sum;
  }

  /// Stops, lets everything finish, and compares the ledgers.
  std::unique_ptr<Case> judge(std::vector<Mark> marks = {}) {
    traffic->stop(now_ns());
    EXPECT_TRUE(run_until([&] { return traffic->in_flight() == 0; }))
        << traffic->in_flight() << " are still in flight";
    traffic->abandon();
    // The backends hear of the clients' closing; what is still open there is written down now.
    run_until([&] { return open_on_backends() == 0; }, kSecond);
    EXPECT_TRUE(write_ledger(folder / "t", traffic->records(), traffic->tables("test"), 11));
    EXPECT_TRUE(write_ledger(folder / "b", server.records(), server.tables(), 11));
    JudgeOptions options;
    options.traffic = {folder / "t"};
    options.backends = {folder / "b"};
    options.marks = std::move(marks);
    auto judged = must(Case::open(std::move(options)));
    judged->compare();
    return judged;
  }

  [[nodiscard]] std::uint64_t open_on_backends() const {
    std::uint64_t sum = 0;
    for (const auto& backend : server.backends()) sum += backend->counters.in_flight;
    return sum;
  }

  TestFolder folder;
  Loop backend_loop;
  BackendServer server;
  std::vector<std::string> addresses;
  std::unique_ptr<Loop> balancer_loop;
  std::unique_ptr<FaultyBalancer> balancer;
  std::uint16_t balancer_port = 0;
  std::unique_ptr<Loop> traffic_loop;
  std::unique_ptr<TrafficEngine> traffic;
};

}  // namespace lb::traffic
