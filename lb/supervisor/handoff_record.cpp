#include "lb/supervisor/handoff_record.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "lb/supervisor/codec.hpp"

namespace lb {
namespace {

constexpr std::uint16_t kVersion = 1;                // of every kind so far
constexpr std::size_t kFixedBytes = 400;             // about what a record has beside its texts
constexpr std::size_t kAddressBytes = 19;            // family, port, address
constexpr std::size_t kBytesMax = 16 * 1024 * 1024;  // of what is unparsed or not sent yet

std::string pack(const IpAddress& address) {
  std::string out;
  out.push_back(static_cast<char>(address.family));
  out.push_back(static_cast<char>(address.port >> 8U));
  out.push_back(static_cast<char>(address.port & 0xffU));
  out.append(reinterpret_cast<const char*>(address.ip.data()), address.ip.size());
  return out;
}

bool unpack(std::string_view bytes, IpAddress& address) {
  if (bytes.size() != kAddressBytes) return false;
  const auto byte = [&](std::size_t at) { return static_cast<std::uint8_t>(bytes[at]); };
  address.family = byte(0);
  address.port = static_cast<std::uint16_t>(byte(1) << 8U | byte(2));
  std::copy_n(bytes.begin() + 3, address.ip.size(), reinterpret_cast<char*>(address.ip.data()));
  return address.family == AF_UNSPEC || address.family == AF_UNIX || address.family == AF_INET ||
         address.family == AF_INET6;
}

std::int64_t to_ns(Instant instant) noexcept {
  return instant.time_since_epoch().count();
}
Instant from_ns(std::int64_t ns) noexcept {
  return Instant{Duration{ns}};
}

// The layouts, version 1: plain fields of what the codec knows.

struct ClientRecord {
  std::uint64_t requests = 0;
  std::string peer{};
  bool told = false;
  std::string told_destination{};
  std::string unparsed{};
  std::int64_t deadline_ns = 0;
  bool after_exchange = false;
};
template <class A>
void fields(A& a, ClientRecord& m) {
  a(m.requests, m.peer, m.told, m.told_destination, m.unparsed, m.deadline_ns, m.after_exchange);
}

struct SideRecord {
  std::string outbox{};
  bool read_eof = false;
  bool write_shut = false;
  bool bulk = false;
};
template <class A>
void fields(A& a, SideRecord& m) {
  a(m.outbox, m.read_eof, m.write_shut, m.bulk);
}

struct TunnelRecord {
  ClientRecord client{};
  std::string backend_name{};
  std::string backend_endpoint{};
  SideRecord client_side{};
  SideRecord upstream_side{};
  bool raw = false;
  std::int64_t ends_ns = 0;
  std::int64_t started_ns = 0;
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;
  std::uint16_t status = 0;
  std::uint8_t retries = 0;
  std::string method{};
  std::string target{};
};
template <class A>
void fields(A& a, TunnelRecord& m) {
  a(m.client, m.backend_name, m.backend_endpoint, m.client_side, m.upstream_side, m.raw, m.ends_ns,
    m.started_ns, m.bytes_in, m.bytes_out, m.status, m.retries, m.method, m.target);
}

struct UpstreamRecord {
  std::string backend_name{};
  std::string backend_endpoint{};
  std::int64_t idle_since_ns = 0;
};
template <class A>
void fields(A& a, UpstreamRecord& m) {
  a(m.backend_name, m.backend_endpoint, m.idle_since_ns);
}

ClientRecord client_record(const HandedConnection& one) {
  return {.requests = one.requests,
          .peer = pack(one.peer),
          .told = one.told_destination.has_value(),
          .told_destination = pack(one.told_destination.value_or(IpAddress{})),
          .unparsed = one.unparsed,
          .deadline_ns = to_ns(one.deadline),
          .after_exchange = one.after_exchange};
}

bool read_client(ClientRecord& record, HandedConnection& one) {
  IpAddress told;
  if (!unpack(record.peer, one.peer) || !unpack(record.told_destination, told)) return false;
  if (record.unparsed.size() > kBytesMax) return false;
  if (record.told) one.told_destination = told;
  one.requests = record.requests;
  one.unparsed = std::move(record.unparsed);
  one.deadline = from_ns(record.deadline_ns);
  one.after_exchange = record.after_exchange;
  return true;
}

SideRecord side_record(const HandedSide& side) {
  return {side.outbox, side.read_eof, side.write_shut, side.bulk};
}

bool read_side(SideRecord& record, HandedSide& side) {
  side = {std::move(record.outbox), record.read_eof, record.write_shut, record.bulk};
  return side.outbox.size() <= kBytesMax;
}

bool read_tunnel(TunnelRecord& record, HandedConnection& one) {
  auto tunnel = std::make_unique<HandedTunnel>();
  if (!read_client(record.client, one) || !read_side(record.client_side, tunnel->client_side) ||
      !read_side(record.upstream_side, tunnel->upstream_side)) {
    return false;
  }
  tunnel->raw = record.raw;
  tunnel->ends_at = from_ns(record.ends_ns);
  tunnel->started = from_ns(record.started_ns);
  tunnel->bytes_in = record.bytes_in;
  tunnel->bytes_out = record.bytes_out;
  tunnel->status = record.status;
  tunnel->retries = record.retries;
  tunnel->method = std::move(record.method);
  tunnel->target = std::move(record.target);
  one.kind = HandedConnection::Kind::tunnel;
  one.backend = {std::move(record.backend_name), std::move(record.backend_endpoint)};
  one.tunnel = std::move(tunnel);
  return true;
}

template <class R>
bool decode_whole(std::string_view bytes, R& record) {
  Decoder decoder{bytes};
  decoder(record);
  return decoder.complete();
}

template <class R>
std::string encode_whole(const R& record) {
  Encoder encoder;
  encoder(record);
  return encoder.take();
}

}  // namespace

handoff::Skills handoff_skills() {
  using handoff::Kind;
  return {{Kind::client, kVersion}, {Kind::tunnel, kVersion}, {Kind::upstream, kVersion}};
}

handoff::Kind kind_of(const HandedConnection& connection) noexcept {
  switch (connection.kind) {
    case HandedConnection::Kind::client:
      return handoff::Kind::client;
    case HandedConnection::Kind::tunnel:
      return handoff::Kind::tunnel;
    case HandedConnection::Kind::upstream:
      return handoff::Kind::upstream;
  }
  LB_ASSERT(false);
}

std::size_t record_bytes(const HandedConnection& connection) noexcept {
  std::size_t bytes = kFixedBytes + connection.unparsed.size();
  if (const HandedTunnel* const tunnel = connection.tunnel.get()) {
    bytes += tunnel->client_side.outbox.size() + tunnel->upstream_side.outbox.size();
    bytes += tunnel->target.size();
  }
  return bytes;
}

std::string encode_record(const HandedConnection& one, std::uint16_t version) {
  LB_ASSERT(version == kVersion);
  if (one.kind == HandedConnection::Kind::client) return encode_whole(client_record(one));
  if (one.kind == HandedConnection::Kind::upstream) {
    return encode_whole(UpstreamRecord{one.backend.name, one.backend.endpoint, to_ns(one.idle_since)});
  }
  const HandedTunnel& tunnel = *one.tunnel;
  return encode_whole(TunnelRecord{.client = client_record(one),
                                   .backend_name = one.backend.name,
                                   .backend_endpoint = one.backend.endpoint,
                                   .client_side = side_record(tunnel.client_side),
                                   .upstream_side = side_record(tunnel.upstream_side),
                                   .raw = tunnel.raw,
                                   .ends_ns = to_ns(tunnel.ends_at),
                                   .started_ns = to_ns(tunnel.started),
                                   .bytes_in = tunnel.bytes_in,
                                   .bytes_out = tunnel.bytes_out,
                                   .status = tunnel.status,
                                   .retries = tunnel.retries,
                                   .method = tunnel.method,
                                   .target = tunnel.target});
}

std::vector<int> record_fds(const HandedConnection& connection) {
  std::vector<int> fds{connection.fd.get()};
  if (connection.tunnel) fds.push_back(connection.tunnel->upstream.get());
  return fds;
}

std::size_t record_fd_count(handoff::Kind kind) noexcept {
  return kind == handoff::Kind::tunnel ? 2 : 1;
}

Result<HandedConnection> decode_record(handoff::Kind kind, std::uint16_t version, std::string_view bytes) {
  HandedConnection one;
  bool whole = false;
  if (version == kVersion && kind == handoff::Kind::client) {
    ClientRecord record;
    whole = decode_whole(bytes, record) && read_client(record, one);
  } else if (version == kVersion && kind == handoff::Kind::tunnel) {
    TunnelRecord record;
    whole = decode_whole(bytes, record) && read_tunnel(record, one);
  } else if (version == kVersion && kind == handoff::Kind::upstream) {
    UpstreamRecord record;
    whole = decode_whole(bytes, record);
    one.kind = HandedConnection::Kind::upstream;
    one.backend = {std::move(record.backend_name), std::move(record.backend_endpoint)};
    one.idle_since = from_ns(record.idle_since_ns);
  }
  if (whole) return one;
  return std::unexpected(Error{.fault = Fault::self,
                               .message = "a malformed handoff record of kind " +
                                          std::to_string(static_cast<unsigned>(kind)) + ", version " +
                                          std::to_string(version)});
}

void attach_fds(HandedConnection& connection, std::vector<Fd> fds) {
  LB_ASSERT(fds.size() == record_fd_count(kind_of(connection)));
  connection.fd = std::move(fds[0]);
  if (connection.tunnel) connection.tunnel->upstream = std::move(fds[1]);
}

}  // namespace lb
