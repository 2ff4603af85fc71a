// SharedMemory: the memory file behind a Segment: made by the supervisor, mapped by each generation. It lives
// as long as anybody holds its descriptor, and is on no disk. A killed process holds nothing: its locks are
// the kernel's (open file description locks), which end with it. Linux only. One thread, but for what it
// maps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "lb/base/fd.hpp"
#include "lb/base/result.hpp"
#include "lb/base/time.hpp"

namespace lb::state {

/// Memory that is unmapped at the end.
class Mapping final {
 public:
  Mapping() noexcept = default;
  /// `fd` < 0: zeroed memory of this process alone. Pages that nobody touches take no memory.
  static Result<Mapping> of(int fd, std::size_t offset, std::size_t bytes);
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  ~Mapping();

  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return bytes_; }

 private:
  explicit Mapping(std::span<std::byte> bytes) noexcept : bytes_(bytes) {}
  std::span<std::byte> bytes_;
};

class SharedMemory final {
 public:
  /// A new file of kFileBytes, sparse; it cannot be made smaller by anybody.
  static Result<SharedMemory> create();
  /// One that another process has made. Fails when it is no such file.
  static Result<SharedMemory> open(Fd fd);

  /// Whether `fd` is a descriptor of the same file.
  [[nodiscard]] bool is(int fd) const;
  /// To pass on.
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  /// What every process maps: kMainBytes, or the whole file if that is shorter (another version's).
  [[nodiscard]] std::span<std::byte> main() const noexcept { return main_.bytes(); }
  [[nodiscard]] Result<Mapping> map_block(std::uint32_t slot, std::uint32_t workers) const;
  /// Zeroes the block of a generation that has ended, and gives its memory back.
  Result<void> clear_block(std::uint32_t slot) const;

  /// The lock under which entries are claimed and freed. Waits for `limit`; false: not had.
  [[nodiscard]] bool lock(Duration limit) const;
  void unlock() const;
  /// Marks `slot` as that of a process that lives: until the end of this object, or of the process.
  [[nodiscard]] bool hold(std::uint32_t slot) const;
  /// Whether another SharedMemory, here or in another process, holds it.
  [[nodiscard]] bool held(std::uint32_t slot) const;

 private:
  SharedMemory(Fd fd, Fd lock_fd, Mapping main)
      : fd_(std::move(fd)), lock_fd_(std::move(lock_fd)), main_(std::move(main)) {}
  static Result<SharedMemory> map(Fd fd, std::size_t bytes);

  Fd fd_;
  Fd lock_fd_;  // opened by ourselves: its locks are ours alone
  Mapping main_;
};

}  // namespace lb::state
