#include "tools/script/grants.h"

#include <gmock/gmock.h>

#include <string>
#include <vector>

namespace ponder::tools {
namespace {

using ::testing::ElementsAre;

TEST(LuaGrants, AreNarrowedToWhatAToolDeclares) {
  const std::vector<std::string> given = {"http:*.example.com", "exec:git", "secret:a", "sql"};
  const auto grants = parse_grants(given);
  ASSERT_TRUE(grants);
  EXPECT_TRUE(is_covered(*grants, "http"));
  EXPECT_TRUE(is_covered(*grants, "http:api.example.com"));
  EXPECT_FALSE(is_covered(*grants, "http:example.org"));
  EXPECT_TRUE(is_covered(*grants, "exec:git"));
  EXPECT_FALSE(is_covered(*grants, "exec:rm"));
  EXPECT_FALSE(is_covered(*grants, "secret:b"));
  EXPECT_FALSE(is_covered(*grants, "kv"));
  const std::vector<std::string> declared = {"http:api.example.com"};
  const LuaGrants own = narrow(*grants, declared);
  EXPECT_THAT(own.only_hosts, ElementsAre("api.example.com"));
  EXPECT_FALSE(own.has_sql || own.has_exec());
}

TEST(LuaGrants, OnlyAPersonsWordMakesAPrivateAddressReachable) {
  const std::vector<std::string> given = {"http"};
  const std::vector<std::string> declared = {"http:127.0.0.1"};
  const http::AddressPolicy policy = address_policy(narrow(*parse_grants(given), declared));
  EXPECT_TRUE(policy.is_public_only);
  EXPECT_TRUE(policy.exempt.empty());
}

/// Who owns a name decides where it leads, this machine included.
TEST(LuaGrants, ANameThatAStrangerMayOwnLeadsToPublicAddressesOnly) {
  const auto exempt = [](std::vector<std::string> given) {
    const std::vector<std::string> declared = {"http"};
    return address_policy(narrow(*parse_grants(given), declared)).exempt;
  };
  for (const char* host : {"api.example.com", "*.example.com", "example.com:8080", "*.com",
                           "localhost.example.com", "local", "127.0.0.1.example.com"}) {
    const bool is_single_label = std::string_view(host) == "local";
    EXPECT_EQ(exempt({std::string("http:") + host}).size(), is_single_label ? 1U : 0U) << host;
    EXPECT_THAT(exempt({std::string("http-private:") + host}), ElementsAre(host));
  }
  for (const char* host : {"127.0.0.1", "10.0.0.1:8080", "[::1]:80", "localhost", "LOCALHOST:1",
                           "nas", "nas.local", "*.internal", "api.internal.", "*.localhost"}) {
    EXPECT_THAT(exempt({std::string("http:") + host}), ElementsAre(host));
  }
}

TEST(LuaGrants, WrongOnesAreRefused) {
  for (const char* grant :
       {"fs", "fs-read:", "wings", "secret", "kv:x", "", "http:", "http-private:"}) {
    const std::vector<std::string> given = {grant};
    EXPECT_FALSE(parse_grants(given)) << grant;
  }
  const std::vector<std::string> twice = {"fs:/tmp", "fs-read:/etc"};
  EXPECT_FALSE(parse_grants(twice));
}

}  // namespace
}  // namespace ponder::tools
