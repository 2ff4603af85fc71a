#include "lb/admin/control_protocol.hpp"

#include <nlohmann/json.hpp>

namespace lb {
namespace {

using Json = nlohmann::json;

Error bad_request(std::string message) {
  return {.fault = Fault::client, .message = std::move(message)};
}

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

/// Nesting is bounded before the parser recurses into it.
bool nested_deeply(std::string_view line) {
  int depth = 0;
  for (const char c : line) {
    if (c == '[' || c == '{') ++depth;
    if (depth > 8) return true;
  }
  return false;
}

}  // namespace

Result<ControlCommand> parse_control_request(std::string_view line) {
  if (line.size() > kControlRequestBytesMax) return std::unexpected(bad_request("the request is too long"));
  if (nested_deeply(line)) return std::unexpected(bad_request("the request is nested too deeply"));
  const Json json = Json::parse(line, nullptr, false);
  if (json.is_discarded() || !json.is_object()) {
    return std::unexpected(bad_request("the request is not a JSON object"));
  }
  const auto command = json.find("cmd");
  if (command == json.end() || !command->is_string()) {
    return std::unexpected(bad_request("the request has no \"cmd\""));
  }
  const auto& name = command->get_ref<const std::string&>();
  if (name == "reload") return ControlCommand::reload;
  if (name == "status") return ControlCommand::status;
  return std::unexpected(bad_request("unknown \"cmd\"; known are reload and status"));
}

std::string control_request_line(ControlCommand command) {
  return dump({{"cmd", command == ControlCommand::reload ? "reload" : "status"}});
}

std::string control_error_line(std::string_view message) {
  return dump({{"ok", false}, {"error", message}});
}

}  // namespace lb
