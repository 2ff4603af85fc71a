// Worker: one thread, one event loop, and the connections it accepted: the data path. Shared-nothing but
// for WorkerShared. Everything private runs on the worker's thread; other threads only post().
//
// The life of an exchange (each arrow is a method in the file named):
//
//   read_client -> begin_exchange -> dispatch -> send_request ..... worker_client / worker_exchange
//                     |                 ^  |                            request body: pump_request
//                     v reject          |  v recover (next backend, or a fresh connection once)
//                   local response      +--+
//   read_response -> begin_response -> [body] -> response_done -> finish_exchange -> idle | close
//                         |                                      worker_response
//                         v 101
//                      tunnel: pump_tunnel both ways ...........   worker_tunnel
//
// On a listener with proxy_protocol: accept -> begin_client -> read_preface -> greet .....
// worker_preface On a listener in TCP mode: greet -> begin_raw -> dispatch -> raw_connected -> tunnel
// ..... worker_tcp
//
// In a drain with handoff a connection that is idle, and a tunnel at any time, goes on: leave -> hand_over
// (worker_handoff) -> the queue of the DrainLedger -> adopt (worker_adopt), in a worker of the next
// generation.
//
// A socket is tried first and waited for on EAGAIN; a read that came up short means drained. While bytes wait
// in a socket's outbox the other side is not read: that is the back-pressure, and it bounds memory.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <ctime>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "lb/base/random.hpp"
#include "lb/base/slab.hpp"
#include "lb/base/timer_wheel.hpp"
#include "lb/http/date.hpp"
#include "lb/http/message.hpp"
#include "lb/http/writer.hpp"
#include "lb/limit/connection_counter.hpp"
#include "lb/limit/rate_limiter.hpp"
#include "lb/limit/retry_budget.hpp"
#include "lb/net/event_loop.hpp"
#include "lb/net/listener.hpp"
#include "lb/net/proxy_header.hpp"
#include "lb/observe/access_log.hpp"
#include "lb/observe/counters.hpp"
#include "lb/observe/event_log.hpp"
#include "lb/proxy/access_log_file.hpp"
#include "lb/proxy/census.hpp"
#include "lb/proxy/connections.hpp"
#include "lb/proxy/drain_ledger.hpp"
#include "lb/proxy/foreign_backends.hpp"
#include "lb/proxy/gather.hpp"
#include "lb/proxy/probe_desk.hpp"
#include "lb/proxy/upstream_pool.hpp"
#include "lb/state/generation_state.hpp"

namespace lb {

class Worker;

/// What the workers of a generation share. Read-only but for atomics and thread-safe objects.
struct WorkerShared {
  std::shared_ptr<const Config> config;
  std::shared_ptr<state::GenerationState> state;
  std::uint64_t generation = 1;
  EventLog* log = nullptr;
  LogFormat access_log_format = LogFormat::text;
  std::unique_ptr<AccessLogFile> access_log;                         // may be null
  std::vector<std::unique_ptr<tls::ServerContext>> server_contexts;  // one a listener; null: plain text
  std::vector<IpAddress> listener_addresses;                         // one a listener: where it really is
  std::unique_ptr<RateLimiter> limiter;                              // may be null
  std::unique_ptr<ConnectionCounter> connection_counter;             // null: no limit of connections a client
  std::string response_block;                                        // response_headers as ready-made lines
  std::vector<std::string> response_names;
  bool sets_date = false;  // response_headers has a Date
  std::atomic<std::uint32_t> open_clients{0};
  /// Nobody is accepted.
  [[nodiscard]] bool full() const noexcept {
    return open_clients.load(std::memory_order_relaxed) >= config->max_connections;
  }
  std::vector<Worker*> workers;  // by number; all there before the first starts
  DrainLedger ledger;            // held by each worker of a drain that has connections left
  ForeignBackends foreign;       // of tunnels that came from another generation
  ProbeDesk probes;
};

class Worker final {
 public:
  static Result<std::unique_ptr<Worker>> create(WorkerShared& shared, std::shared_ptr<UpstreamSet> upstreams,
                                                std::vector<ListeningSocket> listeners, std::uint32_t number,
                                                std::uint64_t seed);
  ~Worker();

