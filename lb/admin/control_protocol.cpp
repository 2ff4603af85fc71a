#include "lb/admin/control_protocol.hpp"

#include <algorithm>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>

#include "lb/base/json_line.hpp"

namespace lb {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kCommandNames[] = {"reload", "status", "reloads", "plan"};  // as ControlCommand
constexpr std::uint64_t kNumberMax = std::numeric_limits<std::int64_t>::max();

Error bad_request(std::string message) {
  return {.fault = Fault::client, .message = std::move(message)};
}

std::string dump(const Json& json) {
  return json_line(json) + "\n";
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

Result<ControlQuery> parse_control_request(std::string_view line) {
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
  const auto known = std::ranges::find(kCommandNames, name);
  if (known == std::end(kCommandNames)) {
    return std::unexpected(bad_request("unknown \"cmd\"; known are reload, status, reloads and plan"));
  }
  ControlQuery query{.command = static_cast<ControlCommand>(known - std::begin(kCommandNames))};
  if (query.command != ControlCommand::reloads) return query;
  if (const auto number = json.find("number"); number != json.end()) {
    if (!number->is_number_unsigned() || number->get<std::uint64_t>() > kNumberMax) {
      return std::unexpected(bad_request("\"number\" is no number of a reload"));
    }
    query.number = static_cast<std::int64_t>(number->get<std::uint64_t>());
  }
  if (const auto wait = json.find("wait"); wait != json.end()) {
    if (!wait->is_boolean()) return std::unexpected(bad_request("\"wait\" is neither true nor false"));
    query.wait = wait->get<bool>();
  }
  return query;
}

std::string control_request_line(const ControlQuery& query) {
  Json json{{"cmd", kCommandNames[static_cast<std::size_t>(query.command)]}};
  if (query.number != 0) json["number"] = query.number;
  if (query.wait) json["wait"] = true;
  return dump(json);
}

std::string control_error_line(std::string_view message) {
  return dump({{"ok", false}, {"error", message}});
}

}  // namespace lb
