#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/e2e/page.h"
#include "tests/e2e/process.h"

/// docs/environments.md, run as it stands: its files are written into an empty folder, and its
/// commands are given one after the other.
namespace ponder::e2e {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;

/// The arguments of "ponder a b   # why".
std::vector<std::string> arguments_of(const std::string& line) {
  std::istringstream words(line);
  std::vector<std::string> out;
  for (std::string word; words >> word && word != "#";) out.push_back(word);
  return out;
}

/// The title that the task of the page is about.
std::string title_of_the_task(const fs::path& scratch) {
  const auto shown =
      ponder(scratch, {"env", "run", "desk.lua", "--task-seed", "1000001", "--play", "none"});
  const std::size_t at = shown.out.find("borrow ");
  const std::size_t end = shown.out.find(".\n", at);
  return at == std::string::npos ? "" : shown.out.substr(at + 7, end - at - 7);
}

std::string replaced(std::string text, const std::string& what, const std::string& with) {
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at)) {
    text.replace(at, what.size(), with);
  }
  return text;
}

TEST(EnvironmentsPage, EveryFileAndCommandOfItWorks) {
  const std::string page = read_file("docs/environments.md");
  const Scratch scratch;
  const InFolder folder(scratch.path());
  std::size_t commands = 0;
  for (const Block& block : blocks_of(page)) {
    if (!block.name.empty()) {
      std::string text = block.text;
      if (block.language == "jsonl") {
        text = replaced(std::move(text), "TITLE", title_of_the_task(scratch.path()));
      }
      write_file(scratch / block.name, text);
      continue;
    }
    std::istringstream lines(block.text);
    for (std::string line; std::getline(lines, line);) {
      SCOPED_TRACE(line);
      auto words = arguments_of(line);
      ASSERT_FALSE(words.empty());
      ASSERT_EQ(words.front(), "ponder");
      words.erase(words.begin());
      const auto done = ponder(scratch.path(), words);
      EXPECT_EQ(done.status, 0) << done.out << done.err;
      ++commands;
    }
  }
  EXPECT_GE(commands, 9U);
  EXPECT_TRUE(fs::exists("report/proof.json"));
}

TEST(Env, NewDoesNotOverwriteAndCheckFailsForWhatIsNotSound) {
  const Scratch scratch;
  const InFolder folder(scratch.path());
  ASSERT_EQ(ponder(scratch.path(), {"env", "new", "shelf"}).status, 0);
  const auto again = ponder(scratch.path(), {"env", "new", "shelf"});
  EXPECT_EQ(again.status, 1);
  EXPECT_THAT(again.err, HasSubstr("is already there"));
  EXPECT_THAT(ponder(scratch.path(), {"env", "new", "../shelf"}).err,
              HasSubstr("a name has letters, digits and _"));
  EXPECT_THAT(ponder(scratch.path(), {"env", "run", "shelf"}).err,
              HasSubstr("; the file here is named ./shelf.lua"));
  write_file("shelf.lua", replaced(read_file("shelf.lua"), "ok = #violations == 0", "ok = true"));
  const auto checked = ponder(scratch.path(), {"env", "check", "shelf.lua", "--json"});
  EXPECT_EQ(checked.status, 1);
  const json report = json::parse(checked.out);
  EXPECT_EQ(report["oracle"]["share"], 1.0);
  EXPECT_THAT(report["problems"][0].get<std::string>(),
              HasSubstr("changed solutions were refused"));
  const auto unknown = ponder(scratch.path(), {"env", "check", "shelves"});
  EXPECT_EQ(unknown.status, 1);
  EXPECT_THAT(unknown.err, HasSubstr("there is no environment 'shelves'"));
}

TEST(Env, ASessionInAFileOfOnesOwnIsJudgedFromAnotherFolder) {
  const Scratch scratch;
  {
    const InFolder folder(scratch.path());
    ASSERT_EQ(ponder(scratch.path(), {"env", "new", "shelf"}).status, 0);
    write_file("words.jsonl", R"({"content": "I give up."})");
    const auto done = ponder(
        scratch.path(), {"run", "shelf.lua", "--task", "1000001", "--model", "script:words.jsonl"});
    EXPECT_EQ(done.status, 1);
    EXPECT_THAT(done.err, HasSubstr("no choice was submitted, though there is one"));
  }
  const auto listed = ponder(scratch.path(), {"sessions", "list", "--json"});
  ASSERT_EQ(listed.status, 0) << listed.err;
  EXPECT_EQ(json::parse(listed.out).at("workflow"), (scratch / "shelf.lua").string());
}

TEST(Chat, TalksInAnyEnvironment) {
  const Scratch scratch;
  write_file(scratch / "words.jsonl",
             "{\"calls\": [{\"name\": \"list_tables\", \"arguments\": {}}]}\n"
             "{\"content\": \"Six tables.\"}\n");
  const auto done = ponder(
      scratch.path(),
      {"chat", "--workflow", "analyst", "--model", "script:" + (scratch / "words.jsonl").string()},
      "What is there?\n");
  EXPECT_EQ(done.status, 0) << done.err;
  EXPECT_THAT(done.out, HasSubstr("list_tables: dim_customer|100 rows"));
  EXPECT_THAT(done.out, HasSubstr("Six tables."));
}

}  // namespace
}  // namespace ponder::e2e