  void start();
  /// Ends the thread; from then on post() leads nowhere. All workers of a generation are stopped before the
  /// first is destroyed, as they post to each other.
  void stop();
  /// Runs `task` on the worker's thread, soon, in order.
  void post(std::move_only_function<void()> task);
  /// The same, and waits until it ran.
  void post_and_wait(std::move_only_function<void()> task);

  // On the worker's thread only:
  void set_successor(std::shared_ptr<UpstreamSet> upstreams);
  /// Names have other addresses now: connections to those that are gone are closed, in use ones after their
  /// request.
  void leave_old_addresses();
  /// The ledger is held for this worker from before the first call. A further call may add the handoff, or
  /// begin it anew for another successor.
  void start_drain(Instant deadline, Handoff handoff);
  /// Before start_drain, or in a drain after park: the listening sockets stay open. Those of `gone` (of the
  /// configuration's listeners), which the successor does not have, are answered with a reset.
  void park(std::vector<Endpoint> gone);
  /// The drain goes on as one of a worker that was never parked.
  void let_go();
  /// Ends the drain of a parked worker: it accepts again, also from `more`, and what is still open stays.
  /// `home` (null: it was never left): the backends to use again. The ledger is reset by the caller.
  void resume(std::shared_ptr<UpstreamSet> home, std::vector<ListeningSocket> more);
  /// From now on the drain goes on as one without handoff.
  void stop_handoff();
  /// Connections of another generation, or our own that came back. In a drain the ledger is held once for
  /// each call, from before it is posted.
  void adopt(std::vector<HandedConnection> handed);
  /// Adds what is connected now.
  void count(Census& census);

  /// Any thread: some wait for room in the ledger, so that the worker is to be woken when there is.
  [[nodiscard]] bool wants_room() const noexcept { return wants_room_.load(std::memory_order_relaxed); }

  [[nodiscard]] const Counters& counters() const noexcept { return counters_; }
  [[nodiscard]] std::uint64_t completed_in_drain() const noexcept {
    return completed_in_drain_.load(std::memory_order_relaxed);
  }

 private:
  Worker(WorkerShared& shared, std::shared_ptr<UpstreamSet> upstreams, std::vector<ListeningSocket> listeners,
         std::uint32_t number, std::uint64_t seed, EventLoop loop, Fd wakeup);

  // worker.cpp: the loop
  void run();
  void dispatch_event(const epoll_event& event);
  void close_spoiled_idle(std::span<const epoll_event> events);
  void run_tasks();
  void run_resumes();
  [[nodiscard]] Instant next_wakeup() const noexcept;
  void end_of_turn();
  void flush_access_log();
  void check_drained();
  void hush_idle(Handoff handoff);
  void force_close_all();
  // accepting
  bool watch_listeners();
  void unwatch_listeners();
  void pause_accepting(Duration pause);
  void accept_clients(std::uint32_t listener);
  /// Makes a client connection of it, without a deadline yet. nullptr, and closed: no memory or watches.
  /// With `tls` it speaks that.
  ClientConnection* add_client(Fd fd, const IpAddress& peer, const tls::ServerContext* tls);
  void greet(ClientConnection& client);
  /// Counts the connection for its client. False: it has as many as limits.connections_per_ip allows.
  bool count_for_client(ClientConnection& client);
  void forget_for_client(ClientConnection& client) noexcept;
  // timers
  void on_timer(OwnedTimer& timer);
  void on_client_timer(ClientConnection& client);
  void on_exchange_timer(Exchange& exchange);

