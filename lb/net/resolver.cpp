#include "lb/net/resolver.hpp"

#include <netdb.h>

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

namespace lb {
namespace {

/// Shared by the caller and its threads; outlives whichever ends last.
struct Job {
  std::mutex mutex;
  std::condition_variable finished;
  std::vector<Endpoint> names;
  ResolveFunction resolve;
  std::vector<std::vector<SocketAddress>> results;
  std::size_t next = 0;
  std::size_t done = 0;
};

void work(const std::shared_ptr<Job>& job) {
  std::unique_lock lock{job->mutex};
  while (job->next < job->names.size()) {
    const std::size_t mine = job->next++;
    const Endpoint endpoint = job->names[mine];
    lock.unlock();
    std::vector<SocketAddress> addresses = job->resolve(endpoint);
    if (addresses.size() > kAddressesMax) addresses.resize(kAddressesMax);
    lock.lock();
    job->results[mine] = std::move(addresses);
    ++job->done;
  }
  job->finished.notify_all();
}

}  // namespace

std::vector<SocketAddress> resolve_by_system(const Endpoint& endpoint) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  addrinfo* found = nullptr;
  const std::string port = std::to_string(endpoint.port);
  if (::getaddrinfo(endpoint.host.c_str(), port.c_str(), &hints, &found) != 0 || found == nullptr) return {};
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner{found, &::freeaddrinfo};
  std::vector<SocketAddress> addresses;
  std::vector<SocketAddress> others;
  for (const addrinfo* info = found; info != nullptr; info = info->ai_next) {
    (info->ai_family == AF_INET ? addresses : others).emplace_back(info->ai_addr, info->ai_addrlen);
  }
  addresses.insert(addresses.end(), others.begin(), others.end());
  return addresses;
}

std::vector<std::vector<SocketAddress>> resolve_all(std::span<const Endpoint> endpoints, Milliseconds budget,
                                                    const ResolveFunction& resolve) {
  std::vector<std::vector<SocketAddress>> addresses(endpoints.size());
  auto job = std::make_shared<Job>();
  job->resolve = resolve;
  std::vector<std::size_t> positions;
  for (std::size_t i = 0; i < endpoints.size(); ++i) {
    if (auto literal = SocketAddress::from_literal(endpoints[i])) {
      addresses[i] = {*literal};
    } else if (!endpoints[i].unix_socket) {
      positions.push_back(i);
      job->names.push_back(endpoints[i]);
    }
  }
  if (positions.empty()) return addresses;
  job->results.resize(positions.size());
  for (std::size_t i = 0; i < std::min(positions.size(), kResolverThreadsMax); ++i) {
    try {
      std::thread{work, job}.detach();
    } catch (const std::system_error&) {
      break;  // Fewer threads resolve fewer names in time; the rest is tried again later.
    }
  }
  std::unique_lock lock{job->mutex};
  job->finished.wait_for(lock, budget, [&] { return job->done == job->names.size(); });
  job->next = job->names.size();
  for (std::size_t i = 0; i < positions.size(); ++i) addresses[positions[i]] = job->results[i];
  return addresses;
}

}  // namespace lb
