#include "lb/proxy/address_book.hpp"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace lb {
namespace {

using ChangeKind = AddressBook::Change::Kind;

const Instant kNow{std::chrono::hours{1}};
constexpr Milliseconds kBudget{5000};

/// A name server in memory.
struct Zone {
  std::mutex mutex;
  std::map<std::string, std::vector<std::string>> names;
  int asked = 0;

  void set(const std::string& name, std::vector<std::string> addresses) {
    const std::scoped_lock lock{mutex};
    names[name] = std::move(addresses);
  }
};

ResolveFunction by(const std::shared_ptr<Zone>& zone) {
  return [zone](const Endpoint& endpoint) {
    const std::scoped_lock lock{zone->mutex};
    ++zone->asked;
    std::vector<SocketAddress> out;
    for (const std::string& text : zone->names[endpoint.host]) {
      out.push_back(*SocketAddress::from_literal({.host = text, .port = endpoint.port}));
    }
    return out;
  };
}

std::string turns(AddressBook& book, std::uint32_t i, int count, Instant now = kNow) {
  std::string out;
  for (int k = 0; k < count; ++k) out += book.next(i, now).text() + " ";
  return out;
}

std::uint64_t key(const char* host, std::uint16_t port) {
  return AddressBook::key_of(*SocketAddress::from_literal({.host = host, .port = port}));
}

TEST(AddressBook, ANamesAddressesTakeTurns) {
  auto zone = std::make_shared<Zone>();
  zone->set("app", {"127.0.0.1", "127.0.0.2", "::1"});
  AddressBook book{{{.host = "app", .port = 80}, {.host = "10.0.0.1", .port = 81}}, by(zone), kBudget};
  EXPECT_TRUE(book.has_names());
  EXPECT_EQ(turns(book, 0, 4), "127.0.0.1:80 127.0.0.2:80 [::1]:80 127.0.0.1:80 ");
  EXPECT_EQ(turns(book, 1, 2), "10.0.0.1:81 10.0.0.1:81 ");
  EXPECT_EQ(zone->asked, 1) << "a literal is not asked for";
}

TEST(AddressBook, AnAddressThatFailedIsPassedOver) {
  auto zone = std::make_shared<Zone>();
  zone->set("app", {"127.0.0.1", "127.0.0.2"});
  AddressBook book{{{.host = "app", .port = 80}}, by(zone), kBudget};
  EXPECT_TRUE(book.failed(0, key("127.0.0.1", 80), kNow)) << "there is another";
  EXPECT_EQ(turns(book, 0, 3), "127.0.0.2:80 127.0.0.2:80 127.0.0.2:80 ");
  EXPECT_FALSE(book.failed(0, key("127.0.0.2", 80), kNow + Milliseconds{1}));
  EXPECT_EQ(turns(book, 0, 1, kNow + Milliseconds{2}), "127.0.0.1:80 ")
      << "all are aside: whose time ends first";
  const Instant later = kNow + AddressBook::kAside + Milliseconds{1};
  EXPECT_NE(turns(book, 0, 2, later).find("127.0.0.1"), std::string::npos);
}

TEST(AddressBook, FollowsItsName) {
  auto zone = std::make_shared<Zone>();
  zone->set("app", {"127.0.0.1", "127.0.0.2"});
  AddressBook book{{{.host = "app", .port = 80}}, by(zone), kBudget};
  zone->set("app", {"127.0.0.2", "127.0.0.1"});
  EXPECT_TRUE(book.refresh(kBudget, false).empty()) << "another order is no change";
  zone->set("app", {"127.0.0.2", "127.0.0.3"});
  const auto changes = book.refresh(kBudget, false);
  ASSERT_EQ(changes.size(), 1U);
  EXPECT_EQ(changes[0].kind, ChangeKind::moved);
  EXPECT_EQ(changes[0].addresses, "127.0.0.2:80 127.0.0.3:80");
  EXPECT_FALSE(book.is_current(0, key("127.0.0.1", 80)));
  EXPECT_TRUE(book.is_current(0, key("127.0.0.2", 80)));
}

TEST(AddressBook, ANameThatStopsResolvingKeepsItsAddresses) {
  auto zone = std::make_shared<Zone>();
  zone->set("app", {"127.0.0.1"});
  AddressBook book{{{.host = "app", .port = 80}}, by(zone), kBudget};
  zone->set("app", {});
  auto changes = book.refresh(kBudget, false);
  ASSERT_EQ(changes.size(), 1U);
  EXPECT_EQ(changes[0].kind, ChangeKind::lost);
  EXPECT_EQ(changes[0].addresses, "127.0.0.1:80");
  EXPECT_TRUE(book.refresh(kBudget, true).empty()) << "told once";
  EXPECT_EQ(turns(book, 0, 1), "127.0.0.1:80 ");
  zone->set("app", {"127.0.0.9"});
  changes = book.refresh(kBudget, true);
  ASSERT_EQ(changes.size(), 1U);
  EXPECT_EQ(changes[0].kind, ChangeKind::found);
  EXPECT_EQ(turns(book, 0, 1), "127.0.0.9:80 ");
  EXPECT_TRUE(book.refresh(kBudget, true).empty());
}

TEST(AddressBook, ANameThatNeverResolved) {
  auto zone = std::make_shared<Zone>();
  AddressBook book{{{.host = "app", .port = 80}}, by(zone), kBudget};
  EXPECT_FALSE(book.resolved(0));
  EXPECT_TRUE(book.next(0, kNow).empty());
  zone->set("app", {"127.0.0.1"});
  ASSERT_EQ(book.refresh(kBudget, true).size(), 1U);
  EXPECT_TRUE(book.resolved(0));
}

}  // namespace
}  // namespace lb
