#include "lb/state/shared_memory.hpp"

#include <fcntl.h>
#include <linux/falloc.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

#include "lb/state/layout.hpp"

namespace lb::state {
namespace {

constexpr off_t kClaimLockAt = 0;  // which byte of the file stands for which lock
constexpr off_t kSlotLocksAt = 1;
constexpr int kLockPauseMs = 1;

flock lock_of(short type, off_t at) noexcept {
  flock lock{};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = at;
  lock.l_len = 1;
  return lock;
}

}  // namespace

Result<Mapping> Mapping::of(int fd, std::size_t offset, std::size_t bytes) {
  const int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, fd,
                        fd < 0 ? 0 : static_cast<off_t>(offset));
  if (memory == MAP_FAILED) return std::unexpected(system_error("mmap", "the shared state", errno));
  // A core file needs no copy of what is mostly empty.
  ::madvise(memory, bytes, MADV_DONTDUMP);
  return Mapping{{static_cast<std::byte*>(memory), bytes}};
}

Mapping::Mapping(Mapping&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

Mapping::~Mapping() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

Result<SharedMemory> SharedMemory::create() {
  Fd fd{::memfd_create("lb-state", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
  if (!fd) return std::unexpected(system_error("memfd_create", "the shared state", errno));
  if (::ftruncate(fd.get(), static_cast<off_t>(kFileBytes)) != 0)
    return std::unexpected(system_error("ftruncate", "the shared state", errno));
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    return std::unexpected(system_error("seal", "the shared state", errno));
  return map(std::move(fd), kMainBytes);
}

Result<SharedMemory> SharedMemory::open(Fd fd) {
  struct stat about{};
  if (::fstat(fd.get(), &about) != 0)
    return std::unexpected(system_error("fstat", "the shared state", errno));
  // Whoever could shrink it could make us fault.
  const int seals = ::fcntl(fd.get(), F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || about.st_size <= 0) {
    return std::unexpected(
        Error{.fault = Fault::self, .message = "the shared state is no sealed memory file"});
  }
  return map(std::move(fd), std::min(static_cast<std::size_t>(about.st_size), kMainBytes));
}

Result<SharedMemory> SharedMemory::map(Fd fd, std::size_t bytes) {
  const std::string path = "/proc/self/fd/" + std::to_string(fd.get());
  Fd lock_fd{::open(path.c_str(), O_RDWR | O_CLOEXEC)};
  if (!lock_fd) return std::unexpected(system_error("open", path, errno));
  auto main = Mapping::of(fd.get(), 0, bytes);
  if (!main) return std::unexpected(main.error());
  return SharedMemory{std::move(fd), std::move(lock_fd), std::move(*main)};
}

bool SharedMemory::is(int fd) const {
  struct stat ours{};
  struct stat other{};
  return ::fstat(fd_.get(), &ours) == 0 && ::fstat(fd, &other) == 0 && ours.st_dev == other.st_dev &&
         ours.st_ino == other.st_ino;
}

Result<Mapping> SharedMemory::map_block(std::uint32_t slot, std::uint32_t workers) const {
  return Mapping::of(fd_.get(), block_offset(slot), block_bytes(workers));
}

Result<void> SharedMemory::clear_block(std::uint32_t slot) const {
  if (::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  static_cast<off_t>(block_offset(slot)), static_cast<off_t>(kBlockStride)) != 0) {
    return std::unexpected(system_error("punch a hole", "the shared state", errno));
  }
  return {};
}

bool SharedMemory::lock(Duration limit) const {
  flock lock = lock_of(F_WRLCK, kClaimLockAt);
  const Instant until = monotonic_now() + limit;
  while (::fcntl(lock_fd_.get(), F_OFD_SETLK, &lock) != 0) {
    if ((errno != EAGAIN && errno != EACCES) || monotonic_now() >= until) return false;
    ::poll(nullptr, 0, kLockPauseMs);  // held for microseconds, by one process at most
  }
  return true;
}

void SharedMemory::unlock() const {
  flock lock = lock_of(F_UNLCK, kClaimLockAt);
  ::fcntl(lock_fd_.get(), F_OFD_SETLK, &lock);
}

bool SharedMemory::hold(std::uint32_t slot) const {
  flock lock = lock_of(F_WRLCK, kSlotLocksAt + static_cast<off_t>(slot));
  return ::fcntl(lock_fd_.get(), F_OFD_SETLK, &lock) == 0;
}

bool SharedMemory::held(std::uint32_t slot) const {
  flock lock = lock_of(F_WRLCK, kSlotLocksAt + static_cast<off_t>(slot));
  return ::fcntl(lock_fd_.get(), F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

}  // namespace lb::state
