// A generation on call: parked while its successor is on probation, resumed when that fails; and the
// self-probe.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

#include "lb/base/fault_point.hpp"
#include "lb/supervisor/generation_impl.hpp"

namespace lb {
namespace {

/// Tells one socket from another, whatever descriptors lead to it.
std::pair<dev_t, ino_t> identity(int fd) {
  struct stat what{};
  return ::fstat(fd, &what) == 0 ? std::pair{what.st_dev, what.st_ino} : std::pair{dev_t{0}, ino_t{0}};
}

}  // namespace

/// SUCCESSOR says whether it counts on our coming back. Whoever was told to end does not.
void Generation::park_if(bool asked, const Config* successor) {
  if (!asked || told_to_end_) {
    if (std::exchange(parked_, false)) listening_.clear();
    return plane_->let_go();
  }
  if (!std::exchange(parked_, true)) {
    log_->info("parked", "kept ready until the next configuration has proved good");
  }
  plane_->park(successor);
  LB_FAULT_POINT("generation.parked");
}

void Generation::on_resume(ChannelMessage message) {
  LB_FAULT_POINT("generation.resume_received");
  const auto order = decode<ResumeMessage>(message);
  if (!order || order->labels.size() != message.fds.size() || state_ != State::draining || !parked_) {
    log_->error("channel.unexpected", "a malformed RESUME, or one at the wrong time, was ignored");
    return;
  }
  std::set<std::pair<dev_t, ino_t>> known;
  for (const int fd : listening_) known.insert(identity(fd));
  std::vector<ListeningSocket> more;
  for (std::size_t i = 0; i < message.fds.size(); ++i) {
    const auto own = std::ranges::find_if(
        config_->listen, [&](const ListenerConfig& one) { return one.text() == order->labels[i]; });
    if (own == config_->listen.end() || known.contains(identity(message.fds[i].get()))) continue;
    listening_.push_back(message.fds[i].get());
    listening_labels_.push_back(order->labels[i]);
    more.push_back({.endpoint = static_cast<const Endpoint&>(*own), .fd = std::move(message.fds[i])});
  }
  const auto shards = static_cast<std::int64_t>(more.size());
  serve_again(std::move(more));
  log_->warn("resumed", "serves again: the next configuration did not do", {{"further_sockets", shards}});
  LB_FAULT_POINT("generation.before_resumed");
  send(ResumedMessage{});
  LB_FAULT_POINT("generation.resumed_sent");
}

void Generation::serve_again(std::vector<ListeningSocket> more) {
  parked_ = drain_told_ = false;
  state_ = State::serving;
  const Instant now = monotonic_now();
  for (const auto& link : out_) link->stop(now);
  handing_ = false;
  successor_until_ = kNever;
  plane_->resume(std::move(more));
  pause_handoff(false);
  take_back();
}

/// The supervisor has ended while we are parked. It was the one that told us to serve again when our
/// successor does not; if both are gone nobody else is left.
bool Generation::serves_without_supervisor() {
  if (!parked_ || successor_until_ == kNever) return false;
  log_->warn("resumed", "serves again: supervisor and successor are gone");
  serve_again({});
  return true;
}

void Generation::on_release(std::string_view why) {
  told_to_end_ = true;
  if (std::exchange(parked_, false)) {
    log_->info("released", why);
    plane_->let_go();
    listening_.clear();
  }
  if (state_ == State::serving) begin_drain(why, nullptr, Handoff::none);
  send_draining({});
}

void Generation::on_probe(const ChannelMessage& message) {
  const auto order = decode<ProbeMessage>(message);
  const Duration timeout = Milliseconds{order ? order->timeout_ms : 0};
  if (order && probe_run_.begin([plane = plane_.get(), timeout] { return plane->probe(timeout); })) return;
  log_->warn("probe.skipped", "the self-probe could not be made");
  send(ProbedMessage{});
}

void Generation::send_probed() {
  LB_FAULT_POINT("generation.before_probed");
  send(ProbedMessage{.probes = probe_run_.finish()});
}

}  // namespace lb
