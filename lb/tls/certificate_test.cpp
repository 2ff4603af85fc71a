#include "lb/tls/certificate.hpp"

#include <gtest/gtest.h>
#include <openssl/err.h>

#include "lb/tls/certificate_factory.hpp"
#include "lb/tls/ticket_keys.hpp"

namespace lb::tls {
namespace {

using namespace std::chrono_literals;
using testing::issue;
using testing::PemFolder;
using testing::save;
using testing::Wish;

class CertificateTest : public ::testing::Test {
 protected:
  ~CertificateTest() override { EXPECT_EQ(ERR_peek_error(), 0U) << "something was left in OpenSSL's queue"; }
  PemFolder folder_;
  testing::Issued ca_ = issue({.common_name = "Test CA", .authority = true});
};

TEST_F(CertificateTest, IsReadWithItsChainAndNames) {
  const auto leaf = issue({.common_name = "ignored.example", .dns = {"A.example", "*.b.example"}}, &ca_);
  const auto cert = folder_.write("all.pem", leaf.cert_pem + ca_.cert_pem + leaf.key_pem);
  const auto loaded = Certificate::load(cert, cert);
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
  EXPECT_EQ(loaded->names, (std::vector<std::string>{"a.example", "*.b.example"}));
  EXPECT_EQ(loaded->chain.size(), 1U);
  EXPECT_EQ(date_fault(*loaded, std::chrono::system_clock::now()), "");
}

TEST_F(CertificateTest, TheCommonNameServesWithoutDnsNames) {
  const auto files = save(folder_, "leaf", issue({.common_name = "Old.example"}, &ca_));
  const auto loaded = Certificate::load(files.cert, files.key);
  ASSERT_TRUE(loaded.has_value());
  EXPECT_EQ(loaded->names, std::vector<std::string>{"old.example"});
}

TEST_F(CertificateTest, DatesAreJudgedByTheTimeHandedIn) {
  const auto files = save(folder_, "leaf", issue({.common_name = "x", .valid_from = 0s, .valid_for = 100s}));
  const auto loaded = Certificate::load(files.cert, files.key);
  ASSERT_TRUE(loaded.has_value());
  EXPECT_TRUE(date_fault(*loaded, loaded->not_before - 1s).starts_with("is not valid before 20"));
  EXPECT_EQ(date_fault(*loaded, loaded->not_before), "");
  EXPECT_EQ(date_fault(*loaded, loaded->not_after - 1s), "");
  EXPECT_TRUE(date_fault(*loaded, loaded->not_after).starts_with("expired on 20"));
  EXPECT_EQ(loaded->not_after - loaded->not_before, 100s);
}

struct BadPair {
  std::string name;
  std::string cert;
  std::string key;
  bool in_key;
  std::string says;
};

TEST_F(CertificateTest, WhatCannotBeUsedIsNamed) {
  const auto leaf = issue({.common_name = "x"}, &ca_);
  const auto other = issue({.common_name = "y"}, &ca_);
  const std::string half = leaf.cert_pem.substr(0, leaf.cert_pem.size() / 2);
  const std::vector<BadPair> pairs{
      {"key of another", leaf.cert_pem, other.key_pem, true, "holds the key of another certificate"},
      {"no certificate", leaf.key_pem, leaf.key_pem, false, "holds no certificate in PEM format"},
      {"no key", leaf.cert_pem, leaf.cert_pem, true, "holds no private key in PEM format"},
      {"empty", "", leaf.key_pem, false, "holds no certificate in PEM format"},
      {"cut certificate", half, leaf.key_pem, false, "cannot read its certificates"},
      {"cut chain", leaf.cert_pem + half, leaf.key_pem, false, "cannot read its certificates"},
      {"encrypted key", leaf.cert_pem, testing::pem_of(leaf.key.get(), "secret"), true,
       "holds an encrypted private key"},
  };
  for (const BadPair& pair : pairs) {
    SCOPED_TRACE(pair.name);
    const auto cert = folder_.write("c.pem", pair.cert);
    const auto key = folder_.write("k.pem", pair.key);
    const auto loaded = Certificate::load(cert, key);
    ASSERT_FALSE(loaded.has_value());
    EXPECT_EQ(loaded.error().in_key, pair.in_key);
    EXPECT_NE(loaded.error().message.find(pair.says), std::string::npos) << loaded.error().message;
    EXPECT_EQ(loaded.error().message.find('\n'), std::string::npos);
    EXPECT_EQ(ERR_peek_error(), 0U);
  }
}

TEST_F(CertificateTest, MissingFilesAreNamed) {
  const auto files = save(folder_, "leaf", issue({.common_name = "x"}));
  const auto no_cert = Certificate::load(folder_.path("none.pem"), files.key);
  ASSERT_FALSE(no_cert.has_value());
  EXPECT_FALSE(no_cert.error().in_key);
  EXPECT_NE(no_cert.error().message.find("none.pem"), std::string::npos);
  const auto no_key = Certificate::load(files.cert, folder_.path("none.key"));
  ASSERT_FALSE(no_key.has_value());
  EXPECT_TRUE(no_key.error().in_key);
}

TEST(TicketKeys, TravelAsBytes) {
  std::string bytes;
  for (std::size_t i = 0; i < 2 * TicketKey::kBytes; ++i) bytes += static_cast<char>(i);
  const auto ring = parse_ticket_ring(bytes);
  ASSERT_TRUE(ring.has_value());
  ASSERT_EQ(ring->size(), 2U);
  EXPECT_EQ((*ring)[0].bytes() + (*ring)[1].bytes(), bytes);
  EXPECT_FALSE(parse_ticket_ring("").has_value());
  EXPECT_FALSE(parse_ticket_ring(bytes.substr(1)).has_value());
  EXPECT_TRUE(parse_ticket_ring(std::string(kTicketKeysMax * TicketKey::kBytes, 'x')).has_value());
  EXPECT_FALSE(parse_ticket_ring(std::string((kTicketKeysMax + 1) * TicketKey::kBytes, 'x')).has_value());
}

}  // namespace
}  // namespace lb::tls
