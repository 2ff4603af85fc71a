// Wire: how a runner, the process that holds a submission's code, speaks to the grader: one JSON object a
// line, both ways, over one socket, whose descriptor is the runner's only argument. The judge is in the other
// process; nothing that the submission prints, and no status with which it exits, is taken for a verdict. One
// thread.
//
//   grader -> runner   {"do": "poll", ...}           a request; the runner answers with exactly one "return"
//   runner -> grader   {"call": "add_watch", ...}    only while a request is open: the submission calls the
//   world grader -> runner   {"result": ...}               what the world answers runner -> grader {"return":
//   ...}               or {"not_implemented": "..."}, {"threw": "..."}
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

namespace lb::labs {

class Wire final {
 public:
  /// From main's arguments; exits with a usage message when they do not name a socket.
  Wire(int argc, char** argv);

  /// Serves requests until the grader closes its end; returns the exit status. What `handle` returns is the
  /// answer; what it throws is told.
  int serve(const std::function<nlohmann::json(const nlohmann::json& request)>& handle);

  /// From within a request: asks the grader, and waits for its answer.
  nlohmann::json call(nlohmann::json message);

 private:
  bool read_line(std::string& line);
  void write_line(const nlohmann::json& message);
  int fd_ = -1;
  std::string input_;
};

}  // namespace lb::labs
