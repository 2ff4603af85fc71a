// lb_reader: reads what a client might send with the balancer's parser, framing and chunk decoder, and says
// what requests it holds and which of them the balancer would pass on, in which form.
//
//   standard input: cases, each "LENGTH\n" and LENGTH bytes    standard output: one JSON object a case:
//   {"requests": [{"method", "target", "path", "host", "body": hex, "forwarded", and what Node sees
//                 otherwise: "unread" (content of a request that is answered here, after which the connection
//                 ends), "contradicts" (close and keep-alive), "upgrade"}],
//    "end": "nothing" | "incomplete" | "refused" | "closed", "status": of the refusal}
#include <cstddef>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>

#include "lb/http/chars.hpp"
#include "lb/http/chunked.hpp"
#include "lb/http/framing.hpp"
#include "lb/http/max_forwards.hpp"
#include "lb/http/parser.hpp"

namespace {

using namespace lb::http;
using Kind = BodyFraming::Kind;

std::string quoted(std::string_view bytes) {
  std::string out = "\"";
  for (const char c : bytes) {
    char text[8];
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f && c != '"' && c != '\\') {
      out += c;
    } else {
      std::snprintf(text, sizeof text, "\\u%04x", byte);  // as Latin-1
      out += text;
    }
  }
  return out + '"';
}

std::string hexadecimal(std::string_view bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (const char c : bytes) {
    out += kDigits[static_cast<unsigned char>(c) >> 4U];
    out += kDigits[static_cast<unsigned char>(c) & 15U];
  }
  return out;
}

enum class End { nothing, incomplete, refused, closed };
constexpr const char* kEndNames[] = {"nothing", "incomplete", "refused", "closed"};

struct Reading {
  std::string requests;
  End end = End::nothing;
  int status = 0;

  void refuse(int with) {
    end = End::refused;
    status = with;
  }
};

/// Takes the body off `bytes`. False: it is cut short or malformed, and `reading` says which.
bool read_body(const BodyFraming& framing, std::string_view& bytes, std::string& body, Reading& reading) {
  if (framing.kind == Kind::none) return true;
  if (framing.kind == Kind::length) {
    if (bytes.size() < framing.length) {
      reading.end = End::incomplete;
      return false;
    }
    body = bytes.substr(0, framing.length);
    bytes.remove_prefix(framing.length);
    return true;
  }
  ChunkDecoder decoder;
  for (;;) {
    if (bytes.empty()) {
      reading.end = End::incomplete;
      return false;
    }
    const ChunkDecoder::Step step = decoder.step(bytes);
    body += step.payload;
    bytes.remove_prefix(step.consumed);
    if (step.failed) {
      reading.refuse(400);
      return false;
    }
    if (step.done) return true;
  }
}

/// What admission makes of a request (lb/proxy/worker_exchange.cpp): 0 when it is passed on, 200 when it is
/// answered here, else the status of its refusal.
int admission(const RequestHead& head, const BodyFraming& framing) {
  if (head.method == Method::connect) return 501;
  if (!counts_forwards(head.method)) return 0;
  if (head.method == Method::trace && framing.kind != Kind::none) return 400;
  const MaxForwards left = max_forwards(head);
  if (left.kind == MaxForwards::Kind::malformed) return 400;
  return left.kind == MaxForwards::Kind::answer ? 200 : 0;
}

/// Whether the client asked to switch protocols, whatever becomes of that: Node reads nothing behind it.
bool asks_upgrade(const RequestHead& head) {
  bool option = false;
  for (const Field& field : head.table) {
    if (field.id != FieldId::connection) continue;
    for_each_element(field.value, [&](std::string_view element) {
      option = option || equals_ignore_case(element, "upgrade");
      return true;
    });
  }
  return option && head.facts.has_upgrade;
}

void add_request(const RequestHead& head, std::string_view body, bool forwarded, bool unread,
                 Reading& reading) {
  const bool slash = head.path.empty() || head.path.front() == '?';
  std::string& out = reading.requests;
  if (!out.empty()) out += ',';
  out += "{\"method\":" + quoted(head.method_text) + ",\"target\":" + quoted(head.target);
  out += ",\"path\":" + quoted((slash ? "/" : "") + std::string(head.path));
  out += ",\"host\":" + quoted(head.authority) + ",\"body\":\"" + hexadecimal(body) + '"';
  out += forwarded ? ",\"forwarded\":true" : ",\"forwarded\":false";
  out += unread ? ",\"unread\":true" : ",\"unread\":false";
  const bool both = head.facts.connection_close && head.facts.connection_keep_alive;
  out += both ? ",\"contradicts\":true" : ",\"contradicts\":false";
  out += asks_upgrade(head) ? ",\"upgrade\":true}" : ",\"upgrade\":false}";
}

Reading read_all(std::string_view bytes, RequestHead& head) {
  Reading reading;
  while (!bytes.empty()) {
    HeadScanner scanner;
    const ParseOutcome outcome = parse_request_head(bytes, HeadLimits{}, scanner, head);
    if (outcome.status == ParseStatus::need_more) {
      reading.end = End::incomplete;
      return reading;
    }
    if (outcome.status == ParseStatus::error) {
      reading.refuse(outcome.error.status);
      return reading;
    }
    const FramingOutcome framed = request_framing(head);
    if (framed.error) {
      reading.refuse(framed.error->status);
      return reading;
    }
    const int admitted = admission(head, framed.framing);
    if (admitted >= 400) {
      reading.refuse(admitted);
      return reading;
    }
    bytes.remove_prefix(head.head_bytes);
    const bool local = admitted == 200;
    std::string body;
    if (!local && !read_body(framed.framing, bytes, body, reading)) return reading;
    add_request(head, body, !local, local && framed.framing.kind != Kind::none, reading);
    // One that is answered here and has content ends the connection: the content is not read.
    if (!wants_keep_alive(head.facts, head.minor_version) ||
        (local && (framed.framing.kind != Kind::none || head.minor_version == 0))) {
      reading.end = End::closed;
      return reading;
    }
  }
  return reading;
}

}  // namespace

int main() {
  std::ios::sync_with_stdio(false);
  const auto head = std::make_unique<RequestHead>();
  std::string line;
  while (std::getline(std::cin, line)) {
    std::string bytes(std::stoul(line), '\0');
    if (!std::cin.read(bytes.data(), static_cast<std::streamsize>(bytes.size()))) return 1;
    const Reading reading = read_all(bytes, *head);
    std::cout << "{\"requests\":[" << reading.requests << "],\"end\":\""
              << kEndNames[static_cast<std::size_t>(reading.end)] << "\",\"status\":" << reading.status
              << "}\n"
              << std::flush;
  }
  return 0;
}