  // worker_socket.cpp: moving bytes
  /// Sends, keeping what the kernel does not take in the outbox. False: the connection is broken.
  /// `last`: the socket is shut down or closed in the same breath, and the end travels with the bytes.
  bool send_gather(Socket& socket, Token token, const Gather& gather, bool last = false);
  bool send_bytes(Socket& socket, Token token, std::string_view bytes, bool last = false);
  bool flush(Socket& socket);
  void watch_for_write(Socket& socket, Token token);
  /// Its close will be a reset.
  static void reset_on_close(const Socket& socket) noexcept;
  /// The peer has taken bytes since the outbox was last found stuck, although no event tells.
  static bool outbox_moves(Socket& socket) noexcept;
  struct Received {
    enum class Kind : std::uint8_t { bytes, blocked, eof, broken } kind = Kind::blocked;
    std::size_t size = 0;
  };
  Received receive(Socket& socket, std::size_t offset, std::size_t size_max);
  /// Bytes that the kernel holds because the peer has not acknowledged them. 0 when that cannot be told.
  static int unsent_bytes(const Socket& socket) noexcept;
  /// Whether an event is a reason to flush: a session may have waited for bytes to read.
  static bool may_flush(const Socket& socket, std::uint32_t events) noexcept {
    return ((events & EPOLLOUT) != 0 || socket.tls) && !socket.outbox.empty();
  }
  /// Whether a flush moved bytes, of which `waiting` were in the outbox before: with TLS it may have carried
  /// on the handshake, or looked at what the peer sent, and that is no progress which a time-out would start
  /// anew for.
  static bool moved_bytes(const Socket& socket, std::size_t waiting) noexcept {
    return !socket.tls || socket.outbox.size() < waiting;
  }

  // worker_tls.cpp: the same for sockets with TLS
  Received receive_tls(Socket& socket, std::size_t offset, std::size_t size_max);
  bool send_tls(Socket& socket, std::string_view bytes);
  bool send_gather_tls(Socket& socket, const Gather& gather);
  bool flush_tls(Socket& socket);
  static bool still_good(Socket& socket, tls::Status status) noexcept;
  void note_handshake(tls::Session& session) noexcept;
  /// Gives a connection being opened the session that its backend asks for. False: there is none to be had.
  bool secure_upstream(const Exchange& exchange, UpstreamConnection& upstream);
  void handshake_failed(ClientConnection& client);
  void upstream_handshake_failed(const Exchange& exchange);
  bool complaint_is_due() noexcept;
  void shake_raw(ClientConnection& client);
  bool shake_raw_upstream(Exchange& exchange);
  /// An orderly end: the peer learns that nothing was cut off.
  static void say_goodbye(Socket& socket) {
    if (socket.tls) socket.tls->close_notify();
  }
  static Token token_of(const ClientConnection& c) noexcept { return {TokenKind::client, c.handle}; }
  static Token token_of(const UpstreamConnection& u) noexcept { return {TokenKind::upstream, u.handle}; }

  // worker_splice.cpp: moving bytes without touching them
  struct Spliced {
    enum class Kind : std::uint8_t { bytes, blocked, eof, broken, target_broken, copy } kind = Kind::copy;
    std::size_t size = 0;
  };
  Spliced splice(Socket& from, Socket& to, Token to_token, std::uint64_t bytes_max);
  bool send_pipe(Socket& socket, Token token, std::unique_ptr<SplicePipe> pipe);
  bool send_copied(Socket& socket, Token token, std::unique_ptr<SplicePipe> pipe);
  bool flush_pipe(Socket& socket);
  /// `stop`: the caller returns, whatever became of the exchange.
  enum class BodyStep : std::uint8_t { go_on, stop, copy };
  BodyStep splice_response(Exchange& exchange, std::size_t& moved);
  BodyStep splice_request(Exchange& exchange, std::size_t& moved);

  // worker_park.cpp
  void know_listeners();
  void watch_gone();
  void unwatch_gone();
  void refuse_gone(std::uint32_t listener);

  // worker_census.cpp: what is connected, for those who ask
  [[nodiscard]] int listener_index(const ClientConnection& client) const noexcept;
  [[nodiscard]] ForceClosed last_words(const ClientConnection& client) const;

  // worker_handoff.cpp: connections that go to the next generation
  void start_handoff();
  [[nodiscard]] bool movable(const ClientConnection& client) const noexcept;
  void leave(ClientConnection& client);
  void hand_over_leaving();
  static HandedConnection handed(ClientConnection& client);
  HandedSide handed_side(Socket& socket);
  void hand_over(ClientConnection& client);
  void hand_over_tunnel(ClientConnection& client);
  [[nodiscard]] bool was_removed(const Exchange& exchange) const;
  static OnRemoval on_removal(const Exchange& exchange);
  void close_removed_tunnels();
  [[nodiscard]] bool upstreams_leave() const noexcept;
  void hand_over_upstreams(std::size_t count_max);
  bool rehome(UpstreamConnection& upstream);
  /// In a drain with handoff: it moves. One with TLS stays until it is told to close, as without handoff.
  [[nodiscard]] bool leaves(const ClientConnection& client) const noexcept {
    return handing_ && !client.socket.tls && !client.stays;
  }
  /// At the end of this very turn, so that it is not read any more.
  [[nodiscard]] bool leaves_now(const ClientConnection& client) const noexcept {
    return leaves(client) && shared_.ledger.has_room();
  }

