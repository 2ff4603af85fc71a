#include "lb/supervisor/generation.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <optional>
#include <thread>

#include "lb/base/file.hpp"
#include "lb/base/guard.hpp"
#include "lb/base/hash.hpp"
#include "lb/base/random.hpp"
#include "lb/config/diff.hpp"
#include "lb/observe/event_log.hpp"
#include "lb/reload/machine.hpp"
#include "lb/supervisor/adopt_listeners.hpp"
#include "lb/supervisor/child_process.hpp"
#include "lb/supervisor/messages.hpp"
#include "lb/supervisor/orphan.hpp"
#include "lb/supervisor/signals.hpp"

namespace lb {
namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;
constexpr std::size_t kWarningsMax = 100;  // told of one configuration
// The last messages wait this long for a supervisor that does not read.
constexpr Duration kFlushMax = std::chrono::seconds{5};
constexpr int kFlushWaitMs = 500;

/// Available processors, as the workers see them.
std::uint32_t available_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return std::max(1U, std::thread::hardware_concurrency());
  return static_cast<std::uint32_t>(std::max(1, CPU_COUNT(&set)));
}

std::uint64_t microseconds_since(Instant begin) {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(monotonic_now() - begin).count());
}

std::vector<NamedCounter> named(const CounterTotals& totals) {
  std::vector<NamedCounter> list;
  totals.for_each([&](std::string_view name, std::string_view, std::uint64_t value) {
    list.push_back({std::string{name}, value});
  });
  return list;
}

ReloadRules rules_of(const ReloadConfig& reload) {
  return {.watch = reload.watch,
          .debounce_ms = static_cast<std::uint64_t>(reload.debounce.count()),
          .probation_ms = static_cast<std::uint64_t>(reload.probation.count()),
          .requests_min = reload.requests_min,
          .failure_increase_ppm = static_cast<std::uint64_t>(std::llround(reload.failure_increase * 1e6))};
}

class Generation final {
 public:
  Generation(const GenerationDeps& deps, Channel channel, SignalFd signals)
      : deps_(deps), channel_(std::move(channel)), signals_(std::move(signals)) {}

  int run() {
    if (!start()) return exit_code_;
    while (!done_) turn();
    if (plane_ && drained_) report_drained();
    return exit_code_;
  }

 private:
  enum class State : std::uint8_t { serving, draining };

  // ---- from START to READY ----

  bool start();
  std::optional<ChannelMessage> await(MessageType type);
  bool load(const ChannelMessage& message);
  void compare_with(const ChannelMessage& message);
  bool proceed(const ChannelMessage& message);
  bool open_log();
  bool serve(AdoptedListeners listeners, Instant listen_begin);
  bool fail(StartFailure failure, const std::string& reason);
  void leave_startup_stderr();

  // ---- serving and draining ----

  void turn();
  void on_channel();
  void on_message(ChannelMessage message);
  void on_signal(int number);
  void on_successor(const ChannelMessage& message);
  void begin_drain(std::string_view why, std::shared_ptr<const Config> successor, Handoff handoff);
  void hand_over_clients();
  void adopt_clients(ChannelMessage message);
  void send_draining(const DrainingMessage& message);
  void send_status(std::uint64_t token);
  void supervisor_lost(const std::string& reason);
  void adopt_supervisor();
  void report_drained();
  template <class M>
  void send(const M& message, std::span<const int> fds = {}) {
    if (!channel_.open()) return;
    if (auto sent = send_message(channel_, message, fds); !sent) send_error_ = sent.error().message;
  }

  const GenerationDeps& deps_;
  Channel channel_;
  SignalFd signals_;
  StartMessage options_;
  LoadedConfig loaded_;
  std::shared_ptr<const Config> config_;  // effective: with overrides, workers counted
  Fd config_file_;
  std::int64_t number_ = 0;
  std::string control_path_;
  ReadyMessage ready_;
  std::vector<int> listening_;  // borrowed from the data plane, valid while it serves
  std::vector<std::string> listening_labels_;
  std::unique_ptr<EventLog> log_;
  std::unique_ptr<DataPlane> plane_;
  std::optional<OrphanSocket> orphan_;
  State state_ = State::serving;
  std::string send_error_;
  bool drained_ = false;
  bool done_ = false;
  int exit_code_ = 0;
};

