#include "lb/supervisor/child_process.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string_view>

#include "lb/supervisor/turn_length.hpp"

namespace lb {
namespace {

struct Pipe {
  Fd read;
  Fd write;
};

Result<Pipe> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return std::unexpected(system_error("pipe", "", errno));
  return Pipe{Fd{ends[0]}, Fd{ends[1]}};
}

/// In the child, between fork and exec: only calls that are safe there. Returns errno when exec failed.
int become(const char* path, char* const* argv, int channel, int startup_stderr) {
  // First out of the way of the numbers that will be overwritten.
  const int high_channel = ::fcntl(channel, F_DUPFD_CLOEXEC, 10);
  const int high_pipe = ::fcntl(startup_stderr, F_DUPFD_CLOEXEC, 10);
  const int high_stderr = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
  if (high_channel < 0 || high_pipe < 0) return errno;
  // Descriptor 4 may be anybody's: the real standard error, or nothing when there is none.
  if (high_stderr < 0 || ::dup2(high_stderr, kChildStderrFd) < 0) ::close(kChildStderrFd);
  if (::dup2(high_channel, kChildChannelFd) < 0 || ::dup2(high_pipe, STDERR_FILENO) < 0) return errno;
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ask_for_turns_of(kLoadingTurn);
  ::execv(path, argv);
  return errno;
}

}  // namespace

Result<ChildProcess> spawn_child(const ChildProgram& program, int channel) {
  auto stderr_pipe = make_pipe();
  if (!stderr_pipe) return std::unexpected(stderr_pipe.error());
  auto exec_pipe = make_pipe();
  if (!exec_pipe) return std::unexpected(exec_pipe.error());
  // Higher than the numbers given to the child, so that becoming it does not close it.
  Fd report{::fcntl(exec_pipe->write.get(), F_DUPFD_CLOEXEC, 10)};
  if (!report) return std::unexpected(system_error("duplicate a descriptor", "", errno));
  exec_pipe->write.reset();
  std::vector<char*> argv;
  argv.push_back(const_cast<char*>(program.path.c_str()));
  for (const std::string& arg : program.args) argv.push_back(const_cast<char*>(arg.c_str()));
  argv.push_back(nullptr);

  const pid_t pid = ::fork();
  if (pid < 0) return std::unexpected(system_error("fork", "", errno));
  if (pid == 0) {
    const int error = become(program.path.c_str(), argv.data(), channel, stderr_pipe->write.get());
    [[maybe_unused]] const ssize_t n = ::write(report.get(), &error, sizeof error);
    ::_exit(127);
  }
  report.reset();
  int error = 0;
  ssize_t n = 0;
  do {
    n = ::read(exec_pipe->read.get(), &error, sizeof error);
  } while (n < 0 && errno == EINTR);
  if (n == static_cast<ssize_t>(sizeof error)) {
    ::waitpid(pid, nullptr, 0);
    return std::unexpected(system_error("exec", program.path, error));
  }
  ::fcntl(stderr_pipe->read.get(), F_SETFL, O_NONBLOCK);
  return ChildProcess{.pid = pid, .startup_stderr = std::move(stderr_pipe->read)};
}

std::string exit_text(int wait_status) {
  if (WIFEXITED(wait_status)) return "exit status " + std::to_string(WEXITSTATUS(wait_status));
  if (WIFSIGNALED(wait_status)) {
    const int signal = WTERMSIG(wait_status);
    const char* name = ::sigdescr_np(signal);
    return "killed by signal " + std::to_string(signal) + " (" + (name != nullptr ? name : "unknown") + ")";
  }
  return "wait status " + std::to_string(wait_status);
}

std::string own_program_path(const char* argv0) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  const std::string_view name = argv0 != nullptr ? argv0 : "";
  if (name.find('/') != std::string_view::npos) {
    const fs::path path = fs::absolute(fs::path{name}, ignored).lexically_normal();
    if (::access(path.c_str(), X_OK) == 0) return path;
  } else if (const char* list = std::getenv("PATH"); list != nullptr && !name.empty()) {
    std::string_view rest = list;
    while (!rest.empty()) {
      const auto colon = rest.find(':');
      const fs::path path = fs::absolute(fs::path{rest.substr(0, colon)} / fs::path{name}, ignored);
      if (fs::is_regular_file(path, ignored) && ::access(path.c_str(), X_OK) == 0) return path;
      rest = colon == std::string_view::npos ? std::string_view{} : rest.substr(colon + 1);
    }
  }
  return fs::read_symlink("/proc/self/exe", ignored);
}

void raise_fd_limit() noexcept {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

void reserve_fds(std::size_t count, int any_fd) noexcept {
  const std::size_t most = std::min({count, fd_limit(), kFdsReservedMax});
  if (most == 0) return;
  const int highest = ::fcntl(any_fd, F_DUPFD_CLOEXEC, static_cast<int>(most) - 1);
  if (highest >= 0) ::close(highest);
}

std::size_t fd_limit() noexcept {
  rlimit limit{};
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 0;
}

}  // namespace lb
