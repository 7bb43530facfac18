#include "runtime/environment_workflow.h"

#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>
#include <utility>

#include "runtime/call_gate.h"
#include "runtime/whole_file.h"
#include "tools/environment.h"
#include "tools/registry.h"

namespace ponder::runtime {
namespace asio = boost::asio;
namespace fs = std::filesystem;
namespace {

using nlohmann::json;

constexpr const char* kSessionFile = "session.json";
constexpr std::chrono::milliseconds kReplayMsMax{60'000};
constexpr std::size_t kReplayBytesMax = 1 << 20;

std::string dump(const json& value, int indent) {
  return value.dump(indent, ' ', false, json::error_handler_t::replace);
}

/// Runs a call for what it changes; its answer is in the log already, so failures repeat silently.
asio::awaitable<void> run_again(tools::Tool* tool, std::string arguments,
                                tools::ToolContext limits) {
  const auto ignored = co_await tool->invoke(std::move(arguments), limits);
  (void)ignored;
}

/// A workflow over an environment written in Lua.
class EnvironmentWorkflow final : public Workflow {
 public:
  static Result<std::unique_ptr<EnvironmentWorkflow>> make(tools::WorldOptions world) {
    std::unique_ptr<EnvironmentWorkflow> out(new EnvironmentWorkflow);
    PONDER_TRY(out->environment_, tools::Environment::open(world, out->pool_.get_executor()));
    PONDER_CHECK(out->environment_->add_tools(out->registry_));
    out->name_ = world.name;
    return out;
  }
  ~EnvironmentWorkflow() override { pool_.join(); }

  Status begin(const tools::Task& task, std::string kind) {
    PONDER_CHECK(environment_->begin(task));
    task_ = task;
    task_kind_ = std::move(kind);
    return {};
  }
  Status begin_generated(std::uint64_t seed) {
    PONDER_TRY(const tools::Task task, environment_->task(seed));
    request_ = task.text;
    return begin(task, task.kind);
  }
  Status begin_request(const std::string& words) {
    request_ = words;
    if (words.empty()) return {};
    PONDER_TRY(const tools::Task task, environment_->task_from_text(words));
    return begin(task, "free");
  }
  Status begin_logged(const json& logged) {
    request_ = logged.value("request", "");
    directory_ = logged.value("directory", "");
    const std::string task_json = logged.value("task", "");
    if (task_json.empty()) return {};
    PONDER_TRY(const tools::Task task, environment_->task_from_json(task_json));
    return begin(task, logged.value("kind", "free"));
  }
  /// Of a session that a person began, all of it; of a sub-agent what comes after its task.
  Status replay(const SessionId& session, const SessionState& state, const SessionStore& store,
                std::int64_t task_seq = 0);

  const std::string& name() const override { return name_; }
  const tools::Registry& registry() const override { return registry_; }
  const std::vector<std::string>& grants() const override { return grants_; }
  const std::string& request() const override { return request_; }
  const std::string& task_kind() const override { return task_kind_; }
  const fs::path& directory() const override { return directory_; }
  void set_directory(fs::path directory) { directory_ = std::move(directory); }
  SessionStarted session_start() const override;
  Status hear(const std::string& user_text) override;
  Result<WorkflowVerdict> judge(const SessionState& state) override;
  Result<std::vector<std::string>> write_artefacts(const fs::path& dir, const SessionId& session,
                                                   const SessionState& state) override;

 private:
  EnvironmentWorkflow() = default;
  Status replay_call(const context::ToolCall& call, std::string key);
  Status replay_sub_agents(const SessionState& state, std::int64_t completion_seq,
                           std::size_t call_index, const SessionStore& store);

  asio::thread_pool pool_{1};  // first: everything else may still use it while it goes
  tools::Registry registry_;
  std::unique_ptr<tools::Environment> environment_;
  std::string name_;
  // Environments only reach their own database, which the world is made of.
  std::vector<std::string> grants_ = {"sql"};
  std::string request_;
  std::string task_kind_ = "free";
  fs::path directory_;
  std::optional<tools::Task> task_;
};

SessionStarted EnvironmentWorkflow::session_start() const {
  SessionStarted start;
  start.workflow = name_;
  start.instructions = environment_->instructions();
  start.tools = registry_.specs();
  const tools::WorldOptions& world = environment_->world();
  start.environment = dump({{"world_seed", world.seed},
                            {"size", world.size},
                            {"kind", task_kind_},
                            {"request", request_},
                            {"task", task_ ? task_->json : ""},
                            {"directory", directory_.string()}},
                           -1);
  return start;
}

Status EnvironmentWorkflow::hear(const std::string& user_text) {
  const auto task = environment_->task_from_text(user_text);
  if (!task) return {};  // not a task: a question or small talk
  return begin(*task, "free");
}

Status EnvironmentWorkflow::replay(const SessionId& session, const SessionState& state,
                                   const SessionStore& store, std::int64_t task_seq) {
  bool is_first = true;
  const context::Conversation history = state.history();
  const std::vector<std::int64_t> origins = state.history_origins();
  for (std::size_t i = 0; i < history.size(); ++i) {
    if (origins[i] <= task_seq) continue;
    const context::Message& message = history[i];
    // The first message stated the task that the log holds; a sub-agent hears nobody.
    const bool is_new_word =
        message.role == context::Role::user && task_seq == 0 && !std::exchange(is_first, false);
    if (is_new_word) {
      PONDER_CHECK(hear(message.content));
    }
    for (std::size_t k = 0; k < message.tool_calls.size(); ++k) {
      PONDER_CHECK(replay_call(message.tool_calls[k], idempotency_key(session, origins[i], k)));
      PONDER_CHECK(replay_sub_agents(state, origins[i], k, store));
    }
  }
  return {};
}

Status EnvironmentWorkflow::replay_sub_agents(const SessionState& state,
                                              std::int64_t completion_seq, std::size_t call_index,
                                              const SessionStore& store) {
  for (const SubAgentState& one : state.sub_agents) {
    const bool is_of_call =
        one.completion_seq == completion_seq && one.started.call_index == call_index;
    if (!is_of_call) continue;
    const SessionId child{one.started.child};
    const auto records = store.load(child);
    if (!records) continue;  // it had not begun
    const SessionState below = fold(*records);
    PONDER_CHECK(replay(child, below, store, below.task_seq));
  }
  return {};
}

Status EnvironmentWorkflow::replay_call(const context::ToolCall& call, std::string key) {
  const auto admitted = registry_.admit(call, grants_);
  tools::Tool* const* tool = std::get_if<tools::Tool*>(&admitted);
  if (tool == nullptr || (*tool)->effect() != tools::Effect::idempotent) return {};
  asio::io_context context;
  const Clock& clock = system_clock();
  tools::ToolContext limits(clock, Deadline::after(clock, kReplayMsMax), kReplayBytesMax);
  limits.idempotency_key = std::move(key);
  std::exception_ptr error;
  asio::co_spawn(context, run_again(*tool, call.arguments, limits),
                 [&error](std::exception_ptr e) { error = std::move(e); });
  context.run();
  if (error) return fail(Errc::internal, fmt::format("{} failed when replayed", call.name));
  return {};
}

Result<WorkflowVerdict> EnvironmentWorkflow::judge(const SessionState&) {
  WorkflowVerdict verdict;
  if (!task_) {
    verdict.detail = "nothing was asked for that could be verified";
    verdict.report = "{}";
    return verdict;
  }
  PONDER_TRY(tools::Judgement judgement, environment_->judge());
  verdict.is_solved = judgement.is_solved;
  verdict.has_plan = judgement.is_submitted;
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
    world.seed = logged.at("world_seed").get<std::uint64_t>();
    world.size = logged.at("size").get<std::string>();
    PONDER_TRY(auto workflow, EnvironmentWorkflow::make(std::move(world)));
    PONDER_CHECK(workflow->begin_logged(logged));
    return workflow;
  } catch (const json::exception& e) {
    return fail(Errc::corrupt, fmt::format("the session's environment: {}", e.what()));
  }
}

}  // namespace

Result<std::unique_ptr<Workflow>> open_environment_workflow(const WorkflowOptions& options) {
  tools::WorldOptions world;
  world.library = options.library;
  world.name = options.name;
  world.seed = options.world_seed;
  world.size = options.size;
  PONDER_TRY(auto workflow, EnvironmentWorkflow::make(std::move(world)));
  workflow->set_directory(options.directory);
  if (options.task_seed) {
    PONDER_CHECK(workflow->begin_generated(*options.task_seed));
  } else {
    PONDER_CHECK(workflow->begin_request(options.request));
  }
  return std::unique_ptr<Workflow>(std::move(workflow));
}

Result<std::unique_ptr<Workflow>> reopen_environment_workflow(const fs::path& library,
                                                              const SessionId& session,
                                                              const SessionState& state,
                                                              const SessionStore& store) {
  PONDER_TRY(auto workflow, open_started(library, *state.start));
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
  verdict.has_plan = true;
  verdict.detail =
      verification->is_ok
          ? "every constraint holds"
          : (verification->violations.empty() ? "refused" : verification->violations.front());
  verdict.report = std::move(verification->json);
  return verdict;
}

}  // namespace ponder::runtime
