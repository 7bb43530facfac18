#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <optional>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "tests/e2e/process.h"

/// What README and docs/ tell people to type is there: each command, and each of its options.
namespace ponder::e2e {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

/// A line of a page that runs ponder.
struct Command {
  std::string line;
  std::vector<std::string> names;    // sessions resume
  std::vector<std::string> options;  // --approve
};

/// Without the comment behind it and the pipe before it, the part from "ponder" on.
std::optional<std::string> call_in(const std::string& line) {
  static const std::regex pattern(
      R"(^(?:    |\$ |.*\| |[A-Z_]+=\S+ )?(?:build/release/)?ponder ([a-z].*)$)");
  std::smatch match;
  if (!std::regex_match(line, match, pattern)) return std::nullopt;
  const std::string call = match[1];
  return call.substr(0, call.find("  #"));
}

Command parse(const std::string& line, const std::string& call) {
  // What is quoted, and what follows "--", belongs to others.
  static const std::regex quoted(R"("[^"]*"|'[^']*'| -- .*$)");
  Command out{line, {}, {}};
  std::istringstream words(std::regex_replace(call, quoted, "Q"));
  bool is_name = true;
  for (std::string word; words >> word;) {
    word.erase(0, word.find_first_not_of('['));
    static const std::regex name("[a-z]+");
    is_name = is_name && out.names.size() < 2 && std::regex_match(word, name);
    if (is_name) out.names.push_back(word);
    static const std::regex option("(--[a-z0-9-]+).*");
    std::smatch match;
    if (std::regex_match(word, match, option)) out.options.push_back(match[1]);
  }
  return out;
}

std::vector<Command> commands_of(const fs::path& page) {
  std::vector<Command> out;
  std::istringstream lines(read_file(page));
  bool is_fenced = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("```")) is_fenced = !is_fenced;
    if (!is_fenced && !line.starts_with("    ")) continue;
    if (const auto call = call_in(line)) out.push_back(parse(line, *call));
  }
  return out;
}

TEST(Commands, EachThatIsDocumentedIsThereWithItsOptions) {
  const Scratch scratch;
  std::vector<fs::path> pages = {"README.md"};
  for (const auto& entry : fs::directory_iterator("docs")) {
    if (entry.path().extension() == ".md") pages.push_back(entry.path());
  }
  std::map<std::string, std::string> known;  // what its --help says, by command
  std::size_t num_commands = 0;
  for (const fs::path& page : pages) {
    for (const Command& command : commands_of(page)) {
      SCOPED_TRACE(page.filename().string() + ": " + command.line);
      ++num_commands;
      std::vector<std::string> words = command.names;
      std::string key;
      for (const std::string& name : words) key += name + " ";
      if (!known.contains(key)) {
        words.emplace_back("--help");
        const Finished help = ponder(scratch.path(), words);
        EXPECT_EQ(help.status, 0) << help.err;
        known[key] = help.out;
      }
      for (const std::string& option : command.options) {
        EXPECT_THAT(known[key], HasSubstr(option));
      }
    }
  }
  EXPECT_GT(num_commands, 80U);
}

}  // namespace
}  // namespace ponder::e2e
