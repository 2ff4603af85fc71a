#include "lb/config/diff.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "lb/base/sanitized.hpp"
#include "lb/config/keys.hpp"

namespace lb {
namespace {

using Json = nlohmann::json;

std::vector<ConfigChange> changes_of(std::string_view before, std::string_view after) {
  const auto a = config_parse(before);
  const auto b = config_parse(after);
  EXPECT_TRUE(a) << a.error().text("before");
  EXPECT_TRUE(b) << b.error().text("after");
  return a && b ? config_diff(*a->config, *b->config) : std::vector<ConfigChange>{};
}

std::string lines(const std::vector<ConfigChange>& changes) {
  std::string text;
  for (const auto& change : changes) text += change_line(change) + "\n";
  return text;
}

std::string diff_of(std::string_view before, std::string_view after) {
  return lines(changes_of(before, after));
}

/// Of a file that differs from the smallest one by these members.
std::string with(const std::string& members) {
  return R"({"listen_port": 80, "backends": [{"name": "a", "host": "10.0.0.1", "port": 1}])" +
         (members.empty() ? "" : ", " + members) + "}";
}

std::string diff_with(const std::string& before, const std::string& after) {
  return diff_of(with(before), with(after));
}

constexpr const char* kBase =
    R"({"listen": ["127.0.0.1:80", "127.0.0.1:81"],
        "backends": [{"name": "a", "host": "10.0.0.1", "port": 1}, {"name": "b", "host": "10.0.0.2", "port": 2}]})";

TEST(ConfigDiff, NothingIsNothing) {
  EXPECT_EQ(diff_of(kBase, kBase), "");
  EXPECT_EQ(
      diff_of(kBase,
              R"({"drain_timeout": 30, "listen": ["127.0.0.1:81", "127.0.0.1:80"], "algorithm": "round_robin",
        "backends": [{"name": "b", "host": "10.0.0.2", "port": 2, "weight": 1}, {"name": "a", "host": "10.0.0.1", "port": 1}]})"),
      "")
      << "defaults written out, and another order, change nothing";
  EXPECT_EQ(diff_with(R"("response_headers": {"X-A": "1", "X-B": "2"})",
                      R"("rate_limit": null, "response_headers": {"x-b": "2", "X-A": "1"})"),
            "");
  EXPECT_EQ(
      diff_of(
          R"({"listen_port": 80, "backends": [{"host": "EXAMPLE.org", "port": 1}]})",
          R"({"listen": ":80", "backends": [{"name": "example.org:1", "host": "example.org", "port": 1}]})"),
      "");
}

TEST(ConfigDiff, ByIdentityNotByPosition) {
  EXPECT_EQ(
      diff_of(
          kBase,
          R"({"listen": ["127.0.0.1:82", "127.0.0.1:81"], "drain_timeout": 5, "rate_limit": {"per_ip": 5, "burst": 2},
        "backends": [{"name": "c", "host": "10.0.0.3", "port": 3, "max_connections": 9},
                     {"name": "b", "host": "10.0.0.2", "port": 2, "weight": 7}]})"),
      "- listener 127.0.0.1:80 removed\n"
      "+ listener 127.0.0.1:82 added\n"
      "- backend a removed: 10.0.0.1:1, weight 1\n"
      "~ backend b: weight 1 -> 7\n"
      "+ backend c added: 10.0.0.3:3, weight 1, max_connections 9\n"
      "+ rate_limit added: per_ip 5, burst 2\n"
      "~ drain_timeout: 30 -> 5\n");
}

TEST(ConfigDiff, RemovedInTheOldOrderChangedAndAddedInTheNew) {
  EXPECT_EQ(
      diff_of(
          R"({"listen_port": 80, "backends": [{"unix": "/1"}, {"unix": "/2"}, {"unix": "/3"}, {"unix": "/4"}]})",
          R"({"listen_port": 80, "backends": [{"unix": "/6"}, {"unix": "/4", "weight": 2}, {"unix": "/5"},
                                                        {"unix": "/2", "weight": 0, "max_connections": 5}]})"),
      "- backend unix:/1 removed: unix:/1, weight 1\n"
      "- backend unix:/3 removed: unix:/3, weight 1\n"
      "~ backend unix:/4: weight 1 -> 2\n"
      "~ backend unix:/2: weight 1 -> 0\n"
      "~ backend unix:/2: max_connections 0 -> 5\n"
      "+ backend unix:/6 added: unix:/6, weight 1\n"
      "+ backend unix:/5 added: unix:/5, weight 1\n");
}

