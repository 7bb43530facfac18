#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/e2e/page.h"
#include "tests/e2e/process.h"

/// Documents of one's own: `ponder index`, and an agent that searches what it wrote.
namespace ponder::e2e {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

class OwnDocuments : public ::testing::Test {
 protected:
  OwnDocuments() {
    std::filesystem::create_directory("notes");
    write_file("notes/tea.md", "# Green tea\n\nSencha wants water of 70 degrees.\n");
    write_file("notes/prices.csv", "tea,price\ngenmaicha,7\n");
    write_file("script.jsonl",
               "{\"calls\": [{\"name\": \"web_search\", \"arguments\": {\"query\": \"sencha "
               "water\"}}, {\"name\": \"web_search\", \"arguments\": {\"query\": \"genmaicha\"}}, "
               "{\"name\": \"web_fetch\", \"arguments\": {\"url\": \"local:tea.md\"}}]}\n"
               "{\"content\": \"Done.\"}\n");
  }

  /// A session in `place` in which the model searches twice and reads; what it was given.
  Finished ask(const std::string& place, std::vector<std::string> options) const {
    std::vector<std::string> words = {
        "run",    "assistant", "Which water?",
        "--json", "--model",   "script:" + (scratch_ / "script.jsonl").string()};
    words.insert(words.end(), options.begin(), options.end());
    const InFolder there(scratch_ / place);
    return ponder(scratch_.path(), words);
  }

  static std::string results_in(const std::string& events) {
    std::istringstream lines(events);
    std::string results;
    for (std::string line; std::getline(lines, line);) {
      const json event = json::parse(line, nullptr, false);
      if (event.value("type", "") == "tool_finished") results += event.dump() + "\n";
    }
    return results;
  }

  void expect_answers(const Finished& seen) const {
    EXPECT_EQ(seen.status, 0) << seen.err;
    const std::string results = results_in(seen.out);
    EXPECT_THAT(results, HasSubstr("local:tea.md"));
    EXPECT_THAT(results, HasSubstr("70 degrees"));
    EXPECT_THAT(results, HasSubstr("local:prices.csv")) << "tables are indexed too";
    EXPECT_THAT(results, HasSubstr("Green tea")) << "and what was found can be read";
  }

  const Scratch scratch_;
  const InFolder folder_{scratch_.path()};
};

TEST_F(OwnDocuments, AreFoundFromTheCommandLineAlsoInJson) {
  const auto nothing = ponder(scratch_.path(), {"index", "notes", "--find", "xylophone"});
  EXPECT_EQ(nothing.status, 0) << nothing.err;
  EXPECT_THAT(nothing.out, HasSubstr("nothing is found for \"xylophone\""));
  const auto found = ponder(scratch_.path(), {"index", "notes", "--find", "lighthouse", "--json"});
  const auto report = nlohmann::json::parse(found.out, nullptr, /*allow_exceptions=*/false);
  ASSERT_TRUE(report.is_object()) << found.out;
  EXPECT_TRUE(report["hits"].is_array());
}

TEST_F(OwnDocuments, AreSearchedInTheirFolderByTheFlagAlone) {
  ASSERT_EQ(ponder(scratch_.path(), {"index", "notes"}).status, 0);
  expect_answers(ask("notes", {"--web"}));
  expect_answers(ask("notes", {"--web", "local"}));
  expect_answers(ask(".", {"--web", "local=notes"}));
}

TEST_F(OwnDocuments, AreSearchedWhereTheConfigurationNamesTheirIndexAlone) {
  ASSERT_EQ(ponder(scratch_.path(), {"index", "notes", "--out", "kept.db"}).status, 0);
  write_file("config.toml", "[web]\nindex = 'kept.db'\n");
  const std::string config = (scratch_ / "config.toml").string();
  expect_answers(ask("notes", {"--config", config}));
  expect_answers(ask("notes", {"--config", config, "--web"}));
}

TEST_F(OwnDocuments, AreSearchedByAConfigurationThatNamesNothingAndThePersonIsTold) {
  write_file("config.toml", "[web]\n");
  const std::string config = (scratch_ / "config.toml").string();
  const Finished without = ask("notes", {"--config", config});
  EXPECT_THAT(results_in(without.out), HasSubstr("there is no tool 'web_search'"));
  EXPECT_THAT(without.err, Not(HasSubstr("web_search")));
  ASSERT_EQ(ponder(scratch_.path(), {"index", "notes"}).status, 0);
  const Finished with = ask("notes", {"--config", config});
  expect_answers(with);
  EXPECT_THAT(with.err, HasSubstr("web_search answers from " +
                                  (scratch_ / "notes/.ponder-index.db").string()));
}

TEST_F(OwnDocuments, WithoutAnIndexTheFlagSaysHowOneIsMade) {
  const Finished seen = ask("notes", {"--web"});
  EXPECT_EQ(seen.status, 1);
  EXPECT_THAT(seen.err, HasSubstr("there is no index; `ponder index "));
}

}  // namespace
}  // namespace ponder::e2e
