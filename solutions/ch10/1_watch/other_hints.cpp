// Another right answer. Different about it: an event is only a hint. No name is filtered and no mask is
// tested: whenever anything happens in a watched directory, and once a second in any case, the file is read,
// and what it says decides whether it has changed and since when. It reads more often than the others, and
// has less to know about inotify.
#include <sys/inotify.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <set>
#include <utility>

#include "lb/watch/config_watcher.hpp"

namespace lb {
namespace {

constexpr int kLinksMax = 40;
constexpr std::uint32_t kHints = IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_MODIFY |
                                 IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF;

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

class HintWatcher final : public ConfigWatcher {
 public:
  HintWatcher(WatchOptions options, FileEvents& files) : options_(std::move(options)), files_(files) {}

  Result<void> start(Instant now) override {
    if (set_watches() == ENOSPC) {
      for (const int watch : watches_) files_.remove_watch(watch);
      return std::unexpected(system_error("inotify_add_watch", options_.path, ENOSPC));
    }
    seen_ = reported_ = content();
    tick_ = now + kWatchRetryInterval;
    return {};
  }

  bool poll(Instant now) override {
    const bool hint = !files_.read().empty();
    const bool is_due = unsettled_ && now >= due();
    if (hint || is_due || now >= tick_) {
      set_watches();
      tick_ = now + kWatchRetryInterval;
      std::optional<std::string> found = content();
      if (found != seen_) {
        seen_ = std::move(found);
        if (!unsettled_) first_change_ = now;
        unsettled_ = true;
        last_change_ = now;
      }
    }
    if (!unsettled_ || now < due()) return false;
    unsettled_ = false;
    if (!seen_ || seen_ == reported_) return false;
    reported_ = seen_;
    return true;
  }

  [[nodiscard]] Instant next_deadline() const override { return unsettled_ ? std::min(due(), tick_) : tick_; }

 private:
  [[nodiscard]] Instant due() const {
    return std::min(last_change_ + options_.debounce, first_change_ + options_.debounce_max);
  }

  std::optional<std::string> content() {
    Result<std::string> bytes = files_.read_file(options_.path);
    if (!bytes) return std::nullopt;
    return std::move(*bytes);
  }

  /// Watches the file and the directory of every name that leads to it; the kernel follows the links in the
  /// directories' paths. Returns an errno of note, or 0.
  int set_watches() {
    std::set<int> before = std::exchange(watches_, {});
    failed_ = 0;
    int links = 0;
    watch_way(options_.path, links);
    watch(options_.path);
    for (const int watch : before) {
      if (!watches_.contains(watch)) files_.remove_watch(watch);
    }
    return failed_;
  }

  void watch_way(const std::string& path, int& links) {
    for (std::size_t end = 0; end != std::string::npos && links <= kLinksMax;) {
      end = path.find('/', end + 1);
      const std::string part = path.substr(0, end);
      const std::string folder = folder_of(part);
      watch(folder);
      const Result<std::string> target = files_.read_link(part);
      if (!target) continue;
      ++links;
      watch_way(target->starts_with('/') ? *target : folder + "/" + *target, links);
    }
  }

  void watch(const std::string& path) {
    const Result<int> number = files_.add_watch(path, kHints);
    if (number) {
      watches_.insert(*number);
    } else if (number.error().os_error == ENOSPC) {
      failed_ = ENOSPC;
    }
  }

  WatchOptions options_;
  FileEvents& files_;
  std::set<int> watches_;
  int failed_ = 0;
  std::optional<std::string> seen_;
  std::optional<std::string> reported_;
  bool unsettled_ = false;  // what was seen has changed, and may change again
  Instant first_change_{};
  Instant last_change_{};
  Instant tick_ = kNever;
};

}  // namespace

std::unique_ptr<ConfigWatcher> make_config_watcher(WatchOptions options, FileEvents& files) {
  return std::make_unique<HintWatcher>(std::move(options), files);
}

}  // namespace lb