TEST(ConfigDiff, AddressOfABackend) {
  const auto file = [](const char* backend) {
    return std::string{R"({"listen_port": 80, "backends": [)"} + backend + "]}";
  };
  const auto changes = changes_of(file(R"({"name": "a/b", "host": "10.0.0.1", "port": 1})"),
                                  file(R"({"name": "a/b", "unix": "/run/x", "weight": 2})"));
  ASSERT_EQ(changes.size(), 2U);
  EXPECT_EQ(changes[0],
            (ConfigChange{ConfigChange::Kind::changed, "/backends/a~1b/address", R"("10.0.0.1:1")",
                          R"("unix:/run/x")", "backend a/b: address 10.0.0.1:1 -> unix:/run/x"}));
  EXPECT_EQ(changes[1].path, "/backends/a~1b/weight");
  EXPECT_EQ(diff_of(file(R"({"host": "::1", "port": 1})"), file(R"({"host": "::1", "port": 2})")),
            "- backend [::1]:1 removed: [::1]:1, weight 1\n+ backend [::1]:2 added: [::1]:2, weight 1\n")
      << "without a name it is known by its address";
}

TEST(ConfigDiff, ObjectsAreWhole) {
  const auto changes = changes_of(with(R"("rate_limit": {"per_ip": 2.5})"),
                                  R"({"listen_port": 80, "backends": [{"name": "b~", "unix": "/u"}]})");
  ASSERT_EQ(changes.size(), 3U);
  EXPECT_EQ(
      Json::parse(changes[0].before),
      Json::parse(
          R"({"name": "a", "host": "10.0.0.1", "port": 1, "weight": 1, "max_connections": 0, "backup": false})"));
  EXPECT_EQ(changes[0].after, "");
  EXPECT_EQ(changes[1].path, "/backends/b~0");
  EXPECT_EQ(
      Json::parse(changes[1].after),
      Json::parse(R"({"name": "b~", "unix": "/u", "weight": 1, "max_connections": 0, "backup": false})"));
  EXPECT_EQ(Json::parse(changes[2].before), Json::parse(R"({"per_ip": 2.5, "burst": 1})"));
  EXPECT_EQ(changes[2].words, "rate_limit removed: per_ip 2.5, burst 1");
}

TEST(ConfigDiff, EveryKindOfKey) {
  EXPECT_EQ(diff_with("", R"("algorithm": "ip_hash", "pool": {"max_size": 0}, "timeouts": {"idle": 0.25},
                             "drain_timeout": 3600, "workers": 4, "pid_file": "/a \"b\"", "admin": {"socket": "/s"})"),
            "~ algorithm: round_robin -> ip_hash\n"
            "~ pool.max_size: 64 -> 0\n"
            "~ timeouts.idle: 60 -> 0.25\n"
            "~ drain_timeout: 30 -> 3600\n"
            "~ workers: 0 -> 4\n"
            "~ pid_file: none -> \"/a \\\"b\\\"\"\n"
            "~ admin.socket: none -> \"/s\"\n");
  EXPECT_EQ(diff_with(R"("rate_limit": {"per_ip": 100000, "burst": 1000000})",
                      R"("rate_limit": {"per_ip": 0.001})"),
            "~ rate_limit.per_ip: 100000 -> 0.001\n~ rate_limit.burst: 1000000 -> 1\n");
}

