#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "tests/e2e/network_space.h"
#include "tests/e2e/process.h"
#include "tests/e2e/running.h"
#include "tests/runtime/postgres_server.h"

/// Several `ponder work` on one queue over TCP, as on several machines: one is killed, or its
/// network goes silent, and the others go on with what it had.
namespace ponder::e2e {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::Not;

constexpr const char* kLeaseSeconds = "2";

/// Appends a mark to a file of the call's name, which is an effect that nothing takes back, and
/// waits until the test lets it go on.
constexpr const char* kHoldTool = R"lua(
return { name = 'hold', description = 'd', effect = 'irreversible', capabilities = { 'fs' },
  parameters = { type = 'object', properties = { name = { type = 'string' } } },
  run = function(args, ctx)
    ctx.fs.write(args.name .. '.marks', (ctx.fs.read(args.name .. '.marks') or '') .. 'x')
    while not ctx.fs.read(args.name .. '.go') do ctx.sleep(0.02) end
    return 'it was held'
  end }
)lua";

class SharedWork : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(scratch_ / "held");
    write_file(scratch_ / "hold.lua", kHoldTool);
    // The first line that fits is taken: what came of a call, before the call.
    std::string script;
    for (int i = 0; i < kNamesMax; ++i) {
      script +=
          R"({"when": "took effect is unknown", "content": "Somebody else may have done it."})"
          "\n";
      script += R"({"when": "it was held", "content": "Done."})"
                "\n";
    }
    for (int i = 0; i < kNamesMax; ++i) {
      const std::string name = fmt::format("trip{}", i);
      const json call = {{"when", "Please hold " + name},
                         {"calls", {{{"name", "hold"}, {"arguments", {{"name", name}}}}}}};
      script += call.dump() + "\n";
    }
    script += R"({"content": "Done."})"
              "\n";
    write_file(scratch_ / "script.jsonl", script);
  }

  /// False where no PostgreSQL is installed: the test is skipped.
  bool start_server(runtime::test::ServerNetwork network) {
    auto started = runtime::test::PostgresServer::start(/*syncs=*/false, std::move(network));
    if (started) {
      server_ = std::move(*started);
      return true;
    }
    EXPECT_EQ(started.error().code, Errc::not_found) << started.error().message;
    why_not_ = started.error().message;
    return false;
  }

  Running::Command command(const std::string& store, std::vector<std::string> words) const {
    words.insert(words.begin(), PONDER_BINARY);
    for (const std::string& word :
         {std::string("--model"), "script:" + (scratch_ / "script.jsonl").string(),
          std::string("--tools"), (scratch_ / "hold.lua").string(), std::string("--grant"),
          "fs:" + (scratch_ / "held").string()}) {
      words.push_back(word);
    }
    return {std::move(words),
            {{"PONDER_SESSIONS", store},
             {"PONDER_LEASE", kLeaseSeconds},
             {"XDG_STATE_HOME", (scratch_ / "state").string()}}};
  }
  Running::Command worker(const std::string& store, pid_t network = 0) const {
    Running::Command out = command(store, {"work", "--concurrency", "1", "--approve", "always"});
    out.network = network;
    return out;
  }
  /// Leaves a session to whoever takes it; its id.
  std::string queue(const std::string& name) {
    const auto file = scratch_ / (name + ".queued");
    const int status = run_to_end(
        command(server_->address("shared"), {"run", "assistant", "Please hold " + name, "--queue"}),
        file);
    EXPECT_EQ(status, 0) << read_file(file);
    return queued();
  }
  /// The session that came last.
  std::string queued() const {
    return server_->value("shared", "(SELECT session FROM queue ORDER BY place DESC LIMIT 1)");
  }
  /// What `ponder sessions queue` says.
  std::string listed_queue(std::vector<std::string> options) const {
    Running::Command list{{PONDER_BINARY, "sessions", "queue"},
                          {{"PONDER_SESSIONS", server_->address("shared")}}};
    list.words.insert(list.words.end(), options.begin(), options.end());
    const Scratch scratch;
    EXPECT_EQ(run_to_end(list, scratch / "output"), 0);
    return read_file(scratch / "output");
  }

  bool has_begun(const std::string& name) const {
    return eventually([&] { return exists(scratch_ / "held" / (name + ".marks")); });
  }
  void let_go(const std::string& name) const { write_file(scratch_ / "held" / (name + ".go"), ""); }
  std::string marks(const std::string& name) const {
    return read_file(scratch_ / "held" / (name + ".marks"));
  }
  bool has_said(const Running& program, const std::string& words) const {
    return eventually([&] { return program.output().find(words) != std::string::npos; });
  }
  bool queue_is_empty() const {
    return eventually(
        [&] { return server_->value("shared", "(SELECT count(*) FROM queue)") == "0"; });
  }
  /// Every event of a session: its place, its type, and the lease that it was written under.
  std::string log_of(const std::string& id) const {
    return server_->value(
        "shared",
        "(SELECT string_agg(seq || ' ' || type || ' ' || fence, ', ' ORDER BY seq)"
        " FROM events WHERE session = '" +
            id + "')");
  }
  int count_in(const std::string& id, const std::string& condition) const {
    return std::stoi(server_->value("shared", "(SELECT count(*) FROM events WHERE session = '" +
                                                  id + "' AND " + condition + ")"));
  }
  /// One call, one outcome, one end; of `fences` leases, the last of which brought it to its end.
  void expect_whole(const std::string& id, const std::string& name, int fences) const {
    SCOPED_TRACE(name + ": " + log_of(id));
    EXPECT_EQ(marks(name), "x") << "the effect was doubled";
    EXPECT_EQ(count_in(id, "type = 'tool_started'"), 1);
    EXPECT_EQ(count_in(id, "type = 'tool_finished'"), 1);
    EXPECT_EQ(count_in(id, "type = 'turn_ended'"), 1);
    EXPECT_EQ(server_->value("shared",
                             "(SELECT count(DISTINCT fence) FROM events WHERE fence > 1 "
                             "AND session = '" +
                                 id + "')"),
              std::to_string(fences));
    const bool is_interrupted =
        count_in(id, "convert_from(payload, 'UTF8') LIKE '%took effect is unknown%'") > 0;
    EXPECT_EQ(is_interrupted, fences > 1);
  }

  static constexpr int kNamesMax = 6;
  const Scratch scratch_;
  std::unique_ptr<runtime::test::PostgresServer> server_;
  std::string why_not_;
};

