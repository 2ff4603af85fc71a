// ProbeDesk: where connections of the self-probe are expected and signed in. Whoever probes says from which
// address it will come; a worker that accepts a connection from there closes it and signs it in, so that no
// log, counter of clients, limit or backend ever sees it. Thread-safe; a worker that accepts while nobody
// probes pays one relaxed load.
#pragma once

#include <sys/socket.h>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "lb/base/time.hpp"

namespace lb {

class ProbeDesk final {
 public:
  /// A connection from this address will come.
  void expect(const std::string& address);
  void forget(const std::string& address);
  /// Whether it has been accepted; waits for that until `until`.
  bool wait(const std::string& address, Instant until);

  /// For workers: whether a connection accepted from `peer` is one that is expected. It is signed in then.
  bool arrived(const sockaddr* peer, socklen_t size) {
    if (expected_.load(std::memory_order_relaxed) == 0) return false;
    return sign_in({reinterpret_cast<const char*>(peer), size});
  }

 private:
  bool sign_in(std::string_view address);

  std::atomic<std::size_t> expected_{0};
  std::mutex mutex_;
  std::condition_variable came_;
  std::map<std::string, bool, std::less<>> addresses_;  // whether it came
};

}  // namespace lb
