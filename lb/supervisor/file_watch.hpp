// FileWatch: the ConfigWatcher behind its seam, with the kernel behind it: what the supervisor polls to learn
// that the configuration file has changed. One thread.
#pragma once

#include <memory>
#include <string>

#include "lb/base/result.hpp"
#include "lb/base/time.hpp"
#include "lb/watch/config_watcher.hpp"
#include "lb/watch/file_events.hpp"

namespace lb {

class FileWatch final {
 public:
  /// Fails when the build has no watcher, or the kernel no watch left.
  static Result<std::unique_ptr<FileWatch>> open(WatchOptions options, Instant now);

  [[nodiscard]] int fd() const { return files_->fd(); }
  [[nodiscard]] Instant next_deadline() const;
  /// True: the file's content is another, and has come to rest. An error ends the watch: drop it.
  Result<bool> poll(Instant now);
  [[nodiscard]] Duration debounce() const { return debounce_; }

 private:
  FileWatch(std::unique_ptr<FileEvents> files, Duration debounce)
      : files_(std::move(files)), debounce_(debounce) {}
  std::unique_ptr<FileEvents> files_;  // outlives the watcher
  std::unique_ptr<ConfigWatcher> watcher_;
  Duration debounce_;
};

}  // namespace lb
