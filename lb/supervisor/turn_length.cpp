#include "lb/supervisor/turn_length.hpp"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

namespace lb {
namespace {

/// sched_attr of the kernel; its header does not go together with the C library's <sched.h>.
struct SchedAttributes {
  std::uint32_t size;
  std::uint32_t policy;
  std::uint64_t flags;
  std::int32_t nice;
  std::uint32_t priority;
  std::uint64_t runtime_ns;
  std::uint64_t deadline_ns;
  std::uint64_t period_ns;
};

}  // namespace

void ask_for_turns_of(Duration length) noexcept {
  const int error = errno;
  SchedAttributes attributes{};
  if (::syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) == 0 &&
      attributes.policy == SCHED_OTHER) {
    attributes.runtime_ns = static_cast<std::uint64_t>(length.count());
    attributes.flags = 0;
    ::syscall(SYS_sched_setattr, 0, &attributes, 0);
  }
  errno = error;
}

}  // namespace lb