  // worker_adopt.cpp: connections that came from another generation, or back
  ClientConnection* adopt_socket(HandedConnection& one);
  bool adopt_client(HandedConnection& one);
  bool adopt_tunnel(HandedConnection& one);
  void describe_tunnel(Exchange& exchange, HandedConnection& one);
  void adopt_side(Socket& socket, Token token, const HandedSide& side);
  void adopt_upstream(HandedConnection& one);

  // worker_client.cpp: the client side
  void on_client_event(ClientConnection& client, std::uint32_t events);
  void on_client_writable(ClientConnection& client);
  void read_client(ClientConnection& client);
  void serve_bytes(ClientConnection& client, std::string_view bytes);
  void drop_input(ClientConnection& client);
  void become_idle(ClientConnection& client);
  void become_idle_in_drain(ClientConnection& client);
  void resume_later(ClientConnection& client);
  /// Bytes of a further request are here or may be in the kernel already.
  [[nodiscard]] static bool more_input_waits(const ClientConnection& client) noexcept {
    return !client.inbox.empty() || (client.socket.readable && !client.socket.peer_closed);
  }
  /// Whether a response may promise that its connection lives on: not the last that
  /// limits.requests_per_connection allows. While draining only for requests that are here already, and not
  /// for ever; with handoff always. `more_here`: bytes of a further request that are not in the inbox yet.
  [[nodiscard]] bool may_live_on(const ClientConnection& client, bool more_here = false) const noexcept {
    const std::uint32_t requests_max = config_.limits.requests_per_connection;
    if (requests_max != 0 && client.requests >= requests_max) return false;
    if (!draining_) return true;
    if (leaves(client)) return true;
    return (more_here || more_input_waits(client)) && now_ < pipelines_end_;
  }
  void reject(ClientConnection& client, std::uint16_t status, std::string_view detail);
  void respond_locally(ClientConnection& client, std::uint16_t status, std::string_view detail,
                       bool keep_alive, http::Method method, std::uint32_t retry_after_s);
  void send_locally(ClientConnection& client, std::uint16_t status, std::string_view response,
                    bool keep_alive);
  std::string_view date_text() noexcept;
  void shut_client(ClientConnection& client);
  void client_gone(ClientConnection& client);
  void close_client(ClientConnection& client);
  void count_status(std::uint16_t status) noexcept;

  // worker_exchange.cpp: choosing a backend, sending the request
  /// Returns how much of `rest`, the bytes after the head, it took: all, unless the request was refused.
  std::size_t begin_exchange(ClientConnection& client, const http::RequestHead& head, std::string_view rest);
  bool admit(ClientConnection& client, const http::RequestHead& head, const http::BodyFraming& framing,
             bool more_input);
  [[nodiscard]] bool too_large(std::uint64_t body_bytes) const noexcept {
    return config_.limits.body_bytes != 0 && body_bytes > config_.limits.body_bytes;
  }
  void answer_as_last(ClientConnection& client, const http::RequestHead& head, bool keep_alive);
  Exchange* make_exchange(ClientConnection& client, const http::RequestHead& head);
  Exchange* attach_exchange(ClientConnection& client);
  void dispatch(Exchange& exchange);
  void dispatch_picked(Exchange& exchange);
  bool pick_backend(Exchange& exchange);
  Pick choose(const Exchange& exchange);
  void fail_without_backend(Exchange& exchange);
  UpstreamConnection* take_pooled(const Exchange& exchange);
  UpstreamConnection* connect_upstream(Exchange& exchange);
  bool send_request(Exchange& exchange);
  void request_progress(Exchange& exchange);
  void pump_request(Exchange& exchange);
  void refuse_body(Exchange& exchange);
  bool feed_request(Exchange& exchange, std::string_view bytes);
  void fail(Exchange& exchange, std::uint16_t status, std::string_view detail,
            std::uint32_t retry_after_s = 0);
  void abort_exchange(Exchange& exchange, std::string_view outcome);
  void end_exchange(Exchange& exchange, std::string_view outcome);
  void forget_exchange(Exchange& exchange);
  void release_backend(Exchange& exchange);
  void close_upstream(UpstreamConnection& upstream);
  void log_exchange(const Exchange& exchange, std::string_view outcome);
  void log_local(const ClientConnection& client, std::uint16_t status, std::string_view method,
                 std::string_view target, std::string_view outcome);
  void log_refused(const ClientConnection& client, std::uint16_t status, std::string_view method,
                   std::string_view target) {
    log_local(client, status, method, target, "rejected");
  }
  void append_record(const ClientConnection& client, AccessRecord& record);

