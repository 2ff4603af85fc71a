#include "lb/supervisor/orphan.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <optional>

#include "lb/base/unix_path.hpp"

namespace lb {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kOrphansMax = 64;

std::optional<std::int64_t> number_in(std::string_view name, const std::string& prefix) {
  if (!name.starts_with(prefix)) return std::nullopt;
  name.remove_prefix(prefix.size());
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc{} || end != name.data() + name.size()) return std::nullopt;
  return number;
}

bool trusted_peer(int fd) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == ::geteuid() || peer.uid == 0;
}

/// Empty when nobody is there any more; the file is then removed.
Fd connect_to(const std::string& path) {
  const auto address = UnixPath::of(path);
  if (!address) return {};
  Fd fd{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
  if (!fd) return {};
  if (::connect(fd.get(), address->get(), UnixPath::size()) != 0) {
    if (errno == ECONNREFUSED) ::unlink(path.c_str());
    return {};
  }
  return trusted_peer(fd.get()) ? std::move(fd) : Fd{};
}

}  // namespace

Result<OrphanSocket> OrphanSocket::publish(const std::string& control_path, std::int64_t number) {
  const std::string path = control_path + ".orphan." + std::to_string(number);
  if (control_path.empty()) {
    return std::unexpected(
        Error{.fault = Fault::config, .message = "there is no control socket beside which to wait"});
  }
  const auto address = UnixPath::of(path);
  if (!address) return std::unexpected(address.error());
  Fd fd{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!fd) return std::unexpected(system_error("socket", "", errno));
  ::unlink(path.c_str());    // ours alone: the number is in the name
  ::fchmod(fd.get(), 0600);  // on Linux the file is created with the mode of the socket
  if (::bind(fd.get(), address->get(), UnixPath::size()) != 0) {
    return std::unexpected(system_error("bind", "unix:" + path, errno));
  }
  if (::listen(fd.get(), 8) != 0) return std::unexpected(system_error("listen", "unix:" + path, errno));
  return OrphanSocket{path, std::move(fd)};
}

OrphanSocket::~OrphanSocket() {
  if (fd_) ::unlink(path_.c_str());
}

Fd OrphanSocket::accept() {
  Fd connection{::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
  if (!connection || !trusted_peer(connection.get())) return {};
  return connection;
}

std::vector<FoundOrphan> find_orphans(const std::string& control_path) {
  std::vector<FoundOrphan> found;
  if (control_path.empty()) return found;
  const fs::path control{control_path};
  const fs::path folder = control.has_parent_path() ? control.parent_path() : fs::path{"."};
  const std::string prefix = control.filename().string() + ".orphan.";
  std::error_code error;
  for (fs::directory_iterator it{folder, error}, end; !error && it != end; it.increment(error)) {
    const auto number = number_in(it->path().filename().string(), prefix);
    if (!number) continue;
    Fd connection = connect_to(it->path());
    if (connection) found.push_back({*number, it->path(), std::move(connection)});
    if (found.size() >= kOrphansMax) break;
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.number > b.number; });
  return found;
}

}  // namespace lb
