// Whatever bytes a handoff record is made of, decoding is an error or a connection whose own record says the
// same.
#include <cstdint>
#include <string_view>

#include "lb/supervisor/handoff_record.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const auto kind = static_cast<lb::handoff::Kind>(data[0]);
  const std::uint16_t version = data[1];
  const auto decoded = lb::decode_record(kind, version, {reinterpret_cast<const char*>(data) + 2, size - 2});
  if (!decoded) return 0;
  LB_ASSERT(lb::kind_of(*decoded) == kind);
  const std::string bytes = lb::encode_record(*decoded, version);
  const auto again = lb::decode_record(kind, version, bytes);
  LB_ASSERT(again && lb::encode_record(*again, version) == bytes);
  return 0;
}
