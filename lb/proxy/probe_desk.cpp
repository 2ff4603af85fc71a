#include "lb/proxy/probe_desk.hpp"

namespace lb {

void ProbeDesk::expect(const std::string& address) {
  const std::scoped_lock lock{mutex_};
  addresses_[address] = false;
  expected_.store(addresses_.size(), std::memory_order_relaxed);
}

void ProbeDesk::forget(const std::string& address) {
  const std::scoped_lock lock{mutex_};
  addresses_.erase(address);
  expected_.store(addresses_.size(), std::memory_order_relaxed);
}

bool ProbeDesk::wait(const std::string& address, Instant until) {
  std::unique_lock lock{mutex_};
  return came_.wait_until(lock, until, [&] {
    const auto it = addresses_.find(address);
    return it != addresses_.end() && it->second;
  });
}

bool ProbeDesk::sign_in(std::string_view address) {
  const std::scoped_lock lock{mutex_};
  const auto it = addresses_.find(address);
  if (it == addresses_.end()) return false;
  it->second = true;
  came_.notify_all();
  return true;
}

}  // namespace lb
