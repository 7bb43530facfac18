#include "runtime/workflow/environment_workflow.h"

#include <fmt/format.h>

#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <system_error>
#include <utility>
#include <variant>

#include "base/json_problem.h"
#include "runtime/agent/call_gate.h"
#include "runtime/json_field.h"
#include "runtime/whole_file.h"
#include "runtime/workflow/fix_workflow.h"
#include "runtime/workflow/protections.h"
#include "runtime/workflow/toolset.h"
#include "tools/environment.h"
#include "tools/player.h"
#include "tools/session/session_tools.h"

namespace ponder::runtime {
namespace asio = boost::asio;
namespace fs = std::filesystem;
namespace {

using nlohmann::json;

constexpr const char* kSessionFile = "session.json";

std::string dump(const json& value, int indent) {
  return value.dump(indent, ' ', false, json::error_handler_t::replace);
}

/// A session's log, read once more for what its calls did. Calls are repeated in the order in which
/// they ended, since that is the order in which they changed the world; a call that never ran, was
/// denied, cancelled or cut short changed nothing.
class Replay {
 public:
  Replay(tools::Player& player, const SessionStore& store) : player_(&player), store_(&store) {}

  /// Takes up words of a person.
  using Hear = std::function<Status(const std::string&)>;

  /// The events of `session` up to `last_seq`; of a sub-agent, those after its task.
  Status run(const SessionId& session, std::int64_t task_seq, std::int64_t last_seq,
             const Hear& hear) {
    auto records = store_->load(session);
    if (!records) return {};  // it had not begun
    Walk walk(session, std::move(*records));
    bool is_first_word = true;
    for (const Record& record : walk.records) {
      if (record.seq <= task_seq || record.seq > last_seq) continue;
      const auto* word = std::get_if<UserMessage>(&record.event);
      if (word == nullptr) {
        PONDER_CHECK(take(walk, record));
        continue;
      }
      // The first message stated the task that the log holds; a sub-agent hears nobody.
      const bool is_new = task_seq == 0 && !std::exchange(is_first_word, false);
      if (is_new) {
        PONDER_CHECK(hear(word->content));
      }
    }
    for (const std::string& child : walk.children) {
      PONDER_CHECK(run_child(child));
    }
    return {};
  }

 private:
  /// Where in a log we are.
  struct Walk {
    Walk(SessionId session, std::vector<Record> records)
        : session(std::move(session)), records(std::move(records)) {}
    SessionId session;
    std::vector<Record> records;
    std::vector<std::string> children;  // sub-agents that have not ended
    const ModelCompleted* completion = nullptr;
    std::int64_t completion_seq = 0;
    std::set<std::uint32_t> intended;  // of its calls
  };

  Status take(Walk& walk, const Record& record) {
    if (const auto* completed = std::get_if<ModelCompleted>(&record.event)) {
      walk.completion = completed;
      walk.completion_seq = record.seq;
      walk.intended.clear();
    } else if (const auto* intent = std::get_if<ToolIntended>(&record.event)) {
      walk.intended.insert(intent->call_index);
    } else if (const auto* copied = std::get_if<SessionImported>(&record.event)) {
      if (!copied->from.empty()) walk.children.clear();  // they are the original's
    } else if (std::holds_alternative<SessionForked>(record.event)) {
      walk.children.clear();
    } else if (const auto* started = std::get_if<SubAgentStarted>(&record.event)) {
      walk.children.push_back(started->child);
    } else if (const auto* ended = std::get_if<SubAgentFinished>(&record.event)) {
      std::erase(walk.children, ended->child);
      return run_child(ended->child);
    } else if (const auto* done = std::get_if<ToolFinished>(&record.event)) {
      return repeat(walk, *done, record.seq);
    }
    return {};
  }

  /// The session that wrote an event: a fork shares what its parent did, with its keys.
  static SessionId owner_of(const Walk& walk, std::int64_t seq) {
    for (const Record& record : walk.records) {
      const auto* forked = std::get_if<SessionForked>(&record.event);
      if (forked != nullptr && record.seq > seq) return SessionId{forked->parent};
    }
    return walk.session;
  }

