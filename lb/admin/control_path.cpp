#include "lb/admin/control_path.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "lb/base/hash.hpp"

namespace lb {

namespace fs = std::filesystem;

Result<std::string> control_folder(bool create) {
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  const std::string base = runtime != nullptr && runtime[0] == '/' ? runtime : "/tmp";
  std::string folder = base + "/lb-" + std::to_string(::geteuid());
  if (create && ::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
    return std::unexpected(system_error("mkdir", folder, errno));
  }
  struct stat info{};
  if (::lstat(folder.c_str(), &info) != 0) return std::unexpected(system_error("stat", folder, errno));
  if (!S_ISDIR(info.st_mode) || info.st_uid != ::geteuid() || (info.st_mode & 0077) != 0) {
    return std::unexpected(Error{.message = folder + " is not a folder of this user alone (mode 0700)"});
  }
  return folder;
}

std::vector<std::string> control_names(const std::string& folder, const std::string& config_path) {
  std::error_code error;
  const auto name_of = [&](const fs::path& path) {
    return folder + "/" + hash_text(hash_bytes(path.native())) + ".sock";
  };
  std::vector<std::string> names{name_of(fs::absolute(config_path, error).lexically_normal())};
  const fs::path real = fs::canonical(config_path, error);
  if (!error) {
    if (auto name = name_of(real); name != names.front()) names.push_back(std::move(name));
  }
  return names;
}

void sweep_control_folder(const std::string& folder) {
  std::error_code error;
  std::vector<fs::path> dangling;
  for (fs::directory_iterator it{folder, error}, end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (it->is_symlink(ignored) && !fs::exists(it->path(), ignored)) dangling.push_back(it->path());
  }
  for (const auto& path : dangling) fs::remove(path, error);
}

std::string control_beside(const std::string& pid_file) {
  return pid_file + ".sock";
}

}  // namespace lb