/// Each key of the table, set to another value than its default, is noticed under its own name.
TEST(ConfigDiff, NoKeyIsForgotten) {
  const auto alter = [](const KeySpec& key, const Slot& slot) {
    if (const auto* v = std::get_if<bool*>(&slot))
      **v = !**v;
    else if (const auto* n = std::get_if<std::uint32_t*>(&slot))
      ++**n;
    else if (const auto* h = std::get_if<std::uint16_t*>(&slot))
      ++**h;
    else if (const auto* d = std::get_if<double*>(&slot))
      **d += 1;
    else if (const auto* t = std::get_if<Milliseconds*>(&slot))
      **t += Milliseconds{1};
    else if (const auto* s = std::get_if<std::string*>(&slot))
      **s += "x";
    else if (const auto* c = std::get_if<Choice>(&slot))
      c->set(c->member, (c->get(c->member) + 1) % key.choices.size());
    else
      return false;
    return true;
  };
  const auto loaded = config_parse(with(R"("rate_limit": {"per_ip": 1})"));
  ASSERT_TRUE(loaded);
  Config before = *loaded->config;
  for (const KeySpec& key : config_section().keys) {
    if (key.type == KeyType::optional_object && key.children.size(&before) == 0) key.children.append(&before);
  }
  std::size_t tried = 0;
  for (const KeySpec& key : config_section().keys) {
    if (key.type == KeyType::objects) continue;
    const std::size_t inner = key.section == nullptr ? 1 : key.section->keys.size();
    for (std::size_t i = 0; i < inner; ++i) {
      Config changed = before;
      const KeySpec& leaf = key.section == nullptr ? key : key.section->keys[i];
      void* owner = key.section == nullptr ? &changed : key.children.at(&changed, 0);
      if (leaf.slot == nullptr || !alter(leaf, leaf.slot(owner))) continue;
      ++tried;
      const std::string name = std::string{key.name} + (key.type == KeyType::listen ? "/0.0.0.0:80" : "") +
                               (&leaf == &key ? "" : "/" + std::string{leaf.name});
      const auto changes = config_diff(before, changed);
      ASSERT_EQ(changes.size(), 1U) << name;
      EXPECT_EQ(changes[0].path, "/" + name);
    }
  }
  EXPECT_GT(tried, 15U);
}

TEST(ConfigDiff, OptionsOfListeners) {
  const auto file = [](const std::string& listen) {
    return R"({"listen": )" + listen + R"(, "backends": [{"host": "a", "port": 1}]})";
  };
  const std::string before = file(R"([":80", ":81", {"address": ":82", "mode": "tcp"}, {"address": ":83"}])");
  const std::string after =
      file(R"([{"address": ":80", "mode": "tcp"}, {"address": ":84", "mode": "tcp"}, ":83"])");
  EXPECT_EQ(diff_of(before, after),
            "- listener 0.0.0.0:81 removed\n"
            "- listener 0.0.0.0:82 removed\n"
            "~ listener 0.0.0.0:80: mode http -> tcp\n"
            "+ listener 0.0.0.0:84 added: mode tcp\n");
  const auto changes = changes_of(before, after);
  EXPECT_EQ(changes[0].before, R"("0.0.0.0:81")");
  EXPECT_EQ(Json::parse(changes[1].before)["mode"], "tcp");
  EXPECT_EQ(changes[2].path, "/listen/0.0.0.0:80/mode");
  EXPECT_EQ(changes[2].before, R"("http")");
  EXPECT_EQ(Json::parse(changes[3].after)["address"], "0.0.0.0:84");
}

TEST(ConfigDiff, HeaderFields) {
  EXPECT_EQ(diff_with(R"("response_headers": {"X-A": "1", "X-B": "1", "X-Empty": ""})",
                      R"("response_headers": {"X-C": "a \"q\"", "x-a": "2", "X-Empty": "a\tb"})"),
            "- response_headers.X-B removed: \"1\"\n"
            "~ response_headers.x-a: \"1\" -> \"2\"\n"
            "~ response_headers.X-Empty: \"\" -> \"a\\tb\"\n"
            "+ response_headers.X-C added: \"a \\\"q\\\"\"\n");
}

TEST(ConfigDiff, SecretsAreNowhere) {
  const auto changes = changes_of(
      with(R"("response_headers": {"Set-Cookie": "hush-1", "X-Api-Key": "hush-2", "X-Token-Of": "hush-3"})"),
      with(
          R"("response_headers": {"set-cookie": "hush-4", "X-Api-Key": "hush-2", "Authorization": "hush-5"})"));
  EXPECT_EQ(lines(changes),
            "- response_headers.X-Token-Of removed: (secret)\n"
            "~ response_headers.set-cookie: (secret) -> (secret)\n"
            "+ response_headers.Authorization added: (secret)\n");
  EXPECT_FALSE(changes_json(changes).contains("hush"));
  EXPECT_EQ(changes.at(1).before, R"j("(secret)")j");
  EXPECT_EQ(changes.at(1).after, R"j("(secret)")j");
  EXPECT_EQ(diff_with(R"j("response_headers": {"X": "(secret)"})j", R"j("response_headers": {"X": "1"})j"),
            "~ response_headers.X: \"(secret)\" -> \"1\"\n");
}