  Status run_child(const std::string& child) {
    const auto records = store_->load(SessionId{child});
    if (!records) return {};  // it had not begun
    const SessionState state = fold(*records);
    if (state.task_seq == 0) return {};  // nor had this one
    return run(SessionId{child}, state.task_seq, state.last_seq, {});
  }

  /// Runs a call for what it changes; its answer is in the log already. A call that failed may have
  /// left something in the environment's memory.
  Status repeat(const Walk& walk, const ToolFinished& done, std::int64_t seq) {
    const bool ran = walk.completion != nullptr && walk.intended.contains(done.call_index) &&
                     done.call_index < walk.completion->message.tool_calls.size();
    if (!ran) return {};
    const context::ToolCall& call = walk.completion->message.tool_calls[done.call_index];
    const tools::Tool* tool = player_->registry().find(call.name);
    if (tool == nullptr) return {};  // one of ponder's own
    const bool has_changed =
        done.outcome == Outcome::success && tool->effect() != tools::Effect::pure;
    if (!has_changed && done.outcome != Outcome::error) return {};
    const std::string key =
        idempotency_key(owner_of(walk, seq), walk.completion_seq, done.call_index);
    const auto ignored = player_->call(call, key);
    if (!ignored) return tl::unexpected<Error>(ignored.error());
    return {};
  }

  tools::Player* player_;
  const SessionStore* store_;
};

/// A workflow over an environment written in Lua.
class EnvironmentWorkflow final : public Workflow {
 public:
  static Result<std::unique_ptr<EnvironmentWorkflow>> make(const tools::WorldOptions& world) {
    std::unique_ptr<EnvironmentWorkflow> out(new EnvironmentWorkflow);
    PONDER_TRY(out->environment_, tools::Environment::open(world, out->pool_.get_executor()));
    out->name_ = world.name;
    return out;
  }
  /// Gathers the tools of a session: the environment's, and what is added to them.
  Status add_tools(bool has_person, const ToolsetOptions& toolset) {
    PONDER_CHECK(environment_->add_tools(registry_));
    tools::SessionToolOptions session;
    session.has_todo = false;
    session.has_person = has_person && environment_->card().asks;
    PONDER_CHECK(tools::add_session_tools(registry_, session));
    if (!toolset.is_named) return {};
    const std::size_t num_before = registry_.specs().size();
    PONDER_TRY(const auto added,
               add_toolset(registry_, toolset, system_clock(), pool_.get_executor()));
    protections_.add_toolset(registry_, num_before, toolset);
    grants_.insert(grants_.end(), added.begin(), added.end());
    return {};
  }
  ~EnvironmentWorkflow() override { pool_.join(); }

  Status begin(const tools::Task& task, std::string kind) {
    PONDER_CHECK(environment_->begin(task));
    task_ = task;
    task_kind_ = std::move(kind);
    return {};
  }
  Status begin_generated(std::uint64_t seed, const std::string& kind) {
    PONDER_TRY(const tools::Task task, environment_->task(seed, kind));
    request_ = task.text;
    return begin(task, task.kind);
  }
  Status begin_request(const std::string& words) {
    request_ = words;
    if (words.empty()) return {};  // a chat
    if (!environment_->card().has_requests) {
      return fail(Errc::invalid_argument,
                  fmt::format("{} makes no tasks of a person's words (it has no function "
                              "parse_request): --task SEED, or talk in ponder chat --workflow {}",
                              name_, name_));
    }
    PONDER_TRY(const tools::Task task, environment_->task_from_text(words));
    return begin(task, "free");
  }
  Status begin_logged(const json& logged) {
    request_ = field_or(logged, "request", "");
    directory_ = field_or(logged, "directory", "");
    const std::string task_json = field_or(logged, "task", "");
    if (task_json.empty()) return {};
    PONDER_TRY(const tools::Task task, environment_->task_from_json(task_json));
    return begin(task, field_or(logged, "kind", "free"));
  }
  Status replay(const SessionId& session, const SessionState& state, const SessionStore& store) {
    PONDER_TRY(const auto player, tools::Player::make(*environment_));
    const auto hears = [this](const std::string& words) { return hear(words); };
    return Replay(*player, store).run(session, state.task_seq, state.last_seq, hears);
  }

