#include "lb/config/diff.hpp"

#include <gtest/gtest.h>

namespace lb {
namespace {

std::string diff_of(std::string_view before, std::string_view after) {
  const auto a = config_parse(before);
  const auto b = config_parse(after);
  if (!a) return a.error().text("before");
  if (!b) return b.error().text("after");
  std::string text;
  for (const auto& change : config_diff(*a->config, *b->config)) text += change_line(change) + "\n";
  return text;
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
}

TEST(ConfigDiff, ByIdentityNotByPosition) {
  EXPECT_EQ(
      diff_of(
          kBase,
          R"({"listen": ["127.0.0.1:82", "127.0.0.1:81"], "drain_timeout": 5, "rate_limit": {"per_ip": 5, "burst": 2},
        "backends": [{"name": "c", "host": "10.0.0.3", "port": 3}, {"name": "b", "host": "10.0.0.2", "port": 2, "weight": 7}]})"),
      "- /listen: \"127.0.0.1:80\"\n"
      "+ /listen: \"127.0.0.1:82\"\n"
      "- /backends/a: {\"host\":\"10.0.0.1\",\"port\":1,\"weight\":1,\"max_connections\":0}\n"
      "~ /backends/b/weight: 1 -> 7\n"
      "+ /backends/c: {\"host\":\"10.0.0.3\",\"port\":3,\"weight\":1,\"max_connections\":0}\n"
      "~ /rate_limit: null -> {\"per_ip\":5,\"burst\":2}\n"
      "~ /drain_timeout: 30 -> 5\n");
}

TEST(ConfigDiff, OneListenerAndSeveral) {
  EXPECT_EQ(
      diff_of(
          R"({"listen": "127.0.0.1:80", "backends": [{"host": "10.0.0.1", "port": 1}]})",
          R"({"listen": ["127.0.0.1:80", "127.0.0.1:81"], "backends": [{"host": "10.0.0.1", "port": 1}]})"),
      "+ /listen: \"127.0.0.1:81\"\n");
}

TEST(ConfigDiff, HeadersAndNestedKeys) {
  EXPECT_EQ(diff_of(R"({"listen_port": 80, "backends": [{"name": "a/b", "host": "10.0.0.1", "port": 1}],
                        "response_headers": {"X-A": "1", "X-B": "1"}})",
                    R"({"listen_port": 80, "backends": [{"name": "a/b", "host": "10.0.0.1", "port": 2}],
                        "response_headers": {"X-A": "2", "X-C": "1"}, "timeouts": {"idle": 5}})"),
            "~ /backends/a~1b/port: 1 -> 2\n"
            "~ /timeouts/idle: 60 -> 5\n"
            "~ /response_headers/X-A: \"1\" -> \"2\"\n"
            "- /response_headers/X-B: \"1\"\n"
            "+ /response_headers/X-C: \"1\"\n");
}

}  // namespace
}  // namespace lb
