// Sockets that speak TLS: the same few moves as plain ones (worker_socket.cpp), by way of the socket's
// session. Handshakes have no state of their own here: reading and writing carry them on, under the time
// limit of whatever is waited for: timeouts.header for a client, timeouts.connect for a backend.
//
//  - Such a socket is in the epoll set for writing from the start, as its session may want to write in order
//  to
//    read, or to read in order to write. On any event both are tried.
//  - Its outbox holds plain text. What a session did not take comes again as the head of the outbox,
//  unchanged,
//    which is what it asks for: part of it may be sealed already.
//  - A TLS connection is never handed over: its keys are in this process.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "lb/proxy/worker.hpp"

namespace lb {
namespace {

constexpr Duration kComplaintPause = Milliseconds{1000};
constexpr std::size_t kRecordBytes = 16 * 1024;  // of plain text in one record (RFC 8446 5.1)

}  // namespace

/// Several records at once where they are here, so that a large body leaves in large pieces.
Worker::Received Worker::receive_tls(Socket& socket, std::size_t offset, std::size_t size_max) {
  tls::Session& session = *socket.tls;
  std::size_t total = 0;
  tls::Status status = tls::Status::ok;
  while (total < size_max) {
    const tls::Io io = session.read(scratch_.get() + offset + total, size_max - total);
    status = io.status;
    total += io.bytes;
    if (status != tls::Status::ok || !session.more_to_read()) break;
  }
  note_handshake(session);
  const bool waits = status == tls::Status::want_read || status == tls::Status::want_write;
  if (total > 0) {
    // An end or a failure behind the bytes is found again by the next read.
    socket.readable = waits ? socket.peer_closed
                            : status != tls::Status::ok || session.more_to_read() || socket.peer_closed;
    return {Received::Kind::bytes, total};
  }
  socket.readable = false;
  if (waits) return {Received::Kind::blocked, 0};
  if (status == tls::Status::closed) {
    socket.read_eof = true;
    return {Received::Kind::eof, 0};
  }
  errno = status == tls::Status::truncated ? ECONNRESET : EPROTO;
  return {Received::Kind::broken, 0};
}

bool Worker::send_tls(Socket& socket, std::string_view bytes) {
  if (socket.outbox.empty()) {
    const tls::Io io = socket.tls->write(bytes);
    note_handshake(*socket.tls);
    if (!still_good(socket, io.status)) return false;
    bytes.remove_prefix(io.bytes);
    if (bytes.empty()) return true;
    socket.unsent = unsent_bytes(socket);
  }
  socket.outbox.append(bytes);
  return true;
}

/// Fills records, however small the pieces: each record costs a system call and 22 bytes or more.
bool Worker::send_gather_tls(Socket& socket, const Gather& gather) {
  if (!tls_record_) tls_record_ = std::make_unique_for_overwrite<char[]>(kRecordBytes);
  std::size_t filled = 0;
  for (const iovec& piece : gather.pieces()) {
    std::string_view bytes{static_cast<const char*>(piece.iov_base), piece.iov_len};
    while (!bytes.empty()) {
      if (filled == 0 && bytes.size() >= kRecordBytes) {
        const std::size_t whole = bytes.size() - bytes.size() % kRecordBytes;
        if (!send_tls(socket, bytes.substr(0, whole))) return false;
        bytes.remove_prefix(whole);
        continue;
      }
      const std::size_t n = std::min(bytes.size(), kRecordBytes - filled);
      std::memcpy(tls_record_.get() + filled, bytes.data(), n);
      bytes.remove_prefix(n);
      filled += n;
      if (filled < kRecordBytes) break;
      if (!send_tls(socket, {tls_record_.get(), filled})) return false;
      filled = 0;
    }
  }
  return filled == 0 || send_tls(socket, {tls_record_.get(), filled});
}

bool Worker::flush_tls(Socket& socket) {
  if (socket.outbox.empty()) return true;
  const tls::Io io = socket.tls->write(socket.outbox.view());
  note_handshake(*socket.tls);
  socket.outbox.consume(io.bytes);
  if (!still_good(socket, io.status)) return false;
  if (!socket.outbox.empty()) socket.unsent = unsent_bytes(socket);
  return true;
}

/// What a write came to. A handshake that needed reading may have brought bytes in that no event will
/// announce.
bool Worker::still_good(Socket& socket, tls::Status status) noexcept {
  if (status == tls::Status::ok && socket.tls->more_to_read()) socket.readable = true;
  if (status == tls::Status::ok || status == tls::Status::want_read || status == tls::Status::want_write) {
    return true;
  }
  const int cause = socket.tls->os_error();
  errno = cause != 0 ? cause : EPROTO;
  return false;
}

void Worker::note_handshake(tls::Session& session) noexcept {
  if (!session.take_established()) return;
  if (session.of_server()) {
    bump(counters_.tls_handshakes);
    if (session.resumed()) bump(counters_.tls_resumed);
  } else {
    bump(counters_.upstream_tls_handshakes);
    if (session.resumed()) bump(counters_.upstream_tls_resumed);
  }
}

/// The client's connection broke before a handshake was done: it may be told why.
void Worker::handshake_failed(ClientConnection& client) {
  bump(counters_.tls_failures);
  const tls::Session& session = *client.socket.tls;
  const bool http = session.plain_http();
  if (complaint_is_due()) {
    std::array<char, IpAddress::kTextMax> ip;
    const std::string_view from{ip.data(), client.peer.write_text(ip.data())};
    shared_.log->warn("tls.handshake_failed", "a client's TLS handshake failed",
                      {{"client", from}, {"reason", session.error()}});
  }
  client.socket.tls.reset();  // OpenSSL has sent its alert; from here on the socket is a plain one
  client.linger = true;
  if (http && client.listener != nullptr && client.listener->mode == ListenMode::http) {
    return reject(client, 400, "plain HTTP was sent to a TLS port");
  }
  client.state = ClientConnection::State::finishing;
  shut_client(client);
}

void Worker::upstream_handshake_failed(const Exchange& exchange) {
  const Socket& socket = exchange.upstream->socket;
  if (!socket.tls || socket.tls->established() || socket.tls->error().empty()) return;
  bump(counters_.upstream_tls_failures);
  if (!complaint_is_due()) return;
  shared_.log->warn("upstream.tls_failed", "the TLS handshake with a backend failed",
                    {{"backend", exchange.upstreams->set().backend(exchange.backend).name},
                     {"reason", socket.tls->error()}});
}

bool Worker::secure_upstream(const Exchange& exchange, UpstreamConnection& upstream) {
  UpstreamSet& set = upstream.upstreams->set();
  if (!set.backend(upstream.backend).tls) return true;
  Socket& socket = upstream.socket;
  tls::ClientTarget* const target = set.tls_target(upstream.backend);
  if (target != nullptr) socket.tls = tls::Session::connect(*target, socket.fd.get());
  socket.watches_write = true;
  if (socket.tls && upstream.prefaced) {
    // The header is for whoever ends the TLS there, so it goes before it.
    std::array<char, kProxyWrittenMax> bytes;
    socket.tls->say_first(write_preface(exchange, bytes));
  }
  return socket.tls != nullptr;
}

/// One line a second at most: anybody can make handshakes fail.
bool Worker::complaint_is_due() noexcept {
  if (shared_.log == nullptr || now_ - complained_ < kComplaintPause) return false;
  complained_ = now_;
  return true;
}

/// In TCP mode the backend is connected to once the client's handshake is done.
void Worker::shake_raw(ClientConnection& client) {
  const tls::Io io = client.socket.tls->handshake();
  note_handshake(*client.socket.tls);
  switch (io.status) {
    case tls::Status::ok:
      client.socket.readable = true;  // the handshake may have brought in more than itself
      return begin_raw(client);
    case tls::Status::want_read:
    case tls::Status::want_write:
      client.socket.readable = false;
      return;
    case tls::Status::closed:
    case tls::Status::truncated:
    case tls::Status::failed:
      return handshake_failed(client);
  }
}

/// The connection to a backend in TCP mode is established; true once its handshake is done as well.
bool Worker::shake_raw_upstream(Exchange& exchange) {
  Socket& socket = exchange.upstream->socket;
  if (!socket.tls) return true;
  const tls::Io io = socket.tls->handshake();
  note_handshake(*socket.tls);
  socket.readable = true;
  if (io.status == tls::Status::ok) return true;
  if (!still_good(socket, io.status) && recover(exchange, errno, "connect")) dispatch(exchange);
  return false;
}

}  // namespace lb
