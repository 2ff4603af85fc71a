// The keys of TLS, on listeners and towards backends: a part of the key table, for keys.cpp only.
#pragma once

#include <array>
#include <string_view>

#include "lb/config/key_slots.hpp"
#include "lb/config/model.hpp"

namespace lb {

inline constexpr double kPemPathBytesMax = 4095;
inline constexpr double kAlpnBytesMax = 1024;

inline bool has_listener_tls(const void* owner) {
  return static_cast<const ListenerConfig*>(owner)->tls.has_value();
}
inline bool has_backend_tls(const void* owner) {
  return static_cast<const BackendConfig*>(owner)->tls.has_value();
}
/// Of a key that is an object: what walks over slots alone sees nothing there.
inline Slot no_slot(void*) {
  return {};
}
inline constexpr auto kCertificateKeys = std::to_array<KeySpec>({
    {.name = "cert",
     .type = KeyType::text,
     .required = true,
     .min = 1,
     .max = kPemPathBytesMax,
     .example = R"("/etc/lb/example.org.pem")",
     .help = "PEM file of the certificate, followed by the intermediate ones that clients need.",
     .slot = slot<&CertificateFiles::cert>},
    {.name = "key",
     .type = KeyType::text,
     .required = true,
     .min = 1,
     .max = kPemPathBytesMax,
     .example = R"("/etc/lb/example.org.key")",
     .help = "PEM file of its private key, without a passphrase.",
     .slot = slot<&CertificateFiles::key>},
});
inline constexpr Section kCertificate{.pointer = "/listen/*/tls/certificates/*", .keys = kCertificateKeys};

/// In the order of enum TlsVersion, and of enum ClientCert.
inline constexpr auto kTlsVersions = std::to_array<std::string_view>({"1.2", "1.3"});
inline constexpr auto kClientCerts = std::to_array<std::string_view>({"none", "optional", "required"});

inline constexpr auto kListenerTlsKeys = std::to_array<KeySpec>({
    {.name = "certificates",
     .type = KeyType::objects,
     .required = true,
     .min = 1,
     .max = kCertificatesMax,
     .example = R"([{"cert": "/etc/lb/example.org.pem", "key": "/etc/lb/example.org.key"}])",
     .help = "Chosen by the name that the client asks for; the first also for names that none of them has.",
     .section = &kCertificate,
     .children = many_objects<&ListenerTlsConfig::certificates>()},
    {.name = "min_version",
     .type = KeyType::choice,
     .choices = kTlsVersions,
     .help = "Clients that speak no newer version of TLS than before this one are refused.",
     .slot = slot<&ListenerTlsConfig::min_version>},
    {.name = "ciphers",
     .type = KeyType::text,
     .min = 0,
     .max = kPemPathBytesMax,
     .default_words = "Mozilla's intermediate list",
     .example = R"("ECDHE+AESGCM")",
     .help = "Cipher suites for TLS 1.2, as OpenSSL writes them. Those of TLS 1.3 are fixed.",
     .slot = slot<&ListenerTlsConfig::ciphers>},
    {.name = "client_ca",
     .type = KeyType::text,
     .min = 0,
     .max = kPemPathBytesMax,
     .default_words = "none",
     .example = R"("/etc/lb/clients.pem")",
     .help = "PEM file of the authorities that clients' certificates must come from.",
     .slot = slot<&ListenerTlsConfig::client_ca>},
    {.name = "client_cert",
     .type = KeyType::choice,
     .choices = kClientCerts,
     .help = "Whether clients are asked for a certificate, and refused without one.",
     .slot = slot<&ListenerTlsConfig::client_cert>},
    {.name = "alpn",
     .type = KeyType::text,
     .min = 0,
     .max = kAlpnBytesMax,
     .default_words = "http/1.1; in TCP mode the extension is ignored",
     .example = R"("h2,http/1.1")",
     .help =
         "Protocols to agree on by ALPN, with commas between them, most wanted first. A client that offers "
         "others only is refused. In HTTP mode http/1.1 and http/1.0 can be spoken.",
     .slot = slot<&ListenerTlsConfig::alpn>},
});
inline constexpr Section kListenerTls{.pointer = "/listen/*/tls", .keys = kListenerTlsKeys};

inline constexpr auto kBackendTlsKeys = std::to_array<KeySpec>({
    {.name = "verify",
     .type = KeyType::boolean,
     .help = "Refuse a backend whose certificate does not prove its name.",
     .slot = slot<&BackendTlsConfig::verify>},
    {.name = "ca",
     .type = KeyType::text,
     .min = 0,
     .max = kPemPathBytesMax,
     .default_words = "the system's authorities",
     .example = R"("/etc/lb/backends-ca.pem")",
     .help = "PEM file of the authorities to trust.",
     .slot = slot<&BackendTlsConfig::ca>},
    {.name = "server_name",
     .type = KeyType::text,
     .min = 0,
     .max = 253,
     .default_words = "the backend's host",
     .example = R"("app.internal")",
     .help = "The name to ask for (SNI) and to be proved.",
     .slot = slot<&BackendTlsConfig::server_name>},
    {.name = "cert",
     .type = KeyType::text,
     .min = 0,
     .max = kPemPathBytesMax,
     .default_words = "none",
     .example = R"("/etc/lb/client.pem")",
     .help = "PEM file of the certificate to show when the backend asks for one.",
     .slot = slot<&BackendTlsConfig::cert>},
    {.name = "key",
     .type = KeyType::text,
     .min = 0,
     .max = kPemPathBytesMax,
     .default_words = "none",
     .example = R"("/etc/lb/client.key")",
     .help = "PEM file of its private key.",
     .slot = slot<&BackendTlsConfig::key>},
});
inline constexpr Section kBackendTls{.pointer = "/backends/*/tls", .keys = kBackendTlsKeys};

}  // namespace lb
