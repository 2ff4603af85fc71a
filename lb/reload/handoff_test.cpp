#include "lb/reload/handoff.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <optional>
#include <random>

#include "lb/base/sanitized.hpp"

namespace lb::handoff {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const Skills kAll{{Kind::client, 1}, {Kind::tunnel, 1}, {Kind::upstream, 1}};
const Instant kStart{Duration{0}};

Item item(ItemId id, Kind kind = Kind::client, std::size_t bytes = 100) {
  return {.id = id, .kind = kind, .version = 1, .bytes = bytes};
}

template <class C>
const C* find(const Commands& commands) {
  for (const Command& command : commands) {
    if (const C* found = std::get_if<C>(&command)) return found;
  }
  return nullptr;
}

template <class C>
std::size_t count(const Commands& commands) {
  std::size_t n = 0;
  for (const Command& command : commands) n += std::holds_alternative<C>(command) ? 1 : 0;
  return n;
}

class SenderTest : public ::testing::Test {
 protected:
  HandoffSender greeted() {
    HandoffSender sender{{}, kAll, kStart};
    sender.step(kStart, PeerHello{kAll});
    return sender;
  }
};

TEST_F(SenderTest, OffersOnlyWhatItWasGivenOnceGreeted) {
  HandoffSender sender{{}, kAll, kStart};
  EXPECT_THAT(sender.step(kStart, Given{{item(1)}}), IsEmpty());
  EXPECT_FALSE(sender.idle());
  const Commands commands = sender.step(kStart, PeerHello{kAll});
  const auto* offer = find<SendOffer>(commands);
  ASSERT_NE(offer, nullptr);
  EXPECT_EQ(offer->batch, 1U);
  EXPECT_THAT(offer->items, ElementsAre(item(1)));
}

TEST_F(SenderTest, ReleasesWhatWasTakenAndTakesBackWhatWasRefusedInTheOrderOfTheProtocol) {
  HandoffSender sender = greeted();
  sender.step(kStart, Given{{item(1), item(2), item(3)}});
  const Commands answered = sender.step(kStart, Answered{1, {true, false, true}});
  ASSERT_NE(find<TakeBack>(answered), nullptr);
  EXPECT_THAT(find<TakeBack>(answered)->items, ElementsAre(2U));
  EXPECT_EQ(find<TakeBack>(answered)->why, TakeBack::Why::refused);
  ASSERT_NE(find<SendCommit>(answered), nullptr);
  EXPECT_EQ(find<Release>(answered), nullptr);  // not before COMMIT is in the socket
  const Commands sent = sender.step(kStart, CommitSent{1});
  ASSERT_NE(find<Release>(sent), nullptr);
  EXPECT_THAT(find<Release>(sent)->items, ElementsAre(1U, 3U));
  EXPECT_TRUE(sender.idle());
}

TEST_F(SenderTest, ABatchOfWhichNothingWasTakenIsSettledByItsAnswer) {
  HandoffSender sender = greeted();
  sender.step(kStart, Given{{item(1)}});
  const Commands answered = sender.step(kStart, Answered{1, {false}});
  EXPECT_EQ(find<SendCommit>(answered), nullptr);
  EXPECT_TRUE(sender.idle());
}

TEST_F(SenderTest, BatchesAreBoundedByItemsBytesAndNumber) {
  HandoffSender sender{{.batch_items_max = 3, .batch_bytes_max = 1000, .batches_max = 2}, kAll, kStart};
  sender.step(kStart, PeerHello{kAll});
  Given given;
  for (ItemId id = 1; id <= 4; ++id) given.items.push_back(item(id));
  given.items.push_back(item(5, Kind::tunnel, 5000));  // alone, however large
  given.items.push_back(item(6));
  const Commands first = sender.step(kStart, given);
  ASSERT_EQ(count<SendOffer>(first), 2U);
  EXPECT_EQ(std::get<SendOffer>(first[0]).items.size(), 3U);
  EXPECT_THAT(std::get<SendOffer>(first[1]).items, ElementsAre(item(4)));
  EXPECT_FALSE(sender.has_room());
  sender.step(kStart, Answered{1, {true, true, true}});
  EXPECT_EQ(count<SendOffer>(sender.step(kStart, CommitSent{1})), 1U);  // the large one
  sender.step(kStart, Answered{2, {true}});
  const Commands last = sender.step(kStart, CommitSent{2});
  ASSERT_NE(find<SendOffer>(last), nullptr);
  EXPECT_EQ(find<SendOffer>(last)->items[0].id, 6U);
}

TEST_F(SenderTest, WhatTheReceiverDoesNotKnowStays) {
  HandoffSender sender{{}, {{Kind::client, 3}, {Kind::tunnel, 1}}, kStart};
  sender.step(kStart, Given{{item(1, Kind::tunnel)}});
  Item newer = item(2);
  newer.version = 3;
  const Commands hello = sender.step(kStart, PeerHello{{{Kind::client, 2}}});
  ASSERT_NE(find<TakeBack>(hello), nullptr);
  EXPECT_EQ(find<TakeBack>(hello)->why, TakeBack::Why::not_understood);
  const Commands given = sender.step(kStart, Given{{newer, item(3, Kind::upstream)}});
  EXPECT_THAT(find<TakeBack>(given)->items, ElementsAre(3U));
  EXPECT_EQ(find<SendOffer>(given)->items[0].version, 2U);  // as both understand it
}

TEST_F(SenderTest, AReceiverWithoutHelloIsGivenUpInTime) {
  HandoffSender sender{{}, kAll, kStart};
  sender.step(kStart, Given{{item(1)}});
  EXPECT_EQ(sender.next_deadline(), kStart + Limits{}.hello_timeout);
  EXPECT_THAT(sender.step(sender.next_deadline() - Duration{1}, Tick{}), IsEmpty());
  const Commands late = sender.step(sender.next_deadline(), Tick{});
  EXPECT_THAT(find<TakeBack>(late)->items, ElementsAre(1U));
  EXPECT_EQ(find<SendWithdraw>(late), nullptr);
  EXPECT_NE(find<CloseLink>(late), nullptr);
  EXPECT_EQ(sender.next_deadline(), kNever);
}

TEST_F(SenderTest, ALateAnswerIsWithdrawnBeforeAnythingIsServedAndThenIgnored) {
  HandoffSender sender = greeted();
  sender.step(kStart, Given{{item(1)}});
  const Commands late = sender.step(sender.next_deadline(), Tick{});
  ASSERT_EQ(late.size(), 3U);
  EXPECT_EQ(std::get<SendWithdraw>(late[0]).batch, 1U);
  EXPECT_THAT(std::get<TakeBack>(late[1]).items, ElementsAre(1U));
  EXPECT_EQ(std::get<TakeBack>(late[1]).why, TakeBack::Why::late);
  EXPECT_FALSE(std::get<CloseLink>(late[2]).reason.empty());
  EXPECT_THAT(sender.step(kStart, Answered{1, {true}}), IsEmpty());
  const Commands given = sender.step(kStart, Given{{item(2)}});
  EXPECT_THAT(find<TakeBack>(given)->items, ElementsAre(2U));
}

TEST_F(SenderTest, AReceiverThatEndsGivesBackWhatIsNotCommitted) {
  HandoffSender sender = greeted();
  sender.step(kStart, Given{{item(1)}});
  sender.step(kStart, Given{{item(2)}});
  sender.step(kStart, Given{{item(3)}});  // waits: two batches are in the air
  sender.step(kStart, Answered{1, {true}});
  const Commands ended = sender.step(kStart, LinkEnded{});  // before CommitSent: COMMIT did not leave
  EXPECT_THAT(find<TakeBack>(ended)->items, ElementsAre(1U, 2U, 3U));
  EXPECT_EQ(find<SendWithdraw>(ended), nullptr);
  EXPECT_TRUE(sender.idle());
  EXPECT_THAT(sender.step(kStart, CommitSent{1}), IsEmpty());
}

TEST_F(SenderTest, StoppingWhileACommitIsOnItsWayWaitsForIt) {
  for (const bool left : {true, false}) {
    HandoffSender sender = greeted();
    sender.step(kStart, Given{{item(1)}});
    sender.step(kStart, Given{{item(2)}});
    sender.step(kStart, Answered{1, {true}});
    const Commands stopped = sender.step(kStart, StopHanding{});
    EXPECT_EQ(find<SendWithdraw>(stopped)->batch, 2U);
    EXPECT_THAT(find<TakeBack>(stopped)->items, ElementsAre(2U));
    EXPECT_EQ(find<CloseLink>(stopped), nullptr);
    const Commands settled = left ? sender.step(kStart, CommitSent{1}) : sender.step(kStart, LinkEnded{});
    EXPECT_EQ(find<Release>(settled) != nullptr, left);
    EXPECT_EQ(find<TakeBack>(settled) != nullptr, !left);
    EXPECT_NE(find<CloseLink>(settled), nullptr);
    EXPECT_TRUE(sender.idle());
  }
}

TEST_F(SenderTest, AnAnswerToNothingEndsTheLinkButOwnsNothingTwice) {
  for (const Answered& wrong : {Answered{7, {true}}, Answered{1, {true, true}}, Answered{1, {}}}) {
    HandoffSender sender = greeted();
    sender.step(kStart, Given{{item(1)}});
    const Commands commands = sender.step(kStart, wrong);
    EXPECT_EQ(find<SendWithdraw>(commands)->batch, 1U);
    EXPECT_THAT(find<TakeBack>(commands)->items, ElementsAre(1U));
    EXPECT_NE(find<CloseLink>(commands), nullptr);
  }
}

// ---------------------------------------------------------------------------------------------- the receiver

Offered offer(BatchNumber batch, std::vector<ItemId> ids, bool fits = true) {
  Offered offered{.batch = batch, .items = {}};
  for (const ItemId id : ids) offered.items.push_back({item(id), fits});
  return offered;
}

TEST(HandoffReceiver, HoldsWhatItTookAndOwnsItOnceCommitted) {
  HandoffReceiver receiver{kAll};
  const Commands answered = receiver.step(offer(1, {1, 2}));
  EXPECT_THAT(find<SendAnswer>(answered)->taken, ElementsAre(true, true));
  EXPECT_EQ(find<Adopt>(answered), nullptr);
  EXPECT_TRUE(receiver.holds());
  EXPECT_THAT(find<Adopt>(receiver.step(Committed{1}))->items, ElementsAre(1U, 2U));
  EXPECT_FALSE(receiver.holds());
}

TEST(HandoffReceiver, RefusesWhatItDoesNotUnderstandOrHasNoRoomFor) {
  HandoffReceiver receiver{{{Kind::client, 1}}};
  Offered offered = offer(1, {1, 2, 3, 4});
  offered.items[1].item.kind = Kind::tunnel;
  offered.items[2].item.version = 2;
  offered.items[3].fits = false;
  const Commands answered = receiver.step(offered);
  EXPECT_THAT(find<SendAnswer>(answered)->taken, ElementsAre(true, false, false, false));
  EXPECT_THAT(find<Discard>(answered)->items, ElementsAre(2U, 3U, 4U));
  EXPECT_THAT(find<Adopt>(receiver.step(Committed{1}))->items, ElementsAre(1U));
}

TEST(HandoffReceiver, ClosesItsCopiesOfWhatIsWithdrawn) {
  HandoffReceiver receiver{kAll};
  receiver.step(offer(1, {1}));
  EXPECT_THAT(find<Discard>(receiver.step(Withdrawn{1}))->items, ElementsAre(1U));
  const Commands ended = receiver.step(LinkEnded{});
  EXPECT_EQ(find<Adopt>(ended), nullptr);
}

TEST(HandoffReceiver, OwnsWhatASenderThatDiedLeftBehind) {
  HandoffReceiver receiver{kAll};
  receiver.step(offer(1, {1}));
  receiver.step(offer(2, {2}));
  const Commands ended = receiver.step(LinkEnded{});
  EXPECT_EQ(count<Adopt>(ended), 2U);
  EXPECT_TRUE(receiver.ended());
}

TEST(HandoffReceiver, AWithdrawMayCrossAnAnswerThatRefusedEverything) {
  HandoffReceiver receiver{kAll};
  receiver.step(offer(1, {1}, false));
  EXPECT_THAT(receiver.step(Withdrawn{1}), IsEmpty());
  EXPECT_FALSE(receiver.ended());
}

TEST(HandoffReceiver, AnythingOutOfOrderEndsTheLinkAndOwnsNothing) {
  const std::vector<ReceiverEvent> wrong{offer(1, {1}), offer(4, {4}),      Committed{2}, Committed{3},
                                         Committed{0},  Malformed{"what?"}, Withdrawn{9}, Withdrawn{2}};
  for (const ReceiverEvent& event : wrong) {
    HandoffReceiver receiver{kAll};
    receiver.step(offer(1, {1}));
    receiver.step(offer(2, {2}));
    const Commands commands = receiver.step(event);
    ASSERT_NE(find<CloseLink>(commands), nullptr);
    EXPECT_FALSE(find<CloseLink>(commands)->reason.empty());
    EXPECT_THAT(find<Discard>(commands)->items, ElementsAre(1U, 2U));
    EXPECT_THAT(receiver.step(LinkEnded{}), IsEmpty());
  }
}

// ------------------------------------------------------------------------------------- both, and what
// happens

/// Both ends and the link between them, with delays, deaths and second thoughts drawn from a seed. Each
/// item's owner is followed: never two, and never none while somebody is alive to be it.
class World {
 public:
  explicit World(std::uint64_t seed) : random_(seed) {
    for (const Command& command : receiver_.begin()) carry_out_receiver(command);
  }

