#include "lb/supervisor/channel.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "lb/base/open_fds.hpp"
#include "lb/base/random.hpp"
#include "lb/supervisor/messages.hpp"

namespace lb {
namespace {

class ChannelTest : public testing::Test {
 protected:
  void SetUp() override {
    auto pair = Channel::make_pair();
    ASSERT_TRUE(pair) << pair.error().message;
    a_ = std::move(pair->first);
    b_ = std::move(pair->second);
  }
  /// A packet as a hostile or wrong peer would write it.
  void write_raw(std::string_view bytes) {
    ASSERT_EQ(::send(a_.fd(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  }
  static std::string header(std::uint32_t magic, std::uint16_t version, std::uint16_t type,
                            std::uint32_t body, std::uint16_t fds, std::uint16_t flags) {
    std::string bytes;
    const auto put = [&](const auto& v) { bytes.append(reinterpret_cast<const char*>(&v), sizeof v); };
    put(magic), put(version), put(type), put(body), put(fds), put(flags);
    return bytes;
  }
  Channel a_;
  Channel b_;
};

constexpr std::uint32_t kGoodMagic = 0x6863424c;

TEST_F(ChannelTest, CarriesMessagesInOrder) {
  EXPECT_EQ(b_.receive().kind, Received::Kind::nothing);
  ASSERT_TRUE(a_.send(1, "one"));
  ASSERT_TRUE(a_.send(2, ""));
  auto first = b_.receive();
  ASSERT_EQ(first.kind, Received::Kind::message);
  EXPECT_EQ(first.message.type, 1);
  EXPECT_EQ(first.message.body, "one");
  EXPECT_EQ(b_.receive().message.type, 2);
  EXPECT_EQ(b_.receive().kind, Received::Kind::nothing);
  a_.close();
  EXPECT_EQ(b_.receive().kind, Received::Kind::closed);
  EXPECT_EQ(b_.receive().kind, Received::Kind::closed);
  EXPECT_FALSE(b_.send(1, "x"));
}

TEST_F(ChannelTest, BodiesAroundTheInlineLimitAndFarBeyond) {
  for (const std::size_t size :
       {kBodyInlineMax - 1, kBodyInlineMax, kBodyInlineMax + 1, std::size_t{3} << 20U}) {
    std::string body(size, 'x');
    body.back() = 'y';
    ASSERT_TRUE(a_.send(9, body)) << size;
    auto received = b_.receive();
    ASSERT_EQ(received.kind, Received::Kind::message) << received.reason;
    EXPECT_EQ(received.message.body, body);
    EXPECT_TRUE(received.message.fds.empty());
  }
}

TEST_F(ChannelTest, PassesSixHundredSockets) {
  const std::size_t before = open_fds();
  {
    std::vector<Fd> sockets;
    std::vector<int> numbers;
    for (int i = 0; i < 600; ++i) {
      sockets.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      ASSERT_TRUE(sockets.back());
      numbers.push_back(sockets.back().get());
    }
    ASSERT_TRUE(a_.send(3, std::string(kBodyInlineMax + 5, 'b'), numbers));
    auto received = b_.receive();
    ASSERT_EQ(received.kind, Received::Kind::message) << received.reason;
    ASSERT_EQ(received.message.fds.size(), 600U);
    for (std::size_t i = 0; i < 600; ++i) {  // the same sockets, in order, and close-on-exec
      struct stat sent{}, got{};
      ::fstat(numbers[i], &sent);
      ::fstat(received.message.fds[i].get(), &got);
      EXPECT_EQ(sent.st_ino, got.st_ino);
      EXPECT_NE(::fcntl(received.message.fds[i].get(), F_GETFD) & FD_CLOEXEC, 0);
    }
  }
  EXPECT_EQ(open_fds(), before);
}

TEST_F(ChannelTest, FdsAroundTheFrameLimit) {
  for (const std::size_t count : {kFdsPerFrame - 1, kFdsPerFrame, kFdsPerFrame + 1, 2 * kFdsPerFrame}) {
    const std::vector<int> fds(count, STDERR_FILENO);
    ASSERT_TRUE(a_.send(3, "b", fds));
    auto received = b_.receive();
    ASSERT_EQ(received.kind, Received::Kind::message) << received.reason;
    EXPECT_EQ(received.message.fds.size(), count);
  }
  const std::vector<int> too_many(kFdsPerMessageMax + 1, STDERR_FILENO);
  EXPECT_FALSE(a_.send(3, "b", too_many));
  EXPECT_FALSE(a_.send(3, std::string(kBodyBytesMax + 1, 'x')));
}

TEST_F(ChannelTest, QueuesWhenThePeerDoesNotRead) {
  const std::string body(20'000, 'q');
  int sent = 0;
  while (!a_.wants_write() && sent < 1000) {
    ASSERT_TRUE(a_.send(1, body));
    ++sent;
  }
  ASSERT_TRUE(a_.wants_write());
  for (int i = 0; i < 10; ++i, ++sent) ASSERT_TRUE(a_.send(1, body));
  int got = 0;
  while (got < sent) {
    const auto received = b_.receive();
    if (received.kind == Received::Kind::nothing) {
      ASSERT_TRUE(a_.flush());
      continue;
    }
    ASSERT_EQ(received.kind, Received::Kind::message);
    ++got;
  }
  EXPECT_FALSE(a_.wants_write());
  while (a_.send(1, body)) ASSERT_LT(++sent, 10'000);  // and the queue has an end
}

TEST_F(ChannelTest, RefusesMalformedFrames) {
  struct Case {
    std::string bytes;
    const char* reason;
  };
  const Case cases[] = {
      {"short", "shorter than its header"},
      {header(0x12345678, kChannelVersion, 1, 0, 0, 0), "magic"},
      {header(kGoodMagic, kChannelVersion + 1, 1, 0, 0, 0),
       "speaks version 7 of the channel's protocol, this side version 6"},
      {header(kGoodMagic, kChannelVersion, 1, 5, 0, 0) + "1234", "length"},
      {header(kGoodMagic, kChannelVersion, 1, 5, 0, 0) + "123456", "length"},
      {header(kGoodMagic, kChannelVersion, 1, 0, 1, 0), "descriptors do not match"},
      {header(kGoodMagic, kChannelVersion, 1, 0, 0, 4), "unknown flags"},
      {header(kGoodMagic, kChannelVersion, 1, 1, 0, 1) + "x", "to be continued has a body"},
      {header(kGoodMagic, kChannelVersion, 1, 0, 0, 2), "no file"},
      {header(kGoodMagic, kChannelVersion, 1, kBodyInlineMax + 1, 0, 0) +
           std::string(kBodyInlineMax + 1, 'x'),
       "length"},
  };
  for (const auto& c : cases) {
    SetUp();
    write_raw(c.bytes);
    const auto received = b_.receive();
    EXPECT_EQ(received.kind, Received::Kind::broken);
    EXPECT_NE(received.reason.find(c.reason), std::string::npos) << received.reason << " / " << c.reason;
    ASSERT_TRUE(a_.send(1, "fine"));
    EXPECT_EQ(b_.receive().kind, Received::Kind::broken) << "a broken channel stays broken";
  }
}

TEST_F(ChannelTest, RefusesAMessageCutShortByAnother) {
  write_raw(header(kGoodMagic, kChannelVersion, 1, 0, 0, 1));
  write_raw(header(kGoodMagic, kChannelVersion, 2, 0, 0, 0));
  EXPECT_EQ(b_.receive().kind, Received::Kind::broken);
}

TEST_F(ChannelTest, RandomPacketsNeverDoMoreThanBreak) {
  Random random{42};
  for (int round = 0; round < 2000; ++round) {
    SetUp();
    std::string bytes =
        header(kGoodMagic, kChannelVersion, 1, random.below(40), static_cast<std::uint16_t>(random.below(3)),
               static_cast<std::uint16_t>(random.below(8)));
    bytes.resize(random.below(60), 'z');
    if (bytes.empty()) continue;  // an empty packet is the end of the stream
    if (random.below(3) == 0)
      bytes[random.below(static_cast<std::uint32_t>(bytes.size()))] ^=
          static_cast<char>(1U << random.below(8));
    write_raw(bytes);
    b_.receive();
    b_.receive();
  }
}

TEST_F(ChannelTest, OutOfDescriptorsIsToldAndNothingLeaks) {
  std::vector<int> fds(50, STDERR_FILENO);
  ASSERT_TRUE(a_.send(3, "b", fds));
  const std::size_t before = open_fds();
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &old), 0);
  rlimit tight = old;
  tight.rlim_cur = before + 10;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
  auto received = b_.receive();
  fds.resize(kFdsPerFrame + 1, STDERR_FILENO);  // in several frames, so they are duplicated first
  const auto sent = a_.send(3, "b", fds);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &old), 0);
  EXPECT_EQ(received.kind, Received::Kind::short_of_fds);
  EXPECT_EQ(received.message.type, 3);
  EXPECT_EQ(received.message.body, "b");
  EXPECT_FALSE(received.message.fds.empty());
  EXPECT_LT(received.message.fds.size(), 50U);
  received.message.fds.clear();
  EXPECT_NE(received.reason.find("too many open files"), std::string::npos);
  EXPECT_FALSE(sent);
  EXPECT_EQ(open_fds(), before);
  ASSERT_TRUE(a_.send(4, "it goes on"));
  EXPECT_EQ(b_.receive().message.body, "it goes on");
}

TEST_F(ChannelTest, OutOfDescriptorsInAMessageOfSeveralFramesBreaksIt) {
  std::vector<int> fds(kFdsPerFrame + 50, STDERR_FILENO);
  ASSERT_TRUE(a_.send(3, "b", fds));
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &old), 0);
  rlimit tight = old;
  tight.rlim_cur = open_fds() + 10;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
  const auto received = b_.receive();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &old), 0);
  EXPECT_EQ(received.kind, Received::Kind::broken);
  EXPECT_EQ(b_.receive().kind, Received::Kind::broken);
}

