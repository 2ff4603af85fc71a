#include "lb/supervisor/file_watch.hpp"

#include "lb/base/guard.hpp"
#include "lb/config/config.hpp"

namespace lb {

Result<std::unique_ptr<FileWatch>> FileWatch::open(WatchOptions options, Instant now) {
  auto files = open_file_events(kConfigBytesMax);
  if (!files) return std::unexpected(files.error());
  std::unique_ptr<FileWatch> watch{new FileWatch{std::move(*files), options.debounce}};
  auto watcher = guarded("make_config_watcher", [&] { return make_config_watcher(options, *watch->files_); });
  if (!watcher) return std::unexpected(watcher.error());
  if (*watcher == nullptr)
    return std::unexpected(Error{.fault = Fault::self, .message = "there is no watcher"});
  watch->watcher_ = std::move(*watcher);
  auto started = guarded("ConfigWatcher::start", [&] { return watch->watcher_->start(now); });
  if (!started) return std::unexpected(started.error());
  if (!*started) return std::unexpected(started->error());
  return watch;
}

Instant FileWatch::next_deadline() const {
  return guarded("ConfigWatcher::next_deadline", [&] { return watcher_->next_deadline(); }).value_or(kNever);
}

Result<bool> FileWatch::poll(Instant now) {
  return guarded("ConfigWatcher::poll", [&] { return watcher_->poll(now); });
}

}  // namespace lb
