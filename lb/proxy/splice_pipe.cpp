#include "lb/proxy/splice_pipe.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "lb/base/result.hpp"

namespace lb {
namespace {

constexpr unsigned kFlags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK;

}  // namespace

std::unique_ptr<SplicePipe> SplicePipe::open() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_NONBLOCK | O_CLOEXEC) != 0) return nullptr;
  Fd read_end{ends[0]};
  Fd write_end{ends[1]};
  int capacity = ::fcntl(write_end.get(), F_SETPIPE_SZ, kCapacityBytes);
  if (capacity < 0) capacity = ::fcntl(write_end.get(), F_GETPIPE_SZ);
  if (capacity < kCapacityBytesMin) return nullptr;
  return std::unique_ptr<SplicePipe>{new SplicePipe{std::move(read_end), std::move(write_end)}};
}

SplicePipe::~SplicePipe() {
  if (waits_in_ != nullptr) --waits_in_->waiting_;
}

std::ptrdiff_t SplicePipe::fill_from(int socket, std::size_t bytes_max) noexcept {
  LB_ASSERT(bytes_ == 0);  // or EAGAIN could mean that the pipe is full
  ssize_t n = 0;
  do {
    n = ::splice(socket, nullptr, write_end_.get(), nullptr, bytes_max, kFlags);
  } while (n < 0 && errno == EINTR);
  if (n > 0) bytes_ = static_cast<std::size_t>(n);
  return n;
}

bool SplicePipe::drain_into(int socket) noexcept {
  while (bytes_ > 0) {
    const ssize_t n = ::splice(read_end_.get(), nullptr, socket, nullptr, bytes_, kFlags);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno == EAGAIN;
    bytes_ -= static_cast<std::size_t>(n);
  }
  return true;
}

std::ptrdiff_t SplicePipe::read_into(char* buffer, std::size_t size) noexcept {
  ssize_t n = 0;
  do {
    n = ::read(read_end_.get(), buffer, size);
  } while (n < 0 && errno == EINTR);
  if (n > 0) bytes_ -= static_cast<std::size_t>(n);
  return n;
}

bool SplicePipe::unsupported(int os_error) noexcept {
  return os_error == EINVAL || os_error == ENOSYS || os_error == EPERM || os_error == EOPNOTSUPP;
}

std::unique_ptr<SplicePipe> PipePool::acquire(Instant now) {
  if (now < not_before_) return nullptr;
  if (!idle_.empty()) {
    std::unique_ptr<SplicePipe> pipe = std::move(idle_.back());
    idle_.pop_back();
    return pipe;
  }
  std::unique_ptr<SplicePipe> pipe = SplicePipe::open();
  if (pipe == nullptr) not_before_ = now + kPauseAfterFailure;
  return pipe;
}

void PipePool::release(std::unique_ptr<SplicePipe> pipe) noexcept {
  LB_ASSERT(pipe->bytes() == 0);
  if (std::exchange(pipe->waits_in_, nullptr) != nullptr) --waiting_;
  if (idle_.size() < kIdleMax) idle_.push_back(std::move(pipe));
}

bool PipePool::let_wait(SplicePipe& pipe) noexcept {
  if (pipe.waits_in_ != nullptr) return true;
  if (waiting_ >= kWaitingMax) return false;
  pipe.waits_in_ = this;
  ++waiting_;
  return true;
}

void PipePool::shed(Instant now) noexcept {
  idle_.clear();
  if (not_before_ != kNever) not_before_ = now + kPauseAfterFailure;
}

}  // namespace lb
