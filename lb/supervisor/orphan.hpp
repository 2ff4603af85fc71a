// Orphans: a generation whose supervisor was killed goes on serving, and offers its channel on a Unix socket
// beside the control socket, CONTROL.orphan.NUMBER. The next supervisor with the same control path connects;
// the generation sends HELLO with its listening sockets and its configuration, removes the socket file and is
// that supervisor's generation from then on. So a supervisor can be killed and started again without one
// refused connection. Only the same user (or root) is answered.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lb/base/fd.hpp"
#include "lb/base/result.hpp"

namespace lb {

/// The listening socket at which a new supervisor is awaited. Removes its file at destruction.
class OrphanSocket final {
 public:
  static Result<OrphanSocket> publish(const std::string& control_path, std::int64_t number);
  OrphanSocket(OrphanSocket&&) = default;
  OrphanSocket& operator=(OrphanSocket&&) = delete;
  ~OrphanSocket();

  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  /// The connection of a new supervisor; empty when it is gone again or somebody else's.
  Fd accept();

 private:
  OrphanSocket(std::string path, Fd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  std::string path_;
  Fd fd_;
};

struct FoundOrphan {
  std::int64_t number = 0;
  std::string path{};
  Fd connection{};
};

/// Connects to every orphan beside `control_path`, highest number first; removes files nobody listens behind.
std::vector<FoundOrphan> find_orphans(const std::string& control_path);

}  // namespace lb
