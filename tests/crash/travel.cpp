#include "tests/crash/travel.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/thread_pool.hpp>
#include <csignal>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "base/assert.h"
#include "runtime/session/session_state.h"
#include "runtime/store/sqlite_session_store.h"
#include "tests/runtime/fake_server.h"
#include "tools/environment.h"

namespace ponder::crash {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using runtime::test::Exchange;

constexpr std::uint64_t kWorld = 1'000'000;
constexpr const char* kSessionFile = "session.json";
constexpr int kResumesMax = 5;
constexpr std::uint64_t kRoundsBetweenTwins = 50;  // as in matrix.cpp

std::string read(const fs::path& file) {
  std::stringstream text;
  text << std::ifstream(file, std::ios::binary).rdbuf();
  return text.str();
}

/// A plan as check_plan takes it: a line for each day.
std::string plan_text(const std::string& plan_json) {
  std::string text;
  for (const json& day : json::parse(plan_json)) {
    std::string line;
    for (const char* field :
         {"city", "hotel", "afternoon_restaurant", "afternoon_attraction", "evening_restaurant"}) {
      line += (line.empty() ? "" : ", ") + day.at(field).get<std::string>();
    }
    text += line + "\n";
  }
  return text;
}

struct SolvedTask {
  std::uint64_t seed;
  std::string plan;
};

/// A trip of two days, and the solver's plan for it.
Result<SolvedTask> solved_task(const fs::path& library) {
  boost::asio::thread_pool pool(1);
  tools::WorldOptions world;
  world.library = library;
  world.name = "travel";
  world.seed = kWorld;
  PONDER_TRY(const auto environment, tools::Environment::open(world, pool.get_executor()));
  for (std::uint64_t seed = kWorld;; ++seed) {
    PONDER_TRY(const tools::Task task, environment->task(seed));
    if (task.kind != "two_day") continue;
    PONDER_CHECK(environment->begin(task));
    PONDER_TRY(const tools::Solution solution, environment->solve());
    if (solution.is_feasible) return SolvedTask{seed, plan_text(solution.answer_json)};
  }
}

json call(const char* tool, const json& arguments) {
  return {{"type", "function"}, {"function", {{"name", tool}, {"arguments", arguments.dump()}}}};
}

/// The endpoint's answers, in order: looking around, checking, submitting, and the last word.
std::vector<json> answers(const std::string& plan) {
  const std::string city = plan.substr(0, plan.find(','));
  std::vector<json> out = {{{"tool_calls",
                             {call("get_all_hotels_by_city", {{"city", city}}),
                              call("get_all_restaurants_by_city", {{"city", city}})}}},
                           {{"tool_calls", {call("check_plan", {{"plan", plan}})}}},
                           {{"tool_calls", {call("submit_result", json::object())}}},
                           {{"content", "Have a good trip."}}};
  for (json& message : out) message["reasoning_content"] = "so";
  return out;
}

std::string body_of(const std::string& request) {
  const std::size_t head_end = request.find("\r\n\r\n");
  return head_end == std::string::npos ? "" : request.substr(head_end + 4);
}

/// The answer that follows from a request alone: by how often the assistant has spoken in it.
Exchange answer_to(const std::string& request, const std::vector<json>& script) {
  const json body = json::parse(body_of(request), nullptr, /*allow_exceptions=*/false);
  if (!body.is_object()) return {};  // the client died while it asked
  std::size_t spoken = 0;
  for (const json& message : body.at("messages")) spoken += message.at("role") == "assistant";
  PONDER_ASSERT(spoken < script.size());
  const json answer = {{"choices", {{{"message", script[spoken]}, {"finish_reason", "stop"}}}}};
  return {runtime::test::whole_answer(
      "200 OK", "Content-Type: application/json\r\nConnection: close\r\n", answer.dump())};
}

/// Where two texts part, and how they go on.
std::string difference(const std::string& found, const std::string& wanted) {
  constexpr std::size_t kShown = 60;
  const auto part = std::mismatch(found.begin(), found.end(), wanted.begin(), wanted.end());
  const auto at = static_cast<std::size_t>(part.first - found.begin());
  return fmt::format("from byte {} on it has `{}`, the twin's `{}`", at, found.substr(at, kShown),
                     wanted.substr(at, kShown));
}

/// The file without what differs from session to session.
std::string comparable(const std::string& name, const std::string& text) {
  if (name != kSessionFile) return text;
  json about = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!about.is_object()) return text;
  about.erase("session");
  return about.dump();
}

