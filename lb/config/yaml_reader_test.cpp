#include "lb/config/yaml_reader.hpp"

#include <gtest/gtest.h>

#include <string>

namespace lb {
namespace {

TEST(YamlFormat, IsGivenByTheEndOfTheName) {
  for (const char* yaml : {"lb.yaml", "lb.yml", "/etc/lb.YAML", "LB.Yml", "a.json.yaml", ".yml"}) {
    EXPECT_EQ(config_format(yaml), ConfigFormat::yaml) << yaml;
  }
  for (const char* json :
       {"lb.json", "lb", "", "yaml", "lb.yaml.bak", "lb.yaml/lb.conf", "lbyaml", "lb.yam"}) {
    EXPECT_EQ(config_format(json), ConfigFormat::json) << json;
  }
}

TEST(YamlFormat, IsRemembered) {
  const auto json = config_parse(R"({"listen_port": 1, "backends": [{"host": "a", "port": 1}]})");
  ASSERT_TRUE(json);
  EXPECT_EQ(json->format, ConfigFormat::json);
}

}  // namespace
}  // namespace lb
