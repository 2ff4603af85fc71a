// Bodies and tunnels that move in the kernel: socket, pipe, socket. What cannot, or is too small to be worth
// it, is copied by the callers.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "lb/proxy/worker.hpp"

namespace lb {
/// One pipe full, or as much as is there. `copy`: nothing was moved, and the caller copies instead.
Worker::Spliced Worker::splice(Socket& from, Socket& to, Token to_token, std::uint64_t bytes_max) {
  // Only what nobody has to encrypt or decrypt can pass unseen.
  if (from.tls || to.tls) return {Spliced::Kind::copy, 0};
  std::unique_ptr<SplicePipe> pipe = pipes_.acquire(now_);
  if (pipe == nullptr) return {Spliced::Kind::copy, 0};
  const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(bytes_max, kTurnBytesMax));
  const std::ptrdiff_t n = pipe->fill_from(from.fd.get(), wanted);
  if (n <= 0) {
    const int error = n < 0 ? errno : 0;
    pipes_.release(std::move(pipe));
    if (n < 0 && SplicePipe::unsupported(error)) {
      pipes_.disable();
      return {Spliced::Kind::copy, 0};
    }
    from.readable = false;
    if (n == 0) from.read_eof = true;
    errno = error;
    if (n == 0) return {Spliced::Kind::eof, 0};
    return {error == EAGAIN ? Spliced::Kind::blocked : Spliced::Kind::broken, 0};
  }
  const auto moved = static_cast<std::size_t>(n);
  return {send_pipe(to, to_token, std::move(pipe)) ? Spliced::Kind::bytes : Spliced::Kind::target_broken,
          moved};
}

/// Sends what is in the pipe; what the socket does not take waits in its outbox, which is empty before.
/// False, with errno: the connection is broken.
bool Worker::send_pipe(Socket& socket, Token token, std::unique_ptr<SplicePipe> pipe) {
  bool copy_out = false;
  if (!pipe->drain_into(socket.fd.get())) {
    if (!SplicePipe::unsupported(errno)) return false;
    pipes_.disable();
    copy_out = true;
  }
  if (pipe->bytes() == 0) {
    pipes_.release(std::move(pipe));
    return true;
  }
  if (!copy_out && pipes_.let_wait(*pipe)) {
    socket.outbox.put_pipe(std::move(pipe));
    watch_for_write(socket, token);
    return true;
  }
  return send_copied(socket, token, std::move(pipe));
}

/// The pipe is wanted elsewhere, or of no use: its bytes are copied and go on as others do.
bool Worker::send_copied(Socket& socket, Token token, std::unique_ptr<SplicePipe> pipe) {
  while (pipe->bytes() > 0) {
    const std::ptrdiff_t n = pipe->read_into(scratch_.get(), kReadBytes);
    if (n <= 0) return false;
    if (!send_bytes(socket, token, {scratch_.get(), static_cast<std::size_t>(n)})) return false;
  }
  pipes_.release(std::move(pipe));
  return true;
}

/// The part of flush() that is about a pipe. False: the connection is broken.
bool Worker::flush_pipe(Socket& socket) {
  SplicePipe& pipe = *socket.outbox.pipe();
  if (!pipe.drain_into(socket.fd.get())) return false;
  if (pipe.bytes() == 0) pipes_.release(socket.outbox.take_pipe());
  return true;
}

/// A piece of the response's body. `copy`: the caller reads instead.
Worker::BodyStep Worker::splice_response(Exchange& exchange, std::size_t& moved) {
  ClientConnection& client = *exchange.client;
  Socket& source = exchange.upstream->socket;
  const Spliced spliced =
      splice(source, client.socket, token_of(client), exchange.response_body.raw_bytes_left());
  moved += spliced.size;
  exchange.response_body.pass(spliced.size);
  bump(counters_.bytes_to_clients, spliced.size);
  switch (spliced.kind) {
    case Spliced::Kind::copy:
      return BodyStep::copy;
    case Spliced::Kind::blocked:
      return BodyStep::stop;
    case Spliced::Kind::broken:
      upstream_broken(exchange, errno);
      return BodyStep::stop;
    case Spliced::Kind::eof:
      upstream_eof(exchange);
      return BodyStep::stop;
    case Spliced::Kind::target_broken:
      client_gone(client);
      return BodyStep::stop;
    case Spliced::Kind::bytes:
      break;
  }
  if (!exchange.response_body.complete()) {
    wheel_.set(exchange.timer, now_ + config_.timeouts.body);
    return BodyStep::go_on;
  }
  // Whether bytes follow decides whether the connection may be used again. A read that came up short would
  // have told; here one has to look.
  char byte = 0;
  if (!source.peer_closed && ::recv(source.fd.get(), &byte, 1, MSG_PEEK) < 0 && errno == EAGAIN) {
    source.readable = false;
  }
  response_done(exchange, false);
  return BodyStep::stop;
}

/// A piece of the request's body. `copy`: the caller reads instead.
Worker::BodyStep Worker::splice_request(Exchange& exchange, std::size_t& moved) {
  ClientConnection& client = *exchange.client;
  UpstreamConnection& upstream = *exchange.upstream;
  const Spliced spliced =
      splice(client.socket, upstream.socket, token_of(upstream), exchange.request_body.raw_bytes_left());
  moved += spliced.size;
  switch (spliced.kind) {
    case Spliced::Kind::copy:
      return BodyStep::copy;
    case Spliced::Kind::blocked:
      return BodyStep::stop;
    case Spliced::Kind::broken:
    case Spliced::Kind::eof:
      bump(counters_.bad_requests);
      abort_exchange(exchange, "client_closed");  // the body is cut short
      return BodyStep::stop;
    case Spliced::Kind::target_broken:
    case Spliced::Kind::bytes:
      break;
  }
  const int error = errno;
  bump(counters_.bytes_from_clients, spliced.size);
  exchange.request_bytes_whole = false;  // from here on it cannot be sent again
  exchange.request_bytes.clear();
  exchange.request_body.pass(spliced.size);
  if (spliced.kind == Spliced::Kind::target_broken) {
    upstream_write_failed(exchange, error);
    return BodyStep::stop;
  }
  request_progress(exchange);
  return BodyStep::go_on;
}

}  // namespace lb
