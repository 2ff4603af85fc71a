// PidFile: says who runs, and keeps a second supervisor from starting on the same file. The protection is a
// lock (flock(2)) that the kernel drops when the process ends, however it ends; the text is for people.
//
//   claim()    PATH.starting is created and locked, then PATH, if there, must not be locked by anybody
//   publish()  the pid is written and PATH.starting renamed to PATH: the file appears whole and already
//   locked ~PidFile   PATH is removed, if it is still the file published here
//
// A file whose lock is free was left by a process that was killed: it is stale and taken over. A file that
// does not look like a pid file is never overwritten. One thread.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "lb/base/fd.hpp"
#include "lb/base/result.hpp"

namespace lb {

class PidFile final {
 public:
  /// Fails with os_error EWOULDBLOCK when another process holds the file (the message names its pid), else
  /// when the file cannot be created or is something else.
  static Result<PidFile> claim(const std::string& path);

  PidFile(PidFile&&) noexcept;
  PidFile& operator=(PidFile&&) = delete;
  ~PidFile();

  /// Once the balancer serves.
  Result<void> publish();

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  /// The pid in the stale file that was found at claim(), if one was.
  [[nodiscard]] std::optional<pid_t> stale() const noexcept { return stale_; }

 private:
  PidFile(std::string path, Fd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  [[nodiscard]] std::string starting_path() const { return path_ + ".starting"; }

  std::string path_;
  Fd fd_;  // holds the lock
  bool published_ = false;
  std::optional<pid_t> stale_;
};

}  // namespace lb
