// Live connections that come from the generation before and go to the one behind: what lies between the data
// plane and the links.
//
//   data plane --take_handed--> HandoffOut --> ... --> HandoffIn --adopt--> data plane
//       ^                           | refused, late, gone
//       +----------adopt------------+
//
// Without a successor that takes them (it has not said HELLO yet; it died, and another one is to come)
// handing over is paused: the connections are served here as if they stayed. After kSuccessorWait, or when it
// is there but does not answer, the drain goes on without handoff.
#include <algorithm>

#include "lb/base/fault_point.hpp"
#include "lb/supervisor/generation_impl.hpp"

namespace lb {
namespace {

/// A successor that died is replaced by the supervisor, which names the replacement.
constexpr Duration kSuccessorWait = std::chrono::seconds{15};

}  // namespace

void Generation::on_predecessor(ChannelMessage message) {
  const auto order = decode<PredecessorMessage>(message);
  if (!order || message.fds.size() != 1) {
    log_->error("channel.unexpected", "a malformed PREDECESSOR of the supervisor was ignored");
    return;
  }
  in_.push_back(std::make_unique<HandoffIn>(std::move(message.fds[0]), order->number));
}

/// Before the drain begins, or goes on with another successor: what the former one has not taken comes back,
/// and nothing is queued until this one has said HELLO.
void Generation::begin_handoff(Fd link) {
  successor_until_ = kNever;
  for (const auto& former : out_) former->stop(monotonic_now());
  out_.push_back(std::make_unique<HandoffOut>(std::move(link), monotonic_now()));
  handing_ = true;
  pause_handoff(true);
  take_back();
}

/// There is nobody to hand over to: what is not committed comes back.
void Generation::end_handoff() {
  successor_until_ = kNever;
  if (!handing_) return;
  const Instant now = monotonic_now();
  for (const auto& link : out_) link->stop(now);
  handing_ = false;
  plane_->give_up_handoff();
  pause_handoff(false);
  take_back();
}

void Generation::pause_handoff(bool paused) {
  if (std::exchange(handoff_paused_, paused) != paused) plane_->pause_handoff(paused);
}

void Generation::serve_links() {
  serve_in();
  serve_out();
}

void Generation::serve_in() {
  const bool takes = state_ == State::serving || handing_;
  for (const auto& link : in_) {
    link->turn(takes);
    if (auto adopted = link->adopted(); !adopted.empty()) {
      LB_FAULT_POINT("generation.clients_arriving");
      plane_->adopt(std::move(adopted));
    }
    if (!link->reason().empty()) {
      log_->error("handoff.broken", link->reason(), {{"generation", link->from()}});
    }
  }
  std::erase_if(in_, [](const auto& link) { return !link->open(); });
}

void Generation::serve_out() {
  const Instant now = monotonic_now();
  for (const auto& link : out_) link->turn(now);
  if (handing_ && !out_.empty()) {
    HandoffOut& successor = *out_.back();
    if (successor.handing()) {
      pause_handoff(false);
      if (successor.has_room()) give_to(successor, now);
    }
    if (successor.ended() && successor_until_ == kNever) on_successor_ended(successor);
  }
  if (now >= successor_until_) {
    log_->warn("handoff.given_up", "no further successor came; the connections that are left drain here");
    end_handoff();
  }
  take_back();
}

void Generation::give_to(HandoffOut& successor, Instant now) {
  std::vector<HandedConnection> taken = plane_->take_handed();
  if (taken.empty()) return;
  LB_FAULT_POINT("generation.clients_leaving");
  successor.give(now, std::move(taken));
}

void Generation::take_back() {
  for (const auto& link : out_) {
    if (auto back = link->take_back(); !back.empty()) plane_->adopt(std::move(back));
  }
  if (handing_ && handoff_paused_) {
    if (auto queued = plane_->take_handed(); !queued.empty()) plane_->adopt(std::move(queued));
  }
  const bool waits =
      successor_until_ != kNever;  // then the last one stays, so that it is known to have ended
  std::erase_if(out_, [&](const auto& link) {
    if (link->open() || !link->idle() || (waits && link == out_.back())) return false;
    moved_.add(link->counts());
    return true;
  });
}

/// Before anything is taken back from it, so that it is served and not queued again.
void Generation::on_successor_ended(const HandoffOut& successor) {
  if (successor.receiver_gone() && channel_.open()) {
    log_->warn("handoff.successor_gone", "the successor is gone; serving on what it has not taken");
    successor_until_ = monotonic_now() + kSuccessorWait;
    return pause_handoff(true);
  }
  const std::string& reason = successor.reason();
  log_->warn("handoff.given_up", "the connections that are left drain here",
             {{"reason", reason.empty() ? std::string_view{"the successor is gone"} : reason}});
  end_handoff();
}

bool Generation::links_idle() const {
  return std::ranges::none_of(in_, [](const auto& link) { return link->holds(); }) &&
         std::ranges::all_of(out_, [](const auto& link) { return link->idle() && !link->wants_write(); });
}

Instant Generation::links_deadline() const {
  Instant at = successor_until_;
  for (const auto& link : out_) at = std::min(at, link->deadline());
  return at;
}

}  // namespace lb