bool Generation::start() {
  const auto start_message = await(MessageType::start);
  if (!start_message || !load(*start_message)) return false;
  send(LoadedMessage{
      .hash = loaded_.hash, .pid_file = config_->pid_file, .admin_socket = config_->admin.socket});
  const auto proceed_message = await(MessageType::proceed);
  return proceed_message && proceed(*proceed_message);
}

/// The next message, which must be of `type`; empty when the supervisor is gone or a signal says to go.
std::optional<ChannelMessage> Generation::await(MessageType type) {
  exit_code_ = kExitFailed;
  for (;;) {
    auto received = channel_.receive();
    if (received.kind == Received::Kind::message) {
      if (received.message.type == static_cast<std::uint16_t>(type)) return std::move(received.message);
      fail(StartFailure::other,
           "unexpected message " + std::to_string(received.message.type) + " on the channel");
      return std::nullopt;
    }
    if (received.kind == Received::Kind::broken) fail(StartFailure::other, received.reason);
    if (received.kind != Received::Kind::nothing) return std::nullopt;
    pollfd fds[] = {{channel_.fd(), POLLIN, 0}, {signals_.fd(), POLLIN, 0}};
    ::poll(fds, 2, -1);
    while (const auto signal = signals_.next()) {
      if (signal->number == SIGTERM || signal->number == SIGINT || signal->number == SIGUSR2)
        return std::nullopt;
    }
  }
}

bool Generation::load(const ChannelMessage& message) {
  auto options = decode<StartMessage>(message);
  if (!options) return fail(StartFailure::other, options.error().message);
  options_ = std::move(*options);
  const Instant begin = monotonic_now();
  if (options_.from_text) {
    if (message.fds.empty()) return fail(StartFailure::other, "START brought no configuration");
    auto text = read_fd(message.fds[0].get(), options_.config_path, kConfigBytesMax);
    if (!text) return fail(StartFailure::other, text.error().message);
    auto parsed = config_parse(*text, static_cast<ConfigFormat>(options_.format));
    if (!parsed) return fail(StartFailure::invalid_config, parsed.error().text(options_.config_path));
    loaded_ = std::move(*parsed);
  } else {
    auto candidate = deps_.reload_config(options_.config_path);
    if (!candidate) {
      const bool unreadable = candidate.error().kind == ConfigErrors::Kind::unreadable;
      return fail(unreadable ? StartFailure::unreadable_config : StartFailure::invalid_config,
                  candidate.error().text(options_.config_path));
    }
    loaded_ = std::move(candidate->loaded);
    ready_.warnings = std::move(candidate->warnings);
    if (const std::size_t count = ready_.warnings.size(); count > kWarningsMax) {
      ready_.warnings.resize(kWarningsMax);
      ready_.warnings.push_back("and " + std::to_string(count - kWarningsMax) +
                                " more backends do not answer");
    }
  }
  Config effective = *loaded_.config;
  if (options_.override_access_log) effective.access_log = options_.access_log;
  if (effective.workers == 0) effective.workers = available_cpus();
  config_ = std::make_shared<const Config>(std::move(effective));
  auto file = memory_file("lb-config", loaded_.text);
  if (!file) return fail(StartFailure::other, file.error().message);
  config_file_ = std::move(*file);
  ready_.phases.push_back({"load", microseconds_since(begin)});
  if (options_.has_previous) compare_with(message);
  return true;
}

