#include "lb/admin/control_server.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "lb/admin/control_client.hpp"
#include "lb/admin/control_path.hpp"
#include "lb/base/unix_path.hpp"

namespace lb {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Kind = ControlServer::Event::Kind;

class ControlServerTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "lb-control-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    path_ = name + "/control.sock";
    open();
  }
  void TearDown() override {
    server_.reset();
    fs::remove_all(folder_);
  }
  void open(const std::vector<std::string>& aliases = {}) {
    auto server = ControlServer::open(path_, aliases);
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
  }
  Fd connect() const {
    const auto address = UnixPath::of(path_);
    Fd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    EXPECT_EQ(::connect(fd.get(), address->get(), UnixPath::size()), 0);
    return fd;
  }
  static void say(const Fd& fd, std::string_view text) {
    ASSERT_EQ(::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
  }
  /// What the client has received; "EOF" when the connection was ended.
  static std::string hear(const Fd& fd) {
    char buffer[8192];
    const ssize_t n = ::recv(fd.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (n == 0) return "EOF";
    return n < 0 ? "" : std::string{buffer, static_cast<std::size_t>(n)};
  }
  /// A connection is accepted in one turn, read in the next.
  std::vector<ControlServer::Event> poll() {
    std::vector<ControlServer::Event> all;
    for (int turn = 0; turn < 4; ++turn) {
      for (const auto& event : server_->poll(now_)) all.push_back(event);
    }
    return all;
  }

  fs::path folder_;
  std::string path_;
  std::unique_ptr<ControlServer> server_;
  Instant now_{seconds{100}};
};

TEST_F(ControlServerTest, AnswersOneRequestAfterTheOther) {
  const Fd client = connect();
  say(client, "{\"cmd\":\"rel");
  EXPECT_TRUE(poll().empty());
  say(client, "oad\"}\n{\"cmd\":\"status\"}\n");
  auto events = poll();
  ASSERT_EQ(events.size(), 1U) << "the second waits for the first";
  EXPECT_EQ(events[0].query.command, ControlCommand::reload);
  EXPECT_EQ(events[0].pid, ::getpid());
  EXPECT_EQ(server_->next_deadline(), kNever) << "an answer takes as long as it takes";
  server_->answer(events[0].caller, "{\"ok\":true}");
  events = poll();
  EXPECT_EQ(hear(client), "{\"ok\":true}\n");
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].query.command, ControlCommand::status);
  server_->answer(events[0].caller, "{}");
  EXPECT_TRUE(poll().empty());
  EXPECT_EQ(hear(client), "{}\n");
  server_->answer(events[0].caller, "{}");  // twice: nobody asked
  EXPECT_TRUE(poll().empty());
  EXPECT_EQ(hear(client), "");
}

TEST_F(ControlServerTest, ManyMistakesAtOnceAreAllTold) {
  const Fd client = connect();
  say(client, "x\nx\nx\nx\n");
  EXPECT_TRUE(poll().empty());
  const std::string heard = hear(client);
  EXPECT_EQ(std::ranges::count(heard, '\n'), 4) << heard;
}

TEST_F(ControlServerTest, AClientThatHearsNoMoreIsLetGoInTheMiddleOfItsMistakes) {
  const Fd client = connect();
  const Fd other = connect();
  poll();
  ::shutdown(client.get(), SHUT_RD);
  say(client, "x\nx\nx\n");
  say(other, "{\"cmd\":\"status\"}\n");
  EXPECT_EQ(poll().size(), 1U);
}

TEST(ControlProtocol, QueriesSurviveTheTrip) {
  for (const ControlQuery& query :
       {ControlQuery{}, ControlQuery{.command = ControlCommand::reload},
        ControlQuery{.command = ControlCommand::plan}, ControlQuery{.command = ControlCommand::reloads},
        ControlQuery{.command = ControlCommand::reloads, .number = 7, .wait = true}}) {
    std::string line = control_request_line(query);
    ASSERT_TRUE(line.ends_with('\n'));
    line.pop_back();
    const auto parsed = parse_control_request(line);
    ASSERT_TRUE(parsed) << line;
    EXPECT_EQ(*parsed, query) << line;
  }
}

