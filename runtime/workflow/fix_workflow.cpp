#include "runtime/workflow/fix_workflow.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>
#include <utility>

#include "base/json_problem.h"
#include "context/message_json.h"
#include "runtime/json_field.h"
#include "runtime/whole_file.h"
#include "runtime/workflow/protections.h"
#include "tools/code/code_tools.h"
#include "tools/code/try_lines.h"
#include "tools/files/file_tools.h"
#include "tools/fix/fix_judge.h"
#include "tools/fix/fix_report.h"
#include "tools/fix/fix_tasks.h"
#include "tools/fix/test_files.h"
#include "tools/process/sandbox_support.h"
#include "tools/registry.h"

namespace ponder::runtime {
namespace asio = boost::asio;
namespace fs = std::filesystem;
namespace {

using nlohmann::json;

constexpr std::size_t kFailuresNamedMax = 10;

constexpr const char* kInstructions =
    "You fix a bug in the project in the current folder. Run the tests, read the code that the "
    "failing ones use, find the line that is wrong and make the smallest change that mends it. "
    "Changes of tests and of how they are run are undone. When the tests pass, say in a few words "
    "what was wrong.";
constexpr const char* kReproduceInstructions =
    "You fix a bug in the project in the current folder. All of its tests pass, so first add a "
    "new file of tests that shows the bug, and see it fail. Then find the line that is wrong and "
    "make the smallest change that mends it. Changes of existing tests and of how they are run are "
    "undone. When all tests pass, say in a few words what was wrong.";

std::string dump(const json& value, int indent) {
  return value.dump(indent, ' ', false, json::error_handler_t::replace);
}

/// What the log keeps of a session: enough to go on with it.
struct FixSession {
  tools::FixTask task;
  std::string issue;
  std::string kind = "free";
  std::string instructions;  // of an environment; empty: ours
  fs::path directory;
};

json to_json(const FixSession& session, const std::string& request) {
  Protections protections;
  protections.add_own(session.task.run.isolation);
  json readable = json::array();
  for (const fs::path& path : session.task.run.readable) readable.push_back(path.string());
  return {{"folder", session.task.folder.string()},
          {"test_command", session.task.test_command},
          {"sandbox", tools::isolation_name(session.task.run.isolation)},
          {"readable", std::move(readable)},
          {"protects", session.task.protects},
          {"seconds", session.task.run.seconds_max.count()},
          {"repeats", session.task.repeats},
          {"exercise", session.task.is_exercise},
          {"issue", session.issue},
          {"kind", session.kind},
          {"instructions", session.instructions},
          {"request", request},
          {"directory", session.directory.string()},
          {"protections", protections.lines()}};
}

Result<FixSession> from_json(const std::string& text) {
  const json logged = json::parse(text, nullptr, /*allow_exceptions=*/false);
  FixSession out;
  try {
    out.task.folder = field<std::string>(logged, "folder");
    out.task.test_command = field<std::string>(logged, "test_command");
    const auto isolation = tools::parse_isolation(field<std::string>(logged, "sandbox"));
    if (!isolation) return tl::unexpected<Error>(isolation.error());
    out.task.run.isolation = *isolation;
    for (const json& path : logged.at("readable")) {
      out.task.run.readable.emplace_back(path.get<std::string>());
    }
    out.task.protects = field<std::vector<std::string>>(logged, "protects");
    out.task.run.seconds_max = std::chrono::seconds(field<std::int64_t>(logged, "seconds"));
    out.task.repeats = field<std::uint32_t>(logged, "repeats");
    out.task.is_exercise = field<bool>(logged, "exercise");
    out.issue = field<std::string>(logged, "issue");
    out.kind = field<std::string>(logged, "kind");
    out.instructions = field_or(logged, "instructions", "");
    out.directory = field<std::string>(logged, "directory");
  } catch (const std::exception& e) {
    return fail(Errc::corrupt, fmt::format("the session's environment: {}", json_problem(e)));
  }
  return out;
}

std::string request_of(const tools::FixJudge& judge, const std::string& issue,
                       const tools::Suspects& suspects) {
  std::string out = issue;
  while (out.ends_with('\n')) out.pop_back();
  out += fmt::format("\n\nTests: {}\n", judge.task().test_command);
  const auto failing = judge.before().in_state(tools::TestState::failed);
  for (std::size_t i = 0; i < failing.size() && i < kFailuresNamedMax; ++i) {
    out += fmt::format("fails: {}\n", failing[i]);
  }
  if (failing.size() > kFailuresNamedMax) {
    out += fmt::format("{} tests fail in all\n", failing.size());
  }
  const std::string view = suspects.view();
  if (!view.empty()) out += "\n" + view;
  return out;
}

/// A text that makes the tests go on for ever must not cost as much as the judge allows; nor must
/// one that is right be taken for such because the machine is busy.
tools::TryTimes times_of(const tools::FixJudge& judge) {
  constexpr std::chrono::seconds kLeast{20};
  const auto usual = std::chrono::duration_cast<std::chrono::seconds>(5 * judge.time_before());
  tools::TryTimes times;
  times.try_max = std::min(kLeast + usual, judge.task().run.seconds_max);
  return times;
}

/// Where the failing tests point to in the project as it was given.
Result<tools::Suspects> suspects_of(const tools::FixJudge& judge) {
  const tools::FixTask& task = judge.task();
  const tools::TestFiles files(task.test_command, task.protects);
  PONDER_TRY(const tools::RootedFolder root, tools::RootedFolder::open(task.base()));
  return tools::Suspects::find(
      root, judge.before().in_state(tools::TestState::failed),
      [&files](std::string_view path) { return !files.is_protected(path); });
}

/// The messages in the OpenAI wire form.
Result<std::string> trajectory_of(const SessionState& state) {
  context::Conversation messages = state.history();
  if (state.start) {
    context::Message system;
    system.role = context::Role::system;
    system.content = state.start->instructions;
    system.tools = state.start->tools;
    messages.insert(messages.begin(), std::move(system));
  }
  PONDER_TRY(auto list, context::messages_to_json(messages));
  return context::print_json(context::Json(std::move(list))) + "\n";
}

class FixWorkflow final : public Workflow {
 public:
  static Result<std::unique_ptr<FixWorkflow>> make(FixSession session) {
    PONDER_TRY(auto judge, tools::FixJudge::open(session.task));
    PONDER_TRY(auto suspects, suspects_of(judge));
    const auto shared = std::make_shared<tools::Suspects>(std::move(suspects));
    std::unique_ptr<FixWorkflow> out(
        new FixWorkflow(std::move(session), std::move(judge), *shared));
    tools::CodeProject project;
    project.folder = out->session_.task.work();
    project.test_command = out->session_.task.test_command;
    project.isolation = out->session_.task.run.isolation;
    project.readable = out->session_.task.run.readable;
    const auto pool = out->pool_.get_executor();
    PONDER_CHECK(tools::add_file_tools(out->registry_, project.folder, pool));
    PONDER_CHECK(tools::add_code_tools(out->registry_, project, pool));
    PONDER_CHECK(
        tools::add_try_lines(out->registry_, project, shared, pool, times_of(out->judge_)));
    return out;
  }
  /// The copies of a session that has been judged are of no more use.
  ~FixWorkflow() override {
    pool_.join();
    std::error_code ignored;
    if (report_) fs::remove_all(session_.task.folder, ignored);
  }

