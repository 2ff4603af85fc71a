#include "lb/health/health_monitor.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "lb/config/wording.hpp"
#include "lb/health/os_reason.hpp"

namespace lb {
namespace {

constexpr std::size_t kReadBytes = 16 * 1024;
constexpr std::uint32_t kStartsATurn = 128;  // then those that run have their turn

HealthRules rules_of(const HealthCheckConfig& check) {
  return {.interval = check.interval,
          .jitter = check.jitter,
          .timeout = check.timeout,
          .rise = check.rise,
          .fall = check.fall,
          .at_once_max = kChecksAtOnceMax};
}

}  // namespace

Result<std::unique_ptr<HealthMonitor>> HealthMonitor::create(Options options) {
  auto loop = EventLoop::create();
  if (!loop) return std::unexpected(loop.error());
  Fd wakeup{::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
  if (!wakeup) return std::unexpected(system_error("eventfd", "", errno));
  if (auto added = loop->add(wakeup.get(), EPOLLIN, Token{}); !added) return std::unexpected(added.error());
  return std::unique_ptr<HealthMonitor>{
      new HealthMonitor{std::move(options), std::move(*loop), std::move(wakeup)}};
}

HealthMonitor::HealthMonitor(Options options, EventLoop loop, Fd wakeup)
    : options_(std::move(options)),
      rules_(options_.check),
      loop_(std::move(loop)),
      wakeup_(std::move(wakeup)),
      now_(monotonic_now()),
      checker_(rules_of(options_.check), static_cast<std::uint32_t>(options_.hosts.size()), options_.seed,
               now_),
      probes_(2 * kChecksAtOnceMax),  // those that ended in a turn keep their place until its end
      probe_of_(options_.hosts.size()),
      scratch_(kReadBytes),
      findings_(options_.hosts.size()),
      untested_(static_cast<std::uint32_t>(options_.hosts.size())) {
  for (Finding& finding : findings_) finding.since = now_;
  for (Options::Known& known : options_.down) {
    checker_.begin_down(known.target);
    findings_[known.target] = {
        .health = Health::down, .since = known.since, .failure = std::move(known.failure)};
    --untested_;
  }
}

HealthMonitor::~HealthMonitor() {
  if (!thread_.joinable()) return;
  stop_.store(true, std::memory_order_relaxed);
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = ::write(wakeup_.get(), &one, sizeof one);
  thread_.join();
}

void HealthMonitor::start() {
  LB_ASSERT(!thread_.joinable());
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  thread_ = std::thread{[this] { run(); }};
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

bool HealthMonitor::wait_tested(Duration budget) {
  std::unique_lock lock{mutex_};
  return tested_.wait_for(lock, budget, [this] { return untested_ == 0; });
}

HealthMonitor::Finding HealthMonitor::finding(std::uint32_t target) const {
  const std::scoped_lock lock{mutex_};
  return findings_[target];
}

void HealthMonitor::run() {
  ::pthread_setname_np(::pthread_self(), "lb-health");
  bool more_due = true;
  while (!stop_.load(std::memory_order_relaxed)) {
    const auto events = loop_.wait(now_, more_due ? now_ : checker_.next_wakeup());
    now_ = monotonic_now();
    for (const epoll_event& event : events) {
      const Token token = Token::unpack(event.data.u64);
      if (token.kind != TokenKind::upstream) continue;
      if (Probe* probe = probes_.get(token.handle)) on_event(*probe);
    }
    for (std::uint32_t late; (late = checker_.expired(now_)) != HealthChecker::kNone;) {
      Probe& probe = *probes_.get(probe_of_[late]);
      conclude(probe, CheckAnswer::Verdict::failed,
               missing(probe) + (" within " + seconds_text(options_.check.timeout) + " s"));
    }
    probes_.reap();
    std::uint32_t started = 0;
    for (; started < kStartsATurn; ++started) {
      const std::uint32_t target = checker_.start_due(now_);
      if (target == HealthChecker::kNone) break;
      begin(target);
    }
    more_due = started == kStartsATurn;
    probes_.reap();
  }
  probes_.for_each([&](Probe& probe, Handle handle) {
    probe.tls.reset();
    probe.fd.reset();
    probes_.retire(handle);
  });
  probes_.reap();
}

void HealthMonitor::begin(std::uint32_t target) {
  SocketAddress address = options_.address(target);
  if (address.empty()) return settle(target, false, "its name does not resolve");
  if (options_.check.port != 0 && address.family() != AF_UNIX) address.set_port(options_.check.port);
  Fd fd{::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  if (!fd) return checker_.abandon(target);  // we are short of descriptors: that is not the backend's fault
  if (address.family() != AF_UNIX) {
    const int one = 1;
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  }
  if (::connect(fd.get(), address.get(), address.size()) != 0 && errno != EINPROGRESS) {
    const int error = errno;
    if (is_our_shortage(error)) return checker_.abandon(target);
    return settle(target, false, os_reason(error));
  }
  auto [probe, handle] = probes_.emplace(rules_);
  if (probe == nullptr) return checker_.abandon(target);
  probe->handle = handle;
  probe->target = target;
  if (!options_.send_proxy.empty() && options_.check.port == 0 &&
      options_.send_proxy[target] != SendProxy::off) {
    probe->unsent = proxy_header_of_our_own(options_.send_proxy[target] == SendProxy::v1 ? 1 : 2);
  }
  probe->fd = std::move(fd);
  if (!secure(*probe, target) || !loop_.add(probe->fd.get(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                            Token{TokenKind::upstream, handle})) {
    probe->tls.reset();
    probe->fd.reset();
    probes_.retire(handle);
    return checker_.abandon(target);
  }
  probe_of_[target] = handle;
}

/// Completes what is to be sent; false: no memory. The PROXY header is for whoever ends the TLS there, so it
/// goes before it.
bool HealthMonitor::secure(Probe& probe, std::uint32_t target) {
  tls::ClientTarget* const whom = options_.tls.empty() ? nullptr : options_.tls[target];
  if (whom != nullptr) {
    probe.tls = tls::Session::connect(*whom, probe.fd.get(), tls::Resumption::never);
    if (!probe.tls) return false;
    probe.tls->say_first(probe.unsent);
    probe.unsent.clear();
  }
  probe.unsent += check_request(options_.check, options_.hosts[target]);
  return true;
}

std::string HealthMonitor::missing(const Probe& probe) {
  if (!probe.connected) return "no connection";
  return probe.tls && !probe.tls->established() ? "no TLS handshake" : "no answer";
}

void HealthMonitor::on_event(Probe& probe) {
  if (!probe.connected) {
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(probe.fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return conclude(probe, CheckAnswer::Verdict::failed, os_reason(error));
    probe.connected = true;
  }
  if (probe.tls && !shake_hands(probe)) return;
  if (!send_rest(probe)) return;
  const CheckAnswer::Verdict sent = probe.answer.request_sent();
  if (sent != CheckAnswer::Verdict::pending) return conclude(probe, sent, {});
  receive(probe);
}

/// False: it is not done yet, or it failed and so has the check.
bool HealthMonitor::shake_hands(Probe& probe) {
  const tls::Io io = probe.tls->handshake();
  if (io.status == tls::Status::ok) return true;
  if (io.status != tls::Status::want_read && io.status != tls::Status::want_write) {
    conclude(probe, CheckAnswer::Verdict::failed, "TLS: " + probe.tls->error());
  }
  return false;
}

/// False: there is more to send, later. A backend that does not take all of the request may have
/// answered it already, so what it says is read all the same.
bool HealthMonitor::send_rest(Probe& probe) {
  if (probe.tls) {
    const tls::Io io = probe.tls->write(probe.unsent);
    probe.unsent.erase(0, io.bytes);
    return io.status != tls::Status::want_read && io.status != tls::Status::want_write;
  }
  while (!probe.unsent.empty()) {
    const ssize_t n = ::send(probe.fd.get(), probe.unsent.data(), probe.unsent.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN) return false;
    if (n < 0) break;
    probe.unsent.erase(0, static_cast<std::size_t>(n));
  }
  probe.unsent.clear();
  return true;
}

void HealthMonitor::receive(Probe& probe) {
  if (probe.tls) return receive_tls(probe);
  for (;;) {
    const ssize_t n = ::recv(probe.fd.get(), scratch_.data(), scratch_.size(), 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n < 0) return conclude(probe, CheckAnswer::Verdict::failed, os_reason(errno));
    const auto verdict =
        n == 0 ? probe.answer.feed_eof() : probe.answer.feed({scratch_.data(), static_cast<std::size_t>(n)});
    if (verdict != CheckAnswer::Verdict::pending) return conclude(probe, verdict, probe.answer.reason());
  }
}

/// An end without close_notify is an end: what had to come is missing then, or it is not.
void HealthMonitor::receive_tls(Probe& probe) {
  for (;;) {
    const tls::Io io = probe.tls->read(scratch_.data(), scratch_.size());
    if (io.status == tls::Status::want_read || io.status == tls::Status::want_write) return;
    if (io.status == tls::Status::failed) {
      return conclude(probe, CheckAnswer::Verdict::failed, "TLS: " + probe.tls->error());
    }
    const auto verdict = io.status == tls::Status::ok ? probe.answer.feed({scratch_.data(), io.bytes})
                                                      : probe.answer.feed_eof();
    if (verdict != CheckAnswer::Verdict::pending) return conclude(probe, verdict, probe.answer.reason());
  }
}

void HealthMonitor::conclude(Probe& probe, CheckAnswer::Verdict verdict, std::string reason) {
  const std::uint32_t target = probe.target;
  if (probe.tls) probe.tls->close_notify();
  probe.tls.reset();
  probe.fd.reset();
  probes_.retire(probe.handle);
  settle(target, verdict == CheckAnswer::Verdict::passed, std::move(reason));
}

void HealthMonitor::settle(std::uint32_t target, bool passed, std::string reason) {
  const HealthChecker::Change change = checker_.finish(target, passed);
  const bool up = change == HealthChecker::Change::up;
  {
    // Before the change is told: whoever hears of it and asks why finds the reason.
    const std::scoped_lock lock{mutex_};
    Finding& finding = findings_[target];
    ++finding.checks;
    if (!passed) finding.failure = reason;
    if (finding.health != checker_.health(target)) {
      finding.health = checker_.health(target);
      finding.since = now_;
    }
  }
  if (change != HealthChecker::Change::none) {
    options_.on_change({.target = target, .up = up, .reason = up ? std::string_view{} : reason});
  }
  if (options_.on_checked) options_.on_checked(target, checker_.health(target) != Health::down);
  // After it: whoever waits for the first results finds it done.
  const std::scoped_lock lock{mutex_};
  if (untested_ == checker_.untested()) return;
  untested_ = checker_.untested();
  if (untested_ == 0) tested_.notify_all();
}

}  // namespace lb