TEST_F(SharedWork, OverTcpWhatAKilledWorkerHadGoesToTheOther) {
  if (!start_server({.addresses = "127.0.0.1"})) GTEST_SKIP() << why_not_;
  const std::string store = server_->tcp_address("shared", "127.0.0.1");
  const std::string one = queue("trip1");
  const std::string two = queue("trip2");
  const std::string three = queue("trip3");
  Running killed(worker(store), scratch_ / "killed.out");
  ASSERT_TRUE(has_begun("trip1")) << killed.output();
  Running other(worker(store), scratch_ / "other.out");
  ASSERT_TRUE(has_begun("trip2")) << other.output();
  killed.send(SIGKILL);
  EXPECT_EQ(killed.wait(), 128 + SIGKILL);
  const std::int64_t killed_ms = system_clock().unix_ms();
  for (const char* name : {"trip2", "trip3"}) let_go(name);
  ASSERT_TRUE(queue_is_empty()) << other.output();
  other.send(SIGTERM);
  EXPECT_EQ(other.wait(), 0) << other.output();
  expect_whole(one, "trip1", 2);
  expect_whole(two, "trip2", 1);
  expect_whole(three, "trip3", 1);
  const std::int64_t taken_ms = std::stoll(server_->value(
      "shared", "(SELECT min(unix_ms) FROM events e WHERE session = '" + one +
                    "' AND fence = (SELECT max(fence) FROM events WHERE session = e.session))"));
  const std::int64_t after_ms = taken_ms - killed_ms;
  RecordProperty("taken_over_after_ms", std::to_string(after_ms));
  fmt::print("taken over {} ms after the kill, with leases of {} s\n", after_ms, kLeaseSeconds);
}

