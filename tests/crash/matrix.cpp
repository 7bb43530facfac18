#include "tests/crash/matrix.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <fstream>
#include <system_error>
#include <utility>

namespace ponder::crash {
namespace {

namespace fs = std::filesystem;

constexpr int kStoreFailed = 3;  // the worker's exit status when its store failed and said so

constexpr std::size_t kNotesMax = 100;
// How long a run takes changes with the machine's load, and with it the instants worth drawing.
constexpr std::uint64_t kRoundsBetweenTwins = 50;

bool may_fail(const Attack& attack) { return !attack.fault.starts_with("clock"); }

}  // namespace

fs::path RoundFolders::next() {
  const fs::path folder = root_ / fmt::format("round-{}", ++count_);
  fs::create_directories(folder);
  return folder;
}

void RoundFolders::remove(const fs::path& folder) {
  std::error_code ignored;
  fs::remove_all(folder, ignored);
}

std::string Attack::words() const {
  if (!fault.empty()) return fault;
  if (die_at > 0) return fmt::format("checkpoint@{}", die_at);
  if (kill_after) return fmt::format("{} us", kill_after->count());
  return "nothing";
}

FaultCounts read_fault_counts(const fs::path& file) {
  FaultCounts counts;
  std::ifstream in(file);
  in >> counts.calls >> counts.syncs >> counts.clock_readings;
  return counts;
}

std::vector<std::pair<std::string, std::string>> fault_environment(const Programs& programs,
                                                                   const fs::path& watched,
                                                                   const std::string& fault,
                                                                   const fs::path& count_file) {
  std::vector<std::pair<std::string, std::string>> out;
  out.emplace_back("LD_PRELOAD", programs.faults.string());
  out.emplace_back("PONDER_FAULT_DIR", watched.string());
  if (!fault.empty()) out.emplace_back("PONDER_FAULT", fault);
  if (!count_file.empty()) out.emplace_back("PONDER_FAULT_COUNT", count_file.string());
  return out;
}

WorkerMatrix::WorkerMatrix(const Programs& programs, fs::path root, std::uint64_t seed)
    : programs_(programs), folders_(std::move(root)), random_(seed) {}

Command WorkerMatrix::worker(const fs::path& folder, const Group& group, const Attack& attack) {
  Command command;
  command.words = {programs_.worker.string(),      (folder / "store" / "sessions.db").string(),
                   (folder / "effects").string(),  group.owner,
                   std::to_string(group.sessions), std::to_string(kAckDescriptor),
                   std::to_string(attack.die_at)};
  if (!attack.fault.empty()) {
    command.environment = fault_environment(programs_, folder / "store", attack.fault, {});
  }
  command.kill_after = attack.kill_after;
  return command;
}

Status WorkerMatrix::make_twin() {
  const fs::path folder = folders_.next();
  Command command = worker(folder, {"twin", 1}, {});
  command.environment = fault_environment(programs_, folder / "store", "", folder / "count");
  const Ended ended = run_alone(command);
  if (ended.status != 0) {
    return fail(Errc::internal,
                fmt::format("the worker ended with {}: {}", ended.status, end_of(ended.output)));
  }
  PONDER_TRY(twin_, read_twin(folder / "store" / "sessions.db"));
  const FaultCounts counts = read_fault_counts(folder / "count");
  checkpoints_ = std::atol(ended.output.c_str());
  calls_ = counts.calls;
  syncs_ = counts.syncs;
  clock_readings_ = counts.clock_readings;
  took_ = ended.took;
  RoundFolders::remove(folder);
  const bool counts_everything = checkpoints_ > 0 && calls_ > 0 && syncs_ > 0;
  if (!counts_everything || clock_readings_ == 0) {
    return fail(Errc::internal, fmt::format("the fault library counts nothing: {} {} {} {}",
                                            checkpoints_, calls_, syncs_, clock_readings_));
  }
  return {};
}

bool Row::is_clean() const {
  return may_lose_events ? findings.notes.size() == findings.lost_events : findings.is_clean();
}

void WorkerMatrix::count(Row& row, const Ended& ended, const Attack& attack) {
  if (ended.was_killed()) {
    ++row.kills;
    return;
  }
  if (!attack.fault.empty()) ++row.faults;
  const bool has_failed_well = ended.status == kStoreFailed && may_fail(attack);
  if (ended.status == 0 || has_failed_well) return;
  row.findings.unopened(fmt::format("under {} a process ended with {}: {}", attack.words(),
                                    ended.status, end_of(ended.output)));
}

void WorkerMatrix::conclude(Row& row, const fs::path& folder, const std::vector<Group>& groups,
                            std::vector<std::string> acks, const std::string& what_was_done) {
  const std::size_t notes_before = row.findings.notes.size();
  Remains remains{folder / "store" / "sessions.db", folder / "effects", std::move(acks), 0};
  for (const Group& group : groups) {
    Ended ended = run_alone(worker(folder, group, {}));
    remains.acks.insert(remains.acks.end(), ended.acks.begin(), ended.acks.end());
    remains.sessions += group.sessions;
    if (ended.status == 0) continue;
    row.findings.unopened(
        fmt::format("going on ended with {}: {}", ended.status, end_of(ended.output)));
  }
  audit(remains, twin_, row.findings);
  ++row.rounds;
  if (row.findings.notes.size() == notes_before) return RoundFolders::remove(folder);
  row.findings.notes.back() += fmt::format(" [after {}; see {}]", what_was_done, folder.string());
}

void WorkerMatrix::round(Row& row, const std::vector<Attack>& attacks) {
  const fs::path folder = folders_.next();
  const Group group{"one", 1};
  std::vector<std::string> acks;
  std::vector<std::string> words;
  for (const Attack& attack : attacks) {
    const Ended ended = run_alone(worker(folder, group, attack));
    count(row, ended, attack);
    acks.insert(acks.end(), ended.acks.begin(), ended.acks.end());
    words.push_back(attack.words());
  }
  conclude(row, folder, {group}, std::move(acks), fmt::format("{}", fmt::join(words, ", ")));
}

Row WorkerMatrix::every_checkpoint(long stride) {
  Row row{.name = "every event boundary", .findings = {}};
  for (long at = 1; at <= checkpoints_; at += stride) {
    Attack attack;
    attack.die_at = at;
    round(row, {attack});
  }
  return row;
}

Row WorkerMatrix::every_call(const std::string& action, long stride) {
  Row row{.name = "every file call: " + action, .findings = {}};
  for (long at = 1; at <= calls_; at += stride) {
    Attack attack;
    attack.fault = fmt::format("{}@{}", action, at);
    round(row, {attack});
  }
  return row;
}

Row WorkerMatrix::every_call_of_recovery(const std::string& action, long stride) {
  Row row{.name = "every file call of recovery: " + action, .findings = {}};
  Attack first;
  first.die_at = checkpoints_ / 2;
  for (long at = 1;; at += stride) {
    Attack second;
    second.fault = fmt::format("{}@{}", action, at);
    const std::uint64_t kills_before = row.kills;
    round(row, {first, second});
    if (row.kills != kills_before + 2) return row;  // it came to its end before that call
  }
}

Row WorkerMatrix::every_failure(const std::string& action, long stride) {
  Row row{.name = "every failure: " + action, .findings = {}};
  const bool is_sync = action.starts_with("eio");
  const long last = is_sync ? syncs_ : action == "clock" ? clock_readings_ : calls_;
  for (long at = 1; at <= last; at += stride) {
    Attack attack;
    attack.fault = fmt::format("{}@{}", action, at);
    round(row, {attack});
  }
  return row;
}

void WorkerMatrix::random_round(Row& row) {
  const fs::path folder = folders_.next();
  std::vector<Group> groups = {{"one", 1 + random_() % 3}};
  if (random_() % 3 == 0) groups.push_back({"two", 1 + random_() % 2});
  std::vector<std::string> acks;
  std::vector<std::string> words;
  const std::uint64_t crashes = 1 + random_() % 4;
  const auto longest = static_cast<std::uint64_t>(took_.count()) * groups.size();
  for (std::uint64_t i = 0; i < crashes; ++i) {
    std::vector<Command> commands;
    std::vector<Attack> attacks;
    for (const Group& group : groups) {
      Attack attack;
      attack.kill_after = std::chrono::microseconds(random_() % longest);
      commands.push_back(worker(folder, group, attack));
      attacks.push_back(attack);
      words.push_back(attack.words());
    }
    const std::vector<Ended> ended = run_together(commands);
    for (std::size_t k = 0; k < ended.size(); ++k) {
      count(row, ended[k], attacks[k]);
      acks.insert(acks.end(), ended[k].acks.begin(), ended[k].acks.end());
    }
  }
  conclude(row, folder, groups, std::move(acks), fmt::format("{}", fmt::join(words, ", ")));
}

Row WorkerMatrix::random_instants(std::uint64_t kills) {
  Row row{.name = "random instants", .findings = {}};
  while (row.kills < kills && row.findings.notes.size() < kNotesMax) {
    if (row.rounds % kRoundsBetweenTwins == kRoundsBetweenTwins - 1) {
      const Status again = make_twin();
      if (!again) row.findings.unopened(again.error().message);
    }
    random_round(row);
  }
  return row;
}

}  // namespace ponder::crash
