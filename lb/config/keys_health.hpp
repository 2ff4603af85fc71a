// The keys that say which backends are well: a part of the key table, for keys.cpp only.
#pragma once

#include <array>
#include <string_view>

#include "lb/config/key_slots.hpp"
#include "lb/config/model.hpp"

namespace lb {

/// In the order of their enumerations.
inline constexpr auto kHealthCheckTypes = std::to_array<std::string_view>({"http", "tcp", "tls"});
inline constexpr auto kHealthCheckMethods = std::to_array<std::string_view>({"GET", "HEAD", "OPTIONS"});

inline constexpr double kCheckTextBytesMax = 4096;
inline constexpr double kInARowMax = 1000;

inline constexpr auto kHealthCheckKeys = std::to_array<KeySpec>({
    {.name = "type",
     .type = KeyType::choice,
     .choices = kHealthCheckTypes,
     .help =
         "`http`: a request must be answered well. `tcp`: connecting must work, and `expect` be answered "
         "to `send` where they are given. `tls`: a handshake must work. A backend with `tls` is checked over "
         "TLS, by its own settings; `tls` proves no certificate of others.",
     .slot = slot<&HealthCheckConfig::type>},
    {.name = "method",
     .type = KeyType::choice,
     .choices = kHealthCheckMethods,
     .help = "Of the request.",
     .slot = slot<&HealthCheckConfig::method>},
    {.name = "path",
     .type = KeyType::text,
     .min = 1,
     .max = kCheckTextBytesMax,
     .example = R"("/health")",
     .help = "Path and query of the request.",
     .slot = slot<&HealthCheckConfig::path>},
    {.name = "host",
     .type = KeyType::text,
     .min = 0,
     .max = 255,
     .default_words = "the backend's address",
     .example = R"("app.example.org")",
     .help = "Of the request's Host field.",
     .slot = slot<&HealthCheckConfig::host>},
    {.name = "port",
     .type = KeyType::integer,
     .min = 0,
     .max = 65535,
     .default_words = "0: the backend's own",
     .example = "9100",
     .help = "Where to connect, when checks are answered on another port: in plain text, but for the type "
             "`tls`. Not "
             "for Unix sockets.",
     .slot = slot<&HealthCheckConfig::port>},
    {.name = "interval",
     .type = KeyType::seconds,
     .min = 0.01,
     .max = kDay,
     .help = "From the begin of one check of a backend to the begin of the next.",
     .slot = slot<&HealthCheckConfig::interval>},
    {.name = "jitter",
     .type = KeyType::number,
     .min = 0,
     .max = 1,
     .help = "Each interval is longer or shorter by up to this share of it.",
     .slot = slot<&HealthCheckConfig::jitter>},
    {.name = "timeout",
     .type = KeyType::seconds,
     .min = kSecondsMin,
     .max = 3600,
     .help = "Of a whole check, from connecting to the answer.",
     .slot = slot<&HealthCheckConfig::timeout>},
    {.name = "rise",
     .type = KeyType::integer,
     .min = 1,
     .max = kInARowMax,
     .help = "Checks passed in a row that bring a backend back. At the start the first check alone decides.",
     .slot = slot<&HealthCheckConfig::rise>},
    {.name = "fall",
     .type = KeyType::integer,
     .min = 1,
     .max = kInARowMax,
     .help = "Checks failed in a row that take a backend out.",
     .slot = slot<&HealthCheckConfig::fall>},
    {.name = "expect_status",
     .type = KeyType::text,
     .min = 1,
     .max = 255,
     .example = R"("200-299,404")",
     .help = "Statuses of a good answer: numbers and ranges, with commas between them.",
     .slot = slot<&HealthCheckConfig::expect_status>},
    {.name = "expect_body",
     .type = KeyType::bytes,
     .min = 0,
     .max = kCheckTextBytesMax,
     .default_words = "any",
     .example = R"("\"status\": \"ok\"")",
     .help = "Must stand within the first 64 KiB of the answer's body.",
     .slot = slot<&HealthCheckConfig::expect_body>},
    {.name = "send",
     .type = KeyType::bytes,
     .min = 0,
     .max = kCheckTextBytesMax,
     .default_words = "nothing",
     .example = R"("PING\r\n")",
     .help = "For `tcp`: sent once connected.",
     .slot = slot<&HealthCheckConfig::send>},
    {.name = "expect",
     .type = KeyType::bytes,
     .min = 0,
     .max = kCheckTextBytesMax,
     .default_words = "nothing",
     .example = R"("PONG")",
     .help = "For `tcp`: must stand within the first 64 KiB of the answer.",
     .slot = slot<&HealthCheckConfig::expect>},
});
inline constexpr auto kOutlierKeys = std::to_array<KeySpec>({
    {.name = "failures_in_row",
     .type = KeyType::integer,
     .min = 0,
     .max = 1'000'000,
     .help =
         "So many requests of one worker fail in a row: no connection, no answer, or a 502, 503 or 504. 0: "
         "not looked at.",
     .slot = slot<&OutlierDetectionConfig::failures_in_row>},
    {.name = "failure_share",
     .type = KeyType::number,
     .min = 0,
     .max = 1,
     .help = "This share of the requests in the window fails, over all workers. 0: not looked at.",
     .slot = slot<&OutlierDetectionConfig::failure_share>},
    {.name = "window",
     .type = KeyType::seconds,
     .min = 1,
     .max = 3600,
     .help = "The time that failure_share looks at.",
     .slot = slot<&OutlierDetectionConfig::window>},
    {.name = "requests_min",
     .type = KeyType::integer,
     .min = 1,
     .max = 1'000'000,
     .help = "With fewer requests in the window failure_share says nothing.",
     .slot = slot<&OutlierDetectionConfig::requests_min>},
    {.name = "ejection",
     .type = KeyType::seconds,
     .min = kSecondsMin,
     .max = kDay,
     .help = "How long a backend is left alone the first time; each further time it is twice the last one. A "
             "backend that then stays for longer than it was away begins anew.",
     .slot = slot<&OutlierDetectionConfig::ejection>},
    {.name = "ejection_max",
     .type = KeyType::seconds,
     .min = kSecondsMin,
     .max = kDay,
     .help = "The longest time that it is left alone.",
     .slot = slot<&OutlierDetectionConfig::ejection_max>},
    {.name = "ejected_share_max",
     .type = KeyType::number,
     .min = 0,
     .max = 1,
     .help = "No more than this share of the backends is left alone at once, but always one of several.",
     .slot = slot<&OutlierDetectionConfig::ejected_share_max>},
});
inline constexpr Section kOutlierDetection{.pointer = "/outlier_detection", .keys = kOutlierKeys};