TEST(ControlProtocol, ReloadsAreNamedByNumber) {
  for (const char* line : {R"({"cmd":"reloads","number":-1})", R"({"cmd":"reloads","number":1.5})",
                           R"({"cmd":"reloads","number":18446744073709551615})",
                           R"({"cmd":"reloads","number":"7"})", R"({"cmd":"reloads","wait":1})"}) {
    EXPECT_FALSE(parse_control_request(line)) << line;
  }
}

TEST_F(ControlServerTest, MistakesAreToldAndTheConnectionGoesOn) {
  const Fd client = connect();
  const std::pair<const char*, const char*> cases[] = {
      {"nonsense\n", "not a JSON object"},
      {"[]\n", "not a JSON object"},
      {"\n", "not a JSON object"},
      {"{}\n", "no \\\"cmd\\\""},
      {"{\"cmd\":7}\n", "no \\\"cmd\\\""},
      {"{\"cmd\":\"stop\"}\n", "known are reload, status, reloads and plan"},
      {"[[[[[[[[[]]]]]]]]]\n", "nested too"},
      {"{\"cmd\":\"\xff\"}\n", "not a JSON object"}};
  for (const auto& [line, error] : cases) {
    say(client, line);
    EXPECT_TRUE(poll().empty());
    const std::string answer = hear(client);
    EXPECT_NE(answer.find(error), std::string::npos) << line << answer;
    EXPECT_NE(answer.find("\"ok\":false"), std::string::npos);
    poll();
  }
  say(client, "{\"cmd\":\"status\",\"new\":1}\n");
  EXPECT_EQ(poll().size(), 1U);
}

TEST_F(ControlServerTest, RequestsAroundTheLimit) {
  for (const std::size_t size :
       {kControlRequestBytesMax - 1, kControlRequestBytesMax, kControlRequestBytesMax + 1}) {
    const Fd client = connect();
    std::string line = "{\"cmd\":\"status\"}";
    line.append(size - line.size(), ' ');
    say(client, line + "\n");
    auto events = poll();
    std::erase_if(events, [](const auto& event) { return event.kind != Kind::request; });
    EXPECT_EQ(events.size(), size <= kControlRequestBytesMax ? 1U : 0U) << size;
    EXPECT_EQ(hear(client).find("too long") != std::string::npos, size > kControlRequestBytesMax);
  }
  const Fd client = connect();
  say(client, std::string(100'000, 'x'));
  for (int i = 0; i < 10; ++i) poll();
  EXPECT_NE(hear(client).find("too long"), std::string::npos);
}

TEST_F(ControlServerTest, CallersThatLeaveAreToldOf) {
  Fd client = connect();
  say(client, "{\"cmd\":\"reload\"}\n");
  const auto asked = poll();
  ASSERT_EQ(asked.size(), 1U);
  client.reset();
  const auto left = poll();
  ASSERT_EQ(left.size(), 1U);
  EXPECT_EQ(left[0].kind, Kind::left);
  EXPECT_EQ(left[0].caller, asked[0].caller);
  server_->answer(asked[0].caller, "{}");
  EXPECT_TRUE(poll().empty());
}

TEST_F(ControlServerTest, HalfClosedCallersAreAnswered) {
  const Fd client = connect();
  say(client, "{\"cmd\":\"status\"}\n");
  ::shutdown(client.get(), SHUT_WR);
  const auto asked = poll();
  ASSERT_EQ(asked.size(), 1U);
  EXPECT_EQ(asked[0].kind, Kind::request);
  pollfd entry{server_->fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&entry, 1, 0), 0) << "an ended input must not keep the loop awake";
  server_->answer(asked[0].caller, "{\"ok\":true}");
  poll();
  EXPECT_EQ(hear(client), "{\"ok\":true}\n");
  EXPECT_EQ(hear(client), "EOF");
}

TEST_F(ControlServerTest, SilentClientsAreDroppedAfterAWhile) {
  const Fd client = connect();
  poll();
  now_ += ControlServer::kRequestTimeout - milliseconds{1};
  poll();
  EXPECT_EQ(hear(client), "");
  now_ += milliseconds{1};
  EXPECT_LE(server_->next_deadline(), now_);
  poll();
  EXPECT_EQ(hear(client), "EOF");
}

TEST_F(ControlServerTest, ClientsMax) {
  std::vector<Fd> clients;
  for (std::size_t i = 0; i < ControlServer::kClientsMax + 1; ++i) clients.push_back(connect());
  poll();
  EXPECT_NE(hear(clients.back()).find("too many connections"), std::string::npos);
  EXPECT_EQ(hear(clients.front()), "");
  clients.clear();
  poll();
  const Fd next = connect();
  say(next, "{\"cmd\":\"status\"}\n");
  EXPECT_EQ(poll().size(), 1U);
}

TEST_F(ControlServerTest, LargeAnswersToSlowReaders) {
  const Fd client = connect();
  say(client, "{\"cmd\":\"status\"}\n");
  const auto asked = poll();
  ASSERT_EQ(asked.size(), 1U);
  const std::string large(5'000'000, 'x');
  server_->answer(asked[0].caller, large);
  std::string heard;
  while (heard.size() < large.size() + 1) {
    heard += hear(client);
    EXPECT_TRUE(poll().empty());
  }
  EXPECT_EQ(heard, large + "\n");
}

TEST_F(ControlServerTest, OutOfDescriptorsPausesAndGoesOn) {
  const Fd client = connect();
  rlimit old{};
  ::getrlimit(RLIMIT_NOFILE, &old);
  rlimit tight{3, old.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &tight);
  poll();
  ::setrlimit(RLIMIT_NOFILE, &old);
  pollfd entry{server_->fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&entry, 1, 0), 0) << "no spinning meanwhile";
  say(client, "{\"cmd\":\"status\"}\n");
  now_ = server_->next_deadline();
  EXPECT_EQ(poll().size(), 1U);
}

