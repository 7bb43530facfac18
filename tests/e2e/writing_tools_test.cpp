#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <sstream>
#include <utility>

#include "tests/e2e/page.h"
#include "tests/e2e/process.h"

/// docs/writing-tools.md, run as it stands: its files are written into a folder, its commands are
/// given one after the other, and what they print is compared with what the page shows.
namespace ponder::e2e {
namespace {

using ::testing::HasSubstr;

/// The words of a command line; what stands in single quotes is one.
std::vector<std::string> words_of(const std::string& line) {
  std::vector<std::string> words;
  std::string word;
  bool is_quoted = false;
  for (const char c : line + " ") {
    if (c == '\'') {
      is_quoted = !is_quoted;
    } else if (c != ' ' || is_quoted) {
      word += c;
    } else if (!word.empty()) {
      words.push_back(std::exchange(word, {}));
    }
  }
  return words;
}

struct Command {
  std::string line;
  std::vector<std::string> shown;  // lines of what it prints
};

/// "$ command" and what it prints, until the next one; "..." stands for more lines.
std::vector<Command> commands_of(const std::string& console) {
  std::vector<Command> commands;
  std::istringstream lines(console);
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("$ ", 0) == 0) {
      commands.push_back({line.substr(2), {}});
    } else if (line != "..." && !commands.empty()) {
      commands.back().shown.push_back(line);
    }
  }
  return commands;
}

/// "-- weather.lua" at the beginning of a file says where it lies.
std::string name_of(const std::string& lua) {
  const std::string first = lua.substr(0, lua.find('\n'));
  return first.rfind("-- ", 0) == 0 ? first.substr(3) : "";
}

TEST(WritingToolsPage, EveryFileAndCommandOfItWorks) {
  const std::string page = read_file("docs/writing-tools.md");
  const Scratch scratch;
  const InFolder folder(scratch.path());
  std::filesystem::create_directory("notes");
  write_file("notes/shop.txt", "bread\ngreen tea\n");
  int files = 0;
  int commands = 0;
  for (const Block& block : blocks_of(page)) {
    if (block.language == "lua") {
      write_file(name_of(block.text), block.text);
      ++files;
    }
    if (block.language != "console") continue;
    for (const Command& command : commands_of(block.text)) {
      SCOPED_TRACE(command.line);
      auto words = words_of(command.line);
      ASSERT_EQ(words.at(0), "ponder");
      words.erase(words.begin());
      const Finished done = ponder(scratch.path(), words);
      EXPECT_FALSE(command.shown.empty());
      for (const std::string& line : command.shown) {
        EXPECT_THAT(done.out + done.err, HasSubstr(line));
      }
      ++commands;
    }
  }
  EXPECT_GE(files, 4);
  EXPECT_GE(commands, 9);
  for (const char* tool : {"words", "weather", "find_note", "remember"}) {
    const std::string file = std::string(tool) + ".lua";
    EXPECT_EQ(ponder(scratch.path(), {"tool", "check", file}).status, 0) << tool;
    const Finished tried = ponder(scratch.path(), {"tool", "test", file});
    EXPECT_EQ(tried.status, 0) << tried.out << tried.err;
    EXPECT_THAT(tried.out, HasSubstr("tokens")) << tool;
  }
  EXPECT_EQ(ponder(scratch.path(), {"tool", "check", "broken.lua"}).status, 1);
}

TEST(Tool, NewWritesNothingOverAFileAndTestFailsForAToolThatFails) {
  const Scratch scratch;
  const InFolder folder(scratch.path());
  ASSERT_EQ(ponder(scratch.path(), {"tool", "new", "words"}).status, 0);
  EXPECT_EQ(ponder(scratch.path(), {"tool", "new", "words"}).status, 1);
  EXPECT_EQ(ponder(scratch.path(), {"tool", "new", "../words"}).status, 1);
  write_file("liar.lua",
             "return {\n"
             "  name = 'liar', description = 'Says one.', effect = 'pure',\n"
             "  parameters = { type = 'object', properties = {} },\n"
             "  examples = { { args = {}, expect = 'one' } },\n"
             "  run = function(args, ctx) return 'two' end,\n"
             "}\n");
  const Finished tried = ponder(scratch.path(), {"tool", "test", "liar.lua"});
  EXPECT_EQ(tried.status, 1);
  EXPECT_THAT(tried.out + tried.err, HasSubstr("FAIL"));
}

TEST(Index, FindsWhatStandsInDocumentsAndReadsAgainOnlyWhatChanged) {
  const Scratch scratch;
  const InFolder folder(scratch.path());
  std::filesystem::create_directory("notes");
  write_file("notes/tea.md", "# Green tea\n\nSencha wants water of 70 degrees.\n");
  write_file("notes/page.html", "<html><body><p>Coffee is ground late.</p></body></html>");
  const Finished made = ponder(scratch.path(), {"index", "notes"});
  EXPECT_EQ(made.status, 0) << made.out << made.err;
  EXPECT_THAT(made.out + made.err, HasSubstr("2 documents added"));
  const Finished found =
      ponder(scratch.path(), {"index", "notes", "--find", "sencha water"});
  EXPECT_EQ(found.status, 0) << found.err;
  EXPECT_THAT(found.out, HasSubstr("tea.md"));
  EXPECT_THAT(found.out, HasSubstr("70 degrees"));
  EXPECT_THAT(found.out, ::testing::Not(HasSubstr("Coffee")));
  write_file("notes/tea.md", "# Green tea\n\nGyokuro wants less.\n");
  const Finished again = ponder(scratch.path(), {"index", "notes", "--find", "gyokuro"});
  EXPECT_THAT(again.out, HasSubstr("Gyokuro wants less"));
  EXPECT_THAT(again.out + again.err, HasSubstr("0 documents added, 1 changed, 1 unchanged"));
  EXPECT_NE(ponder(scratch.path(), {"index", "nowhere"}).status, 0);
}

}  // namespace
}  // namespace ponder::e2e
