#include "tools/web/local_index.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "base/digest.h"
#include "tests/tools/web/web_fixture.h"

namespace ponder::tools {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class LocalIndexTest : public ::testing::Test {
 protected:
  IndexReport update() {
    auto report = update_index(folder_.path(), file(), IndexOptions());
    EXPECT_TRUE(report.has_value()) << report.error().message;
    return report ? *report : IndexReport();
  }
  fs::path file() const { return index_.path() / "index.db"; }
  std::vector<SearchHit> hits(const std::string& query, std::uint32_t hits_max = 10) {
    auto index = LocalIndex::open(file());
    EXPECT_TRUE(index.has_value()) << index.error().message;
    auto found = index->search(query, hits_max, 0);
    EXPECT_TRUE(found.has_value()) << found.error().message;
    return found ? *found : std::vector<SearchHit>();
  }
  std::vector<std::string> addresses(const std::string& query) {
    std::vector<std::string> out;
    for (const SearchHit& hit : hits(query)) out.push_back(hit.address);
    return out;
  }
  void set_time(const std::string& name, int seconds) {
    const fs::path path = folder_.path() / name;
    fs::last_write_time(path, fs::last_write_time(path) + std::chrono::seconds(seconds));
  }

  tests::TemporaryFolder folder_;
  tests::TemporaryFolder index_;
};

TEST_F(LocalIndexTest, DocumentsOfAllKindsAreFoundWithTitleSnippetAndDate) {
  folder_.write("guide/start.md", "Intro\n\n# Getting started\n\nInstall the flux capacitor.\n");
  folder_.write("page.html", "<title>The page</title><nav>flux</nav><p>A <b>gigawatt</b> story");
  folder_.write("notes.txt", "Plain words about gigawatts.\nMore.");
  folder_.write("code.cpp", "int flux;");
  const IndexReport report = update();
  EXPECT_EQ(report.added, 3U);
  EXPECT_TRUE(report.is_complete);
  const auto found = hits("capacitor");
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].title, "Getting started");
  EXPECT_EQ(found[0].address, "local:guide/start.md");
  EXPECT_THAT(found[0].snippet, HasSubstr("Install the flux capacitor."));
  EXPECT_EQ(found[0].date.size(), 10U);
  EXPECT_THAT(addresses("gigawatt"), ElementsAre("local:page.html"));
  EXPECT_THAT(addresses("page"), ElementsAre("local:page.html"));
}

TEST_F(LocalIndexTest, DataAreTextsTitledByTheirFilesNames) {
  folder_.write("prices.CSV", "tea,price\ngenmaicha,7\n");
  folder_.write("deep/list.json", "{\"tea\": \"gyokuro\"}");
  folder_.write("page.rst", "Teas\n====\n\nMatcha.\n");
  folder_.write("binary.json", std::string("\0matcha", 7));
  const IndexReport report = update();
  EXPECT_EQ(report.added, 3U);
  EXPECT_THAT(report.problems, ElementsAre(HasSubstr("binary.json: is no text")));
  ASSERT_EQ(hits("genmaicha").size(), 1U);
  EXPECT_EQ(hits("genmaicha")[0].title, "prices.CSV");
  ASSERT_EQ(hits("gyokuro").size(), 1U);
  EXPECT_EQ(hits("gyokuro")[0].title, "list.json");
  ASSERT_EQ(hits("matcha").size(), 1U);
  EXPECT_EQ(hits("matcha")[0].title, "Teas");
}

TEST_F(LocalIndexTest, TheBestMatchComesFirstAndAllWordsCountMoreThanSome) {
  folder_.write("a.txt", "alpha " + std::string("filler ") + "beta");
  folder_.write("b.txt", "alpha alpha alpha alpha");
  folder_.write("c.txt", "# Alpha\n\nother words");
  folder_.write("d.txt", "nothing of it");
  update();
  const auto found = addresses("alpha beta");
  ASSERT_EQ(found.size(), 3U);
  EXPECT_EQ(found[0], "local:a.txt");
  EXPECT_THAT(hits("alpha", 2), ::testing::SizeIs(2));
}

TEST_F(LocalIndexTest, PhrasesCaseAndAccentsAreUnderstoodAndNothingIsAnOperator) {
  folder_.write("a.txt", "the quick Café fox");
  folder_.write("b.txt", "fox the quick");
  folder_.write("c.txt", "NEAR OR AND col:umn star*");
  update();
  EXPECT_THAT(addresses("\"quick cafe\""), ElementsAre("local:a.txt"));
  EXPECT_THAT(addresses("QUICK"), ::testing::SizeIs(2));
  EXPECT_THAT(addresses("near"), ElementsAre("local:c.txt"));
  for (const char* query : {"\"", "*", "NEAR(", "a OR", "title:x", "^x", "{x}", "-x", "'; DROP --",
                            "\"a\" \"", "((", "\x01", "x\"y", "-", "a AND NOT"}) {
    auto index = LocalIndex::open(file());
    EXPECT_TRUE(index->search(query, 5, 0).has_value()) << query;
  }
}

