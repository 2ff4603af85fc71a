#include "lb/config/yaml_reader.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "lb/base/file.hpp"
#include "lb/config/json_reader.hpp"

namespace lb {
namespace {

namespace fs = std::filesystem;

fs::path fixtures() {
  return fs::path{LB_SOURCE_DIR} / "fixtures/config";
}

std::string bytes_of(const fs::path& path) {
  auto bytes = read_file(path, kConfigBytesMax);
  EXPECT_TRUE(bytes) << path;
  return bytes ? *bytes : std::string{};
}

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
  const auto yaml = config_parse("listen_port: 1\nbackends: [{host: a, port: 1}]\n", ConfigFormat::yaml);
  ASSERT_TRUE(yaml) << yaml.error().text("f");
  EXPECT_EQ(yaml->format, ConfigFormat::yaml);
  EXPECT_EQ(*yaml->config, *json->config);
}

TEST(YamlFixtures, GoodFilesLoad) {
  std::size_t count = 0;
  for (const auto& entry : fs::directory_iterator(fixtures() / "yaml/good")) {
    const ConfigResult result = config_load(entry.path());
    ASSERT_TRUE(result) << result.error().text(entry.path().string());
    EXPECT_EQ(result->format, ConfigFormat::yaml);
    EXPECT_EQ(result->text, bytes_of(entry.path()));
    EXPECT_EQ(config_validate(*result->config), std::vector<ConfigError>{});
    ++count;
  }
  EXPECT_GE(count, 6U);
  const auto yaml = config_load(fixtures() / "yaml/good/chapter.yaml");
  const auto json = config_load(fixtures() / "good/chapter.json");
  EXPECT_EQ(*yaml->config, *json->config);
}

TEST(YamlFixtures, BadFilesSayExactlyThis) {
  std::size_t count = 0;
  for (const auto& entry : fs::directory_iterator(fixtures() / "yaml/bad")) {
    if (entry.path().extension() != ".yaml") continue;
    const ConfigResult result = config_load(entry.path());
    ASSERT_FALSE(result) << entry.path() << " was accepted";
    fs::path expected = entry.path();
    expected.replace_extension(".expected");
    EXPECT_EQ(result.error().text(entry.path().filename().string()) + "\n", bytes_of(expected));
    ++count;
  }
  EXPECT_GE(count, 42U);
}

void expect_same_tree(const Node& a, const Node& b, const std::string& story) {
  ASSERT_EQ(a.kind, b.kind) << story;
  EXPECT_EQ(a.text, b.text) << story;
  EXPECT_EQ(a.key, b.key) << story;
  EXPECT_EQ(a.at, b.at) << story;
  EXPECT_EQ(a.key_at, b.key_at) << story;
  ASSERT_EQ(a.children.size(), b.children.size()) << story;
  for (std::size_t i = 0; i < a.children.size(); ++i) {
    expect_same_tree(a.children[i], b.children[i],
                     story + "/" + (a.children[i].key.empty() ? std::to_string(i) : a.children[i].key));
  }
}

/// JSON is YAML: the same trees, to the last position; and where the content is at fault, the same errors.
TEST(YamlFixtures, JsonFilesReadTheSame) {
  for (const char* folder : {"good", "bad"}) {
    std::size_t read = 0;
    for (const auto& entry : fs::directory_iterator(fixtures() / folder)) {
      const std::string text = bytes_of(entry.path());
      if (entry.path().extension() != ".json" || text.contains("\\u")) continue;
      const auto json = read_json(text);
      if (!json) continue;
      const auto yaml = read_yaml(text);
      ASSERT_TRUE(yaml) << entry.path() << ConfigErrors{.errors = {yaml.error()}}.text("");
      expect_same_tree(*json, *yaml, entry.path().filename().string());
      ++read;
      const auto as_json = config_parse(text);
      const auto as_yaml = config_parse(text, ConfigFormat::yaml);
      if (as_json) continue;
      EXPECT_EQ(as_json.error().text("f"), as_yaml.error().text("f"));
    }
    EXPECT_GE(read, 18U) << folder;
  }
}

TEST(YamlReader, EachPrefixOfAFileIsReadOrRefused) {
  const std::string text = bytes_of(fixtures() / "yaml/good/anchors.yaml");
  for (std::size_t size = 0; size < text.size(); ++size) {
    const auto result = config_parse(std::string_view{text}.substr(0, size), ConfigFormat::yaml);
    if (result) continue;
    for (const ConfigError& error : result.error().errors) EXPECT_GE(error.line * error.column, 1U) << size;
  }
}

/// What aliases stand for counts: values, bytes, levels; one more than the limit is refused.
TEST(YamlReader, LimitOfNesting) {
  const auto outcome = [](std::size_t outer, std::size_t inner) {
    const std::string text = "[&a " + std::string(inner, '[') + std::string(inner, ']') + "," +
                             std::string(outer, '[') + "*a" + std::string(outer, ']') + "]";
    const auto result = read_yaml(text);
    return result ? "read" : result.error().message;
  };
  EXPECT_EQ(outcome(11, 20), "read");
  EXPECT_EQ(outcome(12, 20), "found more than 32 levels of nesting, expected a flatter file");
}

TEST(YamlReader, LimitOfBytes) {
  const std::string text = "a: &a " + std::string(1U << 20U, 'x') + "\nb: [";
  const auto outcome = [&](std::size_t aliases) {
    std::string all = text;
    for (std::size_t i = 0; i < aliases; ++i) all += "*a,";
    const auto result = read_yaml(all + "]\n");
    return result ? "read" : result.error().message;
  };
  EXPECT_EQ(outcome(62), "read");
  EXPECT_EQ(outcome(64),
            "found more than 67,108,864 bytes with what aliases stand for, expected a smaller file");
}

TEST(YamlReader, ManyBracketsCostNoMore) {
  const auto result = read_yaml(std::string(kConfigValuesMax + 1, '['));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().column, kConfigValuesMax + 1);
  EXPECT_EQ(result.error().message, "found more than 2,000,000 values, expected a smaller file");
}

}  // namespace
}  // namespace lb
