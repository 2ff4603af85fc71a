#include "lb/base/unix_path.hpp"

#include <fcntl.h>

#include <cerrno>
#include <cstring>

namespace lb {

Result<UnixPath> UnixPath::of(const std::string& path) {
  UnixPath result;
  result.address_.sun_family = AF_UNIX;
  std::string text = path;
  if (text.size() >= sizeof result.address_.sun_path) {
    const auto slash = path.rfind('/');
    const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    result.folder_ = Fd{::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
    if (!result.folder_) return std::unexpected(system_error("open", folder, errno));
    text = "/proc/self/fd/" + std::to_string(result.folder_.get()) + "/" +
           path.substr(slash == std::string::npos ? 0 : slash + 1);
  }
  if (path.empty() || text.size() >= sizeof result.address_.sun_path ||
      path.find('\0') != std::string::npos) {
    return std::unexpected(system_error("use the socket path", path, path.empty() ? ENOENT : ENAMETOOLONG));
  }
  std::memcpy(result.address_.sun_path, text.data(), text.size());
  return result;
}

}  // namespace lb
