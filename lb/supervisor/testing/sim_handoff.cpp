#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <queue>
#include <tuple>
#include <utility>
#include <variant>

#include "lb/base/random.hpp"
#include "lb/reload/handoff.hpp"
#include "lb/supervisor/testing/handoff_simulator.hpp"

namespace lb::simulator {
namespace {

using namespace handoff;
using std::chrono::milliseconds;

struct Followed {
  bool sender_copy = true, receiver_copy = false;      // has its descriptors
  bool sender_serves = true, receiver_serves = false;  // reads and writes it
  bool kept_serving = false;                           // a sabotage's
  bool delivered = false;                              // to the receiver, and not given up by it
  Instant offered = kNever;
};

class Link {
 public:
  Link(std::uint64_t seed, HandoffSabotage sabotage, bool story)
      : random_(seed), sabotage_(sabotage), story_(story) {
    limits_.batch_items_max = 1 + random_.below(8);
    sender_.emplace(limits_, kSkills, now_);
  }

  HandoffReport run() {
    begin();
    for (int steps = 0; steps < 3000 && report_.violation.empty(); ++steps) {
      const Instant due = sender_alive_ ? sender_->next_deadline() : kNever;
      if (agenda_.empty() && due == kNever) break;
      if (agenda_.empty() || due < agenda_.top().at) {
        now_ = std::max(now_, due);
        feed(Tick{});
      } else {
        auto next = agenda_.top();
        agenda_.pop();
        now_ = next.at;
        next.act();
      }
      check();
    }
    if (report_.violation.empty()) check_end();
    return std::move(report_);
  }

 private:
  inline static const Skills kSkills = {{Kind::client, 1}, {Kind::tunnel, 1}, {Kind::upstream, 1}};
  struct Planned {
    Instant at;
    std::uint64_t order = 0;
    std::function<void()> act;
    bool operator<(const Planned& other) const {
      return std::tie(at, order) > std::tie(other.at, other.order);
    }
  };

  Duration between(int low_ms, int high_ms) {
    return milliseconds{low_ms +
                        static_cast<int>(random_.below(static_cast<std::uint32_t>(high_ms - low_ms + 1)))};
  }
  void plan(Duration in, std::function<void()> act) { agenda_.push({now_ + in, order_++, std::move(act)}); }
  void fail(ItemId id, const char* what) {
    if (report_.violation.empty()) report_.violation = "item " + std::to_string(id) + " " + what;
  }
  void tell(const std::string& line) {
    if (story_) report_.story += std::to_string(to_ms(now_.time_since_epoch())) + " ms  " + line + "\n";
  }

  void begin() {
    if (random_.below(10) != 0) {
      send_back([this] { feed(PeerHello{kSkills}); });
    }
    const std::uint32_t rounds = 1 + random_.below(8);
    for (std::uint32_t i = 0; i < rounds; ++i) plan(between(0, 3000), [this] { give(); });
    if (random_.below(4) == 0) plan(between(0, 4000), [this] { die(true); });
    if (random_.below(4) == 0) plan(between(0, 4000), [this] { die(false); });
    plan(between(0, 6000), [this] {
      tell("the sender hands over no more");
      feed(StopHanding{});
    });
  }

  void give() {
    if (!sender_alive_) return;
    Given given;
    for (std::uint32_t n = random_.below(12); n > 0; --n) {
      const ItemId id = ++last_id_;
      items_[id].sender_serves = false;  // detached
      given.items.push_back(
          {.id = id, .kind = static_cast<Kind>(1 + random_.below(3)), .bytes = random_.below(9000)});
    }
    report_.items += given.items.size();
    tell("given " + std::to_string(given.items.size()) + " items");
    feed(given);
  }