TEST_F(SharedWork, WhyAWorkerLeftASessionStandsInTheQueue) {
  if (!start_server({})) GTEST_SKIP() << why_not_;
  const std::string store = server_->address("shared");
  const std::string id = queue("trip1");
  Running::Command lacking = worker(store);
  *(std::find(lacking.words.begin(), lacking.words.end(), "--model") + 1) = "script:none.jsonl";
  Running program(lacking, scratch_ / "worker.out");
  ASSERT_TRUE(has_said(program, id + ": left: ")) << program.output();
  program.send(SIGTERM);
  EXPECT_EQ(program.wait(), 0) << program.output();
  const std::string shown = listed_queue({});
  EXPECT_THAT(shown, HasSubstr(" times  waits\n    left: "));
  EXPECT_THAT(shown, HasSubstr("none.jsonl"));
  const json line = json::parse(listed_queue({"--json"}));
  EXPECT_THAT(line.at("problem").get<std::string>(), HasSubstr("none.jsonl"));
  EXPECT_EQ(line.at("left_silently"), false);

  Running killed(worker(store), scratch_ / "killed.out");
  ASSERT_TRUE(has_begun("trip1")) << killed.output();
  killed.send(SIGKILL);
  killed.wait();
  ASSERT_TRUE(eventually([&] {
    return listed_queue({}).find(
               "the last worker ended and did not say why\n    one before it "
               "left it: ") != std::string::npos;
  })) << listed_queue({});
}

TEST_F(SharedWork, WhoIsToldToEndStopsAVerdictAndLeavesItToOthers) {
  const Finished doctor = ponder(scratch_.path(), {"doctor"});
  if (doctor.out.find("isolated: available") == std::string::npos) {
    GTEST_SKIP() << "no sandbox: " << doctor.out;
  }
  if (!start_server({})) GTEST_SKIP() << why_not_;
  const std::string store = server_->address("shared");
  const auto project = scratch_ / "project";
  std::filesystem::create_directories(project);
  write_file(project / "a.txt", "one\n");
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"init", "-q"}, {"add", "."}, {"commit", "-q", "-m", "first"}}) {
    Running::Command git{
        {"/usr/bin/git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", project.string()}, {}};
    git.words.insert(git.words.end(), words.begin(), words.end());
    ASSERT_EQ(run_to_end(git, scratch_ / "git.out"), 0) << read_file(scratch_ / "git.out");
  }
  const auto file = scratch_ / "queued";
  ASSERT_EQ(run_to_end(command(store, {"run", "code", "Do it.", "--folder", project.string(),
                                       "--test", "touch begun; test -e may_pass || sleep 600",
                                       "--out", (scratch_ / "out").string(), "--queue"}),
                       file),
            0)
      << read_file(file);
  const std::string id = queued();

  Running told(worker(store), scratch_ / "told.out");
  ASSERT_TRUE(eventually([&] { return exists(project / "begun"); })) << told.output();
  told.send(SIGTERM);  // one, which lets a turn end
  EXPECT_EQ(told.wait(), 0) << told.output();
  EXPECT_THAT(told.output(), HasSubstr(id + ": left: its worker was stopped before the verdict"));
  EXPECT_THAT(listed_queue({}), HasSubstr("left: its worker was stopped before the verdict"));
  EXPECT_EQ(count_in(id, "type = 'workflow_finished'"), 0);

  write_file(project / "may_pass", "");
  Running other(worker(store), scratch_ / "other.out");
  ASSERT_TRUE(queue_is_empty()) << other.output();
  EXPECT_TRUE(has_said(other, id + ": done")) << other.output();
  EXPECT_EQ(count_in(id, "type = 'workflow_finished'"), 1);
  EXPECT_EQ(count_in(id, "type = 'turn_ended'"), 1);
}

