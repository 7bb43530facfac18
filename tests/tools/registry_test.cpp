#include "tools/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/tools/call_tool.h"

namespace ponder::tools {
namespace {

using ::testing::HasSubstr;

/// Says back what it was called with.
class EchoTool final : public Tool {
 public:
  explicit EchoTool(std::string name, std::string parameters = "{}",
                    std::vector<std::string> capabilities = {})
      : capabilities_(std::move(capabilities)) {
    spec_.name = std::move(name);
    spec_.description = "Says it back.";
    spec_.parameters = std::move(parameters);
  }
  const context::ToolSpec& spec() const override { return spec_; }
  Effect effect() const override { return Effect::pure; }
  const std::vector<std::string>& capabilities() const override { return capabilities_; }
  boost::asio::awaitable<Result<ToolOutput>> invoke(std::string arguments, ToolContext) override {
    co_return ToolOutput(std::move(arguments), false);
  }

 private:
  context::ToolSpec spec_;
  std::vector<std::string> capabilities_;
};

context::ToolCall call_of(const std::string& name, const std::string& arguments) {
  context::ToolCall call;
  call.name = name;
  call.arguments = arguments;
  return call;
}

Result<ToolOutput> run(const Registry& registry, const context::ToolCall& call,
                       std::vector<std::string> grants) {
  const ToolContext context(system_clock(), Deadline::never(), 1000);
  return tests::run_sync(tests::call_tool(registry, call, std::move(grants), context));
}

TEST(Registry, ListsToolsInTheOrderInWhichTheyWereAdded) {
  Registry registry;
  for (const char* name : {"b", "c", "a"}) {
    ASSERT_TRUE(registry.add(std::make_unique<EchoTool>(name)));
  }
  std::string names;
  for (const auto& spec : registry.specs()) names += spec.name;
  EXPECT_EQ(names, "bca");
  EXPECT_EQ(registry.find("c")->spec().name, "c");
  EXPECT_EQ(registry.find("d"), nullptr);
}

TEST(Registry, RefusesTwoOfOneNameBadNamesAndBadSchemas) {
  Registry registry;
  ASSERT_TRUE(registry.add(std::make_unique<EchoTool>("a")));
  EXPECT_EQ(registry.add(std::make_unique<EchoTool>("a")).error().message,
            "there are two tools 'a'");
  for (const char* name : {"", "a b", "a\"b", "\xe6\x9d\xad"}) {
    EXPECT_FALSE(registry.add(std::make_unique<EchoTool>(name))) << name;
  }
  EXPECT_EQ(registry.add(std::make_unique<EchoTool>("x", R"({"type": "text"})")).error().message,
            "tool 'x': schema at #/type: expected the name of a type or a list of them");
  EXPECT_EQ(registry.specs().size(), 1u);
}

TEST(Registry, ACallRunsOnlyWhenItsToolExistsItsNeedsAreGrantedAndItsArgumentsFit) {
  Registry registry;
  const char* schema = R"({"type": "object", "properties": {"city": {"type": "string"}},
                           "required": ["city"]})";
  ASSERT_TRUE(registry.add(
      std::make_unique<EchoTool>("look", schema, std::vector<std::string>{"sql", "http"})));
  const auto output = run(registry, call_of("look", R"({"city": "A"})"), {"http", "sql"});
  ASSERT_TRUE(output);
  EXPECT_EQ(output->content, R"({"city": "A"})");
  EXPECT_FALSE(output->is_error);

  const auto unknown = run(registry, call_of("lock", "{}"), {"sql", "http"});
  EXPECT_TRUE(unknown->is_error);
  EXPECT_EQ(unknown->content, "error: there is no tool 'lock', there are: look");
  const auto closed = run(registry, call_of("look", R"({"city": "A"})"), {"sql"});
  EXPECT_TRUE(closed->is_error);
  EXPECT_EQ(closed->content,
            "error: tool 'look' needs the capability 'http', which was not granted");
  const auto bad = run(registry, call_of("look", R"({"city": 3})"), {"sql", "http"});
  EXPECT_TRUE(bad->is_error);
  EXPECT_EQ(bad->content, "error: parameter 'city': expected a string, got 3");
}

TEST(Registry, ARefusalSaysWhichGateWasClosed) {
  Registry registry;
  ASSERT_TRUE(registry.add(std::make_unique<EchoTool>("look", R"({"type": "object"})",
                                                      std::vector<std::string>{"sql"})));
  const auto reason_of = [&](const context::ToolCall& call,
                             const std::vector<std::string>& grants) {
    const auto admitted = registry.admit(call, grants);
    return std::get<Refusal>(admitted).reason;
  };
  EXPECT_EQ(reason_of(call_of("x", "{}"), {}), Refusal::Reason::unknown_tool);
  EXPECT_EQ(reason_of(call_of("look", "{}"), {}), Refusal::Reason::not_granted);
  EXPECT_EQ(reason_of(call_of("look", "[]"), {"sql"}), Refusal::Reason::bad_arguments);
  EXPECT_EQ(reason_of(call_of("look", "{"), {"sql"}), Refusal::Reason::bad_arguments);
}

TEST(CapOutput, CutsBetweenCharactersAndSaysSo) {
  EXPECT_EQ(cap_output("abc", 3), "abc");
  EXPECT_EQ(cap_output("abcd", 3), "abc\n[cut: 3 of 4 bytes]");
  EXPECT_EQ(cap_output("ab\xe6\x9d\xad", 4), "ab\n[cut: 4 of 5 bytes]");
  EXPECT_EQ(cap_output("", 0), "");
  EXPECT_EQ(cap_output(ToolOutput("abc", false), 3).bytes_whole, 0U);
  EXPECT_EQ(cap_output(ToolOutput("abcd", false), 3).bytes_whole, 4U);
  EXPECT_EQ(cap_output(ToolOutput("abcd", false), 3).content, "abc\n[cut: 3 of 4 bytes]");
}

}  // namespace
}  // namespace ponder::tools
