#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "base/sqlite/connection.h"
#include "runtime/model/embedded_model.h"
#include "runtime/session/event_json.h"
#include "runtime/session/log_check.h"
#include "runtime/store/sqlite_session_store.h"
#include "runtime/store/store_doctor.h"
#include "tests/runtime/golden_logs.h"
#include "tests/runtime/store_place.h"
#include "tests/runtime/support.h"

/// Logs of earlier programs: they load, fold to the state that they had, and give the prompts that
/// they gave.
namespace ponder::runtime {
namespace {

using nlohmann::json;
using test::kGoldenDir;
using test::read_file;
using ::testing::HasSubstr;

std::vector<std::string> golden_names() {
  std::vector<std::string> out;
  for (const auto& entry : std::filesystem::directory_iterator(kGoldenDir)) {
    if (entry.path().extension() == ".jsonl") out.push_back(entry.path().stem());
  }
  std::sort(out.begin(), out.end());
  return out;
}

SessionCopy load_golden(const std::string& name) {
  auto copy = read_lines(read_file(kGoldenDir / (name + ".jsonl")));
  EXPECT_TRUE(copy) << name << ": " << copy.error().message;
  return copy ? std::move(*copy) : SessionCopy();
}

class GoldenLog : public ::testing::TestWithParam<std::string> {};

TEST_P(GoldenLog, LoadsWithoutAFaultAndFoldsToItsState) {
  const SessionCopy session = load_golden(GetParam());
  for (const LogFault& fault : check_log(session.records)) {
    ADD_FAILURE() << "event " << fault.seq << ": " << fault.detail;
  }
  EXPECT_EQ(test::facts_of(fold(session.records)), read_file(kGoldenDir / (GetParam() + ".facts")));
}

TEST_P(GoldenLog, GivesThePromptsThatItGave) {
  const auto tokenizer = engine::Tokenizer::load(kGoldenDir / "tokenizer.json");
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  SessionState state;
  std::string hash;
  for (const Record& record : load_golden(GetParam()).records) {
    apply(state, record);
    if (std::holds_alternative<ModelStarted>(record.event)) {
      const auto prompt = prompt_tokens(next_request(state), *tokenizer);
      hash = prompt ? prompt_hash(prompt->ids) : prompt.error().message;
    }
    const auto* completed = std::get_if<ModelCompleted>(&record.event);
    if (completed == nullptr || completed->prompt_hash.empty()) continue;
    EXPECT_EQ(completed->prompt_hash, hash) << "event " << record.seq;
  }
}

TEST_P(GoldenLog, StaysTheSameThroughAStore) {
  test::TempDir dir;
  boost::asio::io_context context;
  auto store = test::StorePlace(dir, system_clock()).open();
  const SessionCopy session = load_golden(GetParam());
  const Status imported = test::run(context, store->import(session));
  ASSERT_TRUE(imported) << imported.error().message;
  EXPECT_EQ(write_lines(*store->copy(session.id)), write_lines(session));
}

INSTANTIATE_TEST_SUITE_P(Version1, GoldenLog, ::testing::ValuesIn(golden_names()),
                         [](const auto& info) { return info.param; });

TEST(GoldenLogs, EveryEventTypeOccursInThemAndEveryFieldInTheDocument) {
  const std::string document = read_file("docs/event-log.md");
  std::set<std::string> seen;
  for (const std::string& name : golden_names()) {
    for (const Record& record : load_golden(name).records) {
      const std::string type = event_type(record.event);
      seen.insert(type);
      const std::size_t begin = document.find("### `" + type + "`");
      ASSERT_NE(begin, std::string::npos) << type << " is not in the document";
      const std::string section =
          document.substr(begin, document.find("\n### ", begin + 1) - begin);
      const json payload = json::parse(event_payload(record.event));
      for (const auto& [field, value] : payload.items()) {
        EXPECT_THAT(section, HasSubstr("`" + field + "`")) << type;
      }
    }
  }
  for (const std::string& type : event_types()) {
    EXPECT_TRUE(seen.contains(type)) << type << " is in no golden log";
  }
}

TEST(GoldenLogs, AStoreOfTheSecondSchemaIsBroughtUpToDateAndLosesNothing) {
  test::TempDir dir;
  const auto file = dir.path() / "sessions.db";
  {
    auto old = sqlite::Connection::open(file.string());
    ASSERT_TRUE(old) << old.error().message;
    ASSERT_TRUE(old->exec(read_file(kGoldenDir / "schema2.sql")));
  }
  auto store = SqliteSessionStore::open(file, system_clock());
  ASSERT_TRUE(store) << store.error().message;
  const auto list = (*store)->list(10);
  ASSERT_TRUE(list) << list.error().message;
  ASSERT_EQ(list->size(), 1U);
  EXPECT_EQ(list->front().parent, "");
  const auto copy = (*store)->copy(list->front().id);
  ASSERT_TRUE(copy) << copy.error().message;
  EXPECT_EQ(copy->records.size(), 27U);
  EXPECT_TRUE(check_log(copy->records).empty());
  EXPECT_TRUE(fold(copy->records).workflow.has_value());
  boost::asio::io_context context;
  EXPECT_TRUE(test::run(context, (*store)->fork(list->front().id, 9)));
  // What comes now lies elsewhere in the file, and the history is still one.
  const SessionId id = list->front().id;
  EXPECT_FALSE(test::run(context, (*store)->append(id, 26, {UserMessage{"late"}})));
  EXPECT_TRUE(test::run(context, (*store)->append(id, 27, {UserMessage{"more"}, TurnEnded{}})));
  const auto fork = test::run(context, (*store)->fork(id, 28));
  ASSERT_TRUE(fork) << fork.error().message;
  EXPECT_EQ((*store)->load(id)->size(), 29U);
  EXPECT_EQ((*store)->load(*fork)->size(), 29U);
  const auto all = (*store)->list(10);
  ASSERT_EQ(all->size(), 3U);
  for (const SessionSummary& summary : *all) {
    EXPECT_EQ(summary.events, static_cast<std::int64_t>((*store)->load(summary.id)->size()));
  }
  const auto report = examine_store(file.string(), system_clock(), {});
  ASSERT_TRUE(report) << report.error().message;
  for (const StoreFault& fault : report->faults) {
    // The first fork stands where calls were under way.
    EXPECT_EQ(fault.kind, FaultKind::orphaned_intent) << fault.detail;
  }
}

}  // namespace
}  // namespace ponder::runtime
