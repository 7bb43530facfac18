#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <exception>
#include <filesystem>
#include <future>
#include <string>
#include <utility>
#include <vector>

#include "tests/tools/script/script_host.h"

/// A tool's file that changes while ponder runs.
namespace ponder::tools {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

class ScriptReload : public tests::ScriptHost {};

TEST_F(ScriptReload, AChangedFileIsReloadedForTheNextCall) {
  EXPECT_EQ(run("return 'one'"), "one");
  folder_.write("probe.lua", tool("return 'two, and longer'"));
  EXPECT_EQ(call(), "two, and longer");
  EXPECT_THAT(told_, ElementsAre("tool probe: reloaded"));
}

boost::asio::awaitable<void> note_end(boost::asio::awaitable<Result<ToolOutput>> work,
                                      std::vector<std::string>* ended) {
  const auto output = co_await std::move(work);
  ended->push_back(output ? output->content : output.error().message);
}

/// The one thread of the pool is busy, as with a file that computes for long when it is read.
TEST_F(ScriptReload, WhileAChangedFileIsReadOtherCallsGoOnWithTheVersionBefore) {
  EXPECT_EQ(run("return 'one'"), "one");
  std::promise<void> release;
  boost::asio::post(pool_, [held = release.get_future().share()] { held.wait(); });
  folder_.write("probe.lua", tool("return 'two, and longer'"));

  boost::asio::io_context io;
  std::vector<std::string> ended;
  const auto begin = [&] {
    context::ToolCall call;
    call.name = "probe";
    call.arguments = "{}";
    auto work = tests::call_tool(*registry_, call, capabilities_, context());
    boost::asio::co_spawn(io, note_end(std::move(work), &ended), [](std::exception_ptr) {});
  };
  begin();
  begin();
  while (ended.empty()) io.run_one();
  EXPECT_THAT(ended, ElementsAre("one"));
  EXPECT_THAT(told_, IsEmpty());
  release.set_value();
  io.run();
  EXPECT_THAT(ended, ElementsAre("one", "two, and longer"));
  EXPECT_THAT(told_, ElementsAre("tool probe: reloaded"));
  EXPECT_EQ(call(), "two, and longer");
}

TEST_F(ScriptReload, ABrokenNewVersionKeepsTheOldOneAndSaysSoOnce) {
  EXPECT_EQ(run("return 'one'"), "one");
  folder_.write("probe.lua", "return {");
  EXPECT_EQ(call(), "one");
  EXPECT_EQ(call(), "one");
  ASSERT_EQ(told_.size(), 1U);
  EXPECT_THAT(told_[0], StartsWith("tool probe: the new version is not used"));
  EXPECT_THAT(told_[0], HasSubstr("probe.lua:1: "));
  std::filesystem::remove(folder_.path() / "probe.lua");
  EXPECT_EQ(call(), "one");
  EXPECT_EQ(call(), "one");
  EXPECT_EQ(told_.size(), 2U);
  folder_.write("probe.lua", tool("return 'three'"));
  EXPECT_EQ(call(), "three");
}

TEST_F(ScriptReload, WhatTheModelWasToldDoesNotChangeWithinASession) {
  EXPECT_EQ(run("return 'one'"), "one");
  std::string other = tool("return 'two'");
  other.replace(other.find("A probe."), 8, "Another.");
  folder_.write("probe.lua", other);
  EXPECT_EQ(call(), "one");
  ASSERT_EQ(told_.size(), 1U);
  EXPECT_THAT(told_[0], HasSubstr("a new session is needed"));
}

}  // namespace
}  // namespace ponder::tools