inline constexpr auto kRetryKeys = std::to_array<KeySpec>({
    {.name = "attempts",
     .type = KeyType::integer,
     .min = 1,
     .max = 8,
     .help = "Backends that one request is tried at, at most. 1: no other one.",
     .slot = slot<&RetriesConfig::attempts>},
    {.name = "gateway_errors",
     .type = KeyType::boolean,
     .help = "After a 502, 503 or 504 an idempotent request that is still whole goes to another backend.",
     .slot = slot<&RetriesConfig::gateway_errors>},
    {.name = "budget_share",
     .type = KeyType::number,
     .min = 0,
     .max = 10,
     .help = "Retries that each request earns; they can be saved up for 10 seconds.",
     .slot = slot<&RetriesConfig::budget_share>},
    {.name = "budget_per_second",
     .type = KeyType::number,
     .min = 0,
     .max = 1'000'000,
     .help = "Retries that each second earns, over all workers; they can be saved up for 10 seconds.",
     .slot = slot<&RetriesConfig::budget_per_second>},
});
inline constexpr auto kResolverKeys = std::to_array<KeySpec>({
    {.name = "interval",
     .type = KeyType::seconds,
     .min = 0.5,
     .max = kDay,
     .help = "How often the names of backends are resolved anew. One that does not resolve is tried every 5 "
             "seconds, and keeps the addresses it had.",
     .slot = slot<&ResolverConfig::interval>},
});
inline constexpr Section kResolver{.pointer = "/resolver", .keys = kResolverKeys};

inline constexpr Section kRetries{.pointer = "/retries", .keys = kRetryKeys};

inline constexpr Section kHealthCheck{.pointer = "/health_check", .keys = kHealthCheckKeys};

}  // namespace lb