/// What this configuration changes, told with READY: it is logged and answered only once it serves.
void Generation::compare_with(const ChannelMessage& message) {
  const Instant begin = monotonic_now();
  auto text = message.fds.empty()
                  ? Result<std::string>{std::unexpected(
                        Error{.message = "START brought no configuration to compare with"})}
                  : read_fd(message.fds.back().get(), "the previous configuration", kConfigBytesMax);
  if (!text) {
    ready_.changes_error = text.error().message;
    return;
  }
  const auto previous = config_parse(*text, static_cast<ConfigFormat>(options_.previous_format));
  if (!previous) {  // of another version of the program
    ready_.changes_error =
        "the configuration before is not valid here: " + previous.error().text(options_.config_path);
    return;
  }
  const auto changes =
      guarded("config_diff", [&] { return config_diff(*previous->config, *loaded_.config); });
  if (!changes) {
    ready_.changes_error = changes.error().message;
    return;
  }
  ready_.changes_total = changes->size();
  for (const ConfigChange& change : *changes) {
    if (ready_.changes.size() == kChangesMax) break;
    ready_.changes.push_back(
        {static_cast<std::uint8_t>(change.kind), change.path, change.before, change.after, change.words});
  }
  ready_.phases.push_back({"compare", microseconds_since(begin)});
}

bool Generation::proceed(const ChannelMessage& message) {
  auto order = decode<ProceedMessage>(message);
  if (!order || order->labels.size() != message.fds.size()) {
    return fail(StartFailure::other, "a malformed PROCEED on the channel");
  }
  number_ = order->number;
  control_path_ = order->control_path;
  ::prctl(PR_SET_NAME, ("lb-gen-" + std::to_string(number_)).c_str());  // for ps and top
  if (!open_log()) return false;
  const Instant begin = monotonic_now();
  std::vector<HeldSocket> held;
  for (std::size_t i = 0; i < order->labels.size(); ++i) {
    held.push_back({order->labels[i], Fd{::fcntl(message.fds[i].get(), F_DUPFD_CLOEXEC, 0)}});
    if (!held.back().fd)
      return fail(StartFailure::other, system_error("duplicate a socket", "", errno).message);
  }
  auto listeners = adopt_listeners(config_->listen, config_->workers, std::move(held));
  if (!listeners) return fail(StartFailure::cannot_listen, listeners.error().message);
  return serve(std::move(*listeners), begin);
}

bool Generation::open_log() {
  auto log = EventLog::open({.format = options_.log_json ? LogFormat::json : LogFormat::text,
                             .path = options_.log_path,
                             .role = "generation",
                             .generation = static_cast<std::uint64_t>(number_),
                             .config_hash = hash_text(loaded_.hash),
                             .colour = options_.log_colour});
  if (!log) return fail(StartFailure::other, log.error().message);
  log_ = std::move(*log);
  return true;
}

bool Generation::serve(AdoptedListeners listeners, Instant listen_begin) {
  std::vector<int> fds{config_file_.get()};
  for (const Endpoint& endpoint : config_->listen) ready_.endpoints.push_back(endpoint.text());
  ready_.addresses = std::move(listeners.addresses);
  for (std::size_t i = 0; i < listeners.sockets.size(); ++i) {
    const ListeningSocket& socket = listeners.sockets[i];
    listening_.push_back(socket.fd.get());
    listening_labels_.push_back(socket.endpoint.text());
    if (!listeners.opened[i]) continue;
    fds.push_back(socket.fd.get());
    ready_.opened.push_back(socket.endpoint.text());
  }
  ready_.phases.push_back({"listen", microseconds_since(listen_begin)});
  const Instant warm_begin = monotonic_now();
  auto plane =
      deps_.make_data_plane({.config = config_,
                             .generation = static_cast<std::uint64_t>(number_),
                             .seed = mix64(options_.seed + static_cast<std::uint64_t>(number_)),
                             .listeners = std::move(listeners.sockets),
                             .log = log_.get(),
                             .access_log_format = options_.log_json ? LogFormat::json : LogFormat::text});
  if (!plane) return fail(StartFailure::other, plane.error().message);
  plane_ = std::move(*plane);
  plane_->start();
  ready_.phases.push_back({"warm", microseconds_since(warm_begin)});
  ready_.hash = loaded_.hash;
  ready_.format = static_cast<std::uint8_t>(loaded_.format);
  ready_.rules = rules_of(config_->reload);
  ready_.backends = config_->backends.size();
  ready_.workers = config_->workers;
  ready_.drain_timeout_ms = static_cast<std::uint64_t>(config_->drain_timeout.count());
  send(ready_, fds);
  if (!send_error_.empty()) return fail(StartFailure::other, send_error_);
  leave_startup_stderr();
  exit_code_ = 0;
  return true;
}

