// What the data path spends per message: heads parsed, framed and written, chunks decoded.
#include <benchmark/benchmark.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lb/http/chunked.hpp"
#include "lb/http/framing.hpp"
#include "lb/http/message.hpp"
#include "lb/http/parser.hpp"
#include "lb/http/writer.hpp"

namespace lb::http {
namespace {

constexpr std::string_view kSmallRequest = "GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";

constexpr std::string_view kTypicalRequest =
    "POST /api/v1/orders?customer=4711&page=2 HTTP/1.1\r\n"
    "Host: shop.example.com\r\n"
    "User-Agent: okhttp/4.12.0\r\n"
    "Accept: application/json\r\n"
    "Accept-Encoding: gzip\r\n"
    "Content-Type: application/json; charset=utf-8\r\n"
    "Content-Length: 137\r\n"
    "Authorization: Bearer 0123456789abcdef0123456789abcdef\r\n"
    "Connection: keep-alive\r\n"
    "\r\n";

constexpr std::string_view kBrowserRequest =
    "GET /articles/2026/11/load-balancers?utm_source=newsletter&utm_medium=email HTTP/1.1\r\n"
    "Host: www.example.com\r\n"
    "Connection: keep-alive\r\n"
    "sec-ch-ua: \"Chromium\";v=\"131\", \"Not_A Brand\";v=\"24\"\r\n"
    "sec-ch-ua-mobile: ?0\r\n"
    "sec-ch-ua-platform: \"Linux\"\r\n"
    "Upgrade-Insecure-Requests: 1\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 "
    "Safari/537.36\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    "Sec-Fetch-Site: same-origin\r\n"
    "Sec-Fetch-Mode: navigate\r\n"
    "Sec-Fetch-Dest: document\r\n"
    "Referer: https://www.example.com/articles\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n"
    "Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=yes\r\n"
    "\r\n";

constexpr std::string_view kResponse =
    "HTTP/1.1 200 OK\r\n"
    "Server: backend/1.0\r\n"
    "Date: Mon, 23 Nov 2026 10:00:00 GMT\r\n"
    "Content-Type: text/html; charset=utf-8\r\n"
    "Content-Length: 128\r\n"
    "Cache-Control: max-age=60, public\r\n"
    "ETag: \"5f3e-61c0a7\"\r\n"
    "Vary: Accept-Encoding\r\n"
    "\r\n";

void parse_request(benchmark::State& state, std::string_view bytes) {
  const std::string copy(bytes);
  const HeadLimits limits;
  RequestHead head;
  for (auto _ : state) {
    HeadScanner scanner;
    benchmark::DoNotOptimize(copy.data());
    benchmark::DoNotOptimize(parse_request_head(copy, limits, scanner, head));
    benchmark::ClobberMemory();
  }
  if (head.head_bytes != bytes.size()) state.SkipWithError("not parsed");
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(bytes.size()));
}
BENCHMARK_CAPTURE(parse_request, small, kSmallRequest);
BENCHMARK_CAPTURE(parse_request, typical, kTypicalRequest);
BENCHMARK_CAPTURE(parse_request, browser, kBrowserRequest);

/// Heads of so many connections in turn: each in memory of its own, as they come from the network.
void parse_request_of_many(benchmark::State& state) {
  const std::vector<std::string> heads(static_cast<std::size_t>(state.range(0)),
                                       std::string{kTypicalRequest});
  const HeadLimits limits;
  RequestHead head;
  std::size_t next = 0;
  for (auto _ : state) {
    HeadScanner scanner;
    benchmark::DoNotOptimize(parse_request_head(heads[next], limits, scanner, head));
    benchmark::ClobberMemory();
    next = next + 1 == heads.size() ? 0 : next + 1;
  }
}
BENCHMARK(parse_request_of_many)->Arg(10)->Arg(1000)->Arg(100'000);

void parse_response(benchmark::State& state) {
  const std::string copy(kResponse);
  const HeadLimits limits;
  ResponseHead head;
  for (auto _ : state) {
    HeadScanner scanner;
    benchmark::DoNotOptimize(copy.data());
    benchmark::DoNotOptimize(parse_response_head(copy, limits, scanner, head));
    benchmark::ClobberMemory();
  }
  if (head.head_bytes != copy.size()) state.SkipWithError("not parsed");
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(copy.size()));
}
BENCHMARK(parse_response);

void write_upstream(benchmark::State& state, std::string_view bytes) {
  const std::string copy(bytes);
  HeadScanner scanner;
  RequestHead head;
  if (parse_request_head(copy, HeadLimits{}, scanner, head).status != ParseStatus::complete) {
    state.SkipWithError("not parsed");
  }
  const ForwardContext context{"203.0.113.17", "http", "lb", "backend"};
  const BodyFraming framing = request_framing(head).framing;
  std::array<char, 4096> out;
  for (auto _ : state) {
    benchmark::DoNotOptimize(head);
    benchmark::DoNotOptimize(write_upstream_head(head, framing, context, out));
    benchmark::ClobberMemory();
  }
}
BENCHMARK_CAPTURE(write_upstream, small, kSmallRequest);
BENCHMARK_CAPTURE(write_upstream, typical, kTypicalRequest);
BENCHMARK_CAPTURE(write_upstream, browser, kBrowserRequest);

void write_client(benchmark::State& state) {
  const std::string copy(kResponse);
  HeadScanner scanner;
  ResponseHead head;
  if (parse_response_head(copy, HeadLimits{}, scanner, head).status != ParseStatus::complete) {
    state.SkipWithError("not parsed");
  }
  ResponseContext context;
  context.via_name = "lb";
  const BodyFraming framing = client_framing(response_framing(head, Method::get, false).framing, 1);
  std::array<char, 4096> out;
  for (auto _ : state) {
    benchmark::DoNotOptimize(head);
    benchmark::DoNotOptimize(write_client_head(head, framing, context, out));
    benchmark::ClobberMemory();
  }
}
BENCHMARK(write_client);

/// All that one small keep-alive exchange costs in this module.
void whole_exchange(benchmark::State& state) {
  const std::string request(kSmallRequest);
  const std::string response(kResponse);
  const HeadLimits limits;
  const ForwardContext forward{"203.0.113.17", "http", "lb", "backend"};
  ResponseContext back;
  back.via_name = "lb";
  RequestHead request_head;
  ResponseHead response_head;
  std::array<char, 4096> out;
  for (auto _ : state) {
    HeadScanner scanner;
    benchmark::DoNotOptimize(request.data());
    benchmark::DoNotOptimize(parse_request_head(request, limits, scanner, request_head));
    const FramingOutcome framed = request_framing(request_head);
    benchmark::DoNotOptimize(write_upstream_head(request_head, framed.framing, forward, out));
    benchmark::ClobberMemory();
    scanner.reset();
    benchmark::DoNotOptimize(parse_response_head(response, limits, scanner, response_head));
    const FramingOutcome answered = response_framing(response_head, request_head.method, false);
    benchmark::DoNotOptimize(
        write_client_head(response_head, client_framing(answered.framing, 1), back, out));
    benchmark::ClobberMemory();
  }
}
BENCHMARK(whole_exchange);

void decode_chunks(benchmark::State& state) {
  const auto chunk_bytes = static_cast<std::size_t>(state.range(0));
  std::string body;
  std::array<char, kChunkHeadBytesMax> size_line;
  constexpr int kChunks = 16;
  for (int i = 0; i < kChunks; ++i) {
    body.append(size_line.data(), write_chunk_head(chunk_bytes, size_line.data()));
    body.append(chunk_bytes, 'x').append(kChunkEnd);
  }
  body.append(kLastChunk);
  for (auto _ : state) {
    ChunkDecoder decoder;
    std::string_view rest = body;
    bool done = false;
    while (!done) {
      const ChunkDecoder::Step step = decoder.step(rest);
      rest.remove_prefix(step.consumed);
      done = step.done || step.failed;
    }
    benchmark::DoNotOptimize(rest);
  }
  state.SetItemsProcessed(state.iterations() * kChunks);
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(body.size()));
}
BENCHMARK(decode_chunks)->Arg(16)->Arg(1024)->Arg(16384);

void make_short_response(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(make_response(503, "no backend", true, Method::get, 1, {}));
}
BENCHMARK(make_short_response);

}  // namespace
}  // namespace lb::http