template <class M>
void survives(const M& message) {
  ChannelMessage raw{.type = static_cast<std::uint16_t>(M::kType), .body = encode(message)};
  const auto decoded = decode<M>(raw);
  ASSERT_TRUE(decoded);
  EXPECT_EQ(*decoded, message);
  const std::string whole = raw.body;
  for (std::size_t size = 0; size < whole.size(); ++size) {
    raw.body = whole.substr(0, size);
    EXPECT_FALSE(decode<M>(raw)) << "cut at " << size;
  }
  raw.body = whole + "x";
  EXPECT_FALSE(decode<M>(raw));
  raw.body = whole;
  raw.type = 999;
  EXPECT_FALSE(decode<M>(raw));
}

TEST(Messages, SurviveTheTripAndRefuseEveryCut) {
  survives(StartMessage{.seed = ~0ULL,
                        .from_text = true,
                        .config_path = "/x/\xff.json",
                        .access_log = "-",
                        .ticket_keys = std::string(160, '\0') + "\xff"});
  survives(LoadedMessage{.hash = 7, .pid_file = "/p", .admin_socket = "/s"});
  survives(ProceedMessage{.number = -3, .control_path = "/c", .labels = {"a", "", "b"}});
  survives(FailedMessage{.failure = 3, .reason = "because\nof this"});
  const ReadyMessage ready{.hash = 1,
                           .endpoints = {"e"},
                           .addresses = {"x"},
                           .opened = {"e", "e"},
                           .backends = 2,
                           .workers = 4,
                           .drain_timeout_ms = 30'000,
                           .warnings = {"w"},
                           .phases = {{"load", 12}, {"listen", 3}}};
  survives(ready);
  survives(SuccessorMessage{.number = 3, .hash = 1});
  survives(DrainMessage{.for_exit = false});
  survives(DrainingMessage{
      .for_successor = true, .successor = 4, .warning = "w", .connections = 9, .tunnels = 2, .requests = 3});
  survives(DrainedMessage{.completed = 1,
                          .closed_idle = 2,
                          .force_closed = 3,
                          .duration_ms = 4,
                          .counters = {{"r", 5}},
                          .connections_at_start = 6,
                          .tunnels_at_start = 7,
                          .requests_at_start = 8,
                          .came = 9,
                          .ended = 10,
                          .forced = {{"10.0.0.1", "l", "b", "tcp", 11}}});
  survives(StatusRequestMessage{.token = 5, .census = true});
  survives(StatusMessage{.token = 5,
                         .counters = {{"a", 1}},
                         .backends_total = 1,
                         .backends = {{"b", "e", 1, true, false}},
                         .has_census = true,
                         .census_listeners = {{"l", 4, 3, 2, 1}},
                         .census_backends = {{"b", "e", 3, 2, 1}}});
  survives(HelloMessage{
      .number = 8, .pid = 99, .ready = ready, .ticket_keys = std::string(160, '\0'), .ledger = "[]"});
  survives(LedgerMessage{.records = "[{}]"});
  survives(TicketKeysMessage{.ring = std::string(320, '\1')});
  survives(PredecessorMessage{.number = 7});
}

TEST(Messages, RefuseHugeCounts) {
  ChannelMessage raw{.type = static_cast<std::uint16_t>(MessageType::proceed),
                     .body = encode(ProceedMessage{})};
  std::memset(raw.body.data() + 16, 0x7f, 8);  // the number of labels
  EXPECT_FALSE(decode<ProceedMessage>(raw));
}

TEST(Messages, RandomBytesNeverCrash) {
  Random random{7};
  for (int i = 0; i < 20'000; ++i) {
    ChannelMessage raw{.type = static_cast<std::uint16_t>(MessageType::ready)};
    raw.body.resize(random.below(200));
    for (char& c : raw.body) c = static_cast<char>(random.below(4) == 0 ? random.below(256) : 0);
    (void)decode<ReadyMessage>(raw);
  }
}

}  // namespace
}  // namespace lb
