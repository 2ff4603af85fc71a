#include "lb/admin/plan.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace lb {
namespace {

using Json = nlohmann::json;

/// A balancer that serves `config`, and what is connected to it.
struct Running {
  Json config = Json::parse(R"({"listen":["127.0.0.1:8080","127.0.0.1:9090"],"algorithm":"round_robin",
      "backends":[{"name":"b1","host":"127.0.0.1","port":1},{"name":"b2","host":"127.0.0.1","port":2,"weight":2},
                  {"name":"b3","host":"127.0.0.1","port":3}]})");
  Json answer = Json::parse(R"({"ok":true,"backends_total":3,
      "backends":[{"name":"b1","endpoint":"127.0.0.1:1","requests_1m":25,"requests_5m":100},
                  {"name":"b2","endpoint":"127.0.0.1:2","requests_1m":50,"requests_5m":240},
                  {"name":"b3","endpoint":"127.0.0.1:3","requests_1m":25,"requests_5m":60}],
      "traffic":{"observed_s":300,"requests_1m":100,"requests_5m":400},"reloads":{"in_flight":false},
      "live":{"listeners":[{"endpoint":"127.0.0.1:8080","connections":20,"busy":3,"tunnels":4,"tls":5},
                           {"endpoint":"127.0.0.1:9090","connections":1,"busy":0,"tunnels":0,"tls":0}],
              "backends":[{"name":"b2","endpoint":"127.0.0.1:2","requests":2,"tunnels":3,"tunnels_tls":0},
                          {"name":"b3","endpoint":"127.0.0.1:3","requests":1,"tunnels":0,"tunnels_tls":1}]}})");

  Plan plan(const Json& next) const {
    Json line = answer;
    line["running"] = {{"generation", 7}, {"config", "aaaa"}, {"format", "json"}, {"text", config.dump()}};
    const auto state = parse_running_state(line.dump());
    EXPECT_TRUE(state) << state.error().message;
    const auto before = config_parse(state->text, state->format);
    const auto after = config_parse(next.dump());
    EXPECT_TRUE(before) << before.error().text("before");
    EXPECT_TRUE(after) << after.error().text("after");
    return make_plan(*state, *before->config, *after, config_diff(*before->config, *after->config));
  }
};

TEST(Plan, OfTheSameIsNothing) {
  const Running running;
  const Plan plan = running.plan(running.config);
  EXPECT_EQ(plan.verdict, PlanVerdict::nothing);
  EXPECT_EQ(plan_exit_code(plan.verdict), 0);
  EXPECT_EQ(plan_text(plan, {}).substr(plan_text(plan, {}).find('\n')),
            "\n`- verdict    nothing: the text is another, what it says is the same\n");
}

