// ServiceNotifier: tells a service manager what we do, by the protocol of sd_notify(3): a datagram of
// "KEY=VALUE" lines to the Unix socket named by NOTIFY_SOCKET. Does nothing when there is none. One thread.
#pragma once

#include <string>
#include <string_view>

#include "lb/base/fd.hpp"
#include "lb/base/time.hpp"

namespace lb {

class ServiceNotifier final {
 public:
  /// Takes NOTIFY_SOCKET from the environment and removes it there: generations must not speak for us.
  static ServiceNotifier from_environment();

  void ready(std::string_view status);
  /// Type=notify-reload wants the time at which the reload began.
  void reloading(Instant now);
  void stopping();

 private:
  void send(const std::string& text);
  std::string address_;  // empty: nobody listens; a leading '@' is an abstract address
  Fd socket_;
};

}  // namespace lb