  void run() {
    for (int step = 0; step < 400 && !done(); ++step) act();
    settle();
    check(true);
  }

 private:
  enum class Owner : std::uint8_t { sender, in_air, receiver };
  struct Copy {
    bool at_sender = true;
    bool at_receiver = false;
    Owner owner = Owner::sender;
    int served_by_sender = 1;  // times that it was made to serve it
    int adopted = 0;
  };
  using ToReceiver = std::variant<SendOffer, SendCommit, SendWithdraw>;
  using ToSender = std::variant<SendHello, SendAnswer>;

  bool chance(unsigned percent) { return random_() % 100 < percent; }
  bool done() const { return !sender_alive_ && !receiver_alive_; }

  void act() {
    now_ += Duration{static_cast<std::int64_t>(random_() % 100'000'000)};
    switch (random_() % 10) {
      case 0:
      case 1:
        if (sender_alive_) give();
        break;
      case 2:
      case 3:
      case 4:
        deliver_to_receiver();
        break;
      case 5:
      case 6:
      case 7:
        deliver_to_sender();
        break;
      case 8:
        if (sender_alive_) feed_sender(Tick{});
        break;
      default:
        if (chance(4)) sender_alive_ ? kill_sender() : void();
        if (chance(4)) receiver_alive_ ? kill_receiver() : void();
        if (chance(4) && sender_alive_) feed_sender(StopHanding{});
        break;
    }
    check(false);
  }

