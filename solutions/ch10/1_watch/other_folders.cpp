// Another right answer. Different about it: only directories are watched, never the file; and nothing is kept
// from one event to the next: whatever happens to one of our names, all watches are removed and set again
// along the path as it leads now. Simple to get right (no watch can be stale), at the price of some system
// calls.
#include <sys/inotify.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "lb/watch/config_watcher.hpp"

namespace lb {
namespace {

constexpr int kLinksMax = 40;
constexpr std::uint32_t kEvents =
    IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_ONLYDIR;

class FolderWatcher final : public ConfigWatcher {
 public:
  FolderWatcher(WatchOptions options, FileEvents& files) : options_(std::move(options)), files_(files) {}

  Result<void> start(Instant now) override {
    if (const Result<void> built = build(now); !built) {
      for (const auto& [watch, names] : watched_) files_.remove_watch(watch);
      return built;
    }
    if (Result<std::string> bytes = files_.read_file(options_.path)) {
      reported_ = {true, *bytes};
    } else {
      look_again(bytes.error(), now);
    }
    return {};
  }

  bool poll(Instant now) override {
    bool ours = false;
    for (const FileEvent& event : files_.read()) {
      if ((event.mask & IN_Q_OVERFLOW) != 0) ours = true;
      const auto folder = watched_.find(event.watch);
      if (folder == watched_.end()) continue;
      ours = ours || event.name.empty() || folder->second.count(event.name) > 0;
    }
    if (now >= again_) ours = true;  // something may have come that no watch could tell of
    if (ours) {
      if (!pending_) began_ = now;
      pending_ = true;
      latest_ = now;
      (void)build(now);
    }
    if (!pending_ || now < due()) return false;
    pending_ = false;
    const Result<std::string> bytes = files_.read_file(options_.path);
    if (!bytes) {
      look_again(bytes.error(), now);
      return false;
    }
    if (reported_ == std::pair{true, *bytes}) return false;
    reported_ = {true, *bytes};
    return true;
  }

  [[nodiscard]] Instant next_deadline() const override { return pending_ ? std::min(due(), again_) : again_; }

 private:
  [[nodiscard]] Instant due() const {
    return std::min(latest_ + options_.debounce, began_ + options_.debounce_max);
  }

  void look_again(const Error& error, Instant now) {
    if (error.os_error != ENOENT && error.os_error != ENOTDIR) again_ = now + kWatchRetryInterval;
  }

  Result<void> build(Instant now) {
    for (const auto& [watch, names] : watched_) files_.remove_watch(watch);
    watched_.clear();
    again_ = kNever;
    int links = 0;
    std::vector<std::string> way;  // the names of directories entered so far
    bool absolute = options_.path.starts_with('/');
    return visit(options_.path, absolute, way, links, now);
  }

  /// Looks up every name of `path` from the directory `way` on; leaves `way` where the path leads.
  Result<void> visit(const std::string& path, bool& absolute, std::vector<std::string>& way, int& links,
                     Instant now) {
    for (std::size_t at = 0, end = 0; at < path.size(); at = end + 1) {
      end = std::min(path.find('/', at), path.size());
      const std::string name = path.substr(at, end - at);
      if (name.empty() || name == ".") continue;
      if (name == ".." && !way.empty() && way.back() != "..") {
        way.pop_back();
        continue;
      }
      if (name == "..") {
        if (!absolute) way.push_back(name);
        continue;
      }
      const std::string folder = text(absolute, way);
      const Result<int> watch = files_.add_watch(folder, kEvents);
      if (watch) {
        watched_[*watch].insert(name);
      } else {
        again_ = now + kWatchRetryInterval;
        if (watch.error().os_error == ENOSPC || watch.error().os_error == ENOMEM) {
          return std::unexpected(watch.error());
        }
      }
      way.push_back(name);
      const Result<std::string> target = files_.read_link(text(absolute, way));
      if (!target) {  // a directory, the file, or nothing: then what follows fails and is tried again
        if (target.error().os_error == EINVAL) continue;
        if (target.error().os_error != ENOENT) again_ = now + kWatchRetryInterval;
        return {};
      }
      way.pop_back();
      if (++links > kLinksMax) return {};
      if (target->starts_with('/')) {
        absolute = true;
        way.clear();
      }
      if (const Result<void> deeper = visit(*target, absolute, way, links, now); !deeper) return deeper;
      if (links > kLinksMax) return {};
    }
    return {};
  }

  static std::string text(bool absolute, const std::vector<std::string>& way) {
    std::string path = absolute ? "/" : ".";
    for (const std::string& name : way) path += (path.ends_with('/') ? "" : "/") + name;
    return path;
  }

  WatchOptions options_;
  FileEvents& files_;
  std::map<int, std::set<std::string>> watched_;
  std::pair<bool, std::string> reported_;  // was there a file, and what did it say
  bool pending_ = false;
  Instant began_{};
  Instant latest_{};
  Instant again_ = kNever;
};

}  // namespace

std::unique_ptr<ConfigWatcher> make_config_watcher(WatchOptions options, FileEvents& files) {
  return std::make_unique<FolderWatcher>(std::move(options), files);
}

}  // namespace lb