  const std::string& name() const override { return name_; }
  const tools::Registry& registry() const override { return registry_; }
  const std::vector<std::string>& grants() const override { return grants_; }
  const std::string& request() const override { return request_; }
  const std::string& task_kind() const override { return session_.kind; }
  const fs::path& directory() const override { return session_.directory; }
  bool is_contained() const override { return true; }
  Status hear(const std::string&) override { return {}; }

  SessionStarted session_start() const override {
    SessionStarted start;
    start.workflow = name_;
    start.instructions = judge_.needs_reproduction() ? kReproduceInstructions : kInstructions;
    if (!session_.instructions.empty()) start.instructions = session_.instructions;
    start.tools = registry_.specs();
    start.environment = dump(to_json(session_, request_), -1);
    return start;
  }

  using Workflow::judge;
  Result<WorkflowVerdict> judge(const SessionState&, std::stop_token stop) override {
    PONDER_TRY(report_, judge_.judge(std::move(stop)));
    WorkflowVerdict verdict;
    verdict.is_solved = report_->is_fixed;
    verdict.has_answer = true;  // a report is there in any case
    verdict.detail = report_->verdict;
    verdict.report = dump(tools::fix_report_json(*report_), -1);
    return verdict;
  }

  Result<std::vector<std::string>> write_artefacts(const fs::path& dir, const SessionId& session,
                                                   const SessionState& state) override;

 private:
  FixWorkflow(FixSession session, tools::FixJudge judge, const tools::Suspects& suspects)
      : session_(std::move(session)),
        judge_(std::move(judge)),
        request_(request_of(judge_, session_.issue, suspects)) {}

