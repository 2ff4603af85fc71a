// Limits, rules between values, and configurations built in code.
#include "lb/config/config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "lb/base/sanitized.hpp"
#include "lb/config/keys.hpp"

namespace lb {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;

std::string outcome(std::string_view text) {
  const ConfigResult result = config_parse(text);
  return result ? "valid" : result.error().text("f");
}

std::string file_with(std::string_view members) {
  return R"({"listen_port": 8080, "backends": [{"host": "127.0.0.1", "port": 9001}])" +
         std::string{members.empty() ? "" : ", "} + std::string{members} + "}";
}

Config valid_config() {
  Config config;
  config.listen = {{{.host = "0.0.0.0", .port = 8080}}};
  config.backends = {{.name = "a", .endpoint = {.host = "127.0.0.1", .port = 9001}}};
  return config;
}

/// "/path: message" of each fault.
std::vector<std::string> faults(const Config& config) {
  std::vector<std::string> out;
  for (const ConfigError& error : config_validate(config)) {
    EXPECT_EQ(error.line, 0U) << "there is no position in a Config built in code";
    out.push_back(error.path + ": " + error.message);
  }
  return out;
}

std::string backends_file(std::size_t count, std::string_view port) {
  std::string text = R"({"listen_port": 8080, "backends": [)";
  for (std::size_t i = 0; i < count; ++i) {
    if (i > 0) text += ",\n";
    text += R"({"host": "10.)" + std::to_string(i >> 16U & 255U) + "." + std::to_string(i >> 8U & 255U) +
            "." + std::to_string(i & 255U) + R"(", "port": )" + std::string{port} + "}";
  }
  return text + "]}";
}

TEST(Config, TheChaptersFile) {
  const ConfigResult result = config_load(LB_SOURCE_DIR "/fixtures/config/good/chapter.json");
  ASSERT_TRUE(result);
  Config expected;
  expected.listen = {{{.host = "0.0.0.0", .port = 8080}}};
  expected.algorithm = Algorithm::weighted_round_robin;
  expected.backends = {
      {.name = "127.0.0.1:9001", .endpoint = {.host = "127.0.0.1", .port = 9001}, .weight = 3},
      {.name = "127.0.0.1:9002", .endpoint = {.host = "127.0.0.1", .port = 9002}, .weight = 2}};
  expected.rate_limit = {.per_ip = 100, .burst = 20};
  EXPECT_EQ(*result->config, expected) << "what the file gives besides is the defaults";
}