TEST(ConfigDiff, WordsAreOneLineWithoutControlCharacters) {
  Config before;
  Config after;
  after.backends.push_back({.name = "a\n\x1b[2J\xc2\x9b\xff", .endpoint = {.host = "h\n", .port = 1}});
  after.listen.push_back({{.host = "/run/\r", .unix_socket = true}});
  after.pid_file = "\x07" + std::string(100, 'x');
  after.response_headers = {{"X\n", "\x1b]"}};
  const auto forth = config_diff(before, after);
  const auto back = config_diff(after, before);
  ASSERT_EQ(forth.size(), 4U);
  for (const auto& change : forth) {
    EXPECT_TRUE(
        std::ranges::none_of(change.words, [](char c) { return static_cast<unsigned char>(c) < 0x20; }));
  }
  EXPECT_EQ(forth[1].words, "backend a\\u000a\\u001b[2J\\u009b\\ufffd added: h\\u000a:1, weight 1");
  EXPECT_EQ(forth[2].words, "pid_file: none -> \"\\u0007" + std::string(59, 'x') + "\"...");
  for (const std::string& text : {changes_json(forth), changes_json(back)}) {
    EXPECT_TRUE(std::ranges::none_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x20; }));
    EXPECT_FALSE(text.contains("\xc2\x9b"));
    EXPECT_EQ(Json::parse(text).size(), 4U);
  }
}

TEST(ConfigDiff, ManyBackendsInAnotherOrder) {
  if (kSanitized) GTEST_SKIP() << "slow with a sanitizer; the plain build covers it";
  constexpr std::uint32_t kCount = 100'000;
  Config before;
  before.listen.push_back({{.host = "0.0.0.0", .port = 80}});
  for (std::uint32_t i = 0; i < kCount; ++i) {
    before.backends.push_back(
        {.name = "backend-" + std::to_string(i), .endpoint = {.host = "10.0.0.1", .port = 80}});
  }
  Config after = before;
  std::ranges::reverse(after.backends);
  for (std::uint32_t i = 0; i < 10; ++i) after.backends[i * 9'999].weight = 2;
  const auto began = std::chrono::steady_clock::now();
  const auto changes = config_diff(before, after);
  const auto took = std::chrono::steady_clock::now() - began;
  EXPECT_EQ(changes.size(), 10U);
  EXPECT_EQ(changes[1].words, "backend backend-90000: weight 1 -> 2");
#ifdef NDEBUG
  EXPECT_LT(took, std::chrono::seconds{1});
#else
  EXPECT_LT(took, std::chrono::seconds{10});
#endif
  after.backends.clear();
  EXPECT_EQ(config_diff(before, after).size(), kCount);
}

TEST(ConfigDiff, AsJson) {
  EXPECT_EQ(changes_json({}), "[]");
  const auto changes = changes_of(with(""), with(R"("workers": 2, "rate_limit": {"per_ip": 1})"));
  EXPECT_EQ(changes_json(changes),
            R"([{"kind":"added","path":"/rate_limit","before":null,"after":{"per_ip":1,"burst":1},)"
            R"("words":"rate_limit added: per_ip 1, burst 1"},)"
            R"({"kind":"changed","path":"/workers","before":0,"after":2,"words":"workers: 0 -> 2"}])");
  EXPECT_EQ(
      Json::parse(changes_json({{ConfigChange::Kind::changed, "/a", "{no json", "1", "a\x9b"}}))[0]["before"],
      "{no json");
}

TEST(ConfigDiff, WhatASecretIs) {
  for (const char* name : {"Authorization", "proxy-authorization", "COOKIE", "Set-Cookie", "X-Secret",
                           "my-TOKEN-1", "Password", "X-Api-Key"}) {
    EXPECT_TRUE(is_secret_header(name)) << name;
  }
  for (const char* name : {"Server", "X-Authorization", "Cookie2", "Api", ""}) {
    EXPECT_FALSE(is_secret_header(name)) << name;
  }
}

TEST(ConfigDiff, NumbersInWords) {
  EXPECT_EQ(number_words(100'000), "100000");
  EXPECT_EQ(number_words(1e6), "1000000");
  EXPECT_EQ(number_words(0.001), "0.001");
  EXPECT_EQ(number_words(2.5), "2.5");
  EXPECT_EQ(number_words(0.1 + 0.2), "0.30000000000000004");
  EXPECT_EQ(number_words(1.7976931348623157e308).size(), 309U);
  EXPECT_EQ(number_words(-5e-324).size(), 327U);
}

}  // namespace
}  // namespace lb
