// Any bytes as the beginning of a connection: a header is the same however it arrives, uses no more bytes
// than there are, and its addresses survive being written and read again in both versions.
#include <netinet/in.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>

#include "lb/base/result.hpp"
#include "lb/net/proxy_header.hpp"

namespace {

using namespace lb;
using Status = ProxyHeaderOutcome::Status;

/// From memory of exact size, so that a read behind the end is noticed.
Status parse(std::string_view bytes, ProxyHeader& header) {
  const auto exact = std::make_unique<char[]>(bytes.size());
  if (!bytes.empty()) std::memcpy(exact.get(), bytes.data(), bytes.size());
  return parse_proxy_header({exact.get(), bytes.size()}, header).status;
}

void check_pieces(std::string_view input, Status whole, const ProxyHeader& header) {
  for (std::size_t size = 0; size <= input.size() && size <= 2 * kProxyV1BytesMax; ++size) {
    ProxyHeader part;
    const Status status = parse(input.substr(0, size), part);
    if (status == Status::need_more) continue;
    LB_ASSERT(status == whole);
    LB_ASSERT(status != Status::complete || (size >= header.bytes && part.bytes == header.bytes));
  }
}

void check_written(const ProxyHeader& header) {
  for (const auto write : {write_proxy_v1, write_proxy_v2}) {
    std::array<char, kProxyWrittenMax> out;
    const std::size_t size = write(header.source, header.destination, out);
    LB_ASSERT(size > 0 && size <= out.size());
    ProxyHeader again;
    LB_ASSERT(parse({out.data(), size}, again) == Status::complete && again.bytes == size);
    LB_ASSERT(again.has_addresses == (header.source.family != AF_UNIX));
    if (!again.has_addresses) continue;
    LB_ASSERT(again.source.text() == header.source.text() && again.source.port == header.source.port);
    LB_ASSERT(again.destination.text() == header.destination.text() &&
              again.destination.port == header.destination.port);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input{reinterpret_cast<const char*>(data), size};
  ProxyHeader header;
  const Status whole = parse(input, header);
  LB_ASSERT(whole != Status::need_more || size < kProxyHeaderBytesMax);
  check_pieces(input, whole, header);
  if (whole != Status::complete) return 0;
  LB_ASSERT(header.bytes <= size && header.bytes <= kProxyHeaderBytesMax);
  if (header.has_addresses) check_written(header);
  return 0;
}
