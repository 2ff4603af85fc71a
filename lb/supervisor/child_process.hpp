// ChildProcess: starts a generation's process. Until it is ready its standard error is a pipe to us, so that
// the last thing it said can be told when it dies; the real standard error is its descriptor 4, to which it
// switches back (see Generation). Its end of the channel is descriptor 3. One thread.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "lb/base/fd.hpp"
#include "lb/base/result.hpp"

namespace lb {

inline constexpr int kChildChannelFd = 3;
inline constexpr int kChildStderrFd = 4;

struct ChildProcess {
  pid_t pid = -1;
  Fd startup_stderr{};  // non-blocking; at its end once the child is ready or gone
};

struct ChildProgram {
  std::string path{};               // executed as it is found now: a replaced binary is an upgrade
  std::vector<std::string> args{};  // without argv[0]
};

/// fork(2) and execv(2); waits until the exec has happened, and reports its failure. `channel` is the child's
/// end, duplicated.
Result<ChildProcess> spawn_child(const ChildProgram& program, int channel);

/// What spawn_child does, for tests that make it fail.
using SpawnChild = std::function<Result<ChildProcess>(const ChildProgram&, int channel)>;

/// Of a status of waitpid(2): "exit status 1", "killed by signal 11 (Segmentation fault)".
std::string exit_text(int wait_status);

/// Where this program was started from, absolute, symbolic links kept (they may be switched to an upgrade):
/// argv[0] beside the working directory or on PATH, else what the kernel says.
std::string own_program_path(const char* argv0);

/// Raises the limit of open files to its hard limit; harmless when refused.
void raise_fd_limit() noexcept;
/// How many descriptors this process may have.
std::size_t fd_limit() noexcept;

}  // namespace lb
