// ConfigWatcher: says when the *content* of one file has changed and has been left alone for a moment.
// Exercise 10.1 is to write one. Owned by the supervisor, which polls FileEvents::fd() and next_deadline()
// and reloads when poll() says so; one thread; no call waits, and none reads a clock: time is handed in.
//
//   What changes a file                         What inotify sees of it
//   write into it                               IN_MODIFY, IN_CLOSE_WRITE of the file
//   rename another over it (editors, mv)        IN_MOVED_TO of the *directory*: another inode has the name
//   swap a symbolic link on the way to it       IN_MOVED_TO or IN_CREATE in the directory of the *link*
//   delete it, and write it anew                IN_DELETE, IN_CREATE, IN_CLOSE_WRITE of the directory
//   delete the directory, and make it anew      IN_DELETE_SELF, IN_IGNORED; then nothing, ever
//   more events than the queue holds            IN_Q_OVERFLOW: anything may have happened
#pragma once

#include <memory>
#include <string>

#include "lb/base/result.hpp"
#include "lb/base/time.hpp"
#include "lb/watch/file_events.hpp"

namespace lb {

struct WatchOptions {
  std::string path{};  // as the operator gave it: may be relative, may be a link, links may be on the way
  Duration debounce = std::chrono::milliseconds{100};  // quiet for this long: time to look
  Duration debounce_max = std::chrono::seconds{2};     // after the first event, look even without quiet
};

/// Where a watch could not be set, or its directory is gone, try again this often.
inline constexpr Duration kWatchRetryInterval = std::chrono::seconds{1};

class ConfigWatcher {
 public:
  virtual ~ConfigWatcher() = default;

  /// Called once, first. Sets the watches and remembers the content that is there now: that is known already
  /// and never reported. A file, or a directory, that is not there (yet) is no error: it is waited for. An
  /// error means that watching is impossible (no watches left), and nothing more is called.
  virtual Result<void> start(Instant now) = 0;

  /// Called when FileEvents::fd() is readable, when next_deadline() has come, and possibly without reason.
  /// True: the file's content differs from what was last reported (at first: from what start() found), and
  /// nothing has happened to it for `debounce`, or for `debounce_max` something has all the time. Each
  /// content is reported once. A file that is missing or unreadable, or has the content last reported, is not
  /// reported: a later return with other content is, however its directory came back: within two seconds.
  /// Events about other files neither report nor delay. Watches of what is no longer on the way to the file
  /// are removed.
  virtual bool poll(Instant now) = 0;

  /// When poll() must be called at the latest, later than the last poll(); kNever when only an event can
  /// bring something new. While nothing happens it wakes nobody, or once in kWatchRetryInterval.
  [[nodiscard]] virtual Instant next_deadline() const = 0;
};

/// `files` outlives the watcher. Makes no call of `files` yet. Throws NotImplemented where there is none.
std::unique_ptr<ConfigWatcher> make_config_watcher(WatchOptions options, FileEvents& files);

}  // namespace lb
