// ControlPort: the supervisor's side of the control socket, as an interface: what goes over it, and how, is
// lb/admin's business (admin/control_server.hpp), which main wires in. Polled from the supervisor's loop
// through one descriptor; one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lb/base/result.hpp"
#include "lb/base/time.hpp"

namespace lb {

struct ControlRequest {
  /// `reloads`: the ledger, or of it one reload; `plan`: what `lb plan` compares with: the status, what is
  /// connected, and the text of the configuration that serves.
  enum class Kind : std::uint8_t { reload, status, reloads, plan, left };
  Kind kind = Kind::status;
  std::uint64_t caller = 0;  // unique for the life of the port
  std::int64_t pid = 0;      // of the caller
  std::int64_t number = 0;   // reloads: of the reload; 0: all
  bool wait = false;         // reloads: until it is whole
};

class ControlPort {
 public:
  virtual ~ControlPort() = default;
  /// Readable when poll() has something to do.
  [[nodiscard]] virtual int fd() const = 0;
  [[nodiscard]] virtual Instant next_deadline() const = 0;
  /// Accepts, reads, writes and times out; returns the requests that came. `left`: the caller of an
  /// unanswered request has hung up.
  virtual std::vector<ControlRequest> poll(Instant now) = 0;
  /// One line of JSON; ends the request. Ignored when the caller has left.
  virtual void answer(std::uint64_t caller, const std::string& json) = 0;
  /// Writes out what can be written without waiting longer than `limit`. Before the process ends.
  virtual void flush(Duration limit) = 0;
};

/// Fails with os_error EADDRINUSE when another supervisor answers at `path`. `pid_file` (may be empty) is
/// what clients may name instead.
using OpenControlPort =
    std::function<Result<std::unique_ptr<ControlPort>>(const std::string& path, const std::string& pid_file)>;

}  // namespace lb