/// Two workers on machines of their own, and the server between them; each has its cable to it.
class SharedWorkOnThreeMachines : public SharedWork, public ::testing::WithParamInterface<bool> {
 protected:
  void SetUp() override {
    if (const auto why = why_no_networks()) GTEST_SKIP() << *why;
    SharedWork::SetUp();
    middle_ = std::make_unique<NetworkSpace>();
    first_ = std::make_unique<NetworkSpace>();
    second_ = std::make_unique<NetworkSpace>();
    middle_->connect("first", "10.77.1.1/24", *first_, "server", "10.77.1.2/24");
    middle_->connect("second", "10.77.2.1/24", *second_, "server", "10.77.2.2/24");
    if (!start_server(
            {.addresses = "10.77.1.1,10.77.2.1", .port = 5432, .space = middle_->holder()})) {
      GTEST_SKIP() << why_not_;
    }
  }
  bool are_strangers(const NetworkSpace& space, const std::string& peer) const {
    return eventually([&] {
      const auto peers = space.peers();
      return std::find(peers.begin(), peers.end(), peer) == peers.end();
    });
  }

  std::unique_ptr<NetworkSpace> middle_;
  std::unique_ptr<NetworkSpace> first_;
  std::unique_ptr<NetworkSpace> second_;
};

INSTANTIATE_TEST_SUITE_P(Call, SharedWorkOnThreeMachines, ::testing::Bool(), [](const auto& info) {
  return std::string(info.param ? "EndsInTheSilence" : "EndsAfterTheSilence");
});

TEST_P(SharedWorkOnThreeMachines, WhoseNetworkWasSilentWritesNothingIntoWhatTheOtherTook) {
  const bool ends_in_the_silence = GetParam();
  const std::string one = queue("trip1");
  Running cut_off(worker(server_->tcp_address("shared", "10.77.1.1"), first_->holder()),
                  scratch_ / "cut_off.out");
  ASSERT_TRUE(has_begun("trip1")) << cut_off.output();
  Running other(worker(server_->tcp_address("shared", "10.77.2.1"), second_->holder()),
                scratch_ / "other.out");

  // From here on neither side hears anything of the other: no packet says that it is over.
  middle_->set_link("first", false);
  if (ends_in_the_silence) let_go("trip1");
  ASSERT_TRUE(queue_is_empty()) << other.output();
  EXPECT_TRUE(has_said(other, one + ": done")) << other.output();
  EXPECT_TRUE(are_strangers(*first_, "10.77.1.1")) << "the worker takes the silence for a network";
  EXPECT_TRUE(are_strangers(*middle_, "10.77.1.2")) << "the server does";
  other.send(SIGTERM);
  EXPECT_EQ(other.wait(), 0) << other.output();
  expect_whole(one, "trip1", 2);
  const std::string log = log_of(one);

  middle_->set_link("first", true);
  let_go("trip1");
  ASSERT_TRUE(has_said(cut_off, one + ": left: ")) << cut_off.output();
  EXPECT_EQ(log_of(one), log);
  if (!ends_in_the_silence) {
    EXPECT_THAT(cut_off.output(), HasSubstr("took the session over; nothing was written"));
  }
  // It has lost one session, and no more than that.
  const std::string next = queue("trip2");
  ASSERT_TRUE(has_begun("trip2")) << cut_off.output();
  let_go("trip2");
  ASSERT_TRUE(queue_is_empty()) << cut_off.output();
  cut_off.send(SIGTERM);
  EXPECT_EQ(cut_off.wait(), 0) << cut_off.output();
  expect_whole(next, "trip2", 1);
  EXPECT_EQ(log_of(one), log);
  EXPECT_EQ(marks("trip1"), "x");
}

}  // namespace
}  // namespace ponder::e2e
