// Responses that the proxy makes by itself.
#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "lb/http/writer.hpp"

namespace lb::http {
namespace {

struct Phrase {
  std::uint16_t status;
  std::string_view text;
};

// RFC 9110 15; 102 from RFC 2518, 103 from RFC 8297, 207 and 422-424 from RFC 4918, 208 and 508 from RFC
// 5842, 226 from RFC 3229, 425 from RFC 8470, 428, 429, 431 and 511 from RFC 6585, 451 from RFC 7725.
constexpr std::array kPhrases{
    Phrase{100, "Continue"},
    Phrase{101, "Switching Protocols"},
    Phrase{102, "Processing"},
    Phrase{103, "Early Hints"},
    Phrase{200, "OK"},
    Phrase{201, "Created"},
    Phrase{202, "Accepted"},
    Phrase{203, "Non-Authoritative Information"},
    Phrase{204, "No Content"},
    Phrase{205, "Reset Content"},
    Phrase{206, "Partial Content"},
    Phrase{207, "Multi-Status"},
    Phrase{208, "Already Reported"},
    Phrase{226, "IM Used"},
    Phrase{300, "Multiple Choices"},
    Phrase{301, "Moved Permanently"},
    Phrase{302, "Found"},
    Phrase{303, "See Other"},
    Phrase{304, "Not Modified"},
    Phrase{305, "Use Proxy"},
    Phrase{307, "Temporary Redirect"},
    Phrase{308, "Permanent Redirect"},
    Phrase{400, "Bad Request"},
    Phrase{401, "Unauthorized"},
    Phrase{402, "Payment Required"},
    Phrase{403, "Forbidden"},
    Phrase{404, "Not Found"},
    Phrase{405, "Method Not Allowed"},
    Phrase{406, "Not Acceptable"},
    Phrase{407, "Proxy Authentication Required"},
    Phrase{408, "Request Timeout"},
    Phrase{409, "Conflict"},
    Phrase{410, "Gone"},
    Phrase{411, "Length Required"},
    Phrase{412, "Precondition Failed"},
    Phrase{413, "Content Too Large"},
    Phrase{414, "URI Too Long"},
    Phrase{415, "Unsupported Media Type"},
    Phrase{416, "Range Not Satisfiable"},
    Phrase{417, "Expectation Failed"},
    Phrase{421, "Misdirected Request"},
    Phrase{422, "Unprocessable Content"},
    Phrase{423, "Locked"},
    Phrase{424, "Failed Dependency"},
    Phrase{425, "Too Early"},
    Phrase{426, "Upgrade Required"},
    Phrase{428, "Precondition Required"},
    Phrase{429, "Too Many Requests"},
    Phrase{431, "Request Header Fields Too Large"},
    Phrase{451, "Unavailable For Legal Reasons"},
    Phrase{500, "Internal Server Error"},
    Phrase{501, "Not Implemented"},
    Phrase{502, "Bad Gateway"},
    Phrase{503, "Service Unavailable"},
    Phrase{504, "Gateway Timeout"},
    Phrase{505, "HTTP Version Not Supported"},
    Phrase{507, "Insufficient Storage"},
    Phrase{508, "Loop Detected"},
    Phrase{511, "Network Authentication Required"},
};

}  // namespace

std::string_view reason_phrase(std::uint16_t status) noexcept {
  for (const Phrase& phrase : kPhrases) {
    if (phrase.status == status) return phrase.text;
  }
  return "Unknown";
}

namespace {

void put_field(std::string& out, std::string_view name, std::string_view value) {
  out.append(name).append(": ").append(value).append("\r\n");
}

/// Date, the end of the connection, what the configuration adds, and the empty line.
void end_head(std::string& out, bool keep_alive, std::string_view extra_block, std::string_view date) {
  if (!date.empty()) put_field(out, "Date", date);
  if (!keep_alive) put_field(out, "Connection", "close");
  out.append(extra_block).append("\r\n");
}

constexpr char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
}

// RFC 9110 9.3.8 wants fields left out that are "likely to contain sensitive data". Too much left out costs
// a diagnosis a line; too little gives a script the cookie that it may not read (cross-site tracing).
bool may_be_echoed(const Field& field) {
  constexpr auto kSensitive = std::to_array<std::string_view>(
      {"auth", "cookie", "token", "secret", "key", "session", "passw", "credential", "signature", "proxy-"});
  std::string name(field.name);
  std::ranges::transform(name, name.begin(), lower);
  return std::ranges::none_of(kSensitive,
                              [&](std::string_view part) { return name.find(part) != std::string::npos; });
}

}  // namespace

std::string make_response(std::uint16_t status, std::string_view detail, bool keep_alive,
                          Method request_method, std::uint32_t retry_after_s, std::string_view extra_block,
                          std::string_view date) {
  const std::string status_text = std::to_string(status).append(" ").append(reason_phrase(status));
  std::string body;
  const bool never_has_body = status < 200 || status == 204 || status == 304;  // RFC 9110 6.4.1
  if (!never_has_body) {
    body.append(status_text);
    if (!detail.empty()) body.append(": ").append(detail);
    body.append("\n");
  }
  std::string response;
  response.reserve(200 + extra_block.size() + body.size());
  response.append("HTTP/1.1 ").append(status_text).append("\r\n");
  if (!never_has_body) {
    put_field(response, "Content-Type", "text/plain");
    put_field(response, "Content-Length", std::to_string(body.size()));
  }
  if (retry_after_s > 0) put_field(response, "Retry-After", std::to_string(retry_after_s));
  end_head(response, keep_alive, extra_block, date);
  if (request_method != Method::head) response.append(body);
  return response;
}

std::string make_options_response(bool keep_alive, std::string_view extra_block, std::string_view date) {
  std::string response = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n";
  end_head(response, keep_alive, extra_block, date);
  return response;
}

std::string make_trace_response(const RequestHead& head, bool keep_alive, std::string_view extra_block,
                                std::string_view date) {
  std::string echo;
  echo.reserve(head.head_bytes);
  echo.append(head.method_text).append(" ").append(head.target).append(" HTTP/1.");
  echo.append(head.minor_version == 0 ? "0" : "1").append("\r\n");
  for (const Field& field : head.table) {
    if (may_be_echoed(field)) put_field(echo, field.name, field.value);
  }
  echo.append("\r\n");
  std::string response = "HTTP/1.1 200 OK\r\nContent-Type: message/http\r\n";
  put_field(response, "Content-Length", std::to_string(echo.size()));
  end_head(response, keep_alive, extra_block, date);
  return response.append(echo);
}

}  // namespace lb::http
