#include "lb/health/name_lookup.hpp"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <mutex>
#include <system_error>
#include <thread>

#include "lb/base/fd.hpp"
#include "lb/base/result.hpp"

namespace lb {

LookupAnswer lookup_by_system(const std::string& name) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const int error = ::getaddrinfo(name.c_str(), nullptr, &hints, &list);
  if (error != 0) return {.failure = ::gai_strerror(error)};
  LookupAnswer answer;
  for (const addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
    if (answer.addresses.size() == kAddressesPerNameMax) break;
    if (entry->ai_addrlen > sizeof(sockaddr_storage)) continue;
    ProbeAddress& address = answer.addresses.emplace_back();
    std::memcpy(&address.storage, entry->ai_addr, entry->ai_addrlen);
    address.length = entry->ai_addrlen;
  }
  ::freeaddrinfo(list);
  if (answer.addresses.empty()) answer.failure = "no address";
  return answer;
}

ProbeAddress literal_address(const Endpoint& endpoint) {
  ProbeAddress address;
  if (endpoint.unix_socket) {
    sockaddr_un local{};
    if (endpoint.host.size() >= sizeof local.sun_path) return address;
    local.sun_family = AF_UNIX;
    std::memcpy(local.sun_path, endpoint.host.data(), endpoint.host.size());
    std::memcpy(&address.storage, &local, sizeof local);
    address.length = sizeof local;
    return address;
  }
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  if (::inet_pton(AF_INET, endpoint.host.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    std::memcpy(&address.storage, &v4, sizeof v4);
    address.length = sizeof v4;
  } else if (::inet_pton(AF_INET6, endpoint.host.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    std::memcpy(&address.storage, &v6, sizeof v6);
    address.length = sizeof v6;
  }
  return address;
}

ProbeAddress with_port(ProbeAddress address, std::uint16_t port) {
  const std::uint16_t net_port = htons(port);
  auto* bytes = reinterpret_cast<unsigned char*>(&address.storage);
  if (address.storage.ss_family == AF_INET) {
    std::memcpy(bytes + offsetof(sockaddr_in, sin_port), &net_port, sizeof net_port);
  } else if (address.storage.ss_family == AF_INET6) {
    std::memcpy(bytes + offsetof(sockaddr_in6, sin6_port), &net_port, sizeof net_port);
  }
  return address;
}

/// What the helpers and their owner share; it outlives the owner for as long as a helper is stuck.
struct NameLookup::Shared {
  Shared(std::vector<std::string> all, LookupFunction function)
      : names(std::move(all)), lookup(std::move(function)), ready(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

  void answer(Found found) {
    const std::lock_guard lock{mutex};
    answers.push_back(std::move(found));
    const std::uint64_t one = 1;
    // The counter cannot overflow, and without a descriptor the owner looks by itself.
    if (ready) std::ignore = ::write(ready.get(), &one, sizeof one);
  }

  const std::vector<std::string> names;
  const LookupFunction lookup;
  const Fd ready;
  std::mutex mutex;
  std::size_t next = 0;  // the first name that nobody has begun with
  bool abandoned = false;
  std::vector<Found> answers;
};

void NameLookup::work(const std::shared_ptr<Shared>& shared) {
  for (;;) {
    std::size_t index = 0;
    {
      const std::lock_guard lock{shared->mutex};
      if (shared->abandoned || shared->next == shared->names.size()) return;
      index = shared->next++;
    }
    shared->answer({index, shared->lookup(shared->names[index])});
  }
}

NameLookup::NameLookup(std::vector<std::string> names, LookupFunction lookup)
    : shared_(std::make_shared<Shared>(std::move(names), std::move(lookup))) {
  const std::size_t wanted = std::min(shared_->names.size(), kLookupThreadsMax);
  // Signals belong to the threads that were there before; a helper inherits this mask.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  LB_ASSERT(::pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
  std::size_t started = 0;
  for (; started < wanted; ++started) {
    try {
      std::thread{[shared = shared_] { work(shared); }}.detach();
    } catch (const std::system_error&) {
      break;  // no more threads: those that run do the work of all
    }
  }
  LB_ASSERT(::pthread_sigmask(SIG_SETMASK, &before, nullptr) == 0);
  if (started > 0) return;
  for (std::size_t i = 0; i < shared_->names.size(); ++i) {
    shared_->answer({i, {.failure = "no thread left to look it up"}});
  }
}

NameLookup::~NameLookup() {
  const std::lock_guard lock{shared_->mutex};
  shared_->abandoned = true;
}

int NameLookup::ready_fd() const {
  return shared_->ready.get();
}

std::vector<NameLookup::Found> NameLookup::take() {
  const std::lock_guard lock{shared_->mutex};
  std::uint64_t count = 0;
  if (shared_->ready) std::ignore = ::read(shared_->ready.get(), &count, sizeof count);
  return std::exchange(shared_->answers, {});
}

}  // namespace lb