std::map<std::string, std::string> artefacts_in(const fs::path& folder) {
  std::map<std::string, std::string> out;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(".")) out[name] = comparable(name, read(entry.path()));
  }
  return out;
}

/// The lines of `--json`: what the program has said that it kept.
std::vector<std::string> acks_in(const std::string& output) {
  std::vector<std::string> acks;
  std::size_t begin = 0;
  for (std::size_t end; (end = output.find('\n', begin)) != std::string::npos; begin = end + 1) {
    if (output[begin] == '{') acks.push_back(output.substr(begin, end - begin));
  }
  return acks;
}

}  // namespace

struct TravelMatrix::Round {
  fs::path folder;
  std::vector<std::string> acks;
  std::string what_was_done;
  std::size_t notes_before = 0;
};

TravelMatrix::TravelMatrix(const Programs& programs, fs::path root, std::uint64_t seed)
    : programs_(programs), folders_(std::move(root)), random_(seed) {}

TravelMatrix::~TravelMatrix() = default;

Command TravelMatrix::run_command(const fs::path& folder) const {
  Command command;
  command.words = {programs_.ponder.string(),
                   "run",
                   "travel",
                   "--task",
                   std::to_string(task_),
                   "--seed",
                   std::to_string(kWorld),
                   "--model",
                   fmt::format("http://127.0.0.1:{}/v1", endpoint_->port()),
                   "--model-name",
                   "script",
                   "--out",
                   (folder / "trip").string(),
                   "--json"};
  command.environment = {{"PONDER_SESSIONS", (folder / "sessions.db").string()},
                         {"PONDER_LIBRARY", programs_.library.string()}};
  return command;
}

Command TravelMatrix::resume_command(const fs::path& folder) const {
  Command command = run_command(folder);
  command.words = {programs_.ponder.string(), "sessions", "resume", "last", "--json"};
  return command;
}

std::optional<Command> TravelMatrix::next_command(const fs::path& folder,
                                                  Findings& findings) const {
  if (!fs::exists(folder / "sessions.db")) return run_command(folder);
  const auto store = runtime::SqliteSessionStore::open(folder / "sessions.db", system_clock());
  if (!store) {
    findings.unopened(store.error().message);
    return std::nullopt;
  }
  const auto id = (*store)->resolve("last");
  if (!id && id.error().code == Errc::not_found) return run_command(folder);
  const auto records = id ? (*store)->load(*id) : tl::unexpected<Error>(id.error());
  if (!records) {
    findings.unopened(records.error().message);
    return std::nullopt;
  }
  const runtime::SessionState state = runtime::fold(*records);
  if (state.unreadable > 0) findings.unopened(id->value + " has unreadable events");
  if (state.workflow) return std::nullopt;
  return resume_command(folder);
}

Status TravelMatrix::make_twin() {
  PONDER_TRY(const SolvedTask solved, solved_task(programs_.library));
  task_ = solved.seed;
  endpoint_ = std::make_unique<runtime::test::FakeServer>(
      [script = answers(solved.plan)](const std::string& request) {
        return answer_to(request, script);
      });
  const fs::path folder = folders_.next();
  Command command = run_command(folder);
  const auto watched = fault_environment(programs_, folder, "", folder.string() + ".count");
  command.environment.insert(command.environment.end(), watched.begin(), watched.end());
  const Ended ended = run_alone(command);
  if (ended.status != 0) {
    return fail(Errc::internal,
                fmt::format("ponder run ended with {}: {}", ended.status, end_of(ended.output)));
  }
  counts_ = read_fault_counts(folder.string() + ".count");
  took_ = ended.took;
  twin_artefacts_ = artefacts_in(folder / "trip");
  for (const std::string& request : endpoint_->requests()) {
    const std::string body = body_of(request);
    twin_requests_[json::parse(body).at("messages").size()] = body;
  }
  requests_audited_ = endpoint_->requests().size();
  fs::remove(folder.string() + ".count");
  RoundFolders::remove(folder);
  if (counts_.calls == 0 || twin_artefacts_.empty()) {
    return fail(Errc::internal, "the trip left nothing to look at");
  }
  return {};
}

