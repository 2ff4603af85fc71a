// GenerationHandle: what the supervisor holds of one generation: its process, its end of the channel, what it
// reported. One thread.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lb/base/fd.hpp"
#include "lb/base/time.hpp"
#include "lb/supervisor/child_process.hpp"
#include "lb/supervisor/messages.hpp"
#include "lb/supervisor/reload_ledger.hpp"

namespace lb {

/// Collects what a generation writes to standard error before it is ready, passing it on, and remembers the
/// last line for the case that it dies.
class StartupStderr final {
 public:
  StartupStderr() = default;
  explicit StartupStderr(Fd pipe) : pipe_(std::move(pipe)) {}
  [[nodiscard]] int fd() const noexcept { return pipe_.get(); }
  /// Reads what is there and writes it to our standard error.
  void relay();
  /// The last line that is not empty, without control characters; "" when nothing was said.
  [[nodiscard]] std::string last_line() const;

 private:
  static constexpr std::size_t kTailBytesMax = 4096;
  Fd pipe_;
  std::string tail_;
};

struct GenerationHandle {
  pid_t pid = -1;
  bool adopted = false;  // of a former supervisor: not our child
  Fd pidfd{};            // adopted: readable when it ends; signals go through it
  Channel channel{};
  StartupStderr startup_stderr{};
  bool from_text = false;  // of the last good configuration
  Instant started{};
  Instant asked{};                                     // to serve: when it was started, or told to resume
  std::optional<std::vector<ListenerProbe>> probes{};  // what its self-probe found, once it was made
  std::optional<LoadedMessage> loaded{};
  std::optional<ReadyMessage> ready{};
  std::optional<DrainedMessage> drained{};
  std::shared_ptr<const Fd> config_file{};  // its exact configuration text; shared with "last good"
  Fd state_file{};                          // adopted: the state that it shares
  std::vector<Fd> opened{};                 // listening sockets it opened, until it is promoted
  std::vector<std::string> warnings{};      // beyond those of `ready`
  std::optional<StatusMessage> status{};
  std::uint64_t ticket_keys = 0;               // the version of the ring that it was told
  std::optional<StatusMessage> census{};       // the last that told what is connected
  std::optional<DrainingMessage> at_switch{};  // the first: what it had when its drain began
  // For the ledger of the reload that started it.
  ReloadCause cause = ReloadCause::signal;
  ReloadTimes times{};
  KernelCounters kernel_before{};
  std::string ended{};  // how, once it has

  void signal(int number) const noexcept;
};

/// Connects as the new supervisor of an orphan: waits for its HELLO, no longer than `limit`.
Result<std::pair<GenerationHandle, HelloMessage>> adopt_orphan(Fd connection, Duration limit);

}  // namespace lb
