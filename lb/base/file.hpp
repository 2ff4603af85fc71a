// Whole small files: configurations, pid files, last-good copies. Blocking; for the control plane only.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "lb/base/fd.hpp"
#include "lb/base/result.hpp"

namespace lb {

/// The file's bytes. Fails when it cannot be opened or read, is a directory, or holds more than
/// `bytes_max`. `path` "-" is not special.
Result<std::string> read_file(const std::string& path, std::size_t bytes_max);

/// The same from an open descriptor, from its beginning (pread; the offset is not moved).
Result<std::string> read_fd(int fd, std::string_view name_for_errors, std::size_t bytes_max);

/// Writes `bytes` beside `path` and renames it over: a reader sees the old file or the new one, whole.
/// Synced to disk before the rename. On failure nothing of the temporary file stays.
Result<void> write_file_atomic(const std::string& path, std::string_view bytes, unsigned mode = 0644);

/// An anonymous, sealed, in-memory file holding `bytes` (memfd_create(2)).
Result<Fd> memory_file(const char* name, std::string_view bytes);

}  // namespace lb