void TravelMatrix::audit_artefacts(const fs::path& folder, bool is_over, Findings& findings) const {
  const auto artefacts = artefacts_in(folder / "trip");
  for (const auto& [name, text] : artefacts) {
    const auto whole = twin_artefacts_.find(name);
    if (whole == twin_artefacts_.end() || whole->second != text) {
      findings.torn(fmt::format("{} is not whole ({} bytes)", name, text.size()));
    }
  }
  if (is_over && artefacts.size() != twin_artefacts_.size()) {
    findings.torn(fmt::format("{} of {} artefacts", artefacts.size(), twin_artefacts_.size()));
  }
}

void TravelMatrix::audit_requests(Findings& findings) {
  const std::vector<std::string> requests = endpoint_->requests();
  for (; requests_audited_ < requests.size(); ++requests_audited_) {
    const std::string body = body_of(requests[requests_audited_]);
    const json parsed = json::parse(body, nullptr, /*allow_exceptions=*/false);
    if (!parsed.is_object()) continue;  // the program died while it asked
    const auto twin = twin_requests_.find(parsed.at("messages").size());
    const std::string wanted = twin == twin_requests_.end() ? "" : twin->second;
    if (body == wanted) continue;
    findings.mismatched(fmt::format("a request of {} messages is not the twin's: {}",
                                    parsed.at("messages").size(), difference(body, wanted)));
  }
}

void TravelMatrix::attack(Row& row, Round& round, const Attack& attack) {
  auto command = next_command(round.folder, row.findings);
  if (!command) return;  // it is over already
  if (!attack.fault.empty()) {
    const auto broken = fault_environment(programs_, round.folder, attack.fault, {});
    command->environment.insert(command->environment.end(), broken.begin(), broken.end());
  }
  command->kill_after = attack.kill_after;
  round.what_was_done += attack.words() + " ";
  const Ended ended = run_alone(*command);
  const auto acks = acks_in(ended.output);
  round.acks.insert(round.acks.end(), acks.begin(), acks.end());
  if (ended.was_killed()) {
    ++row.kills;
  } else {
    row.faults += attack.fault.empty() ? 0 : 1;
    // A failing disk is reported with status 1; nothing else may happen to the program.
    const bool has_ended_well = ended.status == 0 || (ended.status == 1 && !attack.fault.empty());
    if (!has_ended_well) {
      row.findings.unopened(
          fmt::format("a process ended with {}: {}", ended.status, end_of(ended.output)));
    }
  }
  audit_artefacts(round.folder, /*is_over=*/false, row.findings);
}

void TravelMatrix::conclude(Row& row, Round& round) {
  for (int i = 0; i < kResumesMax; ++i) {
    const auto command = next_command(round.folder, row.findings);
    if (!command) break;
    const Ended ended = run_alone(*command);
    const auto acks = acks_in(ended.output);
    round.acks.insert(round.acks.end(), acks.begin(), acks.end());
    if (ended.status == 0) continue;
    row.findings.unopened(
        fmt::format("going on ended with {}: {}", ended.status, end_of(ended.output)));
  }
  audit_artefacts(round.folder, /*is_over=*/true, row.findings);
  audit_acks(round.folder / "sessions.db", round.acks, row.findings);
  audit_requests(row.findings);
  ++row.rounds;
  if (row.findings.notes.size() == round.notes_before) return RoundFolders::remove(round.folder);
  row.findings.notes.back() +=
      fmt::format(" [after {}; see {}]", round.what_was_done, round.folder.string());
}

void TravelMatrix::round(Row& row, const std::vector<Attack>& attacks) {
  Round round{folders_.next(), {}, "", row.findings.notes.size()};
  for (const Attack& each : attacks) attack(row, round, each);
  conclude(row, round);
}

