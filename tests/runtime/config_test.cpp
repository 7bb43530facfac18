#include "runtime/workflow/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/tools/temporary_folder.h"

namespace ponder::runtime {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ConfigTest : public ::testing::Test {
 protected:
  Result<Config> load(const std::string& text) {
    folder_.write("config.toml", text);
    return load_config(folder_.path() / "config.toml", "/home/somebody");
  }
  /// The one line that says what is wrong.
  std::string fault(const std::string& text) {
    const auto config = load(text);
    if (config) return "nothing is wrong";
    EXPECT_EQ(config.error().code, Errc::invalid_argument);
    return config.error().message;
  }

  tests::TemporaryFolder folder_;
};

TEST_F(ConfigTest, AnEmptyFileGrantsNothing) {
  const auto config = load("");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_TRUE(config->tools.files.empty());
  EXPECT_TRUE(config->tools.grants.empty());
  EXPECT_TRUE(config->secrets.empty());
  EXPECT_FALSE(config->web);
  EXPECT_TRUE(config->mcp.empty());
}

TEST_F(ConfigTest, PathsAreBelowTheFileOrTheHome) {
  const auto config = load(
      "[tools]\nfiles = ['a.lua', '~/tools', '/opt/b.lua']\n"
      "grant = ['http:api.example.com', 'exec']\n");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_THAT(config->tools.files, ElementsAre(fs::absolute(folder_.path() / "a.lua"),
                                               "/home/somebody/tools", "/opt/b.lua"));
  EXPECT_THAT(config->tools.grants, ElementsAre("http:api.example.com", "exec"));
}

TEST_F(ConfigTest, SecretsAreNamedAndNotWritten) {
  const auto config = load(
      "[secrets]\nweather = { env = 'WEATHER_KEY' }\n"
      "mail = { file = 'mail.key' }\n");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->secrets.at("weather").variable, "WEATHER_KEY");
  EXPECT_EQ(config->secrets.at("mail").file, fs::absolute(folder_.path() / "mail.key"));
  EXPECT_THAT(fault("[secrets]\nweather = 'abc'\n"), HasSubstr("never its value"));
  EXPECT_THAT(fault("[secrets]\nweather = {}\n"), HasSubstr("either env or file"));
  EXPECT_THAT(fault("[secrets]\nweather = { env = 'A', file = 'b' }\n"),
              HasSubstr("either env or file"));
}

TEST_F(ConfigTest, ASecretIsReadWhereItIs) {
  const auto variable = [](const std::string& name) {
    return name == "WEATHER_KEY" ? std::string("abc") : std::string();
  };
  folder_.write("mail.key", "xyz\r\nmore\n");
  folder_.write("empty.key", "");
  EXPECT_EQ(read_secret({"WEATHER_KEY", {}}, variable).value(), "abc");
  EXPECT_EQ(read_secret({"", folder_.path() / "mail.key"}, variable).value(), "xyz");
  EXPECT_THAT(read_secret({"OTHER_KEY", {}}, variable).error().message, HasSubstr("OTHER_KEY"));
  EXPECT_EQ(read_secret({"WEATHER_KEY", {}}, nullptr).error().code, Errc::not_found);
  EXPECT_EQ(read_secret({"", folder_.path() / "empty.key"}, variable).error().code,
            Errc::not_found);
}

TEST_F(ConfigTest, WebSearchNamesItsProvider) {
  const auto config = load(
      "[web]\nsearch = 'brave'\nkey = { env = 'BRAVE_KEY' }\n"
      "allow = ['intranet.example']\n");
  ASSERT_TRUE(config) << config.error().message;
  ASSERT_TRUE(config->web);
  EXPECT_EQ(config->web->search, "brave");
  EXPECT_EQ(config->web->key->variable, "BRAVE_KEY");
  EXPECT_THAT(config->web->allow, ElementsAre("intranet.example"));
  EXPECT_TRUE(load("[web]\n")->web) << "pages may be read, nothing is searched";
  const auto local = load("[web]\nindex = 'notes.db'\n");
  ASSERT_TRUE(local) << local.error().message;
  EXPECT_EQ(local->web->search, "local") << "an index is there to be searched";
  EXPECT_EQ(local->web->index, folder_.path() / "notes.db");
}

