// ForeignBackends: backends that this configuration does not have, but to which tunnels of a former
// generation go on. Counted by name, for the status. Any thread; touched when such a tunnel comes or ends.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "lb/proxy/handed_connection.hpp"

namespace lb {

class ForeignBackends final {
 public:
  struct Entry {
    BackendIdentity backend{};
    std::uint32_t tunnels = 0;
  };

  void add(const BackendIdentity& backend) {
    const std::scoped_lock lock{mutex_};
    ++tunnels_[{backend.name, backend.endpoint}];
  }
  void remove(const BackendIdentity& backend) noexcept {
    const std::scoped_lock lock{mutex_};
    const auto found = tunnels_.find({backend.name, backend.endpoint});
    if (found != tunnels_.end() && --found->second == 0) tunnels_.erase(found);
  }
  [[nodiscard]] std::vector<Entry> list() const {
    const std::scoped_lock lock{mutex_};
    std::vector<Entry> entries;
    entries.reserve(tunnels_.size());
    for (const auto& [key, count] : tunnels_) entries.push_back({{key.first, key.second}, count});
    return entries;
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, std::string>, std::uint32_t> tunnels_;
};

}  // namespace lb