  asio::thread_pool pool_{2};  // first: everything else may still use it while it goes
  tools::Registry registry_;
  std::string name_ = kFixWorkflow;
  std::vector<std::string> grants_ = {tools::kReadFiles, tools::kWriteFiles, tools::kRunPrograms};
  FixSession session_;
  tools::FixJudge judge_;
  std::string request_;
  std::optional<tools::FixReport> report_;  // of the latest judgement
};

Result<std::vector<std::string>> FixWorkflow::write_artefacts(const fs::path& dir,
                                                              const SessionId& session,
                                                              const SessionState& state) {
  if (!report_) return fail(Errc::invalid_argument, "the session has not been judged");
  std::error_code error;
  fs::create_directories(dir, error);
  if (error) return fail(Errc::unavailable, fmt::format("{}: {}", dir.string(), error.message()));
  json report = tools::fix_report_json(*report_);
  report["session"] = session.value;
  report["model"] = state.start ? state.start->model : "";
  const std::string& command = session_.task.test_command;
  PONDER_TRY(std::string trajectory, trajectory_of(state));
  std::vector<std::pair<std::string, std::string>> files = {
      {"before.xml", tools::junit_xml(report_->before, "before")},
      {"after.xml", tools::junit_xml(report_->after, "after")},
      {"report.json", dump(report, 2) + "\n"},
      {"report.md", tools::fix_report_markdown(*report_, session_.issue, command)},
      {"trajectory.json", std::move(trajectory)}};
  if (report_->is_fixed) files.emplace_back("fix.patch", report_->patch);
  // A patch of an earlier try must not pass for this one's.
  if (!report_->is_fixed) fs::remove(dir / "fix.patch", error);
  std::vector<std::string> names;
  for (const auto& [name, content] : files) {
    PONDER_CHECK(write_whole_file(dir / name, content));
    names.push_back(name);
  }
  return names;
}

/// The n-th task of a folder of tasks.
Status take_task(FixSession& session, const WorkflowOptions& options) {
  PONDER_TRY(const auto tasks, tools::list_fix_tasks(options.fix.tasks));
  const fs::path& folder = tasks[options.task_seed.value_or(0) % tasks.size()];
  PONDER_TRY(const tools::FixTaskInfo info, tools::read_fix_task(folder));
  session.issue = info.issue;
  if (!info.bug_class.empty()) session.kind = info.bug_class;
  return tools::lay_out_exercise(session.task, info, folder);
}

/// What an environment made.
Status take_made(FixSession& session, const tools::Task& task, std::string instructions) {
  PONDER_TRY(const auto made, tools::generated_fix_task(task.json));
  session.issue = task.text;
  session.kind = task.kind;
  session.instructions = std::move(instructions);
  return tools::lay_out_exercise(session.task, made);
}

Status take_project(FixSession& session, const WorkflowOptions& options) {
  session.task.test_command = options.project.test_command;
  session.task.protects = options.fix.protects;
  session.task.repeats = options.fix.repeats;
  session.issue = options.request;
  if (session.task.test_command.empty()) {
    return fail(Errc::invalid_argument, "no test command: --test");
  }
  return tools::lay_out_project(session.task, options.project.folder);
}

/// Opens a workflow over what `take` lays out in the session's folder.
Result<std::unique_ptr<Workflow>> open_with(const WorkflowOptions& options,
                                            const std::function<Status(FixSession&)>& take) {
  PONDER_CHECK(tools::check_support(tools::sandbox_support(), options.project.isolation));
  FixSession session;
  PONDER_TRY(session.task.folder, tools::make_fix_folder());
  session.directory = options.directory;
  session.task.run.isolation = options.project.isolation;
  session.task.run.readable = options.project.readable;
  const fs::path folder = session.task.folder;
  const Status taken = take(session);
  auto workflow = taken ? FixWorkflow::make(std::move(session))
                        : Result<std::unique_ptr<FixWorkflow>>(tl::unexpected(taken.error()));
  if (workflow) return std::unique_ptr<Workflow>(std::move(*workflow));
  std::error_code ignored;
  fs::remove_all(folder, ignored);
  return tl::unexpected<Error>(workflow.error());
}

}  // namespace

Result<std::unique_ptr<Workflow>> open_fix_workflow(const WorkflowOptions& options) {
  return open_with(options, [&options](FixSession& session) {
    return options.fix.tasks.empty() ? take_project(session, options) : take_task(session, options);
  });
}

Result<std::unique_ptr<Workflow>> open_project_workflow(const WorkflowOptions& options,
                                                        const tools::Task& task,
                                                        const std::string& instructions) {
  return open_with(options, [&task, &instructions](FixSession& session) {
    return take_made(session, task, instructions);
  });
}

Result<std::unique_ptr<Workflow>> reopen_fix_workflow(const SessionStarted& start) {
  PONDER_TRY(FixSession session, from_json(start.environment));
  // The log may be somebody else's, and the folder is thrown away once it is judged.
  const Status is_ours = tools::expect_fix_folder(session.task.folder);
  if (!is_ours && is_ours.error().code != Errc::not_found) {
    return tl::unexpected<Error>(is_ours.error());
  }
  std::error_code error;
  if (!fs::is_directory(session.task.work(), error)) {
    return fail(Errc::not_found, fmt::format("the session's copy of the project is gone ({}): it "
                                             "has been judged, or was removed",
                                             session.task.folder.string()));
  }
  PONDER_TRY(auto workflow, FixWorkflow::make(std::move(session)));
  return std::unique_ptr<Workflow>(std::move(workflow));
}

}  // namespace ponder::runtime
