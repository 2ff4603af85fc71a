// Session: the TLS side of one connection over a non-blocking socket that somebody else owns. It receives and
// sends on the socket by itself; it never closes it and never waits. One thread. It stays where it is in
// memory.
//
// The handshake needs no call of its own: reading and writing do what it still needs. After a result other
// than ok or a want the session is of no further use, but for error(), and for close_notify() after closed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "lb/tls/client_context.hpp"
#include "lb/tls/openssl.hpp"
#include "lb/tls/server_context.hpp"

namespace lb::tls {

enum class Status : std::uint8_t {
  ok,
  want_read,   // until the socket has more to read, whatever was asked for
  want_write,  // until the socket takes more, whatever was asked for
  closed,      // the peer said that nothing follows (close_notify)
  truncated,   // the connection ended without that: what came may be cut
  failed,      // error() says why
};

struct Io {
  Status status = Status::ok;
  std::size_t bytes = 0;  // of plain text, moved before `status` came about
};

class Session final {
 public:
  /// nullptr: no memory. The context or target outlives the session.
  static std::unique_ptr<Session> accept(const ServerContext& context, int fd);
  static std::unique_ptr<Session> connect(ClientTarget& target, int fd,
                                          Resumption resumption = Resumption::allowed);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// Bytes that go before everything of TLS, in the clear: a PROXY header. Before the handshake.
  void say_first(std::string_view bytes) { preamble_ = bytes; }

  /// Goes on with the handshake; ok once it is done. Reading and writing do this too.
  Io handshake();
  /// At least one byte with ok, and at most `size`.
  Io read(char* into, std::size_t size);
  /// Takes bytes until all are with the kernel (ok) or it wants something first. The bytes that were not
  /// taken must come again, with whatever behind them, in the next call: part of them may be sealed already.
  Io write(std::string_view bytes);
  /// Says that nothing follows. Best effort: a socket that takes nothing more is left alone.
  void close_notify();

  /// False once a read has emptied the session and found the socket empty: an event will tell when there is
  /// more. True may be wrong.
  [[nodiscard]] bool more_to_read() const noexcept;
  /// The last read() stopped at want_write.
  [[nodiscard]] bool read_wants_write() const noexcept { return read_wants_write_; }

  [[nodiscard]] bool established() const noexcept { return established_; }
  [[nodiscard]] bool resumed() const noexcept;
  /// True once, when the handshake is done.
  [[nodiscard]] bool take_established() noexcept {
    if (announced_ || !established_) return false;
    announced_ = true;
    return true;
  }
  /// This end is the server.
  [[nodiscard]] bool of_server() const noexcept;
  /// After a failure: the peer spoke plain HTTP.
  [[nodiscard]] bool plain_http() const noexcept { return plain_http_; }
  /// Why it failed, one line: "certificate verify failed (self-signed certificate)".
  [[nodiscard]] const std::string& error() const noexcept { return error_; }
  /// errno of the receive or send that failed it, or 0.
  [[nodiscard]] int os_error() const noexcept { return os_error_; }

  /// "TLSv1.3", the protocol agreed on by ALPN, the name that the client asked for; "" where there is none.
  [[nodiscard]] std::string_view version() const noexcept;
  [[nodiscard]] std::string_view alpn() const noexcept;
  [[nodiscard]] std::string_view server_name() const noexcept;

 private:
  friend struct SocketBio;
  Session() = default;
  static std::unique_ptr<Session> make(SSL_CTX* context, int fd);
  Status explain(int outcome);
  void note_established() noexcept;

  SslPtr ssl_;
  int fd_ = -1;
  int os_error_ = 0;      // of the last receive or send that failed
  bool drained_ = false;  // the last receive was short
  bool at_end_ = false;   // it found the end of file
  bool read_wants_write_ = false;
  bool established_ = false;
  bool announced_ = false;
  bool plain_http_ = false;
  bool dead_ = false;
  std::string error_;
  std::string preamble_;  // not sent yet
};

}  // namespace lb::tls
