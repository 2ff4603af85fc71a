// Noticing changes of a file, and the reload candidate.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "lb/base/file.hpp"
#include "lb/base/hash.hpp"
#include "lb/config/config.hpp"

namespace lb {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;

enum class Look : std::uint8_t { same, changed, failed };

Look look(ConfigWatchState& watch) {
  const Result<bool> answer = watch.changed();
  if (!answer) return Look::failed;
  return *answer ? Look::changed : Look::same;
}

class Files : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "lb_config.XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }

  [[nodiscard]] std::string path(const char* name) const { return folder_ / name; }

  /// Overwrites in place: the same inode.
  void write(const char* name, std::string_view text) const {
    std::FILE* file = std::fopen(path(name).c_str(), "w");
    ASSERT_NE(file, nullptr);
    EXPECT_EQ(std::fwrite(text.data(), 1, text.size(), file), text.size());
    std::fclose(file);
  }

  static std::string with_port(int port) {
    return R"({"listen_port": )" + std::to_string(port) + R"(, "backends": [{"host": "a", "port": 1}]})";
  }

  fs::path folder_;
};

TEST_F(Files, WatchSeesContentOnly) {
  write("lb.json", with_port(8080));
  ConfigWatchState watch{path("lb.json")};
  EXPECT_EQ(look(watch), Look::changed) << "the first look is news";
  EXPECT_EQ(look(watch), Look::same);
  write("lb.json", with_port(8080));
  EXPECT_EQ(look(watch), Look::same) << "touched, not changed";
  write("lb.json", with_port(8081));
  EXPECT_EQ(look(watch), Look::changed);
  EXPECT_EQ(look(watch), Look::same);
}

TEST_F(Files, WatchSeesAWriteOfSameSizeAndTime) {
  write("lb.json", with_port(8080));
  ConfigWatchState watch{path("lb.json")};
  ASSERT_EQ(look(watch), Look::changed);
  struct stat before{};
  ASSERT_EQ(::stat(path("lb.json").c_str(), &before), 0);
  write("lb.json", with_port(9090));
  const timespec times[2] = {before.st_atim, before.st_mtim};
  ASSERT_EQ(::utimensat(AT_FDCWD, path("lb.json").c_str(), times, 0), 0);
  struct stat after{};
  ASSERT_EQ(::stat(path("lb.json").c_str(), &after), 0);
  ASSERT_EQ(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
  ASSERT_EQ(after.st_size, before.st_size);
  EXPECT_EQ(look(watch), Look::changed);
}

TEST_F(Files, WatchFollowsARename) {
  write("lb.json", with_port(8080));
  ConfigWatchState watch{path("lb.json")};
  ASSERT_EQ(look(watch), Look::changed);
  write("lb.json.tmp", with_port(8081));
  fs::rename(path("lb.json.tmp"), path("lb.json"));
  EXPECT_EQ(look(watch), Look::changed);
  write("same.tmp", with_port(8081));
  fs::rename(path("same.tmp"), path("lb.json"));
  EXPECT_EQ(look(watch), Look::same) << "another inode, the same content";
}

/// As mounted configuration maps are updated: lb.json -> ..data/lb.json, ..data -> a folder, swapped by
/// rename.
TEST_F(Files, WatchFollowsASymlinkSwap) {
  for (const int version : {1, 2}) {
    const std::string folder = "v" + std::to_string(version);
    fs::create_directory(path(folder.c_str()));
    write((folder + "/lb.json").c_str(), with_port(8080 + version));
  }
  fs::create_directory_symlink("v1", path("..data"));
  fs::create_symlink("..data/lb.json", path("lb.json"));
  ConfigWatchState watch{path("lb.json")};
  ASSERT_EQ(look(watch), Look::changed);
  fs::create_directory_symlink("v2", path("..data_tmp"));
  fs::rename(path("..data_tmp"), path("..data"));
  EXPECT_EQ(look(watch), Look::changed);
  EXPECT_EQ(look(watch), Look::same);
}

TEST_F(Files, UnreadableChangesNothing) {
  ConfigWatchState watch{path("lb.json")};
  EXPECT_EQ(look(watch), Look::failed);
  write("lb.json", with_port(8080));
  EXPECT_EQ(look(watch), Look::changed);
  fs::remove(path("lb.json"));
  const auto gone = watch.changed();
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().os_error, ENOENT);
  fs::create_directory(path("lb.json"));
  EXPECT_EQ(look(watch), Look::failed);
  fs::remove(path("lb.json"));
  write("lb.json", with_port(8080));
  EXPECT_EQ(look(watch), Look::same) << "back as it was";
  write("lb.json", "");
  EXPECT_EQ(look(watch), Look::changed) << "emptied is changed";
}

TEST_F(Files, ConfigChanged) {
  write("lb.json", with_port(8080));
  const ConfigResult loaded = config_load(path("lb.json"));
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->hash, hash_bytes(loaded->text));
  EXPECT_FALSE(config_changed(path("lb.json"), *loaded));
  write("lb.json", with_port(8081));
  EXPECT_TRUE(config_changed(path("lb.json"), *loaded));
  fs::remove(path("lb.json"));
  EXPECT_FALSE(config_changed(path("lb.json"), *loaded)) << "cannot be read: no news";
  write("new.json", with_port(8080));
  fs::rename(path("new.json"), path("lb.json"));
  EXPECT_FALSE(config_changed(path("lb.json"), *loaded));
}

TEST_F(Files, ReloadWarnsAndNeverFailsForABackend) {
  write("lb.json", R"({"listen_port": 1, "backends": [{"host": "a", "port": 1}, {"host": "b", "port": 2},
                       {"host": "c", "port": 3, "name": "three"}]})");
  std::size_t calls = 0;
  const auto probe = [&](std::span<const BackendConfig> backends) -> std::vector<std::string> {
    ++calls;
    EXPECT_EQ(backends.size(), 3U);
    return {"", "connection refused", "does not resolve"};
  };
  const auto candidate = config_reload(path("lb.json"), probe);
  ASSERT_TRUE(candidate);
  EXPECT_EQ(calls, 1U) << "all at once";
  EXPECT_THAT(candidate->warnings, ElementsAre("backend \"b:2\": connection refused",
                                               "backend \"three\" (c:3): does not resolve"));
  EXPECT_EQ(candidate->loaded.config->backends.size(), 3U);
}

TEST_F(Files, ReloadOfABadFileProbesNothing) {
  write("lb.json", with_port(0));
  const auto candidate = config_reload(path("lb.json"), [](std::span<const BackendConfig>) {
    ADD_FAILURE() << "probed although the file is invalid";
    return std::vector<std::string>{};
  });
  ASSERT_FALSE(candidate);
  EXPECT_EQ(candidate.error().errors.at(0).path, "/listen_port");
}

}  // namespace
}  // namespace lb
