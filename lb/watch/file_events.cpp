#include "lb/watch/file_events.hpp"

#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstring>

#include "lb/base/fd.hpp"
#include "lb/base/file.hpp"

namespace lb {
namespace {

class Inotify final : public FileEvents {
 public:
  Inotify(Fd fd, std::size_t bytes_max) : fd_(std::move(fd)), bytes_max_(bytes_max) {}

  Result<int> add_watch(const std::string& path, std::uint32_t mask) override {
    const int watch = ::inotify_add_watch(fd_.get(), path.c_str(), mask);
    if (watch < 0) return std::unexpected(system_error("inotify_add_watch", path, errno));
    return watch;
  }

  void remove_watch(int watch) override { ::inotify_rm_watch(fd_.get(), watch); }

  std::vector<FileEvent> read() override {
    std::vector<FileEvent> events;
    alignas(inotify_event) std::array<char, 16 * 1024> buffer{};
    while (events.size() < kEventsMax) {
      const ssize_t size = ::read(fd_.get(), buffer.data(), buffer.size());
      if (size < 0 && errno == EINTR) continue;
      if (size <= 0) break;
      for (ssize_t at = 0; at < size;) {
        inotify_event event{};
        std::memcpy(&event, buffer.data() + at, sizeof event);
        const char* name = buffer.data() + at + sizeof event;
        events.push_back({.watch = event.wd,
                          .mask = event.mask,
                          .cookie = event.cookie,
                          .name = std::string(name, ::strnlen(name, event.len))});
        at += static_cast<ssize_t>(sizeof event + event.len);
      }
    }
    return events;
  }

  Result<std::string> read_link(const std::string& path) override {
    std::string target(PATH_MAX, '\0');
    const ssize_t size = ::readlink(path.c_str(), target.data(), target.size());
    if (size < 0) return std::unexpected(system_error("readlink", path, errno));
    target.resize(static_cast<std::size_t>(size));
    return target;
  }

  Result<std::string> read_file(const std::string& path) override { return lb::read_file(path, bytes_max_); }

  [[nodiscard]] int fd() const override { return fd_.get(); }

 private:
  /// The rest stays queued; fd() stays readable.
  static constexpr std::size_t kEventsMax = 65'536;
  Fd fd_;
  std::size_t bytes_max_;
};

}  // namespace

Result<std::unique_ptr<FileEvents>> open_file_events(std::size_t bytes_max) {
  Fd fd{::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)};
  if (!fd) return std::unexpected(system_error("inotify_init1", "", errno));
  return std::make_unique<Inotify>(std::move(fd), bytes_max);
}

}  // namespace lb