TEST(Plan, AddedAndReweightedBackendsAreSafe) {
  const Running running;
  Json next = running.config;
  next["backends"][0]["weight"] = 3;
  next["backends"].push_back({{"name", "b4"}, {"host", "127.0.0.1"}, {"port", 4}});
  next["listen"].push_back("127.0.0.1:7070");
  Plan plan = running.plan(next);
  plan.tunnels_drained = 0;
  plan.reasons.clear();
  EXPECT_EQ(plan.backends_kept, 2U);
  plan.verdict = PlanVerdict::safe;
  plan.planned_config = "bbbb";
  EXPECT_EQ(plan_exit_code(plan.verdict), 1);
  EXPECT_EQ(plan_text(plan, {}), R"(plan  config bbbb against generation 7, which serves config aaaa
|- changes    + listener 127.0.0.1:7070 added
|             ~ backend b1: weight 1 -> 3
|             + backend b4 added: 127.0.0.1:4, weight 1
|- listeners  = 127.0.0.1:8080  20 connections, 3 with a request under way, 4 tunnels, 5 with TLS
|             = 127.0.0.1:9090  1 connection
|             + 127.0.0.1:7070  is opened
|- backends   ~ b1  weight 1 -> 3; 25.0 % of the requests of 5 min (25.0 % in 1 min); idle
|             + b4  is added
|             = 2 backends stay
|- moves      12 connections to the next generation, unnoticed
|- drains     5 connections with TLS: closed behind a response, or when quiet
|- tunnels    3 go on
`- verdict    safe
)");
}

TEST(Plan, ClosedListenersAndLeavingBackendsAreDisruptive) {
  const Running running;
  Json next = running.config;
  next["listen"].erase(1);
  next["backends"].erase(1);
  const Plan plan = running.plan(next);
  EXPECT_EQ(plan.verdict, PlanVerdict::disruptive);
  EXPECT_EQ(plan_exit_code(plan.verdict), 3);
  ASSERT_GE(plan.reasons.size(), 2U);
  EXPECT_EQ(plan.reasons.front(), "listener 127.0.0.1:9090 is closed: who connects to it is refused");
  EXPECT_EQ(plan.reasons.back(), "backends leave that answered 60.0 % of the last minutes' requests");
  const std::string text = plan_text(plan, {});
  EXPECT_NE(text.find("- 127.0.0.1:9090  is closed; 1 connection goes on\n"), std::string::npos) << text;
  EXPECT_NE(text.find("- b2  removed; 60.0 % of the requests of 5 min (50.0 % in 1 min); 2 requests under "
                      "way, 3 tunnels\n"),
            std::string::npos)
      << text;
}

TEST(Plan, AListenerThatSpeaksDifferentlyIsDisruptive) {
  const Running running;
  Json next = running.config;
  next["listen"][1] = {{"address", "127.0.0.1:9090"}, {"mode", "tcp"}};
  const Plan plan = running.plan(next);
  EXPECT_EQ(plan.listeners[1].fate, PlanListener::Fate::changed);
  ASSERT_FALSE(plan.reasons.empty());
  EXPECT_EQ(plan.reasons.front(), "listener 127.0.0.1:9090 speaks differently with new connections");
}

TEST(Plan, AnotherAddressIsAnotherServer) {
  const Running running;
  Json next = running.config;
  next["backends"][2]["port"] = 33;
  const Plan plan = running.plan(next);
  ASSERT_EQ(plan.backends.size(), 1U);
  EXPECT_EQ(plan.backends[0].fate, PlanBackend::Fate::moved);
  EXPECT_EQ(plan.backends[0].words, "address 127.0.0.1:3 -> 127.0.0.1:33");
  EXPECT_EQ(plan.backends[0].requests_5m, 60U);
  EXPECT_EQ(plan.backends[0].tunnels_tls, 1U);
  const auto leaves = [](const Plan& of) {
    return std::ranges::any_of(of.reasons,
                               [](const std::string& r) { return r.starts_with("backends leave"); });
  };
  EXPECT_FALSE(leaves(plan)) << "it answers little";
  next = running.config;
  next["backends"][1]["port"] = 33;
  EXPECT_TRUE(leaves(running.plan(next))) << "it answers more than half";
}

TEST(Plan, KeysThatMoveAreCounted) {
  Running running;
  running.config["algorithm"] = "consistent_hash";
  Json next = running.config;
  next["backends"].erase(2);
  Plan plan = running.plan(next);
  ASSERT_TRUE(plan.keys_moved);
  EXPECT_NEAR(*plan.keys_moved, 0.25, 0.01) << "those of b3, of a weight of 1 in 4";
  EXPECT_NE(plan_text(plan, {}).find(" % of all keys go to another backend: consistent_hash\n"),
            std::string::npos);
  next = running.config;
  next["hash"] = {{"by", "path"}};
  plan = running.plan(next);
  EXPECT_EQ(plan.keys_moved, 1);
  EXPECT_EQ(plan.keys_words, "consistent_hash goes by something else");
  EXPECT_EQ(plan.verdict, PlanVerdict::disruptive);
  next["algorithm"] = "ip_hash";
  next.erase("hash");
  EXPECT_EQ(running.plan(next).keys_words, "the algorithm becomes ip_hash");
  next["algorithm"] = "random";
  EXPECT_EQ(running.plan(next).keys_words, "there are keys no more: the algorithm was consistent_hash");
  running.config["algorithm"] = "round_robin";
  EXPECT_FALSE(running.plan(next).keys_moved);
}

TEST(Plan, WhatAReloadDoesNotTakeIsSaid) {
  const Running running;
  Json next = running.config;
  next["pid_file"] = "/run/lb.pid";
  const Plan plan = running.plan(next);
  ASSERT_EQ(plan.restart.size(), 1U);
  EXPECT_EQ(plan.restart[0], "pid_file: the change takes effect at the next start of the balancer");
}

TEST(Plan, WithoutACensusItSaysSo) {
  Running running;
  running.answer["live"] = nullptr;
  running.answer["traffic"] = Json::object();
  running.answer["reloads"]["in_flight"] = true;
  Json next = running.config;
  next["backends"].erase(0);
  const std::string text = plan_text(running.plan(next), {});
  EXPECT_NE(text.find("unknown: the balancer did not tell in time what is connected"), std::string::npos)
      << text;
  EXPECT_NE(text.find("a reload is under way"), std::string::npos) << text;
  EXPECT_EQ(Json::parse(plan_json(running.plan(next)))["connections"], nullptr);
}

TEST(Plan, AsJson) {
  const Running running;
  Json next = running.config;
  next["backends"].erase(1);
  Plan plan = running.plan(next);
  plan.planned_config = "bbbb";
  const Json json = Json::parse(plan_json(plan));
  EXPECT_EQ(json["verdict"], "disruptive");
  EXPECT_EQ(json["generation"], 7);
  EXPECT_EQ(json["backends"][0].dump(),
            R"({"fate":"removed","name":"b2","requests":2,"requests_1m":50,"requests_5m":240,"share_1m":0.5,)"
            R"("share_5m":0.6,"tunnels":3,"tunnels_tls":0,"words":""})");
  EXPECT_EQ(json["listeners"][0].dump(),
            R"({"busy":3,"connections":20,"endpoint":"127.0.0.1:8080","fate":"stays","tls":5,"tunnels":4})");
  EXPECT_EQ(json["keys"], nullptr);
  EXPECT_EQ(json["connections"]["move"], 12);
  EXPECT_EQ(json["connections"]["drain_tls"], 5);
  EXPECT_EQ(json["changes"][0]["path"], "/backends/b2");
}

TEST(RunningState, OfOtherAnswersIsAnError) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "the answer is not understood"},
      {"[]", "the answer is not understood"},
      {R"({"ok":false,"error":"unknown \"cmd\""})", "unknown \"cmd\""},
      {R"({"ok":true})", "the balancer that runs is too old to be asked for a plan"},
      {R"({"ok":true,"running":null})",
       "no generation serves just now, so there is nothing to compare with; try again"},
      {R"({"ok":true,"running":{"text":7}})",
       "no generation serves just now, so there is nothing to compare with; try again"},
  };
  for (const auto& [line, message] : cases) {
    const auto state = parse_running_state(line);
    ASSERT_FALSE(state) << line;
    EXPECT_EQ(state.error().message, message);
  }
}

}  // namespace
}  // namespace lb