TEST_F(ControlServerTest, FileIsPrivateAndGoes) {
  struct stat info{};
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
  server_.reset();
  EXPECT_FALSE(fs::exists(path_));
}

TEST_F(ControlServerTest, SecondIsRefusedStaleIsReplacedOthersAreLeftAlone) {
  auto second = ControlServer::open(path_, {});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().os_error, EADDRINUSE);
  const std::string stale = folder_ / "stale.sock";
  {
    const auto address = UnixPath::of(stale);
    const Fd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    ASSERT_EQ(::bind(fd.get(), address->get(), UnixPath::size()), 0);
  }
  EXPECT_TRUE(ControlServer::open(stale, {}));
  const std::string file = folder_ / "file";
  std::ofstream{file} << "precious";
  EXPECT_FALSE(ControlServer::open(file, {}));
  EXPECT_TRUE(fs::exists(file));
}

TEST_F(ControlServerTest, AliasesComeAndGo) {
  const std::string alias = folder_ / "alias.sock";
  const std::string taken = folder_ / "file";
  std::ofstream{taken} << "precious";
  server_.reset();
  fs::create_symlink(folder_ / "nowhere", alias);
  open({alias, taken, path_});
  EXPECT_EQ(fs::read_symlink(alias), path_);
  auto second = ControlServer::open(folder_ / "second.sock", {alias});
  ASSERT_TRUE(second);
  EXPECT_EQ(fs::read_symlink(alias), path_) << "the living one's";
  second->reset();
  EXPECT_TRUE(fs::is_symlink(alias));
  server_.reset();
  EXPECT_FALSE(fs::is_symlink(alias));
  EXPECT_TRUE(fs::exists(taken));
  fs::create_symlink(path_, alias);  // left by a balancer that was killed: becomes ours, and goes with us
  open({alias});
  server_.reset();
  EXPECT_FALSE(fs::is_symlink(alias));
}

