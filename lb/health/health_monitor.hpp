// HealthMonitor: the active health checks of one set of backends, on a thread of its own: non-blocking
// sockets and one epoll set, a bounded number of checks at once, so that many thousand backends cost one
// thread. When to check and what a result means is HealthChecker's; what an answer says is CheckAnswer's. It
// knows no balancer: whoever owns it is told of changes.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "lb/base/fd.hpp"
#include "lb/base/result.hpp"
#include "lb/base/slab.hpp"
#include "lb/base/time.hpp"
#include "lb/health/check_answer.hpp"
#include "lb/health/health_checker.hpp"
#include "lb/net/event_loop.hpp"
#include "lb/net/proxy_header.hpp"
#include "lb/net/socket_address.hpp"
#include "lb/tls/session.hpp"

namespace lb {

inline constexpr std::uint32_t kChecksAtOnceMax = 1024;

class HealthMonitor final {
 public:
  struct Change {
    std::uint32_t target = 0;
    bool up = false;
    std::string_view reason;  // of the last failure; empty when up
  };
  struct Options {
    HealthCheckConfig check{};         // valid
    std::vector<std::string> hosts{};  // one a target: the Host field, where the configuration gives none
    /// One a target, or empty. Not sent where the configuration names another port: who answers there is
    /// another.
    std::vector<SendProxy> send_proxy{};
    /// One a target, or empty: with whom the check speaks TLS, by a full handshake each time; nullptr: in
    /// plain text. They outlive the monitor.
    std::vector<tls::ClientTarget*> tls{};
    /// Where to connect for a target; empty() while its name does not resolve. On the monitor's thread.
    std::function<SocketAddress(std::uint32_t target)> address{};
    /// A target went up or down. On the monitor's thread.
    std::function<void(const Change&)> on_change{};
    /// A check has ended, and `up` is what the target counts as now, changed or not. May be empty. On the
    /// monitor's thread, after on_change.
    std::function<void(std::uint32_t target, bool up)> on_checked{};
    /// Targets that are known to be down from before.
    struct Known {
      std::uint32_t target = 0;
      Instant since{};
      std::string failure{};
    };
    std::vector<Known> down{};
    std::uint64_t seed = 0;
  };
  /// Without a thread yet. Fails when descriptors are short.
  static Result<std::unique_ptr<HealthMonitor>> create(Options options);
  /// Ends the thread, and the checks that run: within a few milliseconds.
  ~HealthMonitor();

  void start();
  /// Waits until each target has had a first result, at most for `budget`. True when all have. Any thread.
  bool wait_tested(Duration budget);

  struct Finding {
    Health health = Health::untested;
    Instant since{};           // of that standing
    std::string failure{};     // why the last failed check failed; empty when none has
    std::uint64_t checks = 0;  // that have ended
  };
  [[nodiscard]] Finding finding(std::uint32_t target) const;  // any thread

 private:
  struct Probe {
    explicit Probe(const CheckRules& rules) noexcept : answer(rules) {}
    Handle handle;
    std::uint32_t target = 0;
    Fd fd;
    bool connected = false;
    std::unique_ptr<tls::Session> tls;  // of fd
    std::string unsent;
    CheckAnswer answer;
  };

  HealthMonitor(Options options, EventLoop loop, Fd wakeup);
  void run();
  void begin(std::uint32_t target);
  void on_event(Probe& probe);
  bool shake_hands(Probe& probe);
  bool send_rest(Probe& probe);
  void receive(Probe& probe);
  void receive_tls(Probe& probe);
  static std::string missing(const Probe& probe);
  bool secure(Probe& probe, std::uint32_t target);
  void conclude(Probe& probe, CheckAnswer::Verdict verdict, std::string reason);
  void settle(std::uint32_t target, bool passed, std::string reason);

  Options options_;
  CheckRules rules_;
  EventLoop loop_;
  Fd wakeup_;
  Instant now_;
  HealthChecker checker_;
  Slab<Probe> probes_;
  std::vector<Handle> probe_of_;  // by target, while its check runs
  std::vector<char> scratch_;

  mutable std::mutex mutex_;
  std::condition_variable tested_;
  std::vector<Finding> findings_;
  std::uint32_t untested_ = 0;

  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace lb