  void settle() {
    while (receiver_alive_ && deliver_to_receiver()) {
    }
    while (sender_alive_ && deliver_to_sender()) {
    }
    if (sender_alive_) feed_sender(StopHanding{});
    while (receiver_alive_ && deliver_to_receiver()) {
    }
  }

  void give() {
    Given given;
    for (auto n = random_() % 12; n > 0; --n) {
      items_[++last_id_] = {};
      items_[last_id_].owner = Owner::in_air;
      given.items.push_back(item(last_id_, Kind::client, random_() % 9000));
    }
    feed_sender(given);
  }

  void feed_sender(const SenderEvent& event) {
    for (const Command& command : sender_.step(now_, event)) carry_out_sender(command);
  }

  void carry_out_sender(const Command& command) {
    if (const auto* offer = std::get_if<SendOffer>(&command)) to_receiver_.push_back(*offer);
    if (const auto* withdraw = std::get_if<SendWithdraw>(&command)) to_receiver_.push_back(*withdraw);
    if (const auto* commit = std::get_if<SendCommit>(&command)) {
      if (!receiver_alive_ || receiver_closed_) {
        feed_sender(LinkEnded{});
      } else {
        to_receiver_.push_back(*commit);
        feed_sender(CommitSent{commit->batch});
      }
    }
    if (const auto* release = std::get_if<Release>(&command)) {
      for (const ItemId id : release->items) {
        items_[id].at_sender = false;
        items_[id].owner = Owner::receiver;  // from here on: what dies with it was its own
        ASSERT_TRUE(items_[id].at_receiver || !receiver_alive_) << id;
      }
    }
    if (const auto* back = std::get_if<TakeBack>(&command)) {
      for (const ItemId id : back->items) {
        ASSERT_TRUE(items_[id].at_sender) << id;
        ASSERT_EQ(items_[id].owner, Owner::in_air) << id;
        items_[id].owner = Owner::sender;
        ++items_[id].served_by_sender;
      }
    }
    if (std::holds_alternative<CloseLink>(command)) sender_closed_ = true;
  }

