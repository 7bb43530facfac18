#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/tools/mcp/mcp_fixture.h"
#include "tests/tools/temporary_folder.h"
#include "tools/mcp/pins.h"

namespace ponder::mcp::test {
namespace {

class McpPins : public McpTest {
 protected:
  McpPins() { options_.pins_file = folder_.path() / "state" / "mcp_tools.json"; }
  Report connect_again(const std::vector<std::string>& traits) {
    registry_ = tools::Registry();
    return connect(stdio_server(traits));
  }
  Pins pins() const { return *Pins::load(options_.pins_file); }
  tests::TemporaryFolder folder_;
};

TEST_F(McpPins, AServerIsTakenAsItIsTheFirstTime) {
  connect_again({"modern"});
  EXPECT_EQ(call("fake_echo", R"({"text":"x"})"), "x");
  EXPECT_EQ(pins().entries().size(), 31u);
  EXPECT_TRUE(connect_again({"modern"})[0].remarks.empty());
}

TEST_F(McpPins, OnlyItsOwnerReadsTheFile) {
  connect_again({"modern"});
  struct stat status = {};
  ASSERT_EQ(::stat(options_.pins_file.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST_F(McpPins, ALinkThatSomebodyPutBesideTheFileIsNotFollowed) {
  folder_.write("victim", "untouched");
  folder_.write("state/x", "");
  std::filesystem::create_symlink(folder_.path() / "victim",
                                  options_.pins_file.string() + "." + std::to_string(getpid()));
  connect_again({"modern"});
  EXPECT_EQ(pins().entries().size(), 31u);
  EXPECT_EQ(folder_.read("victim"), "untouched");
}

TEST_F(McpPins, AServerOfWhichNothingWasWantedAtFirstIsNotNewLater) {
  ServerOptions server = stdio_server({"modern"});
  server.tools = {"nothing"};
  connect(server);
  EXPECT_EQ(connect_again({"modern"})[0].remarks.size(), 31u);
  EXPECT_EQ(registry_.find("fake_echo"), nullptr);
}

TEST_F(McpPins, AChangedDefinitionIsRefusedUntilItIsApproved) {
  connect_again({"modern"});
  const Report report = connect_again({"modern", "echo_description=Reads_your_mail"});
  EXPECT_EQ(report[0].remarks,
            (std::vector<std::string>{"tool 'echo' has changed since it was approved: 'ponder mcp "
                                      "approve fake' after a look at 'ponder mcp list'"}));
  EXPECT_EQ(registry_.find("fake_echo"), nullptr);
  EXPECT_NE(registry_.find("fake_add"), nullptr);

  Pins changed = pins();
  EXPECT_EQ(*changed.approve_waiting("fake", {"echo"}), 1u);
  ASSERT_TRUE(changed.save().has_value());
  EXPECT_TRUE(connect_again({"modern", "echo_description=Reads_your_mail"})[0].remarks.empty());
  EXPECT_EQ(registry_.find("fake_echo")->spec().description, "Reads_your_mail");
  // The old one is a change now.
  EXPECT_EQ(connect_again({"modern"})[0].remarks.size(), 1u);
}

TEST_F(McpPins, AToolThatIsAddedLaterWaits) {
  connect_again({"modern"});
  const Report report = connect_again({"modern", "added"});
  ASSERT_EQ(report[0].remarks.size(), 1u);
  EXPECT_TRUE(report[0].remarks[0].starts_with("tool 'added' was never approved"));
  EXPECT_EQ(registry_.find("fake_added"), nullptr);
}

TEST_F(McpPins, WithoutTrustAtFirstEverythingWaits) {
  options_.approves_first_use = false;
  EXPECT_EQ(connect_again({"modern"})[0].remarks.size(), 31u);
  EXPECT_EQ(registry_.specs().size(), 4u);  // resources and prompts are our own definitions
  EXPECT_EQ(connect_again({"modern"})[0].remarks.size(), 31u);
  Pins waiting = pins();
  EXPECT_EQ(*waiting.approve_waiting("fake", {}), 31u);
  ASSERT_TRUE(waiting.save().has_value());
  EXPECT_TRUE(connect_again({"modern"})[0].remarks.empty());
}

TEST_F(McpPins, WhatDoesNotWaitCannotBeApproved) {
  connect_again({"modern"});
  Pins all = pins();
  EXPECT_EQ(all.approve_waiting("fake", {"echo"}).error().message,
            "nothing of 'echo' of 'fake' waits");
  EXPECT_EQ(all.approve_waiting("other", {}).error().code, Errc::not_found);
}

TEST_F(McpPins, AFileThatCannotBeUnderstoodOffersNothing) {
  std::filesystem::create_directories(options_.pins_file.parent_path());
  for (const char* text : {"", "{", "[]", "{}", R"({"servers":[]})", R"({"servers":{"a":1}})",
                           R"({"servers":{"a":{"b":1}}})"}) {
    std::ofstream(options_.pins_file) << text;
    options_.servers = {stdio_server({"modern"})};
    const auto report = add_mcp_tools(registry_, options_);
    ASSERT_FALSE(report.has_value()) << text;
    EXPECT_EQ(report.error().code, Errc::corrupt) << text;
  }
  EXPECT_TRUE(registry_.specs().empty());
}

}  // namespace
}  // namespace ponder::mcp::test
