#include "lb/supervisor/child_process.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

#include "lb/base/open_fds.hpp"

namespace lb {
namespace {

/// Places in this process's table of descriptors (proc(5), FDSize).
std::size_t table_size() {
  std::ifstream status{"/proc/self/status"};
  for (std::string key; status >> key;) {
    std::size_t size = 0;
    if (key == "FDSize:" && status >> size) return size;
  }
  return 0;
}

TEST(ReserveFds, TheTableGrowsOnceAndNothingStaysOpen) {
  const std::size_t before = open_fds();
  const std::size_t limit = fd_limit();
  ASSERT_GT(limit, 600U);
  reserve_fds(0, STDIN_FILENO);
  reserve_fds(600, STDIN_FILENO);
  EXPECT_GE(table_size(), 600U);
  EXPECT_EQ(open_fds(), before);
  reserve_fds(~std::size_t{0}, STDIN_FILENO);
  EXPECT_GE(table_size(), std::min(limit, kFdsReservedMax)) << "at most as many as there may be";
  EXPECT_EQ(open_fds(), before);
}

TEST(ReserveFds, AFaultChangesNothing) {
  const std::size_t before = open_fds();
  reserve_fds(700, -1);
  EXPECT_EQ(open_fds(), before);
}

}  // namespace
}  // namespace lb