  void carry_out_receiver(const Command& command) {
    if (const auto* hello = std::get_if<SendHello>(&command)) to_sender_.push_back(*hello);
    if (const auto* answer = std::get_if<SendAnswer>(&command)) to_sender_.push_back(*answer);
    if (const auto* adopt = std::get_if<Adopt>(&command)) {
      for (const ItemId id : adopt->items) {
        ASSERT_TRUE(items_[id].at_receiver) << id;
        // In the hands of a sender that lives it is nobody else's.
        ASSERT_FALSE(sender_alive_ && items_[id].owner == Owner::sender) << id;
        ASSERT_EQ(items_[id].adopted, 0) << id;
        ASSERT_FALSE(sender_alive_ && items_[id].at_sender) << id;
        items_[id].owner = Owner::receiver;
        ++items_[id].adopted;
      }
    }
    if (const auto* discard = std::get_if<Discard>(&command)) {
      for (const ItemId id : discard->items) items_[id].at_receiver = false;
    }
    if (const auto* close = std::get_if<CloseLink>(&command)) {
      receiver_closed_ = true;
      ASSERT_TRUE(close->reason.empty()) << close->reason;
    }
  }

  bool deliver_to_receiver() {
    if (!receiver_alive_ || receiver_closed_) return false;
    if (to_receiver_.empty()) {
      if (sender_alive_ && !sender_closed_) return false;
      for (const Command& command : receiver_.step(LinkEnded{})) carry_out_receiver(command);
      return receiver_closed_ ? false : true;
    }
    const ToReceiver message = to_receiver_.front();
    to_receiver_.pop_front();
    Commands commands;
    if (const auto* offer = std::get_if<SendOffer>(&message)) {
      Offered offered{.batch = offer->batch, .items = {}};
      for (const Item& one : offer->items) {
        items_[one.id].at_receiver = true;
        offered.items.push_back({one, !chance(10)});
      }
      commands = receiver_.step(offered);
    } else if (const auto* commit = std::get_if<SendCommit>(&message)) {
      commands = receiver_.step(Committed{commit->batch});
    } else {
      commands = receiver_.step(Withdrawn{std::get<SendWithdraw>(message).batch});
    }
    for (const Command& command : commands) carry_out_receiver(command);
    return true;
  }

