#include "lb/supervisor/generation_handle.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

namespace lb {

void StartupStderr::relay() {
  char buffer[4096];
  while (pipe_) {
    const ssize_t n = ::read(pipe_.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
      pipe_.reset();
      return;
    }
    const auto size = static_cast<std::size_t>(n);
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, buffer, size);
    tail_.append(buffer, size);
    if (tail_.size() > kTailBytesMax) tail_.erase(0, tail_.size() - kTailBytesMax);
  }
}

std::string StartupStderr::last_line() const {
  std::string_view text = tail_;
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  if (const auto newline = text.rfind('\n'); newline != std::string_view::npos)
    text.remove_prefix(newline + 1);
  std::string line{text};
  std::erase_if(line, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
  return line;
}

void GenerationHandle::signal(int number) const noexcept {
  if (adopted) {
    if (pidfd) ::syscall(SYS_pidfd_send_signal, pidfd.get(), number, nullptr, 0);
  } else if (pid > 0 && ended.empty()) {
    ::kill(pid, number);
  }
}

Result<std::pair<GenerationHandle, HelloMessage>> adopt_orphan(Fd connection, Duration limit) {
  GenerationHandle handle;
  handle.adopted = true;
  handle.started = monotonic_now();
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(connection.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0) {
    handle.pid = peer.pid;
    handle.pidfd = Fd{static_cast<int>(::syscall(SYS_pidfd_open, peer.pid, 0))};
  }
  handle.channel = Channel{std::move(connection)};
  const Instant until = handle.started + limit;
  for (;;) {
    auto received = handle.channel.receive();
    if (received.kind == Received::Kind::message) {
      auto hello = decode<HelloMessage>(received.message);
      if (!hello) return std::unexpected(hello.error());
      auto& fds = received.message.fds;
      const std::size_t before_sockets = hello->ready.state_slot >= 0 ? 2 : 1;
      if (fds.size() != hello->ready.opened.size() + before_sockets) {
        return std::unexpected(
            Error{.fault = Fault::self, .message = "HELLO with the wrong number of descriptors"});
      }
      handle.config_file = std::make_shared<const Fd>(std::move(fds.front()));
      if (before_sockets == 2) handle.state_file = std::move(fds[1]);
      handle.opened.assign(std::make_move_iterator(fds.begin() + static_cast<std::ptrdiff_t>(before_sockets)),
                           std::make_move_iterator(fds.end()));
      handle.ready = hello->ready;
      return std::pair{std::move(handle), std::move(*hello)};
    }
    if (received.kind != Received::Kind::nothing) {
      return std::unexpected(
          Error{.message = received.reason.empty() ? "it closed the connection" : received.reason});
    }
    const auto left = to_ms(until - monotonic_now());
    pollfd fd{handle.channel.fd(), POLLIN, 0};
    if (left <= 0 || (::poll(&fd, 1, static_cast<int>(left)) == 0)) {
      return std::unexpected(
          Error{.message = "it did not answer within " + std::to_string(to_ms(limit)) + " ms"});
    }
  }
}

}  // namespace lb
