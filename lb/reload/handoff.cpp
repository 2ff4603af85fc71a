#include "lb/reload/handoff.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "lb/base/overloaded.hpp"

namespace lb::handoff {
namespace {

std::vector<ItemId> ids_of(const std::vector<Item>& items) {
  std::vector<ItemId> ids;
  ids.reserve(items.size());
  for (const Item& item : items) ids.push_back(item.id);
  return ids;
}

/// The newest version of a kind; 0: it is not known.
std::uint16_t version_of(const Skills& skills, Kind kind) noexcept {
  const auto skill = std::ranges::find(skills, kind, &Skill::kind);
  return skill == skills.end() ? std::uint16_t{0} : skill->version;
}

}  // namespace

// ----------------------------------------------------------------------------------------------- the sender

Commands HandoffSender::step(Instant now, const SenderEvent& event) {
  Commands out;
  std::visit(Overloaded{
                 [&](const PeerHello& e) { on_hello(now, e, out); },
                 [&](const Given& e) { on_given(now, e, out); },
                 [&](const Answered& e) { on_answer(e, out); },
                 [&](const CommitSent& e) { on_commit_sent(e.batch, out); },
                 [&](const StopHanding&) { end(TakeBack::Why::stopped, {}, out); },
                 [&](const LinkEnded&) { on_link_ended(out); },
                 [&](const Malformed& e) { end(TakeBack::Why::stopped, e.reason, out); },
                 [&](const Tick&) {
                   if (now >= next_deadline()) {
                     end(TakeBack::Why::late, "the successor does not answer in time", out);
                   }
                 },
             },
             event);
  if (state_ == State::open) offer_pending(now, out);
  return out;
}

Instant HandoffSender::next_deadline() const noexcept {
  if (state_ == State::greeting) return hello_deadline_;
  Instant at = kNever;
  for (const auto& [number, batch] : batches_) {
    if (!batch.committing) at = std::min(at, batch.deadline);
  }
  return at;
}

/// From now on items are offered as both understand them. What was given before waited for this.
void HandoffSender::on_hello(Instant now, const PeerHello& hello, Commands& out) {
  if (state_ == State::ended) return;
  if (state_ == State::open) {
    return end(TakeBack::Why::stopped, "the successor sent HELLO again", out);
  }
  state_ = State::open;
  std::erase_if(skills_, [&](Skill& skill) {
    skill.version = std::min(skill.version, version_of(hello.skills, skill.kind));
    return skill.version == 0;
  });
  const std::deque<Item> waiting = std::exchange(pending_, {});
  if (!waiting.empty()) on_given(now, Given{{waiting.begin(), waiting.end()}}, out);
}

void HandoffSender::on_given(Instant, const Given& given, Commands& out) {
  if (state_ == State::ended) {
    if (!given.items.empty()) {
      out.emplace_back(TakeBack{.why = TakeBack::Why::stopped, .items = ids_of(given.items)});
    }
    return;
  }
  TakeBack strange{.why = TakeBack::Why::not_understood, .items = {}};
  for (Item item : given.items) {
    if (state_ == State::open) {
      item.version = std::min(item.version, version_of(skills_, item.kind));
      if (item.version == 0) {
        strange.items.push_back(item.id);
        continue;
      }
    }
    pending_.push_back(item);
  }
  if (!strange.items.empty()) out.emplace_back(std::move(strange));
}

void HandoffSender::offer_pending(Instant now, Commands& out) {
  while (!pending_.empty() && batches_.size() < limits_.batches_max) {
    Batch batch{.items = {}, .deadline = now + limits_.answer_timeout};
    std::size_t bytes = 0;
    while (!pending_.empty() && batch.items.size() < limits_.batch_items_max) {
      const Item& next = pending_.front();
      if (!batch.items.empty() && bytes + next.bytes > limits_.batch_bytes_max) break;
      bytes += next.bytes;
      batch.items.push_back(next);
      pending_.pop_front();
    }
    out.emplace_back(SendOffer{.batch = ++last_batch_, .items = batch.items});
    batches_.emplace(last_batch_, std::move(batch));
  }
}

void HandoffSender::on_answer(const Answered& answer, Commands& out) {
  if (state_ == State::ended) return;  // it crossed our WITHDRAW
  const auto found = batches_.find(answer.batch);
  if (found == batches_.end() || found->second.committing ||
      found->second.items.size() != answer.taken.size()) {
    return end(TakeBack::Why::stopped, "the successor answered what it was not offered", out);
  }
  Batch& batch = found->second;
  std::vector<Item> taken;
  TakeBack refused{.why = TakeBack::Why::refused, .items = {}};
  for (std::size_t i = 0; i < batch.items.size(); ++i) {
    if (answer.taken[i]) {
      taken.push_back(batch.items[i]);
    } else {
      refused.items.push_back(batch.items[i].id);
    }
  }
  if (!refused.items.empty()) out.emplace_back(std::move(refused));
  if (taken.empty()) {
    batches_.erase(found);  // settled: there is nothing to commit
    return;
  }
  batch.items = std::move(taken);
  batch.committing = true;
  out.emplace_back(SendCommit{answer.batch});
}

void HandoffSender::on_commit_sent(BatchNumber number, Commands& out) {
  const auto found = batches_.find(number);
  if (found == batches_.end() || !found->second.committing) return;  // the link ended meanwhile
  out.emplace_back(Release{ids_of(found->second.items)});
  batches_.erase(found);
  close_when_settled(out);
}

void HandoffSender::on_link_ended(Commands& out) {
  if (link_closed_) return;
  state_ = State::ended;
  TakeBack back{.why = TakeBack::Why::receiver_gone, .items = {}};
  for (const auto& [number, batch] : batches_) {
    for (const Item& item : batch.items) back.items.push_back(item.id);
  }
  for (const Item& item : pending_) back.items.push_back(item.id);
  batches_.clear();
  pending_.clear();
  if (!back.items.empty()) out.emplace_back(std::move(back));
  close_when_settled(out);
}

void HandoffSender::end(TakeBack::Why why, std::string reason, Commands& out) {
  if (state_ == State::ended) return;
  state_ = State::ended;
  close_reason_ = std::move(reason);
  TakeBack back{.why = why, .items = {}};
  // One whose COMMIT is on its way to the socket is not withdrawn: CommitSent or LinkEnded tell of it.
  for (auto batch = batches_.begin(); batch != batches_.end();) {
    if (batch->second.committing) {
      ++batch;
      continue;
    }
    out.emplace_back(SendWithdraw{batch->first});
    for (const Item& item : batch->second.items) back.items.push_back(item.id);
    batch = batches_.erase(batch);
  }
  for (const Item& item : pending_) back.items.push_back(item.id);
  pending_.clear();
  if (!back.items.empty()) out.emplace_back(std::move(back));
  close_when_settled(out);
}

void HandoffSender::close_when_settled(Commands& out) {
  if (state_ != State::ended || link_closed_ || !batches_.empty()) return;
  link_closed_ = true;
  out.emplace_back(CloseLink{close_reason_});
}

// --------------------------------------------------------------------------------------------- the receiver

Commands HandoffReceiver::step(const ReceiverEvent& event) {
  Commands out;
  if (ended_) return out;
  std::visit(Overloaded{
                 [&](const Offered& e) { on_offer(e, out); },
                 [&](const Committed& e) { on_settled(e.batch, true, out); },
                 [&](const Withdrawn& e) { on_settled(e.batch, false, out); },
                 [&](const LinkEnded&) {
                   ended_ = true;
                   for (auto& [number, items] : held_) out.emplace_back(Adopt{std::move(items)});
                   held_.clear();
                   out.emplace_back(CloseLink{});
                 },
                 [&](const Malformed& e) { violation(e.reason, out); },
             },
             event);
  return out;
}

bool HandoffReceiver::understands(const Item& item) const noexcept {
  return item.version >= 1 && item.version <= version_of(skills_, item.kind);
}

void HandoffReceiver::on_offer(const Offered& offer, Commands& out) {
  if (offer.batch != last_batch_ + 1) return violation("an offer is missing, or came twice", out);
  last_batch_ = offer.batch;
  SendAnswer answer{.batch = offer.batch, .taken = {}};
  std::vector<ItemId> taken;
  Discard refused;
  for (const Offered::One& one : offer.items) {
    const bool takes = one.fits && understands(one.item);
    answer.taken.push_back(takes);
    (takes ? taken : refused.items).push_back(one.item.id);
  }
  if (!taken.empty()) held_.emplace(offer.batch, std::move(taken));
  if (!refused.items.empty()) out.emplace_back(std::move(refused));
  out.emplace_back(std::move(answer));
}

/// Batches are settled in their order: one that is passed over was settled by a message that is missing. One
/// of which nothing was taken is settled by its answer; its WITHDRAW may have crossed that.
void HandoffReceiver::on_settled(BatchNumber batch, bool committed, Commands& out) {
  const auto oldest = held_.begin();
  if (oldest == held_.end() || oldest->first != batch) {
    const bool was_refused = batch != 0 && batch <= last_batch_ && !held_.contains(batch);
    if (!committed && was_refused) return;
    return violation("a batch was settled that is not held, or out of its order", out);
  }
  if (committed) {
    out.emplace_back(Adopt{std::move(oldest->second)});
  } else {
    out.emplace_back(Discard{std::move(oldest->second)});
  }
  held_.erase(oldest);
}

void HandoffReceiver::violation(std::string reason, Commands& out) {
  ended_ = true;
  Discard all;
  for (const auto& [number, items] : held_) all.items.insert(all.items.end(), items.begin(), items.end());
  held_.clear();
  if (!all.items.empty()) out.emplace_back(std::move(all));
  out.emplace_back(CloseLink{std::move(reason)});
}

}  // namespace lb::handoff