TEST_F(ControlServerTest, LongPaths) {
  fs::path deep = folder_;
  for (int i = 0; i < 4; ++i) deep /= std::string(60, 'd');
  fs::create_directories(deep);
  server_.reset();
  path_ = deep / "control.sock";
  open();
  const Fd client = connect();
  say(client, "{\"cmd\":\"status\"}\n");
  EXPECT_EQ(poll().size(), 1U);
  const auto name_too_long = ControlServer::open(folder_ / std::string(120, 'n'), {});
  EXPECT_FALSE(name_too_long);
}

TEST_F(ControlServerTest, TheClientAsksAndGivesUp) {
  EXPECT_EQ(ask_control(folder_ / "none", {}, seconds{1}).error().os_error, ENOENT);
  EXPECT_EQ(ask_control(path_, {}, milliseconds{30}).error().os_error, ETIMEDOUT);
  const std::string deaf = folder_ / "deaf.sock";  // nobody accepts there, and its queue is full
  const auto address = UnixPath::of(deaf);
  const Fd listener{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  ASSERT_EQ(::bind(listener.get(), address->get(), UnixPath::size()), 0);
  ASSERT_EQ(::listen(listener.get(), 0), 0);
  const Fd first{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  ASSERT_EQ(::connect(first.get(), address->get(), UnixPath::size()), 0);
  EXPECT_EQ(ask_control(deaf, {}, milliseconds{30}).error().os_error, ETIMEDOUT) << "not for ever";
  std::atomic<bool> stop{false};
  std::thread balancer{[&] {
    while (!stop) {
      for (const auto& event : server_->poll(monotonic_now())) {
        if (event.kind == Kind::request) server_->answer(event.caller, "{\"ok\":true}");
      }
      pollfd entry{server_->fd(), POLLIN, 0};
      ::poll(&entry, 1, 10);
    }
  }};
  const auto answer = ask_control(path_, {.command = ControlCommand::reload}, seconds{10});
  stop = true;
  balancer.join();
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(*answer, "{\"ok\":true}");
}

TEST(ControlPath, NamesSurviveASymlinkSwitch) {
  std::string name = (fs::temp_directory_path() / "lb-path-XXXXXX").string();
  ASSERT_NE(::mkdtemp(name.data()), nullptr);
  const fs::path folder{name};
  std::ofstream{folder / "a.json"} << "{}";
  std::ofstream{folder / "b.json"} << "{}";
  fs::create_symlink(folder / "a.json", folder / "lb.json");
  const auto before = control_names("/f", folder / "lb.json");
  fs::remove(folder / "lb.json");
  fs::create_symlink(folder / "b.json", folder / "lb.json");
  const auto after = control_names("/f", folder / "lb.json");
  ASSERT_EQ(before.size(), 2U);
  EXPECT_EQ(before[0], after[0]);
  EXPECT_NE(before[1], after[1]);
  EXPECT_EQ(control_names("/f", folder / "x" / ".." / "lb.json")[0], after[0]);
  EXPECT_EQ(control_names("/f", folder / "a.json").size(), 1U);
  fs::remove_all(folder);
}

TEST(ControlPath, FolderMustBeOurs) {
  std::string name = (fs::temp_directory_path() / "lb-run-XXXXXX").string();
  ASSERT_NE(::mkdtemp(name.data()), nullptr);
  ::setenv("XDG_RUNTIME_DIR", name.c_str(), 1);
  EXPECT_FALSE(control_folder(false));
  const auto folder = control_folder(true);
  ASSERT_TRUE(folder) << folder.error().message;
  EXPECT_TRUE(control_folder(false));
  fs::create_symlink("/nowhere/at/all", *folder + "/dangling");
  fs::create_symlink(name, *folder + "/alive");
  sweep_control_folder(*folder);
  EXPECT_FALSE(fs::is_symlink(*folder + "/dangling"));
  EXPECT_TRUE(fs::is_symlink(*folder + "/alive"));
  fs::permissions(*folder, fs::perms{0755});
  EXPECT_FALSE(control_folder(true)) << "others may look into it";
  fs::remove_all(*folder);
  fs::create_symlink("/tmp", *folder);
  EXPECT_FALSE(control_folder(true)) << "a link of somebody else's";
  ::unsetenv("XDG_RUNTIME_DIR");
  fs::remove_all(name);
}

}  // namespace
}  // namespace lb