  // worker_recovery.cpp: a backend failed before it answered
  /// The upstream side failed before a response: true when the exchange may be dispatched again.
  bool recover(Exchange& exchange, int os_error, const char* what);
  /// What a request brought: an answer, one with a status that tells of an error in the application, or no
  /// answer worth that name (no connection, cut, late, 502 to 504).
  enum class Answer : std::uint8_t { good, error, none };
  static Answer answer_of(std::uint16_t status) noexcept;
  /// The backend brought a request to an end, well or badly.
  void count_answer(Exchange& exchange, Answer answer);
  void count_answer_time(Exchange& exchange) noexcept;
  /// The backend's response is malformed, cut or missing.
  void count_upstream_error(Exchange& exchange);
  static bool may_send_again(const Exchange& exchange);
  bool has_other_address(Exchange& exchange);
  void blame_unconnected(Exchange& exchange, int os_error);
  bool spend_retry(Exchange& exchange);
  void wait_for_room(Exchange& exchange);
  bool try_another(Exchange& exchange, std::uint16_t status);

  // worker_response.cpp: the upstream side
  void on_upstream_event(UpstreamConnection& upstream, std::uint32_t events);
  void read_response(Exchange& exchange);
  bool response_bytes(Exchange& exchange, std::string_view bytes);
  enum class HeadProgress : std::uint8_t { incomplete, ready, ended };
  HeadProgress response_head(Exchange& exchange, std::string_view& bytes);
  bool begin_response(Exchange& exchange, const http::ResponseHead& head);
  void upstream_eof(Exchange& exchange);
  void upstream_write_failed(Exchange& exchange, int os_error);
  void upstream_broken(Exchange& exchange, int os_error);
  void response_done(Exchange& exchange, bool surplus_bytes);
  void finish_exchange(Exchange& exchange);

  // worker_preface.cpp: PROXY headers, from clients and to backends
  void begin_client(ClientConnection& client);
  void read_preface(ClientConnection& client);
  void apply_preface(ClientConnection& client, const ProxyHeader& header);
  void refuse_preface(ClientConnection& client, std::string_view fault);
  static std::string_view write_preface(const Exchange& exchange, std::span<char, kProxyWrittenMax> out);
  bool send_preface(const Exchange& exchange);

  // worker_tcp.cpp: listeners that pass bytes on as they are
  void begin_raw(ClientConnection& client);
  bool await_connected(Exchange& exchange);
  void raw_connected(Exchange& exchange);
  void refuse_raw(ClientConnection& client);

  // worker_queue.cpp: requests that wait for a backend
  [[nodiscard]] bool must_wait(const Exchange& exchange) const noexcept;
  void wait_in_line(Exchange& exchange);
  void leave_line(Exchange& exchange) noexcept;
  void look_again_later() noexcept;
  void serve_line();
  void on_line_timer(Exchange& exchange);
  void place_freed(WorkerUpstreams& upstreams);
  enum class Turn : std::uint8_t { place, look };  // one place was freed; or there may be some
  void take_turn(Turn turn) noexcept;
  void give_turn(WorkerUpstreams& upstreams, Turn turn);
  void dissolve_line();

  // worker_tunnel.cpp
  void begin_tunnel(Exchange& exchange, std::string_view upstream_bytes);
  /// Without a further byte it ends then.
  [[nodiscard]] Instant tunnel_deadline(const Exchange& exchange) const noexcept {
    return std::min(now_ + Duration{config_.timeouts.tunnel}, exchange.tunnel_ends_at);
  }
  void pump_tunnel(Exchange& exchange);
  bool pump_one_way(Socket& from, Socket& to, Token to_token, std::uint64_t& total);
  void tunnel_broken(Exchange& exchange);
  void finish_tunnel(Exchange& exchange);

