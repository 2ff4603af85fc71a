// From START to READY.
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <thread>

#include "lb/base/fault_point.hpp"
#include "lb/base/file.hpp"
#include "lb/base/guard.hpp"
#include "lb/base/hash.hpp"
#include "lb/base/random.hpp"
#include "lb/config/diff.hpp"
#include "lb/supervisor/child_process.hpp"
#include "lb/supervisor/generation_impl.hpp"
#include "lb/supervisor/turn_length.hpp"

namespace lb {
namespace {

constexpr std::size_t kWarningsMax = 100;  // told of one configuration
constexpr std::size_t kFdsBesideConnections = 1024;

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

/// A value may be as large as a configuration, and READY, the log and the history of reloads may not.
std::string cut(const std::string& text) {
  if (text.size() <= kChangeTextBytesMax) return text;
  std::size_t end = kChangeTextBytesMax;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0U) == 0x80U)
    --end;  // not inside a character
  return text.substr(0, end) + "... (" + std::to_string(text.size()) + " bytes)";
}

ReloadRules rules_of(const ReloadConfig& reload) {
  return {.watch = reload.watch,
          .debounce_ms = static_cast<std::uint64_t>(reload.debounce.count()),
          .probation_ms = static_cast<std::uint64_t>(reload.probation.count()),
          .requests_min = reload.requests_min,
          .failure_increase_ppm = static_cast<std::uint64_t>(std::llround(reload.failure_increase * 1e6))};
}

}  // namespace

bool Generation::start() {
  const auto start_message = await(MessageType::start);
  LB_FAULT_POINT("generation.start_received");
  if (!start_message || !load(*start_message)) return false;
  LB_FAULT_POINT("generation.before_loaded");
  send(LoadedMessage{
      .hash = loaded_.hash, .pid_file = config_->pid_file, .admin_socket = config_->admin.socket});
  LB_FAULT_POINT("generation.loaded_sent");
  const auto proceed_message = await(MessageType::proceed);
  LB_FAULT_POINT("generation.proceed_received");
  return proceed_message && proceed(*proceed_message);
}

/// The next message, which must be of `type`; empty when the supervisor is gone or a signal says to go.
std::optional<ChannelMessage> Generation::await(MessageType type) {
  exit_code_ = kGenerationFailed;
  for (;;) {
    auto received = channel_.receive();
    if (received.kind == Received::Kind::message) {
      if (received.message.type == static_cast<std::uint16_t>(type)) return std::move(received.message);
      fail(StartFailure::other,
           "unexpected message " + std::to_string(received.message.type) + " on the channel");
      return std::nullopt;
    }
    if (!received.reason.empty()) fail(StartFailure::other, received.reason);
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
        {change.kind, cut(change.path), cut(change.before), cut(change.after), cut(change.words)});
  }
  ready_.phases.push_back({"compare", microseconds_since(begin)});
}

bool Generation::proceed(const ChannelMessage& message) {
  auto order = decode<ProceedMessage>(message);
  const std::size_t expected = order ? order->labels.size() + (order->state_slot >= 0 ? 1 : 0) : 0;
  if (!order || message.fds.size() != expected) {
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
  if (order->state_slot >= 0) join_state(*order, message.fds.back());
  const std::vector<Endpoint> endpoints(config_->listen.begin(), config_->listen.end());
  const std::uint32_t shards = order->further_shards ? config_->workers : 1;
  auto listeners = adopt_listeners(endpoints, shards, std::move(held));
  if (!listeners) return fail(StartFailure::cannot_listen, listeners.error().message);
  LB_FAULT_POINT("generation.listeners_adopted");
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

/// Of another version of the program the state cannot be used as it is: what both know by name is taken from
/// it, and the answer of the reload says what is not.
void Generation::join_state(const ProceedMessage& order, const Fd& file) {
  constexpr std::size_t kPartsTold = 10;
  const std::uint64_t seed = mix64(options_.seed ^ static_cast<std::uint64_t>(number_));
  const auto copy = [&] { return Fd{::fcntl(file.get(), F_DUPFD_CLOEXEC, 0)}; };
  auto joined = state::GenerationState::join(copy(), static_cast<std::uint32_t>(order.state_slot), number_,
                                             config_->workers);
  if (joined) {
    shared_state_ = std::move(*joined);
    ready_.state_slot = order.state_slot;
    return;
  }
  std::string warning = "state: " + joined.error().message;
  std::vector<std::string> afresh;
  auto left = state::GenerationState::leave(copy(), config_->workers, seed, afresh);
  if (left) {
    shared_state_ = std::move(*left);
    warning += "; carried over once";
    for (std::size_t i = 0; i < std::min(afresh.size(), kPartsTold); ++i)
      warning += (i == 0 ? ", but for " : ", ") + afresh[i];
    if (afresh.size() > kPartsTold) warning += " and " + std::to_string(afresh.size() - kPartsTold) + " more";
  } else {
    warning += "; this generation starts with none";
  }
  ready_.warnings.push_back(std::move(warning));
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
  reserve_fds(2 * std::size_t{config_->max_connections} + kFdsBesideConnections, config_file_.get());
  auto ring = tls::parse_ticket_ring(options_.ticket_keys);
  if (!ring) return fail(StartFailure::other, ring.error().message);
  ticket_keys_ = std::make_shared<tls::TicketKeys>(std::move(*ring));
  auto plane =
      deps_.make_data_plane({.config = config_,
                             .generation = static_cast<std::uint64_t>(number_),
                             .seed = mix64(options_.seed + static_cast<std::uint64_t>(number_)),
                             .listeners = std::move(listeners.sockets),
                             .log = log_.get(),
                             .access_log_format = options_.log_json ? LogFormat::json : LogFormat::text,
                             .ticket_keys = ticket_keys_,
                             .state = shared_state_});
  if (!plane) return fail(StartFailure::other, plane.error().message);
  plane_ = std::move(*plane);
  ask_for_turns_of(Duration{0});  // loaded; the workers inherit it
  plane_->start();
  ready_.phases.push_back({"warm", microseconds_since(warm_begin)});
  ready_.hash = loaded_.hash;
  ready_.format = static_cast<std::uint8_t>(loaded_.format);
  ready_.rules = rules_of(config_->reload);
  ready_.backends = config_->backends.size();
  ready_.workers = config_->workers;
  ready_.drain_timeout_ms = static_cast<std::uint64_t>(config_->drain_timeout.count());
  LB_FAULT_POINT("generation.before_ready");
  send(ready_, fds);
  LB_FAULT_POINT("generation.ready_sent");
  if (!send_error_.empty()) return end_unheard(send_error_);
  leave_startup_stderr();
  exit_code_ = 0;
  return true;
}

/// READY could not be sent, mostly because the supervisor is gone: this configuration does not serve. But the
/// workers are at it since a moment and may have accepted somebody: true, so that run() goes on until that is
/// done.
bool Generation::end_unheard(const std::string& reason) {
  fail(StartFailure::other, reason);
  channel_.close();
  begin_drain("READY could not be sent: " + reason, nullptr, Handoff::none);
  return true;
}

/// Tells the supervisor, or standard error when nobody listens there.
bool Generation::fail(StartFailure failure, const std::string& reason) {
  exit_code_ = kGenerationFailed;
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

}  // namespace lb