  void die(bool sender) {
    tell(sender ? "the sender dies" : "the receiver dies");
    if (sender) {
      sender_alive_ = false;
      for (auto& [id, item] : items_) item.sender_copy = item.sender_serves = false;
      send([this] { receive(LinkEnded{}); });
    } else {
      receiver_alive_ = false;
      for (auto& [id, item] : items_) item.receiver_copy = item.receiver_serves = false;
      send_back([this] { feed(LinkEnded{}); });
    }
  }

  // ---- the socket: in order, each way, with delays ----

  void send(std::function<void()> arrive) {
    const bool overtakes = sabotage_ == HandoffSabotage::reorder && random_.below(10) == 0;
    Instant at = now_ + between(0, random_.below(20) == 0 ? 2500 : 20);
    if (!overtakes) at = std::max(at, last_there_);
    last_there_ = std::max(at, last_there_);
    plan(at - now_, [this, arrive = std::move(arrive)] {
      if (receiver_alive_) arrive();
    });
  }
  void send_back(std::function<void()> arrive) {
    last_back_ = std::max(now_ + between(0, random_.below(20) == 0 ? 2500 : 20), last_back_);
    plan(last_back_ - now_, [this, arrive = std::move(arrive)] {
      if (sender_alive_) arrive();
    });
  }

  // ---- the two ends ----

  void feed(const SenderEvent& event) {
    if (!sender_alive_) return;
    for (const Command& command : sender_->step(now_, event)) carry_out_sender(command);
  }
  void receive(const ReceiverEvent& event) {
    if (!receiver_alive_ || receiver_closed_) return;
    const bool death = std::holds_alternative<LinkEnded>(event);
    for (const Command& command : receiver_.step(event)) carry_out_receiver(command, death);
  }

  void offer(const SendOffer& offer) {
    Offered offered{.batch = offer.batch};
    for (const Item& item : offer.items) {
      Followed& one = items_[item.id];
      one.offered = now_;
      if (one.sender_serves) fail(item.id, "is offered and served at once");
      one.kept_serving = sabotage_ == HandoffSabotage::serve_while_offered;
      if (sabotage_ == HandoffSabotage::close_at_offer) one.sender_copy = false;
      offered.items.push_back({item, random_.below(10) != 0});
    }
    tell("OFFER " + std::to_string(offer.batch) + " of " + std::to_string(offer.items.size()));
    send([this, offered = std::move(offered)] {
      if (receiver_closed_) return;
      for (const auto& one : offered.items) {
        items_[one.item.id].receiver_copy = items_[one.item.id].delivered = true;
      }
      receive(offered);
    });
  }

  void carry_out_sender(const Command& command) {
    if (const auto* c = std::get_if<SendOffer>(&command)) return offer(*c);
    if (const auto* c = std::get_if<SendCommit>(&command)) {
      tell("COMMIT " + std::to_string(c->batch));
      if (!receiver_alive_) return feed(LinkEnded{});
      if (sabotage_ != HandoffSabotage::lose_commit) {
        send([this, batch = c->batch] { receive(Committed{batch}); });
      }
      return feed(CommitSent{c->batch});
    }
    if (const auto* c = std::get_if<SendWithdraw>(&command)) {
      tell("WITHDRAW " + std::to_string(c->batch));
      if (sabotage_ == HandoffSabotage::lose_withdraw) return;
      return send([this, batch = c->batch] { receive(Withdrawn{batch}); });
    }
    if (const auto* c = std::get_if<Release>(&command)) {
      report_.moved += c->items.size();
      for (const ItemId id : c->items) {
        Followed& one = items_[id];
        one.kept_serving = false;
        one.sender_copy = false;
        one.offered = kNever;
        if (sabotage_ == HandoffSabotage::take_back_twice && random_.below(20) == 0) {
          one.sender_copy = one.sender_serves = true;
        }
      }
    }
    if (const auto* c = std::get_if<TakeBack>(&command)) {
      for (const ItemId id : c->items) {
        Followed& one = items_[id];
        one.offered = kNever;
        if (!one.sender_copy) fail(id, "is taken back without its descriptors");
        one.sender_serves = true;
      }
    }
    if (std::holds_alternative<CloseLink>(command)) {
      tell("the sender closes the link");
      send([this] { receive(LinkEnded{}); });
    }
  }

