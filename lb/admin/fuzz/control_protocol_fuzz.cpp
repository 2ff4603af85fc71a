// Requests and answers of the control socket, whatever bytes they are made of.
#include <cstdint>
#include <string>
#include <string_view>

#include "lb/admin/control_protocol.hpp"
#include "lb/admin/plan.hpp"
#include "lb/admin/reload_report.hpp"
#include "lb/admin/status_text.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  if (const auto query = lb::parse_control_request(text)) {
    std::string line = lb::control_request_line(*query);
    line.pop_back();
    LB_ASSERT(lb::parse_control_request(line) == *query);
  }
  (void)lb::status_text(text);
  (void)lb::reload_text(text);
  (void)lb::reloads_table(text, {});
  std::string error;
  (void)lb::reload_report(lb::one_reload(text, error), {.colour = true});
  (void)lb::parse_running_state(text);
  return 0;
}
