#include "lb/health/connectivity.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <unordered_map>

#include "lb/base/fd.hpp"
#include "lb/config/wording.hpp"
#include "lb/health/os_reason.hpp"

namespace lb {
namespace {

/// Shorter the more backends there are, so that most have their turn although many do not answer.
Milliseconds attempt_time(std::size_t backends, Milliseconds budget) {
  const std::size_t rounds = (backends + kProbesAtOnce - 1) / kProbesAtOnce;
  const Milliseconds share = budget / static_cast<std::int64_t>(std::max<std::size_t>(rounds, 1));
  return std::min(std::clamp(share, kProbeAttemptMin, kProbeAttemptMax), budget);
}

bool out_of_resources(int os_error) {
  return os_error == EMFILE || os_error == ENFILE || os_error == ENOBUFS || os_error == ENOMEM;
}

/// One call of probe_backends.
class ProbeRun final {
 public:
  ProbeRun(std::span<const BackendConfig> backends, Milliseconds budget)
      : backends_(backends),
        budget_(budget),
        attempt_time_(attempt_time(backends.size(), budget)),
        answers_(backends.size(), kUntested) {}

  std::vector<std::string> run(const LookupFunction& lookup);

 private:
  /// A backend whose addresses are known and that waits for its turn, or for its next address.
  struct Candidate {
    std::size_t backend = 0;
    std::vector<ProbeAddress> addresses{};
    std::size_t next = 0;
  };
  struct Attempt {
    Candidate candidate{};
    Fd fd{};
    Instant deadline{};
  };

  std::vector<std::string> sort_out_names();
  void accept_names(std::vector<NameLookup::Found> found);
  bool start_attempts(Instant now);
  bool start(Candidate candidate, Instant now);
  void failed(Candidate candidate, std::string reason);
  void wait(int ready_fd, Instant now, Instant until);
  void settle(Instant now);
  void give_up();

  static constexpr const char* kUntested = "not tested, for lack of time";