/// Tells the supervisor, or standard error when nobody listens there.
bool Generation::fail(StartFailure failure, const std::string& reason) {
  exit_code_ = kExitFailed;
  send_error_.clear();
  send(FailedMessage{.failure = static_cast<std::uint8_t>(failure), .reason = reason});
  if (!send_error_.empty()) std::fprintf(stderr, "lb: %s\n", reason.c_str());
  return false;
}

void Generation::leave_startup_stderr() {
  if (::fcntl(kChildStderrFd, F_GETFD) < 0) return;
  ::dup2(kChildStderrFd, STDERR_FILENO);
  ::close(kChildStderrFd);
}

void Generation::turn() {
  pollfd fds[5] = {{signals_.fd(), POLLIN, 0},
                   {plane_->drained_fd(), static_cast<short>(state_ == State::draining ? POLLIN : 0), 0},
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
  if (state_ == State::draining && (fds[1].revents & POLLIN) != 0) drained_ = done_ = true;
}

void Generation::on_channel() {
  if (auto flushed = channel_.flush(); !flushed) return supervisor_lost(flushed.error().message);
  for (;;) {
    auto received = channel_.receive();
    if (received.kind == Received::Kind::nothing) return;
    if (received.kind == Received::Kind::closed) return supervisor_lost("its end of the channel was closed");
    if (received.kind == Received::Kind::broken) return supervisor_lost(received.reason);
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
    // A further one took over meanwhile.
    if (handoff != Handoff::none) plane_->start_drain(std::move(successor), handoff);
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
  listening_.clear();
}

/// What the workers have queued goes to the supervisor, which passes it to the generation that serves.
void Generation::hand_over_clients() {
  std::vector<HandedClient> clients = plane_->take_handed();
  std::size_t sent = 0;
  while (sent < clients.size()) {
    ClientsMessage message;
    std::vector<int> fds;
    for (std::size_t i = sent; i < clients.size() && fds.size() < kFdsPerFrame; ++i) {
      message.requests.push_back(clients[i].requests);
      fds.push_back(clients[i].fd.get());
    }
    send(message, fds);  // it duplicates what it cannot send at once
    if (!send_error_.empty()) break;
    sent += fds.size();
  }
  if (sent == clients.size()) return;
  clients.erase(clients.begin(), clients.begin() + static_cast<std::ptrdiff_t>(sent));
  plane_->give_up_handoff();
  plane_->adopt(std::move(clients));
}

void Generation::adopt_clients(ChannelMessage message) {
  const auto order = decode<ClientsMessage>(message);
  if (!order || order->requests.size() != message.fds.size()) {
    log_->error("channel.unexpected", "a malformed CLIENTS of the supervisor was ignored");
    return;
  }
  std::vector<HandedClient> clients;
  for (std::size_t i = 0; i < message.fds.size(); ++i) {
    clients.push_back({.fd = std::move(message.fds[i]), .requests = order->requests[i]});
  }
  plane_->adopt(std::move(clients));
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
                               backend.in_flight, backend.aside, backend.resolved});
  }
  send(status);
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
    plane_->give_up_handoff();
    log_->warn("supervisor.lost", "the supervisor is gone; this generation ends its drain",
               {{"reason", reason}});
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

}  // namespace

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
    return kExitFailed;
  }
  return Generation{deps, Channel{Fd{kChildChannelFd}}, std::move(*signals)}.run();
}

}  // namespace lb
