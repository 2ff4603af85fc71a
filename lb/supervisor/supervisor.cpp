#include "lb/supervisor/supervisor.hpp"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <tuple>

#include "lb/base/fault_point.hpp"
#include "lb/base/hash.hpp"
#include "lb/base/random.hpp"
#include "lb/config/config.hpp"
#include "lb/supervisor/orphan.hpp"
#include "lb/supervisor/supervisor_impl.hpp"

namespace lb {

SupervisorResult run_supervisor(SupervisorOptions options, EventLog& log) {
  raise_fd_limit();
  auto signals = SignalFd::create({SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGCHLD});
  if (!signals) return {.code = exit_code(StartFailure::other), .message = signals.error().message};
  return Supervisor{std::move(options), log, std::move(*signals)}.run();
}

Supervisor::Supervisor(SupervisorOptions options, EventLog& log, SignalFd signals)
    : options_(std::move(options)),
      log_(log),
      signals_(std::move(signals)),
      notifier_(ServiceNotifier::from_environment()),
      machine_(options_.limits),
      now_(monotonic_now()),
      started_(now_),
      keeper_(log, options_.last_good_path),
      ticket_keys_(options_.ticket_keys_renewed_after),
      state_(log, mix64(options_.seed)) {
  for (Fd& socket : take_activated_sockets()) listeners_.add_activated(std::move(socket));
}

SupervisorResult Supervisor::run() {
  log_.info("supervisor.start", "starting as pid " + std::to_string(::getpid()),
            {{"file", options_.config_path}, {"version", options_.version}});
  const bool fallback = options_.fallback_last_good &&
                        keeper_.restore(static_cast<std::uint8_t>(config_format(options_.config_path)));
  feed(Boot{.fallback = fallback});
  while (!done_) turn();
  if (control_) control_->flush(std::chrono::milliseconds{200});
  if (result_.code == 0) log_.info("supervisor.stop", "stopped", {{"exit_code", std::int64_t{0}}});
  return std::move(result_);
}

void Supervisor::turn() {
  enum class Source : std::uint8_t { signals, control, channel, startup_stderr, pidfd, file_watch };
  struct Watched {
    Source source;
    GenerationId id;
  };
  std::vector<pollfd> fds;
  std::vector<Watched> watched;
  const auto watch = [&](int fd, short events, Source source, GenerationId id = 0) {
    if (fd < 0) return;
    fds.push_back({fd, events, 0});
    watched.push_back({source, id});
  };
  watch(signals_.fd(), POLLIN, Source::signals);
  if (control_) watch(control_->fd(), POLLIN, Source::control);
  if (watch_ && now_ >= watch_not_before_) watch(watch_->fd(), POLLIN, Source::file_watch);
  for (auto& [id, handle] : generations_) {
    watch(handle.channel.fd(), static_cast<short>(handle.channel.wants_write() ? POLLIN | POLLOUT : POLLIN),
          Source::channel, id);
    watch(handle.startup_stderr.fd(), POLLIN, Source::startup_stderr, id);
    if (handle.adopted) watch(handle.pidfd.get(), POLLIN, Source::pidfd, id);
  }
  Instant until = std::min({machine_.next_deadline(), unasked_deadline()});
  if (control_) until = std::min(until, control_->next_deadline());
  for (const auto& query : status_queries_) until = std::min(until, query.deadline);
  timespec wait{};
  if (until != kNever) {
    const auto ns = std::max(Duration{0}, until - monotonic_now()).count();
    wait = {.tv_sec = ns / 1'000'000'000, .tv_nsec = ns % 1'000'000'000};
  }
  const int ready = ::ppoll(fds.data(), fds.size(), until == kNever ? nullptr : &wait, nullptr);
  now_ = monotonic_now();
  for (std::size_t i = 0; ready > 0 && i < fds.size() && !done_; ++i) {
    if (fds[i].revents == 0) continue;
    GenerationHandle* handle = find(watched[i].id);
    switch (watched[i].source) {
      case Source::signals:
        while (const auto signal = signals_.next()) on_signal(*signal);
        break;
      case Source::control:
        on_control();
        break;
      case Source::channel:
        if (handle != nullptr) on_channel(watched[i].id);
        break;
      case Source::startup_stderr:
        if (handle != nullptr) handle->startup_stderr.relay();
        break;
      case Source::pidfd:
        if (handle != nullptr) ended(watched[i].id, "ended");
        break;
      case Source::file_watch:
        if (watch_) on_file_watch();  // an event before this one may have switched it off
        break;
    }
  }
  if (!done_ && now_ >= machine_.next_deadline()) feed(Tick{});
  if (!done_) unasked();
  if (!done_) settle_probation();
  if (!done_) drain_the_last();
  if (!done_ && control_ && now_ >= control_->next_deadline()) on_control();
  if (!done_) settle_status(false);
  settle_reloads(done_);
}

GenerationHandle* Supervisor::find(GenerationId id) {
  const auto it = generations_.find(id);
  return it == generations_.end() ? nullptr : &it->second;
}

/// One event after the other: carrying out a command may bring the next event.
void Supervisor::feed(ReloadEvent event) {
  events_.push_back(std::move(event));
  if (feeding_) return;
  feeding_ = true;
  while (!events_.empty()) {
    const ReloadEvent next = std::move(events_.front());
    events_.pop_front();
    for (const auto& command : machine_.step(now_, next)) carry_out(command);
  }
  feeding_ = false;
}

// ---- signals and children ----

void Supervisor::on_signal(const ReceivedSignal& signal) {
  if (signal.number == SIGCHLD) return reap();
  if (signal.number != SIGHUP) {
    log_.info("signal", std::string{"received "} + signal_name(signal.number),
              {{"sender", std::int64_t{signal.sender_pid}}});
  }
  switch (signal.number) {
    case SIGHUP:
      ++requested_;
      log_.info("reload.requested", "by SIGHUP", {{"sender", std::int64_t{signal.sender_pid}}});
      asked(ReloadCause::signal);
      return feed(ReloadRequested{});
    case SIGUSR2:
      return feed(StopRequested{});
    case SIGTERM:
      if (++terms_ == 1) return feed(StopRequested{});
      return feed(QuitRequested{});
    case SIGINT:
      return feed(QuitRequested{});
    case SIGUSR1:
      if (auto reopened = log_.reopen(); !reopened) log_.error("log.reopen", reopened.error().message);
      for (const auto& [id, handle] : generations_) {
        if (handle.ready) handle.signal(SIGUSR1);  // before that it has no handler, and nothing open
      }
      return;
    default:
      return;
  }
}

void Supervisor::reap() {
  for (;;) {
    int status = 0;
    const pid_t pid = ::waitpid(-1, &status, WNOHANG);
    if (pid <= 0) return;
    for (auto& [id, handle] : generations_) {
      if (handle.adopted || handle.pid != pid) continue;
      ended(id, exit_text(status));
      break;
    }
    // Anything else is an orphan that fell to us as PID 1: reaping it was all it needed.
  }
}

/// The process is gone. What it still said comes first, then how it ended.
void Supervisor::ended(GenerationId id, const std::string& how) {
  GenerationHandle* handle = find(id);
  if (handle == nullptr || !handle->ended.empty()) return;
  handle->ended = how;
  if (handle->channel.open()) on_channel(id);
  handle->startup_stderr.relay();
  std::string reason = how;
  if (const std::string last = handle->startup_stderr.last_line(); !handle->ready && !last.empty()) {
    reason += "; its last words: " + last;
  }
  const auto phase = machine_.phase(id);
  if (!handle->drained &&
      (phase == ReloadMachine::Phase::draining || phase == ReloadMachine::Phase::handing)) {
    log_.warn("generation.died", "died while draining: " + reason, {{"generation", number(id)}});
  }
  remember_end(id, *handle);
  const auto current = machine_.current();
  state_.ended(number(id), current && *current != id ? std::optional{number(*current)} : std::nullopt);
  sampler_.forget(id);
  traffic_.forget(id);
  older_to_answer_.erase(id);
  feed(Exited{id, reason});
  generations_.erase(id);
  for (auto& query : status_queries_) query.awaited.erase(id);
}

// ---- the control socket ----

void Supervisor::on_control() {
  for (const ControlRequest& request : control_->poll(now_)) {
    switch (request.kind) {
      case ControlRequest::Kind::reload:
        ++requested_;
        log_.info("reload.requested", "by the control socket", {{"sender", request.pid}});
        asked(ReloadCause::control);
        feed(ReloadRequested{request.caller});
        break;
      case ControlRequest::Kind::status:
      case ControlRequest::Kind::plan:
        begin_status(request.caller, request.kind == ControlRequest::Kind::plan);
        break;
      case ControlRequest::Kind::reloads:
        begin_reloads(request);
        break;
      case ControlRequest::Kind::left:
        std::erase_if(status_queries_, [&](const StatusQuery& q) { return q.caller == request.caller; });
        std::erase_if(ledger_queries_, [&](const LedgerQuery& q) { return q.caller == request.caller; });
        feed(CallerLeft{request.caller});
        break;
    }
  }
}

// ---- the channels ----

void Supervisor::on_channel(GenerationId id) {
  for (;;) {
    GenerationHandle* handle = find(id);
    if (handle == nullptr || !handle->channel.open()) return;
    if (auto flushed = handle->channel.flush(); !flushed) {
      // It is gone, which is told below, after what it still said.
      log_.write(LogLevel::debug, "channel.closed", flushed.error().message, {{"generation", number(id)}});
    }
    auto received = handle->channel.receive();
    switch (received.kind) {
      case Received::Kind::nothing:
        return;
      case Received::Kind::closed:
        return on_channel_end(id, {});
      case Received::Kind::broken:
        return on_channel_end(id, received.reason);
      case Received::Kind::short_of_fds:
        if (!on_short_message(id, received)) return on_channel_end(id, received.reason);
        break;
      case Received::Kind::message:
        on_message(id, std::move(received.message));
        break;
    }
  }
}

/// We have no descriptors left. A status can be missed; anything else cannot be done without. False: it was
/// such.
bool Supervisor::on_short_message(GenerationId id, const Received& received) {
  if (static_cast<MessageType>(received.message.type) != MessageType::status) return false;
  log_.error("channel.short", received.reason, {{"generation", number(id)}});
  return true;
}

/// A generation that has closed its end is ending; how it ended is told by its process. One that speaks
/// nonsense before it is ready is refused, later it can still be told to drain by a signal.
void Supervisor::on_channel_end(GenerationId id, const std::string& reason) {
  GenerationHandle* handle = find(id);
  handle->channel.close();
  if (handle->adopted && !handle->pidfd) return ended(id, "ended");
  if (reason.empty()) return;
  log_.error("channel.broken", reason, {{"generation", number(id)}});
  if (!handle->ready) feed(Failed{id, StartFailure::other, reason});
}

void Supervisor::on_message(GenerationId id, ChannelMessage message) {
  GenerationHandle* handle = find(id);
  switch (static_cast<MessageType>(message.type)) {
    case MessageType::loaded:
      if (auto m = decode<LoadedMessage>(message); m && !handle->loaded) return on_loaded(id, *m);
      break;
    case MessageType::failed:
      if (auto m = decode<FailedMessage>(message);
          m && m->failure <= static_cast<std::uint8_t>(StartFailure::other)) {
        return feed(Failed{id, static_cast<StartFailure>(m->failure), m->reason});
      }
      break;
    case MessageType::ready:
      if (auto m = decode<ReadyMessage>(message);
          m && message.fds.size() == m->opened.size() + 1 && !handle->ready) {
        return on_ready(id, *m, std::move(message.fds));
      }
      break;
    case MessageType::draining:
      if (auto m = decode<DrainingMessage>(message)) return on_draining(id, *m);
      break;
    case MessageType::resumed:
      if (const auto m = decode<ResumedMessage>(message)) return feed(Resumed{id});
      break;
    case MessageType::probed:
      if (const auto m = decode<ProbedMessage>(message)) return on_probed(id, *m);
      break;
    case MessageType::drained:
      if (auto m = decode<DrainedMessage>(message)) {
        return on_drained(id, std::move(*m));
      }
      break;
    case MessageType::status:
      if (auto m = decode<StatusMessage>(message)) {
        for (auto& query : status_queries_) {
          if (m->token >= query.token) query.awaited.erase(id);
        }
        if (m->has_census) handle->census = *m;
        handle->status = std::move(*m);
        on_status(id, *handle->status);
        return;
      }
      break;
    default:
      break;
  }
  on_channel_end(id, "an unexpected or malformed message of type " + std::to_string(message.type));
}

void Supervisor::on_loaded(GenerationId id, const LoadedMessage& message) {
  LB_FAULT_POINT("supervisor.loaded");
  GenerationHandle* handle = find(id);
  handle->loaded = message;
  handle->times.loaded = now_;
  loaded_ = {id, hash_text(message.hash)};
  if (!settled_in_) {
    if (auto settled = settle_in(message); !settled) {
      const bool taken = settled.error().os_error == EWOULDBLOCK || settled.error().os_error == EADDRINUSE;
      return feed(
          Failed{id, taken ? StartFailure::already_running : StartFailure::other, settled.error().message});
    }
    settled_in_ = true;
    adopt_orphans();
  } else {
    if (options_.pid_file.empty() && message.pid_file != pid_file_path_) {
      handle->warnings.emplace_back("pid_file: the change takes effect at the next start of the balancer");
    }
    if (options_.control_path.empty() && !message.admin_socket.empty() &&
        message.admin_socket != control_path_) {
      handle->warnings.emplace_back(
          "admin.socket: the change takes effect at the next start of the balancer");
    }
  }
  feed(Loaded{id});
}

/// Once the first configuration is known to be valid, and before anything of it takes effect: make sure to be
/// alone.
Result<void> Supervisor::settle_in(const LoadedMessage& message) {
  pid_file_path_ = options_.pid_file.empty() ? message.pid_file : options_.pid_file;
  if (!pid_file_path_.empty()) {
    auto claimed = PidFile::claim(pid_file_path_);
    if (!claimed) return std::unexpected(claimed.error());
    if (const auto stale = claimed->stale()) {
      log_.warn("pidfile.stale", "the pid file was left by a process that is gone; taking it over",
                {{"path", pid_file_path_}, {"stale_pid", std::int64_t{*stale}}});
    }
    pid_file_.emplace(std::move(*claimed));
  }
  if (!options_.control_path.empty()) {
    control_path_ = options_.control_path;
  } else if (!message.admin_socket.empty()) {
    control_path_ = message.admin_socket;
  } else if (!pid_file_path_.empty()) {
    control_path_ = pid_file_path_ + ".sock";
  } else if (options_.default_control_path) {
    control_path_ = options_.default_control_path(options_.config_path);
  }
  if (control_path_.empty() || !options_.open_control) return {};
  auto port = options_.open_control(control_path_, pid_file_path_);
  if (port) {
    control_ = std::move(*port);
  } else if (port.error().os_error == EADDRINUSE) {
    return std::unexpected(port.error());
  } else {
    // The balancer serves without it; only `lb reload` and `lb status` do not work.
    log_.error("control.failed", port.error().message, {{"path", control_path_}});
  }
  return {};
}

void Supervisor::adopt_orphans() {
  for (FoundOrphan& orphan : find_orphans(control_path_)) {
    auto adopted = adopt_orphan(std::move(orphan.connection), kAdoptTimeout);
    if (!adopted) {
      log_.error("supervisor.adopt",
                 "an orphaned generation could not be adopted: " + adopted.error().message,
                 {{"generation", orphan.number}});
      continue;
    }
    auto& [handle, hello] = *adopted;
    const bool first = number_base_ == 0;
    if (first) number_base_ = hello.number;
    const GenerationId id = hello.number - number_base_;
    if (id > 0 || generations_.contains(id)) continue;  // its connection closes: it is an orphan again
    log_.info("supervisor.adopt", "adopted a generation of a former supervisor",
              {{"generation", hello.number},
               {"pid", std::int64_t{handle.pid}},
               {"config", hash_text(hello.ready.hash)},
               {"listening_sockets", static_cast<std::int64_t>(handle.opened.size())}});
    if (first) ledger_.restore(hello.ledger);
    if (first) {  // the others share its sockets, or hold some that nobody wants
      for (std::size_t i = 0; i < handle.opened.size(); ++i) {
        listeners_.add(hello.ready.opened[i], std::move(handle.opened[i]));
      }
    }
    handle.opened.clear();
    if (first) ticket_keys_.adopt(hello.ticket_keys, now_);  // what was sealed before can still be opened
    if (hello.ticket_keys == ticket_keys_.ring(now_)) handle.ticket_keys = ticket_keys_.version();
    adopt_state(hello.number, std::move(handle.state_file));
    generations_[id] = std::move(handle);
    feed(Adopted{id, Milliseconds{hello.ready.drain_timeout_ms}});
  }
}

/// All that share a state share the same one; the first brings it.
void Supervisor::adopt_state(std::int64_t generation, Fd file) {
  if (file) state_.adopt(std::move(file), generation);
}

void Supervisor::on_ready(GenerationId id, const ReadyMessage& message, std::vector<Fd> fds) {
  LB_FAULT_POINT("supervisor.ready");
  GenerationHandle* handle = find(id);
  handle->ready = message;
  handle->times.ready = now_;
  handle->config_file = std::make_shared<const Fd>(std::move(fds.front()));
  handle->opened.assign(std::make_move_iterator(fds.begin() + 1), std::make_move_iterator(fds.end()));
  feed(Ready{id, Milliseconds{message.drain_timeout_ms},
             keeper_.needs_probation(message.hash, message.rules)});
}

void Supervisor::on_draining(GenerationId id, const DrainingMessage& message) {
  LB_FAULT_POINT("supervisor.draining");
  if (GenerationHandle* handle = find(id); handle != nullptr && !handle->at_switch)
    handle->at_switch = message;
  std::optional<GenerationId> successor;
  if (message.for_successor) successor = message.successor - number_base_;
  if (!message.warning.empty() && successor) {
    if (GenerationHandle* next = find(*successor)) {
      next->warnings.push_back("generation " + std::to_string(number(id)) + ": " + message.warning);
    }
  }
  if (!message.for_successor) older_to_answer_.erase(id);
  feed(DrainAcknowledged{id, successor});
}

}  // namespace lb
