// Every file of fixtures/config against what it should give, and against damage.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <random>
#include <string>

#include "lb/base/file.hpp"
#include "lb/base/random.hpp"
#include "lb/config/config.hpp"

namespace lb {
namespace {

namespace fs = std::filesystem;

std::string bytes_of(const fs::path& path) {
  auto bytes = read_file(path, kConfigBytesMax);
  EXPECT_TRUE(bytes) << path;
  return bytes ? *bytes : std::string{};
}

std::map<std::string, fs::path> files(const char* folder, const char* extension) {
  std::map<std::string, fs::path> found;
  for (const auto& entry : fs::directory_iterator(fs::path{LB_SOURCE_DIR} / "fixtures/config" / folder)) {
    if (entry.path().extension() == extension) found[entry.path().stem()] = entry.path();
  }
  return found;
}

/// What must hold for any bytes: an answer without a crash; an error has a position and words; what is valid
/// prints as a file that reads back as the same.
void expect_sane(std::string_view text, const std::string& story) {
  const ConfigResult result = config_parse(text);
  if (result) {
    EXPECT_EQ(config_validate(*result->config), std::vector<ConfigError>{}) << story;
    const ConfigResult again = config_parse(config_print(*result->config));
    ASSERT_TRUE(again) << story << "\n" << again.error().text("printed");
    EXPECT_EQ(*again->config, *result->config) << story;
    return;
  }
  ASSERT_FALSE(result.error().errors.empty()) << story;
  for (const ConfigError& error : result.error().errors) {
    EXPECT_GE(error.line, 1U) << story;
    EXPECT_GE(error.column, 1U) << story;
    EXPECT_NE(error.message, "found a text that cannot be read")
        << story << ": a fault that nobody could explain";
    const bool worded = error.message.starts_with("found ") || error.message.starts_with("unknown key") ||
                        error.message.starts_with("missing key") || error.message.starts_with("duplicate ");
    EXPECT_TRUE(worded) << story << ": " << error.message;
  }
}

TEST(Fixtures, GoodFilesLoad) {
  const auto good = files("good", ".json");
  EXPECT_GE(good.size(), 13U);
  for (const auto& [name, path] : good) {
    const ConfigResult result = config_load(path);
    ASSERT_TRUE(result) << result.error().text(path.string());
    EXPECT_EQ(result->text, bytes_of(path));
    expect_sane(result->text, name);
  }
}

TEST(Fixtures, BadFilesSayExactlyThis) {
  const auto bad = files("bad", ".json");
  const auto expected = files("bad", ".expected");
  EXPECT_GE(bad.size(), 65U);
  for (const auto& [name, path] : bad) {
    const ConfigResult result = config_load(path);
    EXPECT_FALSE(result) << name << " was accepted";
    if (result || !expected.contains(name)) continue;
    EXPECT_EQ(result.error().kind, ConfigErrors::Kind::invalid);
    EXPECT_EQ(result.error().text(name + ".json") + "\n", bytes_of(expected.at(name)));
    expect_sane(bytes_of(path), name);
  }
  for (const auto& [name, path] : bad) EXPECT_TRUE(expected.contains(name)) << name << " has no .expected";
  for (const auto& [name, path] : expected) EXPECT_TRUE(bad.contains(name)) << name << " has no .json";
}

TEST(Fixtures, ErrorsComeInTheOrderOfTheFile) {
  for (const auto& [name, path] : files("bad", ".json")) {
    const ConfigResult result = config_load(path);
    ASSERT_FALSE(result);
    EXPECT_TRUE(std::ranges::is_sorted(result.error().errors, {}, [](const ConfigError& e) {
      return std::pair{e.line, e.column};
    })) << name;
  }
}

TEST(Fixtures, TruncatedAtEveryByte) {
  for (const char* name : {"chapter", "rich", "crlf_and_tabs", "byte_order_mark"}) {
    const std::string text = bytes_of(files("good", ".json").at(name));
    const std::size_t last = text.find_last_of('}');
    for (std::size_t size = 0; size <= last; ++size) {
      const std::string story = std::string{name} + " cut to " + std::to_string(size) + " bytes";
      EXPECT_FALSE(config_parse(text.substr(0, size))) << story;
      expect_sane(text.substr(0, size), story);
    }
  }
}

/// One random edit: of bytes, of tokens, or a piece of the file put elsewhere.
std::string mutated(std::string text, Random& random) {
  static constexpr std::string_view kPieces[] = {"{",
                                                 "}",
                                                 "[",
                                                 "]",
                                                 ",",
                                                 ":",
                                                 "\"",
                                                 "\\",
                                                 "0",
                                                 "-1",
                                                 "65536",
                                                 "1e999",
                                                 "null",
                                                 "true",
                                                 "\"\"",
                                                 "{}",
                                                 "[]",
                                                 "NaN",
                                                 "\n",
                                                 "\xff",
                                                 "\xc3\xbc",
                                                 "\\ud800",
                                                 "\"port\":",
                                                 "\"weight\":0",
                                                 "\"backends\":[]",
                                                 "//",
                                                 "-",
                                                 ".",
                                                 "e9"};
  const auto at = [&] { return text.empty() ? 0 : random.below(static_cast<std::uint32_t>(text.size())); };
  switch (random.below(6)) {
    case 0:
      if (!text.empty()) text[at()] = static_cast<char>(random.below(256));
      break;
    case 1:
      text.erase(at(), 1 + random.below(8));
      break;
    case 2:
      text.insert(at(), kPieces[random.below(std::size(kPieces))]);
      break;
    case 3:
      text.insert(at(), text.substr(at(), random.below(64)));
      break;
    case 4:
      text.replace(at(), 1 + random.below(4), kPieces[random.below(std::size(kPieces))]);
      break;
    default:
      if (text.size() > 1) std::swap(text[at()], text[at()]);
  }
  return text;
}

TEST(Fixtures, MutatedFilesNeverSurprise) {
  const char* replay = std::getenv("LB_TEST_SEED");
  const std::uint64_t seed = replay != nullptr ? std::strtoull(replay, nullptr, 10) : std::random_device{}();
  std::printf("seed %llu (replay with LB_TEST_SEED)\n", static_cast<unsigned long long>(seed));
  Random random{seed};
  for (const auto& [name, path] : files("good", ".json")) {
    const std::string text = bytes_of(path);
    for (int i = 0; i < 400 && !::testing::Test::HasFailure(); ++i) {
      std::string damaged = text;
      const std::uint32_t edits = 1 + random.below(4);
      for (std::uint32_t edit = 0; edit < edits; ++edit) damaged = mutated(std::move(damaged), random);
      expect_sane(damaged, name + ", seed " + std::to_string(seed) + ":\n" + damaged);
    }
  }
}

}  // namespace
}  // namespace lb
