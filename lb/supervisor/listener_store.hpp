// ListenerStore: the listening sockets that outlive every generation. Holding a descriptor keeps the socket's
// queue alive while no generation polls it; nothing is accepted here. Owned by the supervisor; one thread.
// A socket's identity is its endpoint as configured ("127.0.0.1:0"), not its address.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lb/base/fd.hpp"
#include "lb/base/result.hpp"

namespace lb {

class ListenerStore final {
 public:
  /// A socket that a generation opened for `endpoint`.
  void add(const std::string& endpoint, Fd fd);
  /// One that a service manager passed us: without a label until claim(), and never shut down by us.
  void add_activated(Fd fd);
  /// Labels the passed sockets that serve one of `endpoints` (see activation_serves).
  void claim(const std::vector<std::string>& endpoints);
  /// Closes all labelled sockets but those of `endpoints`; the files of Unix sockets are removed.
  void keep_only(const std::vector<std::string>& endpoints);
  /// Ends them all for every holder, so that new connections are refused at once instead of queued for
  /// nobody. Sockets that a service manager passed us are only closed: it holds them too.
  void shut_down();

  struct Summary {
    std::string endpoint;
    std::string address;  // actual
    std::uint64_t shards = 0;
  };
  [[nodiscard]] std::vector<Summary> summary() const;
  [[nodiscard]] std::vector<int> fds() const;             // borrowed
  [[nodiscard]] std::vector<std::string> labels() const;  // in the same order
  [[nodiscard]] std::size_t size() const noexcept { return sockets_.size(); }

 private:
  struct Socket {
    std::string endpoint;  // empty: passed to us and not claimed
    std::string address;
    Fd fd;
    bool activated = false;
    std::uint64_t file_device = 0;  // of a Unix socket's file, to remove only our own
    std::uint64_t file_inode = 0;
  };
  static void remove_file(const Socket& socket);
  std::vector<Socket> sockets_;
};

/// Whether a socket bound to `address` is what `endpoint` asks for: the same text, or a wildcard in both
/// ("[::]:80" bound for both families serves "0.0.0.0:80"). `fd` is asked for IPV6_V6ONLY.
bool activation_serves(int fd, std::string_view address, std::string_view endpoint);

/// Sockets passed by a service manager (sd_listen_fds(3)): descriptors 3 and up when LISTEN_PID is ours.
/// Takes them, close-on-exec and non-blocking, and removes the variables from the environment.
std::vector<Fd> take_activated_sockets();

}  // namespace lb
