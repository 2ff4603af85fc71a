// Moving bytes between the worker and its sockets.
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>

#include "lb/proxy/worker.hpp"

namespace lb {
namespace {

/// A segment that is not full waits for what follows: the FIN, if `last` says that it comes at once.
constexpr int send_flags(bool last) noexcept {
  return last ? MSG_NOSIGNAL | MSG_MORE : MSG_NOSIGNAL;
}

}  // namespace

int Worker::unsent_bytes(const Socket& socket) noexcept {
  int bytes = 0;
  return ::ioctl(socket.fd.get(), SIOCOUTQ, &bytes) == 0 ? bytes : 0;
}

Worker::Received Worker::receive(Socket& socket, std::size_t offset, std::size_t size_max) {
  if (socket.tls) [[unlikely]]
    return receive_tls(socket, offset, size_max);
  for (;;) {
    const ssize_t n = ::recv(socket.fd.get(), scratch_.get() + offset, size_max, 0);
    if (n > 0) {
      const auto size = static_cast<std::size_t>(n);
      // A short read means drained: the next bytes bring an event. Unless the end of file waits behind.
      socket.readable = size == size_max || socket.peer_closed;
      return {Received::Kind::bytes, size};
    }
    if (n == 0) {
      socket.readable = false;
      socket.read_eof = true;
      return {Received::Kind::eof, 0};
    }
    if (errno == EINTR) continue;
    socket.readable = false;
    if (errno == EAGAIN) return {Received::Kind::blocked, 0};
    return {Received::Kind::broken, 0};
  }
}

bool Worker::send_bytes(Socket& socket, Token token, std::string_view bytes, bool last) {
  if (socket.tls) [[unlikely]]
    return send_tls(socket, bytes);
  if (socket.outbox.empty()) {
    ssize_t n = 0;
    do {
      n = ::send(socket.fd.get(), bytes.data(), bytes.size(), send_flags(last));
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN) return false;
    if (n > 0) bytes.remove_prefix(static_cast<std::size_t>(n));
    if (bytes.empty()) return true;
    watch_for_write(socket, token);
  }
  socket.outbox.append(bytes);
  return true;
}

bool Worker::send_gather(Socket& socket, Token token, const Gather& gather, bool last) {
  const std::span<const iovec> pieces = gather.pieces();
  if (pieces.empty()) return true;
  if (pieces.size() == 1) {
    return send_bytes(socket, token, {static_cast<const char*>(pieces[0].iov_base), pieces[0].iov_len}, last);
  }
  if (socket.tls) [[unlikely]]
    return send_gather_tls(socket, gather);
  std::size_t sent = 0;
  if (socket.outbox.empty()) {
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(pieces.data());
    message.msg_iovlen = pieces.size();
    ssize_t n = 0;
    do {
      n = ::sendmsg(socket.fd.get(), &message, send_flags(last));
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN) return false;
    if (n > 0) sent = static_cast<std::size_t>(n);
    if (sent == gather.total()) return true;
    watch_for_write(socket, token);
  }
  for (const iovec& piece : pieces) {
    const std::size_t skip = std::min(sent, piece.iov_len);
    sent -= skip;
    socket.outbox.append({static_cast<const char*>(piece.iov_base) + skip, piece.iov_len - skip});
  }
  return true;
}

bool Worker::flush(Socket& socket) {
  if (socket.tls) [[unlikely]]
    return flush_tls(socket);
  if (socket.outbox.pipe() != nullptr) {
    if (!flush_pipe(socket)) return false;
    if (socket.outbox.pipe() != nullptr) {
      socket.unsent = unsent_bytes(socket);
      return true;
    }
  }
  while (!socket.outbox.empty()) {
    const std::string_view bytes = socket.outbox.view();
    const ssize_t n = ::send(socket.fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      if (errno != EAGAIN) return false;
      socket.unsent = unsent_bytes(socket);
      return true;
    }
    socket.outbox.consume(static_cast<std::size_t>(n));
  }
  return true;
}

void Worker::reset_on_close(const Socket& socket) noexcept {
  const linger now{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(socket.fd.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

/// A socket becomes writable when a third of its buffer is free again: megabytes, for which a slow reader may
/// need longer than any time-out between two events.
bool Worker::outbox_moves(Socket& socket) noexcept {
  if (socket.outbox.empty()) return false;
  const int before = socket.unsent;
  socket.unsent = unsent_bytes(socket);
  return socket.unsent < before;
}

/// Most sockets never block: they are not registered for writing until they first do, and stay so then.
void Worker::watch_for_write(Socket& socket, Token token) {
  socket.unsent = unsent_bytes(socket);
  if (socket.watches_write) return;
  socket.watches_write = true;
  if (socket.watched) loop_.modify(socket.fd.get(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, token);
}

}  // namespace lb