  std::span<const BackendConfig> backends_;
  Milliseconds budget_;
  Milliseconds attempt_time_;
  std::vector<std::string> answers_;
  std::vector<std::vector<std::size_t>> users_;  // by name: the backends that wait for it
  std::size_t names_open_ = 0;
  std::deque<Candidate> waiting_;
  std::vector<Attempt> attempts_;
  std::vector<pollfd> polled_;  // attempts_ in their order, then the lookup
};

/// Literal addresses go straight to the queue. Returns the names, each once.
std::vector<std::string> ProbeRun::sort_out_names() {
  std::vector<std::string> names;
  std::unordered_map<std::string_view, std::size_t> index_of;
  for (std::size_t i = 0; i < backends_.size(); ++i) {
    const Endpoint& endpoint = backends_[i].endpoint;
    const ProbeAddress literal = literal_address(endpoint);
    if (literal.length > 0) {
      waiting_.push_back({.backend = i, .addresses = {with_port(literal, endpoint.port)}});
      continue;
    }
    const auto [entry, fresh] = index_of.try_emplace(endpoint.host, names.size());
    if (fresh) {
      names.push_back(endpoint.host);
      users_.emplace_back();
    }
    users_[entry->second].push_back(i);
    answers_[i] = "does not resolve within " + seconds_text(budget_) + " s";
  }
  names_open_ = names.size();
  return names;
}

void ProbeRun::accept_names(std::vector<NameLookup::Found> found) {
  for (NameLookup::Found& name : found) {
    --names_open_;
    for (const std::size_t backend : users_[name.index]) {
      if (name.answer.addresses.empty()) {
        answers_[backend] = "does not resolve (" + name.answer.failure + ")";
        continue;
      }
      answers_[backend] = kUntested;
      Candidate candidate{.backend = backend, .addresses = name.answer.addresses};
      for (ProbeAddress& address : candidate.addresses) {
        address = with_port(address, backends_[backend].endpoint.port);
      }
      waiting_.push_back(std::move(candidate));
    }
  }
}

/// True when there is more to start at once: the clock is to be looked at now and then, even when every
/// connect(2) has its answer immediately.
bool ProbeRun::start_attempts(Instant now) {
  for (std::size_t started = 0; !waiting_.empty() && attempts_.size() < kProbesAtOnce; ++started) {
    if (started == kProbesAtOnce) return true;
    Candidate candidate = std::move(waiting_.front());
    waiting_.pop_front();
    if (!start(std::move(candidate), now)) return false;
  }
  return false;
}

/// False when the system has no more sockets for now: the candidate waits until an attempt gives one back.
bool ProbeRun::start(Candidate candidate, Instant now) {
  const ProbeAddress address = candidate.addresses[candidate.next];
  Fd fd{::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  if (!fd) {
    const int error = errno;
    if (out_of_resources(error) && !attempts_.empty()) {
      waiting_.push_front(std::move(candidate));
      return false;
    }
    failed(std::move(candidate), "cannot be tested: " + os_reason(error));
    return true;
  }
  const auto* generic = reinterpret_cast<const sockaddr*>(&address.storage);
  if (::connect(fd.get(), generic, address.length) == 0) {
    answers_[candidate.backend].clear();
  } else if (errno == EINPROGRESS || errno == EINTR) {
    attempts_.push_back({std::move(candidate), std::move(fd), now + attempt_time_});
  } else {
    failed(std::move(candidate), os_reason(errno));
  }
  return true;
}

/// Notes the reason; the next address of the name, if any, gets its turn.
void ProbeRun::failed(Candidate candidate, std::string reason) {
  answers_[candidate.backend] = std::move(reason);
  if (++candidate.next < candidate.addresses.size()) waiting_.push_front(std::move(candidate));
}

void ProbeRun::wait(int ready_fd, Instant now, Instant until) {
  polled_.clear();
  Instant next = until;
  for (const Attempt& attempt : attempts_) {
    polled_.push_back({.fd = attempt.fd.get(), .events = POLLOUT, .revents = 0});
    next = std::min(next, attempt.deadline);
  }
  polled_.push_back({.fd = ready_fd, .events = POLLIN, .revents = 0});  // poll(2) ignores -1
  static constexpr std::int64_t kWithoutDescriptorMs = 20;
  std::int64_t timeout_ms = next > now ? to_ms(next - now) + 1 : 0;
  if (ready_fd < 0 && names_open_ > 0) timeout_ms = std::min(timeout_ms, kWithoutDescriptorMs);
  if (::poll(polled_.data(), polled_.size(), static_cast<int>(timeout_ms)) >= 0) return;
  for (pollfd& entry : polled_) entry.revents = 0;  // EINTR, or no memory: look again
}

/// Attempts that have an answer, or none in time. polled_ still goes with attempts_.
void ProbeRun::settle(Instant now) {
  std::vector<Attempt> before = std::exchange(attempts_, {});
  for (std::size_t i = 0; i < before.size(); ++i) {
    Attempt& attempt = before[i];
    if (polled_[i].revents != 0) {
      int error = 0;
      socklen_t length = sizeof error;
      if (::getsockopt(attempt.fd.get(), SOL_SOCKET, SO_ERROR, &error, &length) != 0) error = errno;
      attempt.fd.reset();
      if (error == 0) {
        answers_[attempt.candidate.backend].clear();
      } else {
        failed(std::move(attempt.candidate), os_reason(error));
      }
    } else if (now >= attempt.deadline) {
      attempt.fd.reset();
      failed(std::move(attempt.candidate), "no answer within " + seconds_text(attempt_time_) + " s");
    } else {
      attempts_.push_back(std::move(attempt));
    }
  }
}

void ProbeRun::give_up() {
  for (const Attempt& attempt : attempts_) {
    std::string& answer = answers_[attempt.candidate.backend];
    if (answer == kUntested) answer = "no answer within " + seconds_text(attempt_time_) + " s";
  }
}

std::vector<std::string> ProbeRun::run(const LookupFunction& lookup) {
  Instant now = monotonic_now();
  const Instant end = now + budget_;
  NameLookup names{sort_out_names(), lookup};
  while (now < end) {
    accept_names(names.take());
    const bool more = start_attempts(now);
    if (attempts_.empty() && waiting_.empty() && names_open_ == 0) break;
    wait(names.ready_fd(), now, more ? now : end);
    now = monotonic_now();
    settle(now);
  }
  give_up();
  return std::move(answers_);
}

}  // namespace

std::vector<std::string> probe_backends(std::span<const BackendConfig> backends, Milliseconds total_budget,
                                        const LookupFunction& lookup) {
  return ProbeRun{backends, std::max(total_budget, Milliseconds{1})}.run(lookup);
}

std::string probe_backend(const BackendConfig& backend, Milliseconds timeout) {
  return probe_backends({&backend, 1}, timeout).front();
}

std::expected<ReloadCandidate, ConfigErrors> config_reload(const std::string& path,
                                                           const ConfigCheck& check) {
  return config_reload(
      path,
      [](std::span<const BackendConfig> backends) { return probe_backends(backends, kReloadProbeBudget); },
      check);
}

}  // namespace lb
