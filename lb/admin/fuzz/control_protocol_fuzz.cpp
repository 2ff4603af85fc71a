// Requests and answers of the control socket, whatever bytes they are made of.
#include <cstdint>
#include <string_view>

#include "lb/admin/control_protocol.hpp"
#include "lb/admin/status_text.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  (void)lb::parse_control_request(text);
  (void)lb::status_text(text);
  (void)lb::reload_text(text);
  return 0;
}
