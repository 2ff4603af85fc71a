// The worker's loop: waiting, dispatching, accepting, timers, draining.
#include "lb/proxy/worker.hpp"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <future>
#include <unordered_set>

namespace lb {
namespace {

constexpr std::uint32_t kUpstreamConnectionsMax = 1U << 20U;
// Those accepted are bounded by max_connections; those adopted come on top, and are never refused.
constexpr std::uint32_t kClientsMax = 1U << 22U;
constexpr Duration kAcceptPauseFull = Milliseconds{5};     // at max_connections
constexpr Duration kAcceptPauseNoFds = Milliseconds{100};  // out of descriptors or memory

/// Places for `count` living objects and for those that retired in the same turn, which keep theirs until its
/// end: a client once at most, an exchange once for each occasion on which its client is served in a turn.
std::uint32_t places(std::uint32_t count, std::uint32_t times) noexcept {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(std::uint64_t{count} * times, 1U << 30U));
}

}  // namespace

Result<std::unique_ptr<Worker>> Worker::create(WorkerShared& shared, std::shared_ptr<UpstreamSet> upstreams,
                                               std::vector<ListeningSocket> listeners, std::uint32_t number,
                                               std::uint64_t seed) {
  auto loop = EventLoop::create();
  if (!loop) return std::unexpected(loop.error());
  Fd wakeup{::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
  if (!wakeup) return std::unexpected(system_error("eventfd", "", errno));
  if (auto added = loop->add(wakeup.get(), EPOLLIN, Token{}); !added) return std::unexpected(added.error());
  return std::unique_ptr<Worker>{new Worker{shared, std::move(upstreams), std::move(listeners), number, seed,
                                            std::move(*loop), std::move(wakeup)}};
}

Worker::Worker(WorkerShared& shared, std::shared_ptr<UpstreamSet> upstreams,
               std::vector<ListeningSocket> listeners, std::uint32_t number, std::uint64_t seed,
               EventLoop loop, Fd wakeup)
    : shared_(shared),
      config_(*shared.config),
      counters_(shared.state->counters(number)),
      request_limits_{.head_bytes_max = config_.limits.header_bytes,
                      .request_line_bytes_max = config_.limits.request_line_bytes,
                      .field_count_max = config_.limits.header_count},
      response_limits_{.head_bytes_max = config_.limits.response_header_bytes,
                       .field_count_max = config_.limits.response_header_count},
      number_(number),
      loop_(std::move(loop)),
      wakeup_(std::move(wakeup)),
      listeners_(std::move(listeners)),
      now_(monotonic_now()),
      wheel_(now_),
      random_(seed),
      retry_budget_(config_.retries.budget_share,
                    config_.retries.budget_per_second / std::max(1U, config_.workers), now_),
      clients_(places(kClientsMax, 2)),
      upstream_connections_(kUpstreamConnectionsMax),
      exchanges_(places(kClientsMax, 4)),
      scratch_(std::make_unique_for_overwrite<char[]>(kReadBytes)) {
  all_upstreams_.push_back(std::make_unique<WorkerUpstreams>(std::move(upstreams), number_));
  upstreams_ = all_upstreams_.back().get();
  know_listeners();
}

Worker::~Worker() {
  stop();
}

void Worker::stop() {
  if (!thread_.joinable()) return;
  post([this] { stop_.store(true, std::memory_order_relaxed); });
  thread_.join();
}

void Worker::start() {
  // Signals belong to the main thread's signalfd: the worker is born with all of them blocked.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  std::promise<void> polling;
  auto started = polling.get_future();
  thread_ = std::thread{[this, &polling] {
    if (!watch_listeners()) accept_again_ = monotonic_now();
    polling.set_value();
    run();
  }};
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  started.wait();
}

void Worker::post(std::move_only_function<void()> task) {
  {
    const std::scoped_lock lock{tasks_mutex_};
    tasks_.push_back(std::move(task));
  }
  const std::uint64_t one = 1;
  // A full counter (EAGAIN) means that the wake-up is pending already.
  [[maybe_unused]] const ssize_t n = ::write(wakeup_.get(), &one, sizeof one);
}

void Worker::post_and_wait(std::move_only_function<void()> task) {
  std::promise<void> done;
  auto finished = done.get_future();
  post([&] {
    task();
    done.set_value();
  });
  finished.wait();
}

void Worker::run() {
  while (!stop_.load(std::memory_order_relaxed)) {
    const std::span<const epoll_event> events = loop_.wait(now_, next_wakeup());
    now_ = monotonic_now();
    events_left_ = events.size() == EventLoop::kEventsMax;
    close_spoiled_idle(events);
    for (const epoll_event& event : events) dispatch_event(event);
    run_resumes();
    wheel_.advance(now_, [this](TimerNode& node) { on_timer(static_cast<OwnedTimer&>(node)); });
    end_of_turn();
  }
  unwatch_listeners();
  flush_access_log();
}

Instant Worker::next_wakeup() const noexcept {
  if (!resume_.empty() || !response_resume_.empty() || line_turns_ != 0) return now_;
  Instant at = std::min({wheel_.next(now_), accept_again_, drain_deadline_});
  if (!access_lines_.empty()) at = std::min(at, access_flushed_ + kAccessLogDelay);
  if (const UpstreamConnection* oldest = upstreams_->oldest(); oldest != nullptr) {
    at = std::min(at, oldest->idle_since + Duration{upstreams_->set().config().pool.ttl});
  }
  return at;
}

/// An idle connection on which anything happens is spoiled: closed by the backend, or carrying bytes that no
/// request asked for. They go before any event of this turn could take one from the pool.
void Worker::close_spoiled_idle(std::span<const epoll_event> events) {
  for (const epoll_event& event : events) {
    const Token token = Token::unpack(event.data.u64);
    if (token.kind != TokenKind::upstream) continue;
    UpstreamConnection* upstream = upstream_connections_.get(token.handle);
    if (upstream == nullptr || upstream->exchange != nullptr) continue;
    if ((event.events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) close_upstream(*upstream);
  }
}

void Worker::dispatch_event(const epoll_event& event) {
  const Token token = Token::unpack(event.data.u64);
  switch (token.kind) {
    case TokenKind::wakeup:
      run_tasks();
      return;
    case TokenKind::listener:
      accept_clients(token.handle.index);
      return;
    case TokenKind::client:
      if (ClientConnection* client = clients_.get(token.handle)) on_client_event(*client, event.events);
      return;
    case TokenKind::upstream:
      if (UpstreamConnection* upstream = upstream_connections_.get(token.handle)) {
        if (upstream->exchange != nullptr) on_upstream_event(*upstream, event.events);
      }
      return;
  }
}

void Worker::run_tasks() {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t n = ::read(wakeup_.get(), &count, sizeof count);
  std::vector<std::move_only_function<void()>> tasks;
  {
    const std::scoped_lock lock{tasks_mutex_};
    tasks.swap(tasks_);
  }
  for (auto& task : tasks) task();
}

void Worker::run_resumes() {
  resuming_.swap(resume_);
  for (const Handle handle : resuming_) {
    ClientConnection* client = clients_.get(handle);
    if (client == nullptr) continue;
    client->resume_queued = false;
    if (client->state == ClientConnection::State::exchange) {
      if (client->exchange->tunnel) {
        pump_tunnel(*client->exchange);
      } else {
        pump_request(*client->exchange);
      }
    } else if (client->state == ClientConnection::State::lingering) {
      drop_input(*client);
    } else if (client->state == ClientConnection::State::preface) {
      read_preface(*client);
    } else {
      read_client(*client);
    }
  }
  resuming_.clear();
  resuming_.swap(response_resume_);
  for (const Handle handle : resuming_) {
    Exchange* exchange = exchanges_.get(handle);
    if (exchange == nullptr) continue;
    exchange->resume_queued = false;
    if (exchange->upstream != nullptr && !exchange->tunnel) read_response(*exchange);
  }
  resuming_.clear();
}

void Worker::end_of_turn() {
  if (line_turns_ != 0) serve_line();
  if (now_ >= accept_again_) {
    accept_again_ = kNever;
    if (!draining_ && !watch_listeners()) pause_accepting(kAcceptPauseNoFds);
  }
  for (const auto& upstreams : all_upstreams_) {
    while (UpstreamConnection* old = upstreams->expired(now_)) close_upstream(*old);
  }
  if (handing_ && (!leaving_.empty() || upstreams_leave())) hand_over_leaving();
  if (now_ >= drain_deadline_) force_close_all();
  if (!access_lines_.empty() &&
      (access_lines_.size() >= kAccessLogBytes || now_ - access_flushed_ >= kAccessLogDelay)) {
    flush_access_log();
  }
  clients_.reap();
  upstream_connections_.reap();
  exchanges_.reap();
  check_drained();
}

void Worker::flush_access_log() {
  if (access_lines_.empty() || !shared_.access_log) return;
  shared_.access_log->write(access_lines_);
  access_lines_.clear();
  access_flushed_ = now_;
}

// ---------------------------------------------------------------------------------------------- accepting

/// True when every listener is polled.
bool Worker::watch_listeners() {
  if (listeners_watched_) return true;
  for (std::uint32_t i = 0; i < listeners_.size(); ++i) {
    if (loop_.add(listeners_[i].fd.get(), EPOLLIN, Token{TokenKind::listener, Handle{i, 0}})) continue;
    while (i > 0) loop_.remove(listeners_[--i].fd.get());
    return false;
  }
  listeners_watched_ = true;
  return true;
}

void Worker::unwatch_listeners() {
  if (!listeners_watched_) return;
  for (const ListeningSocket& listener : listeners_) loop_.remove(listener.fd.get());
  listeners_watched_ = false;
}

void Worker::pause_accepting(Duration pause) {
  unwatch_listeners();
  accept_again_ = now_ + pause;
}

/// Accepts as many as it found the last time, so that a quiet listener costs one call and a full queue is
/// emptied in few turns. The listener is level-triggered: what is left is announced again.
void Worker::accept_clients(std::uint32_t listener) {
  if (parked_ && draining_) return refuse_gone(listener);
  if (!listeners_watched_) return;
  std::uint32_t accepted = 0;
  for (; accepted < accept_burst_; ++accepted) {
    if (shared_.full()) {
      pause_accepting(kAcceptPauseFull);
      return;
    }
    sockaddr_storage storage;
    socklen_t size = sizeof storage;
    storage.ss_family = AF_UNSPEC;
    Fd fd{::accept4(listeners_[listener].fd.get(), reinterpret_cast<sockaddr*>(&storage), &size,
                    SOCK_NONBLOCK | SOCK_CLOEXEC)};
    if (fd) {
      if (shared_.probes.arrived(reinterpret_cast<const sockaddr*>(&storage), size)) continue;
      if (ClientConnection* client =
              add_client(std::move(fd), IpAddress::from(storage), listener_tls_[listener])) {
        client->listener = listener_options_[listener];
        bump(counters_.connections_accepted);
        begin_client(*client);
        continue;
      }
      bump(counters_.accept_errors);
      pipes_.shed(now_);
      return pause_accepting(kAcceptPauseNoFds);
    }
    if (errno == EAGAIN) {
      accept_burst_ = std::max(accepted, 1U);
      return;
    }
    if (errno == EINTR || errno == ECONNABORTED || errno == EPROTO || errno == EPERM) continue;
    bump(counters_.accept_errors);
    pipes_.shed(now_);
    return pause_accepting(kAcceptPauseNoFds);  // EMFILE, ENFILE, ENOMEM, ENOBUFS: keep what we have
  }
  accept_burst_ = std::min(accept_burst_ * 2, kAcceptBurstMax);
}

/// What a connection begins with, once its address is known: its first request has timeouts.header; in TCP
/// mode there is none.
void Worker::greet(ClientConnection& client) {
  client.state = ClientConnection::State::idle;
  const bool raw = client.listener->mode == ListenMode::tcp;
  if (shared_.connection_counter && !count_for_client(client)) {
    bump(counters_.connections_refused);
    // Over TLS it is not told: the handshake would be the most costly part.
    return raw || client.socket.tls ? refuse_raw(client)
                                    : reject(client, 429, "too many connections from this address");
  }
  if (raw && !client.socket.tls) return begin_raw(client);
  wheel_.set(client.timer, now_ + config_.timeouts.header);
  if (leaves(client)) leave(client);  // its PROXY header came while we drain
}

ClientConnection* Worker::add_client(Fd fd, const IpAddress& peer, const tls::ServerContext* tls) {
  auto [client, handle] = clients_.emplace();
  if (client == nullptr) return nullptr;
  client->handle = handle;
  client->peer = peer;
  Socket& socket = client->socket;
  socket.fd = std::move(fd);
  if (tls != nullptr) socket.tls = tls::Session::accept(*tls, socket.fd.get());
  socket.watches_write = tls != nullptr;
  const std::uint32_t write = socket.watches_write ? EPOLLOUT : 0U;
  const bool made = tls == nullptr || socket.tls;
  if (!made || !loop_.add(socket.fd.get(), EPOLLIN | EPOLLRDHUP | EPOLLET | write, token_of(*client))) {
    clients_.retire(handle);
    return nullptr;
  }
  socket.watched = true;
  shared_.open_clients.fetch_add(1, std::memory_order_relaxed);
  bump(counters_.connections_open);
  return client;
}

bool Worker::count_for_client(ClientConnection& client) {
  if (client.peer.family == AF_UNIX) return true;  // all of them would be one client
  client.counted = shared_.connection_counter->try_add(client.peer.site_hash());
  return client.counted;
}

void Worker::forget_for_client(ClientConnection& client) noexcept {
  if (!client.counted) return;
  shared_.connection_counter->remove(client.peer.site_hash());
  client.counted = false;
}

// ------------------------------------------------------------------------------------------------- timers

void Worker::on_timer(OwnedTimer& timer) {
  if (timer.kind == TimerKind::client) {
    on_client_timer(*static_cast<ClientConnection*>(timer.owner));
  } else {
    on_exchange_timer(*static_cast<Exchange*>(timer.owner));
  }
}

void Worker::on_client_timer(ClientConnection& client) {
  using State = ClientConnection::State;
  switch (client.state) {
    case State::idle:
      // A request may have arrived within this very turn: it is served, not closed under.
      if (char byte = 0; ::recv(client.socket.fd.get(), &byte, 1, MSG_PEEK) > 0) {
        client.socket.readable = true;
        read_client(client);
        // What came may have been no request: part of a handshake or of a record.
        const bool waits = client.state == State::idle && client.socket.tls && client.exchange == nullptr;
        if (waits && client.timer.deadline() == kNever) close_client(client);
        return;
      }
      if (client.socket.tls && !client.socket.tls->established()) bump(counters_.tls_failures);
      say_goodbye(client.socket);
      client.socket.tls.reset();
      // Closed at this very point: until the end of the turn another request could arrive, to be reset.
      client.socket.fd.reset();
      if (draining_) bump(counters_.drain_closed_idle);
      return close_client(client);
    case State::preface:
      return refuse_preface(client, "the PROXY header did not arrive in time");
    case State::head:
      return reject(client, 408, "the request head did not arrive in time");
    case State::finishing:
    case State::lingering:
      return close_client(client);
    case State::exchange:
    case State::closed:
      return;
  }
}

void Worker::on_exchange_timer(Exchange& exchange) {
  if (exchange.waiting) return on_line_timer(exchange);
  if (exchange.waits_for_room) {
    exchange.waits_for_room = false;
    return dispatch(exchange);
  }
  if (now_ >= exchange.tunnel_ends_at) {
    bump(counters_.drain_force_closed);
    return abort_exchange(exchange, "drain_timeout");
  }
  if (outbox_moves(exchange.client->socket) ||
      (exchange.upstream != nullptr && outbox_moves(exchange.upstream->socket))) {
    wheel_.set(exchange.timer, exchange.tunnel ? tunnel_deadline(exchange) : now_ + config_.timeouts.body);
    return;
  }
  if (exchange.tunnel) {
    abort_exchange(exchange, "timeout");
    return;
  }
  if (exchange.response_head_sent) {
    if (exchange.upstream != nullptr && exchange.client->socket.outbox.empty())
      count_upstream_error(exchange);
    abort_exchange(exchange, "timeout");
    return;
  }
  if (exchange.upstream != nullptr && exchange.upstream->connecting) {
    if (recover(exchange, ETIMEDOUT, "connect")) dispatch(exchange);
    return;
  }
  const bool client_stalls = !exchange.request_body.complete() && exchange.upstream != nullptr &&
                             exchange.upstream->socket.outbox.empty();
  if (client_stalls) {
    fail(exchange, 408, "the request body did not arrive in time");
  } else {
    count_upstream_error(exchange);
    fail(exchange, 504, "the backend did not answer in time");
  }
}

// ----------------------------------------------------------------------------------------------- draining

void Worker::set_successor(std::shared_ptr<UpstreamSet> upstreams) {
  WorkerUpstreams* const before = upstreams_;
  all_upstreams_.push_back(std::make_unique<WorkerUpstreams>(std::move(upstreams), number_));
  upstreams_ = all_upstreams_.back().get();
  has_successor_ = true;
  while (UpstreamConnection* idle = before->oldest()) {
    before->remove(*idle);
    if (rehome(*idle)) continue;
    say_goodbye(idle->socket);
    upstream_connections_.retire(idle->handle);
  }
  dissolve_line();
  close_removed_tunnels();
  // A generation that drains for long sees many successors: sets that nothing refers to any more go.
  std::unordered_set<const WorkerUpstreams*> used{upstreams_};
  exchanges_.for_each([&](const Exchange& exchange, Handle) { used.insert(exchange.upstreams); });
  upstream_connections_.for_each([&](const UpstreamConnection& u, Handle) { used.insert(u.upstreams); });
  std::erase_if(all_upstreams_, [&](const auto& owned) { return !used.contains(owned.get()); });
}

void Worker::leave_old_addresses() {
  upstream_connections_.for_each([](UpstreamConnection& upstream, Handle) {
    if (upstream.backend == kNoBackend) return;  // of a tunnel that came from another generation
    AddressBook& addresses = upstream.upstreams->set().addresses();
    upstream.stale = !addresses.is_current(upstream.backend, upstream.address_key);
  });
  upstream_connections_.for_each([this](UpstreamConnection& upstream, Handle) {
    if (upstream.stale && upstream.exchange == nullptr) close_upstream(upstream);
  });
}

void Worker::start_drain(Instant deadline, Handoff handoff) {
  if (!draining_) {
    draining_ = true;
    drain_deadline_ = deadline;
    pipelines_end_ = now_ + (deadline - now_) / 2;
    accept_again_ = kNever;
    unwatch_listeners();  // before close(2): the sockets are shared with the supervisor and other generations
    if (parked_) {
      watch_gone();
    } else {
      listeners_.clear();
    }
    hush_idle(handoff);
  }
  if (handoff == Handoff::live) start_handoff();
}

/// Idle connections that stay here have timeouts.quiet from now on.
void Worker::hush_idle(Handoff handoff) {
  hushed_ = handoff == Handoff::none;
  clients_.for_each([this, handoff](ClientConnection& client, Handle) {
    const bool stays = handoff == Handoff::none || client.socket.tls;
    if (stays && client.state == ClientConnection::State::idle && client.requests > 0) {
      wheel_.set(client.timer, std::min(client.timer.deadline(), now_ + Duration{config_.timeouts.quiet}));
    }
  });
}

void Worker::force_close_all() {
  drain_deadline_ = kNever;
  clients_.for_each([this](ClientConnection& client, Handle) {
    const bool busy = client.exchange != nullptr || client.state == ClientConnection::State::finishing;
    bump(busy ? counters_.drain_force_closed : counters_.drain_closed_idle);
    if (busy && shared_.ledger.wants_forced()) shared_.ledger.forced(last_words(client));
    if (client.exchange != nullptr) {
      abort_exchange(*client.exchange, "drain_timeout");
    } else {
      close_client(client);
    }
  });
}

void Worker::check_drained() {
  if (!draining_ || drained_reported_ || clients_.size() > 0 || upstreams_leave()) return;
  drained_reported_ = true;
  for (const auto& upstreams : all_upstreams_) {
    while (UpstreamConnection* idle = upstreams->oldest()) close_upstream(*idle);
  }
  upstream_connections_.reap();
  flush_access_log();
  shared_.ledger.release(1);
}

}  // namespace lb
