#include "lb/http/writer.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "lb/http/chars.hpp"
#include "lb/http/max_forwards.hpp"
#include "lb/http/output.hpp"

namespace lb::http {
namespace {

using Kind = BodyFraming::Kind;

struct Seen {
  bool forwarded_for = false;
  bool via = false;
  bool max_forwards = false;  // and it has to be counted down
};

// The end-to-end fields, but for those that are written anew.
Seen copy_request_fields(Output& out, const RequestHead& head) noexcept {
  Seen seen;
  LineCopier lines(out);
  for (const Field& field : head.table) {
    if (field.hop_by_hop) continue;
    switch (field.id) {
      case FieldId::host:
      case FieldId::content_length:
      case FieldId::x_forwarded_proto:
      case FieldId::x_forwarded_host:
        break;
      case FieldId::x_forwarded_for:
        seen.forwarded_for = true;
        break;
      case FieldId::via:
        seen.via = true;
        break;
      case FieldId::max_forwards:
        if (counts_forwards(head.method)) {
          seen.max_forwards = true;
        } else {
          lines.add(field);
        }
        break;
      default:
        lines.add(field);
        break;
    }
  }
  lines.flush();
  return seen;
}

// The client's X-Forwarded-For is kept and continued: that is the field's meaning, and a backend counts from
// the right as many hops as it trusts. -Proto and -Host have no such order, so what the client sent is
// replaced by what is known here.
void put_forwarded(Output& out, const RequestHead& head, bool seen_for,
                   const ForwardContext& context) noexcept {
  out.put("X-Forwarded-For: ");
  if (seen_for && put_joined(out, head.table, FieldId::x_forwarded_for)) out.put(", ");
  out.put(context.client_ip);
  out.put("\r\nX-Forwarded-Proto: ");
  out.put(context.proto);
  out.put("\r\n");
  if (!head.authority.empty()) {
    out.put("X-Forwarded-Host: ");
    out.put(head.authority);
    out.put("\r\n");
  }
}

bool names(std::span<const std::string> list, std::string_view name) noexcept {
  return std::any_of(list.begin(), list.end(),
                     [name](const std::string& entry) { return equals_ignore_case(entry, name); });
}

bool copy_response_fields(Output& out, const FieldTable& table,
                          std::span<const std::string> dropped) noexcept {
  bool seen_via = false;
  LineCopier lines(out);
  for (const Field& field : table) {
    if (field.hop_by_hop || field.id == FieldId::content_length) continue;
    if (!dropped.empty() && names(dropped, field.name)) continue;
    if (field.id == FieldId::via) {
      seen_via = true;
    } else {
      lines.add(field);
    }
  }
  lines.flush();
  return seen_via;
}

void put_content_length(Output& out, std::uint64_t length) noexcept {
  out.put("Content-Length: ");
  out.put_number(length);
  out.put("\r\n");
}

void put_status_line(Output& out, const ResponseHead& head) noexcept {
  out.put("HTTP/1.1 ");
  out.put_number(head.status);
  out.put(" ");
  out.put(head.reason);
  out.put("\r\n");
}

void put_trailer(Output& out, const FieldTable& table) noexcept {
  out.put("Trailer: ");
  put_joined(out, table, FieldId::trailer);
  out.put("\r\n");
}

void put_request_framing(Output& out, const RequestHead& head, const BodyFraming& framing) noexcept {
  if (framing.kind == Kind::chunked) {
    out.put("Transfer-Encoding: chunked\r\n");
    if (head.facts.has_trailer) put_trailer(out, head.table);
  } else if (framing.kind == Kind::length) {
    put_content_length(out, framing.length);
  } else if (head.facts.has_content_length) {
    put_content_length(out, 0);
  }
}

// Connection and what it names: an upgrade, and that the client takes trailers. A 1.0 client does not.
void put_request_connection(Output& out, const RequestHead& head) noexcept {
  const bool upgrade = forwards_upgrade(head.facts);
  const bool trailers = head.facts.te_trailers && head.minor_version > 0;
  if (!upgrade && !trailers) return;
  out.put("Connection: ");
  if (upgrade) out.put("upgrade");
  if (upgrade && trailers) out.put(", ");
  if (trailers) out.put("TE");
  out.put("\r\n");
  if (trailers) out.put("TE: trailers\r\n");
  if (!upgrade) return;
  out.put("Upgrade: ");
  put_joined(out, head.table, FieldId::upgrade);
  out.put("\r\n");
}

void put_response_framing(Output& out, const ResponseHead& head, const BodyFraming& framing,
                          const ResponseContext& context) noexcept {
  switch (framing.kind) {
    case Kind::length:
      put_content_length(out, framing.length);
      break;
    case Kind::chunked:
      out.put("Transfer-Encoding: chunked\r\n");
      if (context.trailers && head.facts.has_trailer) put_trailer(out, head.table);
      break;
    case Kind::none:
      // A 1xx or 204 must not have one (RFC 9110 8.6); to HEAD and in a 304 it tells what GET would have.
      if (head.status < 200 || head.status == 204) break;
      if (head.facts.has_content_length) {
        put_content_length(out, head.facts.content_length);
      } else if (head.status != 304 && context.request_method != Method::head) {
        put_content_length(out, 0);
      }
      break;
    case Kind::until_close:
    case Kind::tunnel:
      break;
  }
}

// Connection and, where it means something to the client, Upgrade: in a 101, and in a 426, which must tell
// what to upgrade to (RFC 9110 15.5.22).
void put_connection(Output& out, const ResponseHead& head, const ResponseContext& context) noexcept {
  const bool upgrade = head.facts.has_upgrade && (head.status == 101 || head.status == 426);
  if (upgrade) {
    out.put("Upgrade: ");
    put_joined(out, head.table, FieldId::upgrade);
    out.put("\r\n");
  }
  if (head.status < 200) {
    if (head.status == 101) out.put("Connection: upgrade\r\n");
    return;
  }
  std::string_view persistence;
  if (!context.keep_alive) {
    persistence = "close";
  } else if (context.client_minor_version == 0) {
    persistence = "keep-alive";
  }
  if (!upgrade && persistence.empty()) return;
  out.put("Connection: ");
  if (upgrade) out.put("upgrade");
  if (upgrade && !persistence.empty()) out.put(", ");
  out.put(persistence);
  out.put("\r\n");
}

}  // namespace

std::size_t write_upstream_head(const RequestHead& head, const BodyFraming& framing,
                                const ForwardContext& context, std::span<char> out) noexcept {
  Output written(out);
  written.put(head.method_text);
  written.put(" ");
  if (head.path.empty() || head.path.front() == '?') written.put("/");  // absolute-form without a path
  written.put(head.path);
  written.put(" HTTP/1.1\r\nHost: ");
  written.put(head.authority.empty() ? context.backend_host : head.authority);
  written.put("\r\n");
  const Seen seen = copy_request_fields(written, head);
  if (seen.max_forwards) {
    written.put("Max-Forwards: ");
    written.put_number(max_forwards(head).next);
    written.put("\r\n");
  }
  put_forwarded(written, head, seen.forwarded_for, context);
  put_via(written, head.table, seen.via, head.minor_version, context.via_name);
  put_request_framing(written, head, framing);
  put_request_connection(written, head);
  written.put("\r\n");
  return written.size();
}

BodyFraming client_framing(const BodyFraming& upstream, std::uint8_t client_minor_version) noexcept {
  if (upstream.kind == Kind::until_close && client_minor_version > 0) return {Kind::chunked, 0};
  if (upstream.kind == Kind::chunked && client_minor_version == 0) return {Kind::until_close, 0};
  return upstream;
}

std::size_t write_client_head(const ResponseHead& head, const BodyFraming& framing,
                              const ResponseContext& context, std::span<char> out) noexcept {
  Output written(out);
  put_status_line(written, head);
  const bool final_answer = head.status >= 200;
  const bool seen_via = copy_response_fields(
      written, head.table, final_answer ? context.extra_names : std::span<const std::string>{});
  put_via(written, head.table, seen_via, head.minor_version, context.via_name);
  put_response_framing(written, head, framing, context);
  if (final_answer && !head.facts.has_date && !context.date.empty()) {
    written.put("Date: ");
    written.put(context.date);
    written.put("\r\n");
  }
  put_connection(written, head, context);
  if (final_answer) written.put(context.extra_block);
  written.put("\r\n");
  return written.size();
}

}  // namespace lb::http
