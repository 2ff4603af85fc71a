#include "lb/supervisor/generation.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>

#include "lb/base/fault_point.hpp"
#include "lb/base/file.hpp"
#include "lb/supervisor/child_process.hpp"
#include "lb/supervisor/generation_impl.hpp"

namespace lb {
namespace {

constexpr int kExitUsage = 2;
// The last messages wait this long for a supervisor that does not read.
constexpr Duration kFlushMax = std::chrono::seconds{5};
constexpr int kFlushWaitMs = 500;

/// Until a descriptor is ready or that time has come (kNever: for ever).
void wait_for(std::vector<pollfd>& fds, Instant until) {
  if (until == kNever) {
    ::poll(fds.data(), fds.size(), -1);
    return;
  }
  const auto ns = std::max(Duration{0}, until - monotonic_now()).count();
  const timespec wait{.tv_sec = ns / 1'000'000'000, .tv_nsec = ns % 1'000'000'000};
  ::ppoll(fds.data(), fds.size(), &wait, nullptr);
}

std::vector<NamedCounter> named(const CounterTotals& totals) {
  std::vector<NamedCounter> list;
  totals.for_each([&](std::string_view name, std::string_view, std::uint64_t value) {
    list.push_back({std::string{name}, value});
  });
  return list;
}

void add_census(const Census& census, StatusMessage& status) {
  status.has_census = true;
  for (const auto& [endpoint, counts] : census.listeners) {
    status.census_listeners.push_back(
        {endpoint, counts.connections, counts.busy, counts.tunnels, counts.tls});
  }
  for (const auto& [backend, counts] : census.backends) {
    if (status.census_backends.size() == kStatusBackendsMax) break;
    status.census_backends.push_back(
        {backend.first, backend.second, counts.requests, counts.tunnels, counts.tunnels_tls});
  }
}

DrainedMessage drained_message(const DrainReport& report, const HandoffCounts& moved,
                               const CounterTotals& counters) {
  DrainedMessage message{.completed = report.completed,
                         .closed_idle = report.closed_idle,
                         .force_closed = report.force_closed,
                         .handed_over = moved.moved_idle + moved.moved_after_exchange +
                                        moved.moved_upgrade_tunnels + moved.moved_tcp_tunnels,
                         .duration_ms = static_cast<std::uint64_t>(to_ms(report.duration)),
                         .moved_idle = moved.moved_idle,
                         .moved_after_exchange = moved.moved_after_exchange,
                         .moved_upgrade_tunnels = moved.moved_upgrade_tunnels,
                         .moved_tcp_tunnels = moved.moved_tcp_tunnels,
                         .moved_upstreams = moved.moved_upstreams,
                         .refused = moved.refused,
                         .came_back = moved.came_back,
                         .closed_removed = report.closed_removed,
                         .counters = named(counters),
                         .connections_at_start = report.connections_at_start,
                         .tunnels_at_start = report.tunnels_at_start,
                         .requests_at_start = report.requests_at_start,
                         .came = report.came,
                         .ended = report.ended};
  for (const ForceClosed& closed : report.forced)
    message.forced.push_back({closed.client, closed.listener, closed.backend, closed.kind, closed.age_ms});
  return message;
}

}  // namespace

/// The drain has nothing left here: what the data plane says of its own is all that counts.
bool Generation::nothing_left() const {
  return state_ == State::draining && links_idle() && !(channel_.open() && channel_.wants_write());
}

void Generation::turn() {
  enum : std::size_t { kSignals, kDrained, kChannel, kOrphan, kHanded, kProbe, kLinks };
  const auto events = [](bool wants_write) {
    return static_cast<short>(wants_write ? POLLIN | POLLOUT : POLLIN);
  };
  std::vector<pollfd> fds(kLinks, pollfd{-1, POLLIN, 0});
  fds[kSignals].fd = signals_.fd();
  if (nothing_left() && !(parked_ && drain_told_)) fds[kDrained].fd = plane_->drained_fd();
  fds[kProbe].fd = probe_run_.fd();
  if (channel_.open()) fds[kChannel] = {channel_.fd(), events(channel_.wants_write()), 0};
  if (orphan_) fds[kOrphan].fd = orphan_->fd();
  // No more than can be offered at once: what nobody has taken is served meanwhile.
  const bool takes = handing_ && (handoff_paused_ || (!out_.empty() && out_.back()->has_room()));
  if (takes) fds[kHanded].fd = plane_->handed_fd();
  for (const auto& link : in_) fds.push_back({link->fd(), events(link->wants_write()), 0});
  for (const auto& link : out_) fds.push_back({link->fd(), events(link->wants_write()), 0});
  wait_for(fds, links_deadline());
  while (const auto signal = signals_.next()) on_signal(signal->number);
  if (channel_.open() && fds[kChannel].revents != 0) on_channel();
  if (orphan_ && fds[kOrphan].revents != 0) adopt_supervisor();
  serve_links();
  if (fds[kProbe].revents != 0) send_probed();
  if (!send_error_.empty()) supervisor_lost(std::exchange(send_error_, {}));
  if ((fds[kDrained].revents & POLLIN) == 0) return;
  // Connections that were handed to us before our drain was known may have come in this very moment.
  if (channel_.open()) on_channel();
  serve_links();
  pollfd drained{plane_->drained_fd(), POLLIN, 0};
  if (!nothing_left() || ::poll(&drained, 1, 0) != 1) return;
  if (!std::exchange(drain_told_, true)) report_drained();
  done_ = done_ || !parked_;  // SIGINT may have come in the same moment
}

void Generation::on_channel() {
  if (auto flushed = channel_.flush(); !flushed) return supervisor_lost(flushed.error().message);
  for (;;) {
    auto received = channel_.receive();
    if (received.kind == Received::Kind::nothing) return;
    if (received.kind == Received::Kind::closed) return supervisor_lost("its end of the channel was closed");
    if (received.kind == Received::Kind::broken) return supervisor_lost(received.reason);
    if (received.kind == Received::Kind::short_of_fds) return supervisor_lost(received.reason);
    on_message(std::move(received.message));
  }
}

void Generation::on_message(ChannelMessage message) {
  switch (static_cast<MessageType>(message.type)) {
    case MessageType::successor:
      return on_successor(std::move(message));
    case MessageType::resume:
      return on_resume(std::move(message));
    case MessageType::release:
      return on_release("it is needed no more");
    case MessageType::probe:
      return on_probe(message);
    case MessageType::drain:
      told_to_end_ = true;
      park_if(false, nullptr);
      end_handoff();
      begin_drain("the balancer stops", nullptr, Handoff::none);
      return send_draining({});
    case MessageType::status_request:
      if (const auto request = decode<StatusRequestMessage>(message)) send_status(*request);
      return;
    case MessageType::ticket_keys:
      return use_ticket_keys(message);
    case MessageType::predecessor:
      return on_predecessor(std::move(message));
    case MessageType::ledger:
      if (auto ledger = decode<LedgerMessage>(message)) ledger_ = std::move(ledger->records);
      return;
    default:
      log_->warn("channel.unexpected", "an unexpected message of the supervisor was ignored",
                 {{"type", std::int64_t{message.type}}});
  }
}

void Generation::on_successor(ChannelMessage message) {
  LB_FAULT_POINT("generation.successor_received");
  const auto order = decode<SuccessorMessage>(message);
  if (!order || message.fds.empty() || message.fds.size() > 2) {
    log_->error("channel.unexpected", "a malformed SUCCESSOR of the supervisor was ignored");
    return;
  }
  std::shared_ptr<const Config> successor;
  DrainingMessage answer{.for_successor = true, .successor = order->number};
  auto text = read_fd(message.fds[0].get(), "the successor's configuration", kConfigBytesMax);
  if (!text) {
    answer.warning = text.error().message;
  } else if (auto parsed = config_parse(*text, static_cast<ConfigFormat>(order->format)); !parsed) {
    // Another version of the program may know keys that this one does not.
    answer.warning =
        "the successor's configuration is not valid here: " + parsed.error().text(options_.config_path);
  } else {
    successor = parsed->config;
  }
  if (!answer.warning.empty()) {
    log_->warn("drain.no_successor", answer.warning, {{"successor", order->number}});
  }
  park_if(order->park, successor.get());
  const bool linked = message.fds.size() == 2;
  if (linked) {
    begin_handoff(std::move(message.fds[1]));
  } else {
    end_handoff();
  }
  begin_drain("generation " + std::to_string(order->number) + " takes over", std::move(successor),
              linked ? Handoff::live : Handoff::none);
  LB_FAULT_POINT("generation.before_draining");
  send_draining(answer);
  LB_FAULT_POINT("generation.draining_sent");
}

void Generation::begin_drain(std::string_view why, std::shared_ptr<const Config> successor, Handoff handoff) {
  if (state_ == State::draining) {
    if (handoff == Handoff::none)
      plane_->give_up_handoff();  // whoever serves stops too, or cannot be reached
    // A further one took over meanwhile.
    if (successor || handoff == Handoff::live) plane_->start_drain(std::move(successor), handoff);
    return;
  }
  state_ = State::draining;
  orphan_.reset();
  const CounterTotals before = plane_->counters();
  log_->info("drain.begin", why,
             {{"connections", static_cast<std::int64_t>(before.connections_open)},
              {"requests_in_flight", static_cast<std::int64_t>(before.requests_in_flight)},
              {"drain_timeout_ms", static_cast<std::int64_t>(config_->drain_timeout.count())}});
  plane_->start_drain(std::move(successor), handoff);
  if (!parked_) listening_.clear();
}

void Generation::use_ticket_keys(const ChannelMessage& message) {
  const auto order = decode<TicketKeysMessage>(message);
  auto ring = order ? tls::parse_ticket_ring(order->ring) : std::unexpected(order.error());
  if (!ring) {
    log_->error("channel.unexpected", "a malformed TICKET_KEYS of the supervisor was ignored");
    return;
  }
  options_.ticket_keys = order->ring;
  ticket_keys_->set(std::move(*ring));
}

void Generation::send_draining(DrainingMessage message) {
  const DrainReport report = plane_->drain_report();
  message.connections = report.connections_at_start;
  message.tunnels = report.tunnels_at_start;
  message.requests = report.requests_at_start;
  send(message);
}

void Generation::send_status(const StatusRequestMessage& request) {
  StatusMessage status{.token = request.token, .counters = named(plane_->counters())};
  if (request.census) add_census(plane_->census(), status);
  const auto backends = plane_->backends();
  status.backends_total = backends.size();
  for (const auto& backend : backends) {
    if (status.backends.size() == kStatusBackendsMax) break;
    status.backends.push_back({backend.name,
                               backend.endpoint,
                               backend.requests,
                               backend.failures,
                               backend.in_flight,
                               backend.aside,
                               backend.resolved,
                               backend.standing,
                               backend.reason,
                               backend.since_s >= 0,
                               static_cast<std::uint64_t>(std::max<std::int64_t>(backend.since_s, 0)),
                               backend.backup,
                               backend.share_percent,
                               backend.entry == state::kNoEntry ? kNoStateEntry : backend.entry,
                               backend.latency_sum_us,
                               {backend.latency.begin(), backend.latency.end()}});
  }
  // One that cannot be sent (a long one takes a descriptor) is missed, and no reason to leave the supervisor.
  auto sent = send_message(channel_, status);
  const bool gone = !sent && (sent.error().os_error == EPIPE || sent.error().os_error == ECONNRESET);
  if (gone) send_error_ = sent.error().message;
  if (!sent && !gone) log_->write(LogLevel::debug, "status.not_sent", sent.error().message);
}

void Generation::on_signal(int number) {
  switch (number) {
    case SIGINT:
      done_ = true;
      return;
    case SIGTERM:
    case SIGUSR2: {
      if (parked_) return on_release(std::string{"received "} + signal_name(number));
      if (state_ == State::draining) {
        told_to_end_ = true;
        if (number == SIGTERM) done_ = true;
        return;
      }
      told_to_end_ = true;
      begin_drain(std::string{"received "} + signal_name(number), nullptr, Handoff::none);
      return send_draining({});
    }
    case SIGUSR1: {
      auto log_result = log_->reopen();
      if (!log_result) log_->error("log.reopen", log_result.error().message);
      if (auto access = plane_->reopen_logs(); !access) log_->error("log.reopen", access.error().message);
      return;
    }
    case SIGHUP:
      log_->warn("signal.ignored", "a generation cannot reload: send SIGHUP to the supervisor, or start one");
      return;
    default:
      return;
  }
}

void Generation::supervisor_lost(const std::string& reason) {
  serve_links();  // our successor may have ended at the same time
  channel_.close();
  if (state_ == State::draining && !serves_without_supervisor()) {
    if (parked_) on_release("the supervisor is gone");  // its successor serves on
    if (successor_until_ != kNever) end_handoff();      // there will be no other
    log_->warn("supervisor.lost", "the supervisor is gone; this generation ends its drain",
               {{"reason", reason}});
    return;
  }
  if (orphan_) {  // its file is there already; published anew it would be removed with the old one
    log_->warn("supervisor.lost", "the new supervisor is gone again; waiting for another",
               {{"reason", reason}, {"socket", orphan_->path()}});
    return;
  }
  auto orphan = OrphanSocket::publish(control_path_, number_);
  if (!orphan) {
    log_->error("supervisor.lost", "the supervisor is gone; serving on, but no new one can take over",
                {{"reason", reason}, {"error", orphan.error().message}});
    return;
  }
  orphan_.emplace(std::move(*orphan));
  log_->warn("supervisor.lost", "the supervisor is gone; serving on until a new one takes over",
             {{"reason", reason}, {"socket", orphan_->path()}});
}

void Generation::adopt_supervisor() {
  Fd connection = orphan_->accept();
  if (!connection) return;
  channel_ = Channel{std::move(connection)};
  HelloMessage hello{.number = number_,
                     .pid = static_cast<std::uint64_t>(::getpid()),
                     .ready = ready_,
                     .ticket_keys = options_.ticket_keys,
                     .ledger = ledger_};
  hello.ready.opened = listening_labels_;
  std::vector<int> fds{config_file_.get()};
  if (ready_.state_slot >= 0) fds.push_back(shared_state_->fd());
  fds.insert(fds.end(), listening_.begin(), listening_.end());
  send(hello, fds);
  if (!send_error_.empty()) return;  // gone again; the socket stays
  orphan_.reset();
  log_->info("supervisor.found", "a new supervisor takes over");
}

void Generation::report_drained() {
  const DrainReport report = plane_->drain_report();
  HandoffCounts moved = moved_;
  for (const auto& link : out_) moved.add(link->counts());
  log_->info("drain.end",
             report.force_closed == 0 ? "drained" : "drained; drain_timeout closed what was left",
             {{"completed", static_cast<std::int64_t>(report.completed)},
              {"handed_over", static_cast<std::int64_t>(moved.moved_idle + moved.moved_after_exchange)},
              {"tunnels", static_cast<std::int64_t>(moved.moved_upgrade_tunnels + moved.moved_tcp_tunnels)},
              {"upstreams", static_cast<std::int64_t>(moved.moved_upstreams)},
              {"refused", static_cast<std::int64_t>(moved.refused)},
              {"came_back", static_cast<std::int64_t>(moved.came_back)},
              {"closed_idle", static_cast<std::int64_t>(report.closed_idle)},
              {"force_closed", static_cast<std::int64_t>(report.force_closed)},
              {"duration_ms", to_ms(report.duration)}});
  LB_FAULT_POINT("generation.before_drained");
  send(drained_message(report, moved, plane_->counters()));
  const Instant until = monotonic_now() + kFlushMax;
  while (channel_.open() && channel_.wants_write() && monotonic_now() < until) {
    pollfd fd{channel_.fd(), POLLOUT, 0};
    ::poll(&fd, 1, kFlushWaitMs);
    if (auto flushed = channel_.flush(); !flushed) {
      log_->warn("channel.closed", flushed.error().message);
      break;
    }
  }
}

int run_generation(const GenerationDeps& deps) {
  int type = 0;
  socklen_t size = sizeof type;
  if (::getsockopt(kChildChannelFd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_SEQPACKET) {
    std::fprintf(stderr, "lb: this subcommand is started by the supervisor only\n");
    return kExitUsage;
  }
  for (const int fd : {kChildChannelFd, kChildStderrFd}) {
    if (const int flags = ::fcntl(fd, F_GETFD); flags >= 0) ::fcntl(fd, F_SETFD, flags | FD_CLOEXEC);
  }
  raise_fd_limit();
  auto signals = SignalFd::create({SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2});
  if (!signals) {
    std::fprintf(stderr, "lb: %s\n", signals.error().message.c_str());
    return kGenerationFailed;
  }
  return Generation{deps, Channel{Fd{kChildChannelFd}}, std::move(*signals)}.run();
}

}  // namespace lb
