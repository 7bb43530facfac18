#include "tests/crash/shared.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>

#include <boost/asio/io_context.hpp>
#include <csignal>
#include <optional>
#include <thread>
#include <utility>

#include "base/assert.h"
#include "runtime/agent/agent_tool.h"
#include "runtime/session/work_queue.h"
#include "runtime/store/postgres_session_store.h"
#include "tests/crash/script.h"
#include "tests/runtime/postgres_server.h"
#include "tests/runtime/support.h"

namespace ponder::crash {
namespace {

namespace fs = std::filesystem;
using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr milliseconds kLeaseMs{600};
constexpr milliseconds kStallMsMin{900};  // longer than a lease: others have taken over
constexpr milliseconds kStallMsMax{2000};
constexpr std::size_t kNotesMax = 100;

void pause(microseconds time) {
  poll(nullptr, 0, static_cast<int>(std::chrono::duration_cast<milliseconds>(time).count()));
}

}  // namespace

SharedMatrix::SharedMatrix(const Programs& programs, fs::path root, std::uint64_t seed)
    : programs_(programs), folders_(std::move(root)), random_(seed) {}
SharedMatrix::~SharedMatrix() = default;

Status SharedMatrix::start_server() {
  PONDER_TRY(server_, runtime::test::PostgresServer::start(/*syncs=*/true));
  return {};
}

std::string SharedMatrix::make_store() {
  return server_->address(fmt::format("round{}", ++spaces_));
}

Result<std::string> SharedMatrix::make_sessions(std::size_t count) {
  const std::string address = make_store();
  PONDER_TRY(const auto store, open_store(address));
  boost::asio::io_context io;
  for (std::size_t i = 0; i < count; ++i) {
    const runtime::SessionId id = store->new_id();
    std::vector<runtime::Event> events;
    runtime::SessionStarted start = scripted_start("shared");
    start.tools.push_back(runtime::agent_tool_spec());  // as Agent::start() does
    events.emplace_back(std::move(start));
    PONDER_CHECK(runtime::test::run(io, store->append(id, 0, std::move(events))));
    PONDER_CHECK(store->queue()->put(id));
  }
  return address;
}

Command SharedMatrix::worker(const std::string& store, const fs::path& folder) const {
  Command command;
  command.words = {
      programs_.worker.string(),      store, (folder / "effects").string(),   "shared", "0",
      std::to_string(kAckDescriptor), "0",   std::to_string(kLeaseMs.count())};
  return command;
}

Status SharedMatrix::make_twin() {
  const fs::path folder = folders_.next();
  PONDER_TRY(const std::string store, make_sessions(1));
  const Ended ended = run_alone(worker(store, folder));
  if (ended.status != 0) {
    return fail(Errc::internal,
                fmt::format("the worker ended with {}: {}", ended.status, end_of(ended.output)));
  }
  PONDER_TRY(twin_, read_twin(store));
  took_ = ended.took;
  RoundFolders::remove(folder);
  return {};
}

microseconds SharedMatrix::some_time(microseconds longest) {
  return microseconds(random_() % static_cast<std::uint64_t>(longest.count()));
}

void SharedMatrix::attack(Command& command, const Plan& plan, std::vector<std::string>& words) {
  const bool may_both = plan.kills && plan.stalls;
  const bool is_kill = plan.kills && (!may_both || random_() % 2 == 0);
  if (is_kill) {
    command.kill_after = some_time(took_ * 2);
    words.push_back(fmt::format("kill@{} us", command.kill_after->count()));
  } else if (plan.stalls) {
    // Once or twice: what it took after the first is taken from it by the second.
    microseconds at = some_time(took_ * 2);
    for (std::uint64_t times = 1 + random_() % 2; times > 0; --times) {
      const microseconds end = at + kStallMsMin + some_time(kStallMsMax - kStallMsMin);
      command.signals.push_back({at, SIGSTOP});
      command.signals.push_back({end, SIGCONT});
      words.push_back(fmt::format("stop@{}-{} us", at.count(), end.count()));
      at = end + some_time(took_);
    }
  }
}

void SharedMatrix::round(Row& row, const Plan& plan) {
  const std::size_t notes_before = row.findings.notes.size();
  const fs::path folder = folders_.next();
  const std::size_t count = 2 + random_() % 4;
  const auto store = make_sessions(count);
  if (!store) return row.findings.unopened(store.error().message);
  std::vector<Command> commands;
  std::vector<std::string> words;
  const std::uint64_t workers = 2 + random_() % 2;
  for (std::uint64_t i = 0; i < workers; ++i) commands.push_back(worker(*store, folder));
  // The last lives, and brings everything to its end.
  for (std::size_t i = 0; i + 1 < commands.size(); ++i) attack(commands[i], plan, words);
  std::vector<Ended> ended;
  std::thread workers_run([&] { ended = run_together(commands); });
  if (plan.crashes) {
    const microseconds at = some_time(took_ * 2);
    words.push_back(fmt::format("server crash@{} us", at.count()));
    // Here and not on another thread: the server ends with the thread that started it.
    pause(at);
    server_->crash();
    pause(some_time(milliseconds(300)));
    const Status back = server_->go_on();
    PONDER_ASSERT(back.has_value());
  }
  workers_run.join();
  Remains remains{*store, folder / "effects", {}, count};
  for (std::size_t i = 0; i < ended.size(); ++i) {
    remains.acks.insert(remains.acks.end(), ended[i].acks.begin(), ended[i].acks.end());
    row.kills += ended[i].was_killed() ? 1 : 0;
    row.faults += commands[i].signals.size() / 2;
    if (ended[i].status == 0 || ended[i].was_killed()) continue;
    row.findings.unopened(
        fmt::format("a worker ended with {}: {}", ended[i].status, end_of(ended[i].output)));
  }
  row.faults += plan.crashes ? 1 : 0;
  audit(remains, twin_, row.findings);
  ++row.rounds;
  if (row.findings.notes.size() == notes_before) return RoundFolders::remove(folder);
  row.findings.notes.back() +=
      fmt::format(" [after {}; see {}]", fmt::join(words, ", "), folder.string());
}

Row SharedMatrix::rounds(const std::string& name, const Plan& plan, std::uint64_t count) {
  Row row{.name = name, .findings = {}};
  while (row.kills + row.faults < count && row.findings.notes.size() < kNotesMax) round(row, plan);
  return row;
}

Row SharedMatrix::kills(std::uint64_t count) {
  return rounds("shared: workers killed", {true, false, false}, count);
}

Row SharedMatrix::stalls(std::uint64_t count) {
  return rounds("shared: workers stopped, and on", {false, true, false}, count);
}

Row SharedMatrix::server_crashes(std::uint64_t count) {
  return rounds("shared: server crashes", {false, false, true}, count);
}

Row SharedMatrix::everything(std::uint64_t count) {
  return rounds("shared: all at once", {true, true, true}, count);
}

}  // namespace ponder::crash
