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
/// Makes this process's table of descriptors large enough for `count` of them, as far as its limit allows and
/// at most kFdsReservedMax (8 bytes each, in the kernel). The kernel enlarges the table by itself, but in a
/// process with several threads it waits for every processor to have passed through (expand_files,
/// synchronize_rcu), and whoever needs a descriptor meanwhile waits with it: 10 to 25 ms in which no worker
/// accepts or connects, at 64, 128, 256 ... descriptors. So this is done once, while there is one thread.
/// `any_fd` is an open descriptor.
void reserve_fds(std::size_t count, int any_fd) noexcept;
inline constexpr std::size_t kFdsReservedMax = 262'144;
/// How many descriptors this process may have.
std::size_t fd_limit() noexcept;

}  // namespace lb