TEST_F(ConfigTest, WhatAProviderNeedsIsAskedForAtOnce) {
  EXPECT_THAT(fault("[web]\nsearch = 'bing'\n"),
              AllOf(HasSubstr(":1: "), HasSubstr("no search provider"), HasSubstr("tavily")));
  EXPECT_THAT(fault("[web]\nsearch = 'searxng'\n"), HasSubstr("needs address"));
  EXPECT_THAT(fault("[web]\nsearch = 'tavily'\n"), HasSubstr("needs key"));
  EXPECT_THAT(fault("[web]\nsearch = 'local'\n"), HasSubstr("needs index"));
}

TEST_F(ConfigTest, AServerOfToolsIsACommandOrAnAddress) {
  const auto config = load(R"(
[mcp.files]
command = ["mcp-files", "--root", "/srv"]
env = { TZ = "UTC", API_KEY = { env = "FILES_KEY" } }
trust = { read = "pure", move = "compensable" }
[mcp.docs]
url = "https://docs.example/mcp"
token = { file = "token" }
)");
  ASSERT_TRUE(config) << config.error().message;
  ASSERT_EQ(config->mcp.size(), 2U);
  const McpServerConfig& docs = config->mcp[0];
  EXPECT_EQ(docs.name, "docs");
  EXPECT_EQ(docs.url, "https://docs.example/mcp");
  EXPECT_EQ(docs.token->file, fs::absolute(folder_.path() / "token"));
  const McpServerConfig& files = config->mcp[1];
  EXPECT_THAT(files.command, ElementsAre("mcp-files", "--root", "/srv"));
  EXPECT_EQ(files.folder, fs::absolute(folder_.path()));
  EXPECT_EQ(files.environment.at("TZ"), "UTC");
  EXPECT_EQ(files.secret_environment.at("API_KEY").variable, "FILES_KEY");
  EXPECT_EQ(files.trust.at("read"), tools::Effect::pure);
  EXPECT_EQ(files.trust.at("move"), tools::Effect::compensable);

  EXPECT_THAT(fault("[mcp.a]\n"), HasSubstr("either command or url"));
  EXPECT_THAT(fault("[mcp.a]\ncommand = ['a']\nurl = 'http://a'\n"),
              HasSubstr("either command or url"));
  EXPECT_THAT(fault("[mcp.a]\ncommand = ['a']\ntrust = { x = 'always' }\n"),
              AllOf(HasSubstr(":3: "), HasSubstr("'always' is no effect")));
}

TEST_F(ConfigTest, WhatIsNotKnownOrOfAnotherTypeIsNamedWithItsLine) {
  EXPECT_THAT(fault("[tool]\nfiles = []\n"),
              AllOf(HasSubstr("config.toml:1: "), HasSubstr("\"tool\" is not known here")));
  EXPECT_THAT(fault("[tools]\n\nfile = []\n"), HasSubstr(":3: \"file\" is not known here"));
  EXPECT_THAT(fault("[tools]\nfiles = 'a.lua'\n"), HasSubstr(":2: \"files\" is a list of texts"));
  EXPECT_THAT(fault("[tools]\nfiles = [1]\n"), HasSubstr("takes text in quotes"));
  EXPECT_THAT(fault("tools = 1\n"), HasSubstr("\"tools\" is a table"));
  EXPECT_THAT(fault("[tools\n"), HasSubstr("config.toml:1: "));
  EXPECT_THAT(fault("[mcp.a.env]\nA = 1\n"), HasSubstr("config.toml:"));
}

TEST_F(ConfigTest, AFileThatIsNotThereIsNotFound) {
  EXPECT_EQ(load_config(folder_.path() / "none.toml", "/").error().code, Errc::not_found);
  EXPECT_EQ(load_config(folder_.path(), "/").error().code, Errc::not_found) << "a folder";
}

}  // namespace
}  // namespace ponder::runtime
