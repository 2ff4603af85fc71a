// The watcher that ships: it walks the path as the kernel does, one name after the other, and watches every
// directory in which a name is looked up, and at the end the file itself. So whatever can make the path lead
// elsewhere, or the file's bytes differ, is an event; and everything else is filtered by name.
//
//   quiet --event about us--> touched --quiet for `debounce`, or touched for `debounce_max`--> look --> quiet
//     |                          ^
//     +--retry time, and the content is another--+     (only while a watch is missing or the file unreadable)
//
// After each event that is about us the walk is made anew; what it does not meet again is watched no longer.
// Each directory is watched *before* the name in it is looked up, and the file before it is read: a change
// comes before the look, and is seen by it, or after, and is an event.
#include <sys/inotify.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "lb/watch/config_watcher.hpp"

namespace lb {
namespace {

/// What the kernel follows before it says ELOOP (path_resolution(7)).
constexpr int kLinksMax = 40;
/// Names looked up in one walk; a path has at most PATH_MAX bytes, each link may bring as many again.
constexpr int kStepsMax = 1024;

/// Of a directory: its names. Not IN_MODIFY, which would wake us for a log written beside the configuration.
constexpr std::uint32_t kFolderEvents = IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ATTRIB;
/// Of the file: its bytes, and whether they may be read.
constexpr std::uint32_t kFileEvents = IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB;

/// The names of a path; "." and empty ones left out.
std::deque<std::string> names_of(std::string_view path) {
  std::deque<std::string> names;
  while (!path.empty()) {
    const std::size_t end = std::min(path.find('/'), path.size());
    if (const std::string_view name = path.substr(0, end); !name.empty() && name != ".")
      names.emplace_back(name);
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return names;
}

std::string join(const std::string& folder, const std::string& name) {
  return folder.empty() || folder.ends_with('/') ? folder + name : folder + "/" + name;
}

/// The directory above `folder`, which has no links in it. "" is where the process stands.
std::string above(const std::string& folder) {
  const std::size_t slash = folder.rfind('/');
  const std::string_view last = std::string_view{folder}.substr(slash == std::string::npos ? 0 : slash + 1);
  if (folder == "/") return folder;
  if (last.empty() || last == "..") return join(folder, "..");
  if (slash == std::string::npos) return "";
  return slash == 0 ? "/" : folder.substr(0, slash);
}

bool is_absent(const Error& error) {
  return error.os_error == ENOENT || error.os_error == ENOTDIR || error.os_error == ELOOP;
}

class PathWatcher final : public ConfigWatcher {
 public:
  PathWatcher(WatchOptions options, FileEvents& files) : options_(std::move(options)), files_(files) {}

  Result<void> start(Instant now) override {
    const std::optional<Error> refused = follow(now);
    if (refused && (refused->os_error == ENOSPC || refused->os_error == ENOMEM)) {
      for (const auto& [watch, names] : watches_) files_.remove_watch(watch);
      watches_.clear();
      return std::unexpected(*refused);
    }
    known_ = content(now);
    return {};
  }

  bool poll(Instant now) override {
    bool touched = false;
    for (const FileEvent& event : files_.read()) touched = is_about_us(event) || touched;
    const bool retry = now >= retry_at_;
    if (touched || retry) follow(now);
    if (touched || (retry && !first_ && is_news(content(now)))) {
      if (!first_) first_ = now;
      last_ = now;
    }
    if (now < look_at()) return false;
    first_.reset();
    std::optional<std::string> found = content(now);
    if (!is_news(found)) return false;
    known_ = std::move(found);
    return true;
  }

  [[nodiscard]] Instant next_deadline() const override { return std::min(look_at(), retry_at_); }

 private:
  /// What matters in each watched directory. The file's own watch has no names.
  using Watches = std::map<int, std::set<std::string, std::less<>>>;

  [[nodiscard]] Instant look_at() const {
    return first_ ? std::min(last_ + options_.debounce, *first_ + options_.debounce_max) : kNever;
  }

  [[nodiscard]] bool is_news(const std::optional<std::string>& content) const {
    return content && content != known_;
  }

  bool is_about_us(const FileEvent& event) {
    if ((event.mask & IN_Q_OVERFLOW) != 0) return true;
    const auto watch = watches_.find(event.watch);
    if (watch == watches_.end()) return false;  // removed by us; its last events were queued already
    if ((event.mask & IN_IGNORED) != 0) {
      watches_.erase(watch);
      return true;
    }
    return event.name.empty() || watch->second.contains(event.name);
  }

  /// The file's bytes. Where it is there but cannot be read, no event need come when it can be.
  std::optional<std::string> content(Instant now) {
    Result<std::string> bytes = files_.read_file(options_.path);
    if (bytes) return std::move(*bytes);
    if (!is_absent(bytes.error())) retry_at_ = std::min(retry_at_, now + kWatchRetryInterval);
    return std::nullopt;
  }

  /// Walks the path and leaves exactly the watches that it met. Returns why one is missing.
  std::optional<Error> follow(Instant now) {
    Watches met;
    const std::optional<Error> refused = walk(met);
    for (const auto& [watch, names] : watches_) {
      if (!met.contains(watch)) files_.remove_watch(watch);
    }
    watches_ = std::move(met);
    retry_at_ = refused ? now + kWatchRetryInterval : kNever;
    return refused;
  }

  std::optional<Error> walk(Watches& met) {
    std::optional<Error> refused;
    const auto watch = [&](const std::string& path,
                           std::uint32_t events) -> std::set<std::string, std::less<>>* {
      const Result<int> number = files_.add_watch(path.empty() ? "." : path, events);
      if (number) return &met[*number];
      if (!is_absent(number.error())) refused = number.error();
      return nullptr;
    };
    std::string folder = options_.path.starts_with('/') ? "/" : "";
    std::deque<std::string> rest = names_of(options_.path);
    int links = 0;
    for (int steps = 0; !rest.empty(); ++steps) {
      const std::string name = std::move(rest.front());
      rest.pop_front();
      if (steps == kStepsMax) return system_error("walk", options_.path, ENAMETOOLONG);
      if (name == "..") {
        folder = above(folder);
        continue;
      }
      if (auto* names = watch(folder, kFolderEvents | IN_ONLYDIR)) names->insert(name);
      const Result<std::string> target = files_.read_link(join(folder, name));
      if (target) {
        if (++links > kLinksMax) return refused;  // a loop: all of its links are in watched directories
        if (target->starts_with('/')) folder = "/";
        std::deque<std::string> inserted = names_of(*target);
        rest.insert(rest.begin(), inserted.begin(), inserted.end());
      } else if (target.error().os_error == EINVAL) {
        folder = join(folder, name);
      } else {
        if (!is_absent(target.error())) refused = target.error();
        return refused;  // it is not there: the directory above will say when it is
      }
    }
    // IN_MASK_ADD: should the path lead to a directory after all, its own watch is kept as it is.
    watch(folder, kFileEvents | IN_MASK_ADD | IN_DONT_FOLLOW);
    return refused;
  }

  WatchOptions options_;
  FileEvents& files_;
  Watches watches_;
  std::optional<std::string> known_;  // what was last reported, or found by start()
  std::optional<Instant> first_;      // the first event since the last look
  Instant last_{};                    // and the last one
  Instant retry_at_ = kNever;
};

}  // namespace

std::unique_ptr<ConfigWatcher> make_config_watcher(WatchOptions options, FileEvents& files) {
  return std::make_unique<PathWatcher>(std::move(options), files);
}

}  // namespace lb