  bool deliver_to_sender() {
    if (!sender_alive_) return false;
    if (to_sender_.empty()) {
      if (receiver_alive_ || told_sender_) return false;
      told_sender_ = true;
      feed_sender(LinkEnded{});
      return true;
    }
    const ToSender message = to_sender_.front();
    to_sender_.pop_front();
    if (const auto* hello = std::get_if<SendHello>(&message)) feed_sender(PeerHello{hello->skills});
    if (const auto* answer = std::get_if<SendAnswer>(&message)) {
      feed_sender(Answered{answer->batch, answer->taken});
    }
    return true;
  }

  void kill_sender() {
    sender_alive_ = false;
    for (auto& [id, one] : items_) one.at_sender = false;
  }
  void kill_receiver() {
    receiver_alive_ = false;
    for (auto& [id, one] : items_) one.at_receiver = false;
    to_receiver_.clear();
  }

  void check(bool end) {
    for (const auto& [id, one] : items_) {
      if (end && sender_alive_) {
        ASSERT_NE(one.owner, Owner::in_air) << id << ": nobody's";
      }
      if (one.owner == Owner::sender && sender_alive_) {
        ASSERT_TRUE(one.at_sender) << id;
        ASSERT_EQ(one.adopted, 0) << id;
      }
    }
  }

  std::mt19937_64 random_;
  Instant now_ = kStart;
  HandoffSender sender_{{}, kAll, kStart};
  HandoffReceiver receiver_{kAll};
  std::map<ItemId, Copy> items_;
  ItemId last_id_ = 0;
  std::deque<ToReceiver> to_receiver_;
  std::deque<ToSender> to_sender_;
  bool sender_alive_ = true;
  bool receiver_alive_ = true;
  bool sender_closed_ = false;
  bool receiver_closed_ = false;
  bool told_sender_ = false;
};

TEST(Handoff, NothingIsOwnedByTwoOrByNoneWhateverDies) {
  for (std::uint64_t seed = 1; seed <= (kSanitized ? 100 : 1000); ++seed) {
    World world{seed};
    world.run();
    ASSERT_FALSE(::testing::Test::HasFatalFailure()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace lb::handoff