  static constexpr std::size_t kReadBytes = 256 * 1024;      // the receive scratch
  static constexpr std::size_t kBodyReadBytes = 128 * 1024;  // at once, of a body
  // Of what may begin with a head: most responses are whole then, and the rest of a large one can be spliced.
  static constexpr std::size_t kHeadReadBytes = 64 * 1024;
  static constexpr std::size_t kSpliceBytesMin = 64 * 1024;  // of a body: below it copying is as cheap
  static constexpr std::size_t kBulkBytesMin = 16 * 1024;    // of a tunnel: what is smaller is copied again
  static constexpr std::size_t kTurnBytesMax = 1024 * 1024;  // of one direction, before others get their turn
  static constexpr std::uint32_t kAcceptBurstMax = 64;
  static constexpr Duration kLinger = Milliseconds{2000};
  static constexpr Duration kAccessLogDelay = Milliseconds{50};
  static constexpr std::size_t kAccessLogBytes = 32 * 1024;

  WorkerShared& shared_;
  const Config& config_;
  Counters& counters_;  // in the shared state
  std::atomic<std::uint64_t> completed_in_drain_{0};

  const http::HeadLimits request_limits_;
  const http::HeadLimits response_limits_;
  const std::uint32_t number_;  // among the workers of its generation, from 0
  EventLoop loop_;
  Fd wakeup_;
  std::vector<ListeningSocket> listeners_;
  std::vector<const ListenerConfig*> listener_options_;  // one a listening socket
  std::vector<const tls::ServerContext*> listener_tls_;  // the same
  bool listeners_watched_ = false;
  bool parked_ = false;                      // draining, and the listeners are kept
  std::vector<Endpoint> gone_;               // parked: what the successor does not listen at
  std::vector<std::uint32_t> gone_watched_;  // the listeners of those
  Instant accept_again_ = kNever;            // accepting is paused until then
  std::uint32_t accept_burst_ = 1;

  Instant now_;
  bool events_left_ = false;  // more sockets may have been ready than one wait can tell
  TimerWheel wheel_;
  Random random_;
  PipePool pipes_;  // before what holds pipes
  RetryBudget retry_budget_;
  Slab<ClientConnection> clients_;
  Slab<UpstreamConnection> upstream_connections_;
  Slab<Exchange> exchanges_;
  std::vector<std::unique_ptr<WorkerUpstreams>> all_upstreams_;  // the current one last
  WorkerUpstreams* upstreams_ = nullptr;
  std::vector<Handle> resume_;  // clients with something to read that no event will announce
  std::vector<Handle> resuming_;
  Exchange* line_first_ = nullptr;  // requests that wait for a backend, first come first
  Exchange* line_last_ = nullptr;
  std::uint32_t line_turns_ = 0;         // how many of them may try now
  bool line_looks_ = false;              // one of those turns is a look
  std::vector<Handle> response_resume_;  // exchanges whose response used up its share of the turn

  std::unique_ptr<char[]> scratch_;     // kReadBytes: what was received last
  std::unique_ptr<char[]> tls_record_;  // small pieces on their way into one record; made when first needed
  Instant complained_{};                // when a failed handshake was logged last
  Gather gather_;
  http::RequestHead request_head_;
  http::ResponseHead response_head_;

  std::time_t date_second_ = -1;  // what date_ says
  std::array<char, http::kDateBytes> date_{};

  std::string access_lines_;
  Instant access_flushed_{};

  bool draining_ = false;
  bool handing_ = false;        // draining with handoff
  bool hushed_ = false;         // idle clients have timeouts.quiet
  bool has_successor_ = false;  // upstreams_ are those of a successor
  std::deque<Handle> leaving_;  // handing: clients that are to go, or were when they were put here
  std::vector<Handle> unread_;  // of these, such as would have been read in this turn
  std::vector<HandedConnection> handed_;
  std::atomic<bool> wants_room_{false};
  bool drained_reported_ = false;
  Instant drain_deadline_ = kNever;
  Instant pipelines_end_ = kNever;  // draining: from then on even a client that pipelines is told to go

  std::mutex tasks_mutex_;
  std::vector<std::move_only_function<void()>> tasks_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace lb