  const std::string& name() const override { return name_; }
  const tools::Registry& registry() const override { return registry_; }
  const std::vector<std::string>& grants() const override { return grants_; }
  const std::string& request() const override { return request_; }
  const std::string& task_kind() const override { return task_kind_; }
  const fs::path& directory() const override { return directory_; }
  tools::Environment& environment() { return *environment_; }
  void set_directory(fs::path directory) { directory_ = std::move(directory); }
  SessionStarted session_start() const override;
  Status hear(const std::string& user_text) override;
  using Workflow::judge;
  Result<WorkflowVerdict> judge(const SessionState& state, std::stop_token stop) override;
  Result<std::vector<std::string>> write_artefacts(const fs::path& dir, const SessionId& session,
                                                   const SessionState& state) override;

 private:
  EnvironmentWorkflow() = default;

  asio::thread_pool pool_{1};  // first: everything else may still use it while it goes
  std::unique_ptr<tools::Environment> environment_;
  tools::Registry registry_;
  std::vector<std::string> grants_ = tools::Environment::grants();
  Protections protections_;  // for the log
  std::string name_;
  std::string request_;
  std::string task_kind_ = "free";
  fs::path directory_;
  std::optional<tools::Task> task_;
};

SessionStarted EnvironmentWorkflow::session_start() const {
  SessionStarted start;
  start.workflow = name_;
  start.instructions = environment_->instructions();
  start.tools = registry().specs();
  const tools::WorldOptions& world = environment_->world();
  json environment = {{"world_seed", world.seed},
                      {"size", world.size},
                      {"kind", task_kind_},
                      {"request", request_},
                      {"task", task_ ? task_->json : ""},
                      {"directory", directory_.string()}};
  const std::vector<std::string> protections = protections_.lines();
  if (!protections.empty()) environment["protections"] = protections;
  start.environment = dump(environment, -1);
  return start;
}

Status EnvironmentWorkflow::hear(const std::string& user_text) {
  if (!environment_->card().has_requests) return {};
  const auto task = environment_->task_from_text(user_text);
  if (!task) return {};  // not a task: a question or small talk
  return begin(*task, "free");
}

Result<WorkflowVerdict> EnvironmentWorkflow::judge(const SessionState&, std::stop_token stop) {
  WorkflowVerdict verdict;
  if (!task_) {
    verdict.detail = "nothing was asked for that could be verified";
    verdict.report = "{}";
    return verdict;
  }
  PONDER_TRY(tools::Judgement judgement, environment_->judge(std::move(stop)));
  verdict.is_solved = judgement.is_solved;
  verdict.has_answer = judgement.is_submitted;
  verdict.detail = std::move(judgement.detail);
  verdict.report = std::move(judgement.verification.json);
  return verdict;
}

Result<std::vector<std::string>> EnvironmentWorkflow::write_artefacts(const fs::path& dir,
                                                                      const SessionId& session,
                                                                      const SessionState& state) {
  PONDER_TRY(const auto artefacts, environment_->artefacts());
  std::error_code error;
  fs::create_directories(dir, error);
  if (error) {
    return fail(Errc::unavailable, fmt::format("{}: {}", dir.string(), error.message()));
  }
  std::vector<std::string> files;
  for (const tools::Artefact& artefact : artefacts) {
    PONDER_CHECK(write_whole_file(dir / artefact.file_name, artefact.content));
    files.push_back(artefact.file_name);
  }
  const json about = {{"session", session.value},
                      {"model", state.start ? state.start->model : ""},
                      {"workflow", name_},
                      {"request", request_}};
  PONDER_CHECK(write_whole_file(dir / kSessionFile, dump(about, 2) + "\n"));
  files.emplace_back(kSessionFile);
  return files;
}

/// The workflow that a session was started with, as it was at the beginning.
Result<std::unique_ptr<EnvironmentWorkflow>> open_started(const fs::path& library,
                                                          const SessionStarted& start) {
  const json logged = json::parse(start.environment, nullptr, /*allow_exceptions=*/false);
  if (!logged.is_object()) {
    return fail(Errc::corrupt, "the session's environment is not readable");
  }
  tools::WorldOptions world;
  world.library = library;
  world.name = start.workflow;
  try {
    world.seed = field<std::uint64_t>(logged, "world_seed");
    world.size = field<std::string>(logged, "size");
    PONDER_TRY(auto workflow, EnvironmentWorkflow::make(world));
    PONDER_CHECK(workflow->begin_logged(logged));
    return workflow;
  } catch (const std::exception& e) {
    return fail(Errc::corrupt, fmt::format("the session's environment: {}", json_problem(e)));
  }
}

/// An environment of projects draws the task; what goes on then does not need it any more.
Result<std::unique_ptr<Workflow>> open_project(const WorkflowOptions& options,
                                               tools::Environment& environment) {
  if (!options.task_seed) {
    return fail(Errc::invalid_argument,
                fmt::format("{} has tasks of its own: --task SEED (ponder fix is for projects)",
                            options.name));
  }
  PONDER_TRY(const tools::Task task, environment.task(*options.task_seed, options.task_kind));
  return open_project_workflow(options, task, environment.instructions());
}

}  // namespace

Result<std::unique_ptr<Workflow>> open_environment_workflow(const WorkflowOptions& options) {
  tools::WorldOptions world;
  world.library = options.library;
  world.name = options.name;
  // The log names it, and whoever goes on may be in another folder.
  if (tools::is_environment_path(world.name)) world.name = fs::absolute(world.name).string();
  world.seed = options.world_seed;
  world.size = options.size;
  PONDER_TRY(auto workflow, EnvironmentWorkflow::make(world));
  if (workflow->environment().card().is_project) {
    return open_project(options, workflow->environment());
  }
  PONDER_CHECK(workflow->add_tools(options.has_person, options.toolset));
  workflow->set_directory(options.directory);
  if (options.task_seed) {
    PONDER_CHECK(workflow->begin_generated(*options.task_seed, options.task_kind));
  } else {
    PONDER_CHECK(workflow->begin_request(options.request));
  }
  return std::unique_ptr<Workflow>(std::move(workflow));
}

Result<std::unique_ptr<Workflow>> reopen_environment_workflow(const fs::path& library,
                                                              const SessionId& session,
                                                              const SessionState& state,
                                                              const SessionStore& store,
                                                              const ToolsetOptions& toolset) {
  const SessionStarted& start = state.started();
  PONDER_TRY(auto workflow, open_started(library, start));
  PONDER_CHECK(workflow->add_tools(was_person_there(start), toolset));
  tell_changed_tools(start, workflow->registry(), toolset);
  PONDER_CHECK(workflow->replay(session, state, store));
  return std::unique_ptr<Workflow>(std::move(workflow));
}

Result<WorkflowVerdict> verify_artefacts(const fs::path& library, const fs::path& dir) {
  asio::thread_pool pool(1);
  auto verification = tools::verify_artefacts(library, dir, pool.get_executor());
  pool.join();
  if (!verification) return tl::unexpected<Error>(verification.error());
  WorkflowVerdict verdict;
  verdict.is_solved = verification->is_ok;
  verdict.has_answer = true;
  verdict.detail =
      verification->is_ok
          ? "every constraint holds"
          : (verification->violations.empty() ? "refused" : verification->violations.front());
  verdict.report = std::move(verification->json);
  return verdict;
}

}  // namespace ponder::runtime
