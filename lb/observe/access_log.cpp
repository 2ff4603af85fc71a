#include "lb/observe/access_log.hpp"

#include "lb/observe/escape.hpp"
#include "lb/observe/line_format.hpp"

namespace lb {
namespace {

/// What is not known, the method of a request that could not be parsed for example, reads "-".
void append_part(std::string& out, std::string_view text, TextContext context) {
  append_text_escaped(out, text.empty() ? std::string_view{"-"} : text, context);
}

void append_text(std::string& out, const AccessRecord& record) {
  const bool ipv6 = record.client_ip.find(':') != std::string_view::npos;
  if (ipv6) out.push_back('[');
  append_part(out, record.client_ip, TextContext::word);
  if (ipv6) out.push_back(']');
  out.push_back(':');
  append_number(out, record.client_port);
  out.append(" [");
  append_time(out, record.unix_time_us, 6);
  out.append("] \"");
  append_part(out, record.method, TextContext::quoted);
  out.push_back(' ');
  append_part(out, record.target, TextContext::quoted);
  out.append("\" ");
  append_number(out, record.status);
  out.push_back(' ');
  append_number(out, record.response_body_bytes);
  out.push_back(' ');
  // Milliseconds with three digits behind the point.
  const std::int64_t duration_us = record.duration_us < 0 ? 0 : record.duration_us;
  append_number(out, duration_us / 1000);
  const auto rest = static_cast<unsigned>(duration_us % 1000);
  out.append({'.', static_cast<char>('0' + rest / 100), static_cast<char>('0' + rest / 10 % 10),
              static_cast<char>('0' + rest % 10)});
  out.append("ms backend=");
  append_part(out, record.backend, TextContext::word);
  out.append(" gen=");
  append_number(out, record.generation);
  if (record.tunnel) {
    out.append(" in=");
    append_number(out, record.request_body_bytes);
  }
  if (record.retries > 0) {
    out.append(" retries=");
    append_number(out, record.retries);
  }
  out.push_back(' ');
  append_part(out, record.outcome, TextContext::word);
  out.push_back('\n');
}

void append_json(std::string& out, const AccessRecord& record) {
  const auto text = [&out](std::string_view key, std::string_view value) {
    out.append(key);
    append_json_escaped(out, value);
    out.push_back('"');
  };
  const auto number = [&out](std::string_view key, auto value) {
    out.append(key);
    append_number(out, value);
  };
  out.append("{\"time\":\"");
  append_time(out, record.unix_time_us, 6);
  text("\",\"client_ip\":\"", record.client_ip);
  number(",\"client_port\":", record.client_port);
  text(",\"method\":\"", record.method);
  text(",\"target\":\"", record.target);
  number(",\"status\":", record.status);
  number(",\"response_body_bytes\":", record.response_body_bytes);
  number(",\"request_body_bytes\":", record.request_body_bytes);
  number(",\"duration_us\":", record.duration_us);
  text(",\"backend\":\"", record.backend);
  number(",\"generation\":", record.generation);
  number(",\"retries\":", record.retries);
  text(",\"outcome\":\"", record.outcome);
  out.append("}\n");
}

}  // namespace

void append_access_line(std::string& out, LogFormat format, const AccessRecord& record) {
  format == LogFormat::json ? append_json(out, record) : append_text(out, record);
}

}  // namespace lb
