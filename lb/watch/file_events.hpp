// FileEvents: inotify(7) and the few file calls a watcher needs, as an interface, so that a test can be the
// kernel. The owner polls fd(); nothing here waits. One thread. There is one for Linux and none for kqueue,
// which could not be behind this interface: it tells that a directory has changed, and never which name in
// it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lb/base/result.hpp"

namespace lb {

/// One struct inotify_event. `name` is empty for an event of the watched file or directory itself; a
/// directory reports what happens to its entries with their names. IN_Q_OVERFLOW has watch -1: events were
/// lost. IN_IGNORED: the watch is gone (its object was deleted or unmounted, or remove_watch was called), the
/// number is not used again.
struct FileEvent {
  int watch = -1;
  std::uint32_t mask = 0;    // IN_CREATE, IN_MOVED_TO, ... of <sys/inotify.h>
  std::uint32_t cookie = 0;  // the same on both halves of a rename
  std::string name{};
  friend bool operator==(const FileEvent&, const FileEvent&) = default;
};

class FileEvents {
 public:
  virtual ~FileEvents() = default;
  /// inotify_add_watch(2): a number >= 1. The same *inode* watched again gives the same number and replaces
  /// its mask. Follows symbolic links unless IN_DONT_FOLLOW is in `mask`. os_error: ENOENT, ENOTDIR, EACCES,
  /// ENOSPC (fs.inotify.max_user_watches).
  virtual Result<int> add_watch(const std::string& path, std::uint32_t mask) = 0;
  /// inotify_rm_watch(2); an unknown number is ignored.
  virtual void remove_watch(int watch) = 0;
  /// Every event queued now, oldest first; empty when there is none.
  virtual std::vector<FileEvent> read() = 0;
  /// readlink(2). os_error EINVAL: not a link. ENOENT: nothing there.
  virtual Result<std::string> read_link(const std::string& path) = 0;
  /// The file's bytes, links followed. Fails when it is missing, unreadable or a directory.
  virtual Result<std::string> read_file(const std::string& path) = 0;
  /// To be polled for reading; -1 for a simulated one.
  [[nodiscard]] virtual int fd() const = 0;
};

/// The kernel's. Fails when inotify_init1(2) does: EMFILE, fs.inotify.max_user_instances. A file larger than
/// `bytes_max` is an error of read_file.
Result<std::unique_ptr<FileEvents>> open_file_events(std::size_t bytes_max);

}  // namespace lb
