#include "harness/labs/wire.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "lb/base/not_implemented.hpp"

namespace lb::labs {
namespace {

using Json = nlohmann::json;

constexpr int kExitUsage = 2;
constexpr int kExitLostGrader = 3;

Json answer_of(const std::function<Json(const Json&)>& handle, const Json& request) {
  try {
    return {{"return", handle(request)}};
  } catch (const NotImplemented& missing) {
    return {{"not_implemented", missing.what()}};
  } catch (const std::exception& thrown) {
    return {{"threw", thrown.what()}};
  } catch (...) {
    return {{"threw", "something that is no std::exception"}};
  }
}

}  // namespace

Wire::Wire(int argc, char** argv)
    : fd_(argc == 2 ? static_cast<int>(std::strtol(argv[1], nullptr, 10)) : -1) {
  int type = 0;
  socklen_t size = sizeof type;
  if (fd_ > 2 && ::getsockopt(fd_, SOL_SOCKET, SO_TYPE, &type, &size) == 0) return;
  std::fprintf(stderr, "This program is started by the grader (make check-ch10), with a socket.\n");
  std::exit(kExitUsage);
}

int Wire::serve(const std::function<Json(const Json&)>& handle) {
  std::string line;
  while (read_line(line)) write_line(answer_of(handle, Json::parse(line)));
  return 0;
}

Json Wire::call(Json message) {
  write_line(message);
  std::string line;
  if (!read_line(line)) std::_Exit(kExitLostGrader);
  return Json::parse(line).at("result");
}

bool Wire::read_line(std::string& line) {
  for (;;) {
    if (const auto end = input_.find('\n'); end != std::string::npos) {
      line = input_.substr(0, end);
      input_.erase(0, end + 1);
      return true;
    }
    char buffer[65536];
    const ssize_t size = ::read(fd_, buffer, sizeof buffer);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return false;
    input_.append(buffer, static_cast<std::size_t>(size));
  }
}

void Wire::write_line(const Json& message) {
  const std::string text = message.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  for (std::size_t at = 0; at < text.size();) {
    const ssize_t size = ::write(fd_, text.data() + at, text.size() - at);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) std::_Exit(kExitLostGrader);
    at += static_cast<std::size_t>(size);
  }
}

}  // namespace lb::labs