Row TravelMatrix::every_call(const std::string& action, long stride) {
  Row row{.name = "ponder run, file call: " + action, .findings = {}};
  for (long at = 1; at <= counts_.calls; at += stride) {
    Attack attack;
    attack.fault = fmt::format("{}@{}", action, at);
    round(row, {attack});
  }
  return row;
}

Row TravelMatrix::every_failure(const std::string& action, long stride) {
  Row row{.name = "ponder run, failure: " + action, .findings = {}};
  const bool is_sync = action.starts_with("eio");
  const long last = is_sync             ? counts_.syncs
                    : action == "clock" ? counts_.clock_readings
                                        : counts_.calls;
  for (long at = 1; at <= last; at += stride) {
    Attack attack;
    attack.fault = fmt::format("{}@{}", action, at);
    round(row, {attack});
  }
  return row;
}

Row TravelMatrix::random_instants(std::uint64_t kills) {
  Row row{.name = "ponder run, random instants", .findings = {}};
  while (row.kills < kills && row.findings.is_clean()) {
    if (row.rounds % kRoundsBetweenTwins == kRoundsBetweenTwins - 1) {
      const Status again = make_twin();
      if (!again) row.findings.unopened(again.error().message);
    }
    std::vector<Attack> attacks(1 + random_() % 3);
    for (Attack& each : attacks) {
      const auto longest = static_cast<std::uint64_t>(took_.count());
      each.kill_after = std::chrono::microseconds(random_() % longest);
    }
    round(row, attacks);
  }
  return row;
}

Command TravelMatrix::work_command(const std::string& store) const {
  Command command;
  command.words = {programs_.ponder.string(), "work", "--drain", "--json"};
  command.environment = {{"PONDER_SESSIONS", store},
                         {"PONDER_LEASE", "1"},
                         {"PONDER_LIBRARY", programs_.library.string()}};
  return command;
}

void TravelMatrix::shared_round(Row& row, const std::string& store) {
  constexpr std::chrono::milliseconds kStall{1500};  // longer than the lease
  const std::size_t notes_before = row.findings.notes.size();
  const fs::path folder = folders_.next();
  const std::vector<fs::path> trips = {folder / "a", folder / "b", folder / "c"};
  std::vector<Ended> ended;
  for (const fs::path& trip : trips) {
    Command queue = run_command(trip);
    queue.words.emplace_back("--queue");
    queue.environment[0].second = store;
    fs::create_directories(trip);
    ended.push_back(run_alone(queue));
  }
  std::vector<Command> workers = {work_command(store), work_command(store)};
  const std::chrono::microseconds at(random_() % static_cast<std::uint64_t>(3 * took_.count()));
  if (random_() % 2 == 0) {
    workers[0].kill_after = at;
  } else {
    workers[0].signals = {{at, SIGSTOP}, {at + kStall, SIGCONT}};
    ++row.faults;
  }
  for (Ended& each : run_together(workers)) ended.push_back(std::move(each));
  std::vector<std::string> acks;
  for (const Ended& each : ended) {
    const auto its = acks_in(each.output);
    acks.insert(acks.end(), its.begin(), its.end());
    row.kills += each.was_killed() ? 1 : 0;
    if (each.status == 0 || each.was_killed()) continue;
    row.findings.unopened(
        fmt::format("a process ended with {}: {}", each.status, end_of(each.output)));
  }
  for (const fs::path& trip : trips) audit_artefacts(trip, /*is_over=*/true, row.findings);
  audit_acks(store, acks, row.findings);
  audit_requests(row.findings);
  ++row.rounds;
  if (row.findings.notes.size() == notes_before) return RoundFolders::remove(folder);
  row.findings.notes.back() += fmt::format(" [after {} us; see {}]", at.count(), folder.string());
}

Row TravelMatrix::shared(const std::function<std::string()>& make_store, std::uint64_t attacks) {
  Row row{.name = "ponder work, killed or stopped", .findings = {}};
  while (row.kills + row.faults < attacks && row.findings.is_clean()) {
    shared_round(row, make_store());
  }
  return row;
}

}  // namespace ponder::crash
