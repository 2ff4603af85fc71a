// The three nouns of the data path: the connection of a client, the connection to a backend, and the
// exchange (one request and its response) that joins them while it lasts. They are apart so that one client
// connection may one day carry several exchanges. Slab objects of one worker; that thread only.
//
//   ClientConnection 1 --- 0..1 Exchange 1 --- 0..1 UpstreamConnection
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "lb/base/fd.hpp"
#include "lb/base/slab.hpp"
#include "lb/base/timer_wheel.hpp"
#include "lb/config/model.hpp"
#include "lb/http/message.hpp"
#include "lb/http/parser.hpp"
#include "lb/net/socket_address.hpp"
#include "lb/proxy/body_flow.hpp"
#include "lb/proxy/byte_queue.hpp"
#include "lb/proxy/handed_connection.hpp"
#include "lb/proxy/outbox.hpp"
#include "lb/tls/session.hpp"

namespace lb {

struct Exchange;
struct UpstreamConnection;
class WorkerUpstreams;

enum class TimerKind : std::uint8_t { client, exchange };

/// A wheel node that knows whose it is.
struct OwnedTimer : TimerNode {
  OwnedTimer(TimerKind k, void* o) noexcept : owner(o), kind(k) {}
  void* owner;
  TimerKind kind;
};

/// One non-blocking socket in the worker's epoll set, tried first and waited for on EAGAIN.
struct Socket {
  Fd fd;
  std::unique_ptr<tls::Session> tls;  // null: plain text. It uses fd, so it goes first
  Outbox outbox;               // taken from us, not yet by the kernel; while not empty its source is not read
  int unsent = 0;              // while it is not empty: bytes that the kernel held when last looked at
  bool readable = false;       // the kernel may hold bytes: not known to be drained
  bool peer_closed = false;    // EPOLLRDHUP was seen: read until end of file
  bool read_eof = false;       // end of file was read
  bool write_shut = false;     // we sent FIN
  bool watches_write = false;  // registered for EPOLLOUT as well
  bool watched = false;        // in the epoll set
  bool bulk = false;           // a tunnel's: the last read brought so much that the next is spliced
};

struct ClientConnection {
  ClientConnection() noexcept : timer(TimerKind::client, this) {}
  Handle handle;
  Socket socket;
  IpAddress peer;
  std::unique_ptr<IpAddress> told_destination;  // by a PROXY header, as then is `peer`
  const ListenerConfig* listener = nullptr;     // where it came in; nullptr: adopted from another generation
  ByteQueue inbox;  // received, not yet consumed: a head cut in two, pipelined requests, an early body
  Exchange* exchange = nullptr;
  OwnedTimer timer;  // head, idle, quiet, linger: whichever the state says
  std::uint32_t requests = 0;
  http::HeadScanner scanner;
  enum class State : std::uint8_t {
    preface,    // waiting for a PROXY header
    idle,       // between requests (or before the first): waiting for a first byte
    head,       // part of a head is here
    exchange,   // an exchange is running
    finishing,  // the last response is being flushed; then it is closed
    closed,     // retired; gone at the end of the turn
    lingering,  // FIN sent; what still comes is read and dropped, so that no reset destroys the response
  } state = State::idle;
  bool counted = false;        // in WorkerShared::connection_counter
  bool linger = false;         // close by lingering: the client may still be sending
  bool resume_queued = false;  // in Worker::resume_
  bool leaving = false;        // in Worker::leaving_
  bool was_busy = false;       // when handing over began
  bool stays = false;          // the successor refused it
};

struct UpstreamConnection {
  Handle handle;
  Socket socket;
  WorkerUpstreams* upstreams = nullptr;
  std::uint32_t backend = 0;
  std::uint64_t address_key = 0;  // AddressBook; of a backend that is a name
  Exchange* exchange = nullptr;   // nullptr: idle in the pool
  ByteQueue inbox;                // a response head cut in two
  http::HeadScanner scanner;
  Instant idle_since{};
  bool connecting = false;
  bool reused = false;    // served a request before this one
  bool prefaced = false;  // begins with a PROXY header: it is the connection of one client and of no other
  bool stale = false;     // its backend is not at that address any more
  // Links of the pool: per backend most recent first, and over all backends oldest first.
  UpstreamConnection* backend_newer = nullptr;
  UpstreamConnection* backend_older = nullptr;
  UpstreamConnection* age_newer = nullptr;
  UpstreamConnection* age_older = nullptr;
};

/// Where the tunnel of another generation goes whose backend is none of ours. nullptr for all others.
struct TunnelOrigin {
  BackendIdentity backend{};
};

/// Attempts at different backends for one request.
inline constexpr std::size_t kAttemptsMax = 8;
/// Times that one request is sent again which a backend may have seen: one that makes backends fall over is
/// not carried from one to the next.
inline constexpr std::uint8_t kResendsMax = 2;

struct Exchange {
  Exchange() noexcept : timer(TimerKind::exchange, this) {}
  Handle handle;
  ClientConnection* client = nullptr;
  UpstreamConnection* upstream = nullptr;
  WorkerUpstreams* upstreams = nullptr;  // the set it was balanced over
  std::uint32_t backend = ~0U;           // picked and counted in flight; ~0: none
  std::uint64_t hash_key = 0;            // what choosing goes by; 0: the client's address
  OwnedTimer timer;                      // connect, response, body progress, tunnel idle
  Instant started{};
  Instant dispatched{};  // to the backend that it is with

