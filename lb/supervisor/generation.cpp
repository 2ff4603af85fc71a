#include "lb/supervisor/generation.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>

#include "lb/base/file.hpp"
#include "lb/supervisor/child_process.hpp"
#include "lb/supervisor/generation_impl.hpp"

namespace lb {
namespace {

constexpr int kExitUsage = 2;
// The last messages wait this long for a supervisor that does not read.
constexpr Duration kFlushMax = std::chrono::seconds{5};
constexpr int kFlushWaitMs = 500;

std::vector<NamedCounter> named(const CounterTotals& totals) {
  std::vector<NamedCounter> list;
  totals.for_each([&](std::string_view name, std::string_view, std::uint64_t value) {
    list.push_back({std::string{name}, value});
  });
  return list;
}

}  // namespace

/// The drain has nothing left here: what the data plane says of its own is all that counts.
bool Generation::may_end() const {
  return state_ == State::draining && leaving_.empty() && !(channel_.open() && channel_.wants_write());
}

void Generation::turn() {
  pollfd fds[5] = {{signals_.fd(), POLLIN, 0},
                   {may_end() ? plane_->drained_fd() : -1, POLLIN, 0},
                   {-1, 0, 0},
                   {-1, 0, 0},
                   {-1, 0, 0}};
  if (channel_.open())
    fds[2] = {channel_.fd(), static_cast<short>(channel_.wants_write() ? POLLIN | POLLOUT : POLLIN), 0};
  if (orphan_) fds[3] = {orphan_->fd(), POLLIN, 0};
  // One message after the other: what the supervisor has not read yet stays with us.
  const bool handing = state_ == State::draining && channel_.open() && !channel_.wants_write();
  if (handing) fds[4] = {plane_->handed_fd(), POLLIN, 0};
  ::poll(fds, 5, -1);
  while (const auto signal = signals_.next()) on_signal(signal->number);
  if (channel_.open() && fds[2].revents != 0) on_channel();
  if (orphan_ && fds[3].revents != 0) adopt_supervisor();
  if (handing && channel_.open() && fds[4].revents != 0) hand_over_clients();
  if (!send_error_.empty()) supervisor_lost(std::exchange(send_error_, {}));
  if ((fds[1].revents & POLLIN) == 0) return;
  // Connections that were handed to us before our drain was known may have come in this very moment.
  if (channel_.open()) on_channel();
  pollfd drained{plane_->drained_fd(), POLLIN, 0};
  if (may_end() && ::poll(&drained, 1, 0) == 1) drained_ = done_ = true;
}

void Generation::on_channel() {
  if (auto flushed = channel_.flush(); !flushed) return supervisor_lost(flushed.error().message);
  if (!leaving_.empty()) hand_over_clients();
  for (;;) {
    auto received = channel_.receive();
    if (received.kind == Received::Kind::nothing) return;
    if (received.kind == Received::Kind::closed) return supervisor_lost("its end of the channel was closed");
    if (received.kind == Received::Kind::broken) return supervisor_lost(received.reason);
    if (received.kind == Received::Kind::short_of_fds) {
      // Connections are lost, but not the supervisor.
      log_->error("channel.short", received.reason, {{"type", std::int64_t{received.message.type}}});
      if (received.message.type != static_cast<std::uint16_t>(MessageType::clients))
        return supervisor_lost(received.reason);
    }
    on_message(std::move(received.message));
  }
}

void Generation::on_message(ChannelMessage message) {
  switch (static_cast<MessageType>(message.type)) {
    case MessageType::successor:
      return on_successor(message);
    case MessageType::drain:
      begin_drain("the balancer stops", nullptr, Handoff::none);
      return send_draining({});
    case MessageType::status_request:
      if (const auto request = decode<StatusRequestMessage>(message)) send_status(request->token);
      return;
    case MessageType::clients:
      return adopt_clients(std::move(message));
    default:
      log_->warn("channel.unexpected", "an unexpected message of the supervisor was ignored",
                 {{"type", std::int64_t{message.type}}});
  }
}

void Generation::on_successor(const ChannelMessage& message) {
  const auto order = decode<SuccessorMessage>(message);
  if (!order || message.fds.size() != 1) {
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
  begin_drain("generation " + std::to_string(order->number) + " takes over", std::move(successor),
              Handoff::idle_clients);
  send_draining(answer);
}

void Generation::begin_drain(std::string_view why, std::shared_ptr<const Config> successor, Handoff handoff) {
  if (state_ == State::draining) {
    if (handoff == Handoff::none) return take_back_clients();  // whoever serves stops too
    // A further one took over meanwhile.
    return plane_->start_drain(std::move(successor), handoff);
  }
  state_ = State::draining;
  orphan_.reset();
  const CounterTotals before = plane_->counters();
  log_->info("drain.begin", why,
             {{"connections", static_cast<std::int64_t>(before.connections_open)},
              {"requests_in_flight", static_cast<std::int64_t>(before.requests_in_flight)},
              {"drain_timeout_ms", static_cast<std::int64_t>(config_->drain_timeout.count())}});
  plane_->start_drain(std::move(successor), handoff);
  listening_.clear();
}

/// What the workers have queued goes to the supervisor, which passes it to the generation that serves.
void Generation::hand_over_clients() {
  const Instant now = monotonic_now();
  if (leaving_.empty()) leaving_.add(now, plane_->take_handed());
  if (auto given = leaving_.give(now, channel_); !given) send_error_ = given.error().message;
}

/// There is nobody to hand over to: the drain ends here.
void Generation::take_back_clients() {
  plane_->give_up_handoff();
  if (!leaving_.empty()) plane_->adopt(leaving_.take_all());
}

void Generation::adopt_clients(ChannelMessage message) {
  const auto order = decode<ClientsMessage>(message);
  if (!order || order->requests.size() < message.fds.size()) {
    log_->error("channel.unexpected", "a malformed CLIENTS of the supervisor was ignored");
    return;
  }
  plane_->adopt(clients_of(*order, std::move(message.fds)));
}

void Generation::send_draining(const DrainingMessage& message) {
  send(message);
}

void Generation::send_status(std::uint64_t token) {
  StatusMessage status{.token = token, .counters = named(plane_->counters())};
  const auto backends = plane_->backends();
  status.backends_total = backends.size();
  for (const auto& backend : backends) {
    if (status.backends.size() == kStatusBackendsMax) break;
    status.backends.push_back({backend.name, backend.endpoint, backend.requests, backend.failures,
                               backend.in_flight, backend.aside, backend.resolved, backend.standing,
                               backend.reason, backend.since_s >= 0,
                               static_cast<std::uint64_t>(std::max<std::int64_t>(backend.since_s, 0)),
                               backend.backup, backend.share_percent});
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
      if (state_ == State::draining) {
        if (number == SIGTERM) done_ = true;
        return;
      }
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
  channel_.close();
  if (state_ == State::draining) {
    take_back_clients();
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
  HelloMessage hello{.number = number_, .pid = static_cast<std::uint64_t>(::getpid()), .ready = ready_};
  hello.ready.opened = listening_labels_;
  std::vector<int> fds{config_file_.get()};
  fds.insert(fds.end(), listening_.begin(), listening_.end());
  send(hello, fds);
  if (!send_error_.empty()) return;  // gone again; the socket stays
  orphan_.reset();
  log_->info("supervisor.found", "a new supervisor takes over");
}

void Generation::report_drained() {
  const DrainReport report = plane_->drain_report();
  log_->info("drain.end",
             report.force_closed == 0 ? "drained" : "drained; drain_timeout closed what was left",
             {{"completed", static_cast<std::int64_t>(report.completed)},
              {"handed_over", static_cast<std::int64_t>(report.handed_over)},
              {"closed_idle", static_cast<std::int64_t>(report.closed_idle)},
              {"force_closed", static_cast<std::int64_t>(report.force_closed)},
              {"duration_ms", to_ms(report.duration)}});
  send(DrainedMessage{.completed = report.completed,
                      .closed_idle = report.closed_idle,
                      .force_closed = report.force_closed,
                      .handed_over = report.handed_over,
                      .duration_ms = static_cast<std::uint64_t>(to_ms(report.duration)),
                      .counters = named(plane_->counters())});
  // Client connections may be in the queue: they are lost only with a supervisor that does not read any more.
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