TEST_F(LocalIndexTest, OnlyWhatChangedIsReadAgainAndWhatIsGoneLeaves) {
  for (const char* name : {"a.txt", "b.txt", "c.txt", "d.txt"}) {
    folder_.write(name, std::string("first ") + name);
  }
  update();
  folder_.write("a.txt", "second words");  // another length
  set_time("b.txt", 10);                   // touched only
  fs::remove(folder_.path() / "c.txt");
  folder_.write("e.txt", "new one");
  const IndexReport report = update();
  EXPECT_EQ(report.added, 1U);
  EXPECT_EQ(report.changed, 1U);
  EXPECT_EQ(report.unchanged, 2U);
  EXPECT_EQ(report.removed, 1U);
  EXPECT_THAT(addresses("second"), ElementsAre("local:a.txt"));
  EXPECT_THAT(addresses("first"), ::testing::UnorderedElementsAre("local:b.txt", "local:d.txt"));
  EXPECT_THAT(addresses("new"), ElementsAre("local:e.txt"));
  EXPECT_EQ(update().unchanged, 4U);
}

TEST_F(LocalIndexTest, ASameLengthChangeIsSeenByItsTime) {
  folder_.write("a.txt", "hello one");
  update();
  folder_.write("a.txt", "hello two");
  set_time("a.txt", 5);
  EXPECT_EQ(update().changed, 1U);
  EXPECT_THAT(addresses("two"), ElementsAre("local:a.txt"));
  EXPECT_TRUE(addresses("one").empty());
}

TEST_F(LocalIndexTest, WhatGitIgnoresAndLinksThatLeadOutAreNotIndexed) {
  tests::TemporaryFolder outside;
  outside.write("secret.txt", "secret");
  folder_.write(".gitignore", "build/\n*.log\n");
  folder_.write("build/a.txt", "secret");
  folder_.write("x.log", "secret");
  folder_.write("a.txt", "open");
  fs::create_symlink(outside.path() / "secret.txt", folder_.path() / "link.txt");
  fs::create_directory_symlink(outside.path(), folder_.path() / "linked");
  EXPECT_EQ(update().added, 1U);
  EXPECT_TRUE(addresses("secret").empty());
}

TEST_F(LocalIndexTest, FilesThatCannotBeReadAreNamedAndDoNotEndTheRun) {
  folder_.write("a.txt", "fine");
  folder_.write("b.txt", std::string("a\0b", 3));
  folder_.write("c.txt", std::string(6 << 20, 'x'));
  folder_.write("d.pdf", "no pdf");
  const IndexReport report = update();
  EXPECT_EQ(report.added, 1U);
  EXPECT_EQ(report.num_problems, 3U);
  ASSERT_EQ(report.problems.size(), 3U);
  EXPECT_EQ(report.problems[0], "b.txt: is no text");
  EXPECT_EQ(report.problems[1], "c.txt: is too long");
  EXPECT_THAT(report.problems[2], ::testing::StartsWith("d.pdf: "));
}

TEST_F(LocalIndexTest, AnInterruptedRunKeepsWhatItDid) {
  for (int i = 0; i < 20; ++i) folder_.write("f" + std::to_string(i) + ".txt", "word");
  IndexOptions options;
  int files = 0;
  options.keep_going = [&files] { return ++files <= 10; };
  const auto stopped = update_index(folder_.path(), file(), options);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, Errc::cancelled);
  const IndexReport report = update();
  EXPECT_EQ(report.unchanged, 10U);
  EXPECT_EQ(report.added, 10U);
}

TEST_F(LocalIndexTest, OldDocumentsCanBeLeftOut) {
  folder_.write("a.txt", "word");
  folder_.write("b.txt", "word");
  set_time("b.txt", -3600 * 24 * 400);
  update();
  auto index = LocalIndex::open(file());
  const std::int64_t year_ago =
      (system_clock().unix_ms() - std::int64_t{366} * 86'400'000) * 1'000'000;
  const auto found = index->search("word", 10, year_ago);
  ASSERT_TRUE(found.has_value());
  ASSERT_EQ(found->size(), 1U);
  EXPECT_EQ(found->at(0).address, "local:a.txt");
}

TEST_F(LocalIndexTest, WhatIsNoIndexIsRefused) {
  const auto none = LocalIndex::open(file());
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, Errc::not_found);
  std::ofstream(file()) << "this is no database, and it is long enough to be taken for one" << '\n';
  EXPECT_FALSE(LocalIndex::open(file()));
}

class LocalSearch : public tests::WebTest {
 protected:
  void use_index(const fs::path& index) {
    options_.search.provider = "local";
    options_.search.index = index;
    options_.has_fetch = false;
  }
};

TEST_F(LocalSearch, TheToolsSearchAndReadTheIndexAndNothingElse) {
  tests::TemporaryFolder folder;
  folder.write("a/b.md", "# The title\n\nA flux capacitor.\n");
  ASSERT_TRUE(update_index(folder.path(), index_file_of(folder.path()), IndexOptions()));
  use_index(folder.path());
  const std::string found = call("web_search", R"({"query":"capacitor"})").content;
  EXPECT_THAT(found, HasSubstr("1. The title\n   local:a/b.md\n"));
  fs::remove(folder.path() / "a/b.md");  // what was found is what is read
  const std::string text = call("web_fetch", R"({"address":"local:a/b.md"})").content;
  EXPECT_THAT(text, HasSubstr("title: The title\n"));
  EXPECT_THAT(text, HasSubstr("A flux capacitor.\n"));
  EXPECT_THAT(text, HasSubstr(sha256_hex("# The title\n\nA flux capacitor.\n").substr(0, 12)));
  ASSERT_EQ(services_.notes.size(), 1U);
  EXPECT_THAT(services_.notes[0].content, HasSubstr("local:a/b.md"));
  for (const char* other :
       {"local:../../etc/passwd", "local:/etc/passwd", "local:c", "http://a/"}) {
    EXPECT_TRUE(call("web_fetch", R"({"address":")" + std::string(other) + "\"}").is_error)
        << other;
  }
}

}  // namespace
}  // namespace ponder::tools