  http::Method method = http::Method::get;
  std::uint8_t client_minor_version = 1;
  bool client_keep_alive = true;
  bool upgrade_requested = false;
  bool client_takes_trailers = false;
  bool response_started = false;  // a byte of the response came from the backend
  bool response_head_sent = false;
  bool response_keep_alive = true;  // what the head sent to the client promised
  bool upstream_keep_alive = false;
  bool request_sent = false;    // the whole request has left for the backend
  bool retried = false;         // sent again: on a fresh connection
  bool queue_full = false;      // of a backend that was tried: it is busy, not broken
  bool waits_for_room = false;  // in such a queue, without a backend meanwhile
  bool tunnel = false;
  bool raw = false;                   // of a listener in TCP mode: no request, a tunnel from the start
  bool response_until_close = false;  // the client tells the end of the response by our close
  bool resume_queued = false;         // in Worker::response_resume_
  bool waiting = false;               // in line for a backend
  bool waited = false;                // was, once: its time to wait runs from then
  std::uint8_t attempts = 0;
  std::uint8_t resends = 0;
  std::uint8_t address_tries = 0;  // addresses of names that failed, while another one of the name was left
  std::uint8_t retries = 0;        // of any kind
  const char* failure = "no backend accepts connections";  // should none be left
  std::uint16_t status = 0;
  std::uint64_t address_key = 0;                    // connected to, or tried, last
  std::array<std::uint32_t, kAttemptsMax> tried{};  // backends that failed it

  // The line of its worker, while it waits: worker_queue.cpp.
  Exchange* line_before = nullptr;
  Exchange* line_behind = nullptr;
  Instant wait_until{};

  /// The generated head and what of the body came with it, for sending it again. Kept until it cannot be.
  ByteQueue request_bytes;
  bool request_bytes_whole = false;  // they are the whole request
  BodyFlow request_body;
  BodyFlow response_body;
  std::uint64_t tunnel_bytes_in = 0;   // from the client, once it is a tunnel
  std::uint64_t tunnel_bytes_out = 0;  // to the client
  Instant tunnel_ends_at = kNever;     // its backend was removed, and its time is measured
  std::unique_ptr<TunnelOrigin> origin;

  // For the access log only; empty when there is none.
  std::string log_method;
  std::string log_target;
  std::string_view logged_backend = "-";  // lives in the set's configuration, or in `origin`
};

}  // namespace lb