TEST(Config, EveryKeyReachesItsMember) {
  const ConfigResult result = config_load(LB_SOURCE_DIR "/fixtures/config/good/rich.json");
  ASSERT_TRUE(result) << result.error().text("rich");
  const Config& config = *result->config;
  ASSERT_EQ(config.listen.size(), 3U);
  EXPECT_EQ(config.listen[0].text(), "0.0.0.0:8080");
  EXPECT_EQ(config.listen[1].text(), "[::]:8080");
  EXPECT_EQ(config.listen[2].text(), "unix:/run/lb/http.sock");
  EXPECT_EQ(config.algorithm, Algorithm::least_connections);
  ASSERT_EQ(config.backends.size(), 3U);
  EXPECT_EQ(config.backends[0].max_connections, 100U);
  EXPECT_EQ(config.backends[1].name, "gr\xc3\xbcn \xf0\x9f\x8c\xbf");
  EXPECT_EQ(config.backends[1].endpoint.text(), "app.example.org:9002");
  EXPECT_EQ(config.backends[2].endpoint.text(), "unix:/run/app.sock");
  EXPECT_EQ(config.backends[2].weight, 0U);
  EXPECT_EQ(config.pool, (PoolConfig{.max_size = 16, .ttl = Milliseconds{12'500}}));
  EXPECT_EQ(config.rate_limit, (RateLimitConfig{.per_ip = 25, .burst = 50}));
  EXPECT_EQ(config.timeouts.header, Milliseconds{5'000});
  EXPECT_EQ(config.timeouts.idle, Milliseconds{15'250});
  EXPECT_EQ(config.timeouts.connect, Milliseconds{250});
  EXPECT_EQ(config.timeouts.response, TimeoutsConfig{}.response);
  EXPECT_EQ(config.timeouts.quiet, Milliseconds{500});
  EXPECT_EQ(config.drain_timeout, Milliseconds{7'750});
  EXPECT_EQ(config.workers, 4U);
  EXPECT_EQ(config.max_connections, 20'000U);
  EXPECT_EQ(config.pid_file, "/run/lb.pid");
  EXPECT_EQ(config.admin.socket, "/run/lb.sock");
  EXPECT_EQ(config.access_log, "-");
  ASSERT_EQ(config.response_headers.size(), 4U);
  EXPECT_EQ(config.response_headers[3].value, "a \"b\" \\ \t c");
}

TEST(Config, BackendsLimit) {
  if (kSanitized) GTEST_SKIP() << "slow with a sanitizer; the plain build covers it";
  EXPECT_EQ(outcome(backends_file(kBackendsMax - 1, "80")), "valid");
  EXPECT_EQ(outcome(backends_file(kBackendsMax, "80")), "valid");
  EXPECT_EQ(outcome(backends_file(kBackendsMax + 1, "80")),
            "f:1:35: /backends: found 100,001 elements, expected at most 100,000");
}

TEST(Config, ErrorsLimit) {
  for (const std::uint32_t count : {kConfigErrorsMax - 1, kConfigErrorsMax, kConfigErrorsMax + 1,
                                    4 * kConfigErrorsMax, 20 * kConfigErrorsMax}) {
    const ConfigResult result = config_parse(backends_file(count, "0"));
    ASSERT_FALSE(result);
    const std::size_t listed = std::min<std::size_t>(count, kConfigErrorsMax);
    ASSERT_EQ(result.error().errors.size(), listed);
    EXPECT_EQ(result.error().suppressed, count - listed);
    EXPECT_EQ(result.error().errors.back().path, "/backends/" + std::to_string(listed - 1) + "/port")
        << "the first ones of the file are listed";
  }
  EXPECT_THAT(outcome(backends_file(kConfigErrorsMax + 1, "0")), EndsWith("\nf: and 1 more error"));
  EXPECT_THAT(outcome(backends_file(20 * kConfigErrorsMax, "0")), EndsWith("\nf: and 1,900 more errors"));
}

TEST(Config, DuplicatesAreBoundedToo) {
  if (kSanitized) GTEST_SKIP() << "slow with a sanitizer; the plain build covers it";
  std::string text = R"({"listen_port": 8080, "backends": [)";
  for (std::uint32_t i = 0; i < kBackendsMax; ++i) text += R"({"host": "a", "port": 1},)";
  text.back() = ']';
  const ConfigResult result = config_parse(text + "}");
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().errors.size(), kConfigErrorsMax);
  EXPECT_EQ(result.error().suppressed, kBackendsMax - 1 - kConfigErrorsMax);
}

TEST(Config, ListenersLimit) {
  const auto file = [](std::uint32_t count) {
    std::string text = R"({"backends": [{"host": "a", "port": 1}], "listen": [)";
    for (std::uint32_t i = 0; i < count; ++i) text += "\":" + std::to_string(1000 + i) + "\",";
    text.back() = ']';
    return text + "}";
  };
  EXPECT_EQ(outcome(file(kListenersMax - 1)), "valid");
  EXPECT_EQ(outcome(file(kListenersMax)), "valid");
  EXPECT_EQ(outcome(file(kListenersMax + 1)), "f:1:52: /listen: found 257 elements, expected at most 256");
}

TEST(Config, ResponseHeadersLimit) {
  const auto file = [](std::uint32_t count) {
    std::string fields;
    for (std::uint32_t i = 0; i < count; ++i)
      fields += (i > 0 ? ", " : "") + ("\"X-" + std::to_string(i)) + "\": \"\"";
    return file_with("\"response_headers\": {" + fields + "}");
  };
  EXPECT_EQ(outcome(file(kResponseHeadersMax - 1)), "valid");
  EXPECT_EQ(outcome(file(kResponseHeadersMax)), "valid");
  EXPECT_THAT(outcome(file(kResponseHeadersMax + 1)),
              EndsWith("found 65 header fields, expected at most 64"));
  const auto of_bytes = [](std::size_t last) {
    std::string fields;
    for (const char* name : {"A", "B", "C", "D"})
      fields += std::string{"\""} + name + "\": \"" + std::string(name[0] == 'D' ? last : 8191, 'x') + "\", ";
    return file_with("\"response_headers\": {" + fields.substr(0, fields.size() - 2) + "}");
  };
  EXPECT_EQ(outcome(of_bytes(8191)), "valid");
  EXPECT_THAT(outcome(of_bytes(8192)),
              EndsWith("/response_headers: found 32,769 bytes of names and values, expected at most 32,768"));
}

TEST(Config, TextLimits) {
  const auto file = [](std::size_t bytes) {
    return file_with("\"pid_file\": \"" + std::string(bytes, 'x') + "\"");
  };
  EXPECT_EQ(outcome(file(4094)), "valid");
  EXPECT_EQ(outcome(file(4095)), "valid");
  EXPECT_THAT(outcome(file(4096)),
              EndsWith("found a text of 4,096 bytes, expected a text of at most 4095 bytes, "
                       "without control characters"));
}

TEST(Config, FaultyElementsDoNotCastDoubtOnOthers) {
  EXPECT_EQ(
      outcome(R"({"listen_port": 1, "backends": [{"host": "a", "port": 0}, {"host": "b", "port": 0}]})"),
      "f:1:55: /backends/0/port: found 0, expected an integer from 1 to 65535\n"
      "f:1:81: /backends/1/port: found 0, expected an integer from 1 to 65535")
      << "no word of duplicates, or of weights";
  EXPECT_EQ(
      outcome(R"({"listen_port": 0, "backends": [{"host": "a", "port": 1, "weight": 0}]})"),
      "f:1:17: /listen_port: found 0, expected an integer from 1 to 65535\n"
      "f:1:32: /backends: found weights whose sum is 0, expected at least one backend with a weight above 0");
  EXPECT_EQ(outcome(R"({"listenport": 80, "backends": [{"host": "a", "port": 1}]})"),
            "f:1:2: /listenport: unknown key; did you mean \"listen_port\"?");
}

TEST(Config, SecondsAreRoundedToMilliseconds) {
  const auto ms = [](const std::string& seconds) {
    const ConfigResult result = config_parse(file_with("\"drain_timeout\": " + seconds));
    return result ? result->config->drain_timeout.count() : -1;
  };
  EXPECT_EQ(ms("1"), 1000);
  EXPECT_EQ(ms("0.001"), 1);
  EXPECT_EQ(ms("0.0015"), 2);
  EXPECT_EQ(ms("1.0004"), 1000);
  EXPECT_EQ(ms("1e1"), 10'000);
  EXPECT_EQ(ms("86400"), 86'400'000);
  EXPECT_EQ(ms("86400.001"), -1);
  EXPECT_EQ(ms("0.0009"), -1);
  EXPECT_EQ(ms("-0"), -1);
}

TEST(Config, UnreadableFile) {
  const ConfigResult missing = config_load("/no/such/file.json");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().kind, ConfigErrors::Kind::unreadable);
  EXPECT_EQ(missing.error().text("file.json"),
            "file.json: cannot open /no/such/file.json: No such file or directory");
  const ConfigResult directory = config_load("/");
  ASSERT_FALSE(directory);
  EXPECT_EQ(directory.error().kind, ConfigErrors::Kind::unreadable);
}

TEST(Validate, AConfigBuiltInCode) {
  EXPECT_THAT(faults(valid_config()), ElementsAre());
  EXPECT_THAT(faults(Config{}), ElementsAre(HasSubstr("missing key \"listen_port\""),
                                            HasSubstr("/backends: found no backend")));
}

TEST(Validate, RangesOfEveryType) {
  Config config = valid_config();
  config.backends[0].weight = 10'001;
  config.backends[0].endpoint.port = 0;
  config.pool.ttl = Milliseconds{0};
  config.rate_limit = {.per_ip = std::numeric_limits<double>::quiet_NaN(), .burst = 0};
  config.drain_timeout = Milliseconds{-1};
  config.algorithm = static_cast<Algorithm>(17);
  config.admin.socket = std::string(108, 'x');
  config.access_log = "a\nb";
  config.response_headers = {{.name = "X", .value = "a\r\nb"}};
  EXPECT_THAT(
      faults(config),
      ElementsAre("/algorithm: found no known value, expected \"round_robin\", \"weighted_round_robin\", "
                  "\"least_connections\", \"ip_hash\", \"random\", \"weighted_least_connections\", "
                  "\"power_of_two\" or \"consistent_hash\"",
                  "/backends/0/port: found 0, expected an integer from 1 to 65535",
                  "/backends/0/weight: found 10001, expected an integer from 0 to 10000",
                  "/pool/ttl: found 0, expected a number of seconds from 0.001 to 86400",
                  "/rate_limit/per_ip: found no finite number, expected a number from 0.001 to 1000000",
                  "/rate_limit/burst: found 0, expected an integer from 1 to 1000000",
                  "/drain_timeout: found -0.001, expected a number of seconds from 0.001 to 86400",
                  HasSubstr("/admin/socket: found a text of 108 bytes"),
                  HasSubstr("/access_log: found \"a\\nb\""),
                  "/response_headers: found \"a\\u000d\\nb\" for \"X\", expected a text without control "
                  "characters"));
  EXPECT_FALSE(config_print(config).empty()) << "even this can be shown";
}

TEST(Validate, RulesBetweenValues) {
  Config config = valid_config();
  config.listen.push_back(config.listen[0]);
  config.backends.push_back(config.backends[0]);
  config.backends[0].weight = config.backends[1].weight = 0;
  config.response_headers = {{.name = "a", .value = "1"}, {.name = "A", .value = "2"}};
  EXPECT_THAT(
      faults(config),
      ElementsAre("/listen/1: duplicate address \"0.0.0.0:8080\", the same as /listen/0",
                  "/backends/1/name: duplicate name \"a\", the same as that of /backends/0",
                  HasSubstr("/backends: found weights whose sum is 0"),
                  "/response_headers/A: duplicate header name, the same as \"a\"; letter case is ignored"));
}

TEST(Validate, Endpoints) {
  Config config = valid_config();
  config.listen = {{{.host = "localhost", .port = 80}}};
  config.backends[0].endpoint = {.host = "relative.sock", .port = 0, .unix_socket = true};
  EXPECT_THAT(faults(config), ElementsAre(HasSubstr("/listen/0/address: found \"localhost:80\""),
                                          HasSubstr("/backends/0/unix: found \"relative.sock\"")));
  config.listen = {{{.host = "/run/x.sock", .port = 1, .unix_socket = true}}};
  config.backends[0].endpoint = {.host = "a b", .port = 1};
  EXPECT_THAT(faults(config), ElementsAre(HasSubstr("/listen/0/address: found port 1"),
                                          HasSubstr("/backends/0/host: found \"a b\"")));
}

TEST(Print, ReadsBackAsTheSame) {
  Config config = valid_config();
  config.listen.push_back({{.host = "/run/\"quoted\".sock", .port = 0, .unix_socket = true}});
  config.backends.push_back({.name = "\xc3\xbc \"b\"", .endpoint = {.host = "::1", .port = 1}, .weight = 7});
  config.backends.push_back({.name = "u", .endpoint = {.host = "/u", .port = 0, .unix_socket = true}});
  config.rate_limit = {.per_ip = 0.1, .burst = 3};
  config.drain_timeout = Milliseconds{1'001};
  config.response_headers = {{.name = "X", .value = "\\ \t \""}};
  ASSERT_THAT(faults(config), ElementsAre());
  const ConfigResult again = config_parse(config_print(config));
  ASSERT_TRUE(again) << again.error().text("printed");
  EXPECT_EQ(*again->config, config);
}

TEST(Print, AListenerWithoutOptionsIsItsAddress) {
  const auto loaded = config_parse(
      R"({"listen": [{"address": ":1"}, {"mode": "tcp", "address": "[::]:2"}], "backends": [{"host": "a", "port": 1}]})");
  ASSERT_TRUE(loaded) << loaded.error().text("f");
  EXPECT_EQ(loaded->config->listen[1].mode, ListenMode::tcp);
  const std::string text = config_print(*loaded->config);
  EXPECT_THAT(text, HasSubstr(R"("listen": ["0.0.0.0:1", {"address": "[::]:2", "mode": "tcp")"));
  const auto again = config_parse(text);
  ASSERT_TRUE(again) << again.error().text("printed");
  EXPECT_EQ(*again->config, *loaded->config);
}

TEST(Print, ShowsEveryKey) {
  const std::string text = config_print(valid_config());
  for (const KeySpec& key : config_section().keys) {
    if (key.name == "listen_port" || key.name == "$schema") continue;  // said through listen; not kept
    EXPECT_THAT(text, HasSubstr("\"" + std::string{key.name} + "\": "));
  }
}

}  // namespace
}  // namespace lb