  void carry_out_receiver(const Command& command, bool death) {
    if (const auto* c = std::get_if<SendAnswer>(&command)) {
      tell("ANSWER " + std::to_string(c->batch));
      return send_back([this, answer = *c] { feed(Answered{answer.batch, answer.taken}); });
    }
    if (const auto* c = std::get_if<Adopt>(&command)) {
      for (const ItemId id : c->items) {
        Followed& one = items_[id];
        if (death && sabotage_ == HandoffSabotage::discard_on_death) {
          one.receiver_copy = false;
          continue;
        }
        if (!one.receiver_copy) fail(id, "is adopted without its descriptors");
        one.receiver_serves = true;
      }
    }
    if (const auto* c = std::get_if<Discard>(&command)) {
      for (const ItemId id : c->items) items_[id].receiver_copy = items_[id].delivered = false;
    }
    if (const auto* c = std::get_if<CloseLink>(&command)) {
      if (!c->reason.empty() && report_.violation.empty()) {
        report_.violation = "the receiver sees a violation: " + c->reason;
      }
      receiver_closed_ = true;
      send_back([this] { feed(LinkEnded{}); });
    }
    if (sabotage_ == HandoffSabotage::adopt_before_commit) {
      for (auto& [id, one] : items_) {
        if (one.receiver_copy) one.receiver_serves = true;
      }
    }
  }

  // ---- invariants ----

  void check() {
    for (const auto& [id, one] : items_) {
      const bool sender = one.sender_serves || one.kept_serving;
      if (sender && one.receiver_serves && sender_alive_) fail(id, "is owned by two");
      if (one.kept_serving && one.receiver_copy) fail(id, "is served while it is offered");
      if (one.offered != kNever && sender_alive_ &&
          now_ - one.offered > limits_.answer_timeout + milliseconds{1}) {
        fail(id, "is in the air for too long");
      }
    }
  }

  void check_end() {
    for (const auto& [id, one] : items_) {
      const bool served = one.sender_serves || one.receiver_serves;
      // What the process that died had, died with it; whatever is in the hands of one that lives is served.
      const bool in_hands = (sender_alive_ && one.sender_copy) || (receiver_alive_ && one.receiver_copy);
      if (receiver_alive_ && one.delivered && !one.receiver_serves) fail(id, "is owned by none");
      if (!served && (in_hands || (sender_alive_ && receiver_alive_))) fail(id, "is owned by none");
      if (sender_alive_ && receiver_alive_ && one.sender_copy && one.receiver_copy)
        fail(id, "is open at both ends");
    }
  }

  Random random_;
  HandoffSabotage sabotage_;
  bool story_;
  Limits limits_;
  Instant now_{milliseconds{1000}};
  std::optional<HandoffSender> sender_;
  HandoffReceiver receiver_{kSkills};
  bool sender_alive_ = true, receiver_alive_ = true, receiver_closed_ = false;
  std::map<ItemId, Followed> items_;
  ItemId last_id_ = 0;
  std::priority_queue<Planned> agenda_;
  std::uint64_t order_ = 0;
  Instant last_there_{}, last_back_{};
  HandoffReport report_;
};

}  // namespace

const char* handoff_sabotage_name(HandoffSabotage sabotage) noexcept {
  constexpr const char* kNames[kHandoffSabotages] = {
      "none",        "close_at_offer", "serve_while_offered", "adopt_before_commit", "lose_withdraw",
      "lose_commit", "reorder",        "discard_on_death",    "take_back_twice"};
  return kNames[static_cast<int>(sabotage)];
}

HandoffReport run_handoff(std::uint64_t seed, HandoffSabotage sabotage, bool story) {
  return Link{mix64(seed), sabotage, story}.run();
}

}  // namespace lb::simulator
