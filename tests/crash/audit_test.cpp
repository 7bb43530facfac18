#include "tests/crash/audit.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "base/sqlite/connection.h"
#include "tests/crash/child.h"
#include "tests/crash/power.h"
#include "tests/runtime/support.h"

/// The crash matrix is only worth something if it sees what is wrong: each kind of damage is done
/// here by hand to what a sound run left.
namespace ponder::crash {
namespace {

namespace fs = std::filesystem;

std::string read(const fs::path& file) {
  std::stringstream text;
  text << std::ifstream(file, std::ios::binary).rdbuf();
  return text.str();
}

/// What one worker left that nobody disturbed.
class Audit : public ::testing::Test {
 protected:
  void SetUp() override {
    Command command;
    remains_.store = dir_.path() / "sessions.db";
    remains_.effects = dir_.path() / "effects";
    remains_.sessions = 1;
    command.words = {PONDER_CRASH_WORKER, remains_.store, remains_.effects, "one", "1", "3", "0"};
    const Ended ended = run_alone(command);
    ASSERT_EQ(ended.status, 0) << ended.output;
    remains_.acks = ended.acks;
    auto twin = read_twin(remains_.store);
    ASSERT_TRUE(twin);
    twin_ = std::move(*twin);
  }

  Findings findings() const {
    Findings findings;
    audit(remains_, twin_, findings);
    return findings;
  }

  void change_store(const std::string& sql) {
    auto db = sqlite::Connection::open(remains_.store);
    ASSERT_TRUE(db);
    auto transaction = sqlite::Transaction::begin(*db);
    ASSERT_TRUE(transaction);
    const Status changed = db->exec(sql);
    ASSERT_TRUE(changed) << changed.error().message;
    ASSERT_GT(db->changes(), 0);
    ASSERT_TRUE(transaction->commit());
  }

  /// The first line of the effects that this tool made.
  std::string effect_of(const std::string& tool) const {
    std::istringstream lines(read(remains_.effects));
    for (std::string line; std::getline(lines, line);) {
      if (line.find(" " + tool + " ") != std::string::npos) return line + "\n";
    }
    return {};
  }

  void add_effect(const std::string& line) {
    ASSERT_FALSE(line.empty());
    std::ofstream(remains_.effects, std::ios::app) << line;
  }

  runtime::test::TempDir dir_{scratch_root()};
  Remains remains_;
  Twin twin_;
};

TEST_F(Audit, FindsNothingWhereNothingHappened) {
  EXPECT_THAT(findings().notes, ::testing::IsEmpty());
  EXPECT_GT(remains_.acks.size(), 30U);
}

TEST_F(Audit, SeesAnAcknowledgedEventThatIsGoneAndThatTheSessionIsNotAtItsEnd) {
  change_store("DELETE FROM events WHERE seq = (SELECT max(seq) FROM events)");
  EXPECT_EQ(findings().lost_events, 1U);
  EXPECT_EQ(findings().unopened_sessions, 1U);
}

TEST_F(Audit, SeesAnIrreversibleOrCompensableEffectThatWasFiredTwice) {
  add_effect(effect_of("pays"));
  EXPECT_EQ(findings().doubled_effects, 1U);
  add_effect(effect_of("books"));
  EXPECT_EQ(findings().doubled_effects, 2U);
}

TEST_F(Audit, LetsPureAndIdempotentEffectsHappenAgainUnderTheSameKey) {
  add_effect(effect_of("reads"));
  add_effect(effect_of("puts"));
  EXPECT_EQ(findings().doubled_effects, 0U);
  std::string under_another_key = effect_of("puts");
  under_another_key.insert(under_another_key.find(' '), "x");
  add_effect(under_another_key);
  EXPECT_EQ(findings().doubled_effects, 1U);
}

TEST_F(Audit, SeesASuccessWithoutAnEffect) {
  const std::string paid = effect_of("pays");
  std::string effects = read(remains_.effects);
  effects.erase(effects.find(paid), paid.size());
  std::ofstream(remains_.effects) << effects;
  EXPECT_EQ(findings().lost_events, 1U);
}

TEST_F(Audit, SeesAResultThatIsNotWhatTheModelRead) {
  remains_.acks.clear();  // they would show it, too
  change_store(
      "UPDATE events SET payload = replace(payload, 'pays did', 'pays has done') "
      "WHERE type = 'tool_finished' AND payload LIKE '%pays did%'");
  EXPECT_GT(findings().prompt_mismatches, 0U);
}

TEST_F(Audit, SeesAPromptThatIsNotTheTwins) {
  for (runtime::Record& record : twin_.records) {
    auto* finished = std::get_if<runtime::ToolFinished>(&record.event);
    if (finished != nullptr) finished->content += "!";
  }
  EXPECT_EQ(findings().prompt_mismatches, 1U);
}

TEST_F(Audit, SeesADamagedFileAndASessionThatIsMissing) {
  remains_.sessions = 2;
  EXPECT_EQ(findings().unopened_sessions, 1U);
  std::ofstream(remains_.store, std::ios::trunc) << "no database";
  EXPECT_GT(findings().unopened_sessions, 0U);
}

TEST_F(Audit, SeesAnEffectOfASubAgentThatWasFiredTwice) {
  std::istringstream lines(read(remains_.effects));
  for (std::string line; std::getline(lines, line);) {
    const bool is_sub_agents = line.find('.') < line.find('/');
    if (is_sub_agents && line.find(" pays ") != std::string::npos) {
      add_effect(line + "\n");
      break;
    }
  }
  EXPECT_EQ(findings().doubled_effects, 1U);
}

TEST_F(Audit, SeesAnAnswerThatIsNotTheLogsAndAQuestionThatNobodyAnswered) {
  std::string heard = effect_of("heard");
  heard.insert(heard.size() - 1, "0");
  add_effect(heard);
  EXPECT_EQ(findings().doubled_effects, 1U);
  std::string put = effect_of("person");
  put.replace(put.find("person 0"), 8, "person 5");
  add_effect(put);
  EXPECT_EQ(findings().lost_events, 1U);
}

TEST_F(Audit, SeesASubAgentThatIsNotAtItsEndAndOneThatNoCallHasBegun) {
  remains_.acks.clear();
  change_store(
      "INSERT INTO sessions (id, created_ms, updated_ms, workflow, model) "
      "SELECT id || '-9', created_ms, updated_ms, workflow, model FROM sessions "
      "WHERE id LIKE '%.%-0' LIMIT 1");
  EXPECT_EQ(findings().doubled_effects, 1U);
  change_store(
      "DELETE FROM events WHERE type = 'turn_ended' AND session LIKE '%.%-0' "
      "AND session NOT LIKE '%.%.%'");
  EXPECT_EQ(findings().unopened_sessions, 1U);
}

TEST(PowerFailure, LeavesWhatWasSyncedAndNothingElse) {
  const runtime::test::TempDir dir;
  const fs::path file = dir.path() / "log";
  const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  const auto put = [fd](const std::string& text, long offset) {
    power::note_write(fd, offset, text.size());
    EXPECT_EQ(::pwrite(fd, text.data(), text.size(), offset), static_cast<ssize_t>(text.size()));
  };
  put("synced and ", 0);
  EXPECT_EQ(::fsync(fd), 0);
  power::note_sync(fd);
  put("SYNCED", 0);
  put("more", 11);
  power::note_truncate(fd, 3);
  EXPECT_EQ(::ftruncate(fd, 3), 0);
  power::cut();
  EXPECT_EQ(read(file), "synced and ");
  ::close(fd);
}

}  // namespace
}  // namespace ponder::crash
