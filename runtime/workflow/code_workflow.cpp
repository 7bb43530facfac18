#include "runtime/workflow/code_workflow.h"

#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <stop_token>
#include <system_error>
#include <utility>

#include "base/async/run_blocking.h"
#include "base/json_problem.h"
#include "runtime/json_field.h"
#include "runtime/whole_file.h"
#include "runtime/workflow/open_workflow.h"
#include "tools/code/code_tools.h"
#include "tools/code/uncommitted_changes.h"
#include "tools/files/file_tools.h"

namespace ponder::runtime {
namespace fs = std::filesystem;
namespace {

using nlohmann::json;

constexpr const char* kPatchFile = "changes.patch";
constexpr std::chrono::minutes kJudgeTimeMax{30};
constexpr std::size_t kOutputBytesMax = 16 << 20;

/// The instructions; what follows is the user's own words.
constexpr const char* kInstructions =
    "You work on the project in the current folder. Look before you change: read the files that "
    "matter, search for where a name is used. Make the smallest change that does what is asked, in "
    "the style of the code around it. Do not change tests to make them pass. {}When you are done, "
    "say in a few words what you changed and why.";
constexpr const char* kTestInstructions =
    "Run the tests before and after your change; you are done when they pass. ";

class CodeWorkflow final : public OpenWorkflow {
 public:
  static Result<std::unique_ptr<CodeWorkflow>> make(tools::CodeProject project, std::string request,
                                                    fs::path directory, bool has_person,
                                                    const ToolsetOptions& toolset) {
    std::error_code error;
    project.folder = fs::canonical(project.folder, error);
    if (error) {
      return fail(Errc::not_found, fmt::format("{}: {}", project.folder.string(), error.message()));
    }
    std::unique_ptr<CodeWorkflow> out(
        new CodeWorkflow(std::move(project), std::move(request), std::move(directory)));
    const auto pool = out->pool_.get_executor();
    PONDER_CHECK(tools::add_file_tools(out->registry_, out->project_.folder, pool));
    PONDER_CHECK(tools::add_code_tools(out->registry_, out->project_, pool));
    PONDER_CHECK(out->add_common_tools(has_person, toolset));
    return out;
  }

  /// `invalid_argument` where git could not say in the end what was changed.
  Status expect_repository();

  SessionStarted session_start() const override;
  using Workflow::judge;
  Result<WorkflowVerdict> judge(const SessionState& state, std::stop_token stop) override;
  Result<std::vector<std::string>> write_artefacts(const fs::path& dir, const SessionId& session,
                                                   const SessionState& state) override;

 private:
  CodeWorkflow(tools::CodeProject project, std::string request, fs::path directory)
      : OpenWorkflow(kCodeWorkflow, std::move(request), std::move(directory)),
        project_(std::move(project)) {
    grants_ = {tools::kReadFiles, tools::kWriteFiles, tools::kRunPrograms};
    protections_.add_own(project_.isolation);
  }
  /// What one of our own tools gives; blocks. `cancelled` when it was stopped.
  Result<tools::ToolOutput> use(const char* tool, const std::string& arguments,
                                std::stop_token stop);

  tools::CodeProject project_;
};

SessionStarted CodeWorkflow::session_start() const {
  SessionStarted start;
  start.workflow = name();
  const bool has_tests = !project_.test_command.empty();
  start.instructions = fmt::format(kInstructions, has_tests ? kTestInstructions : "");
  start.tools = registry_.specs();
  const json environment = {{"folder", project_.folder.string()},
                            {"test_command", project_.test_command},
                            {"test_reports", project_.test_reports},
                            {"sandbox", tools::isolation_name(project_.isolation)},
                            {"request", request()},
                            {"directory", directory().string()},
                            {"protections", protections_.lines()}};
  start.environment = environment.dump(-1, ' ', false, json::error_handler_t::replace);
  return start;
}

Result<tools::ToolOutput> CodeWorkflow::use(const char* name, const std::string& arguments,
                                            std::stop_token stop) {
  const Clock& clock = system_clock();
  const tools::ToolContext context(clock, Deadline::after(clock, kJudgeTimeMax), kOutputBytesMax);
  auto result = run_blocking(registry_.find(name)->invoke(arguments, context), stop);
  if (stop.stop_requested()) return fail(Errc::cancelled, fmt::format("{} was stopped", name));
  return result;
}

Status CodeWorkflow::expect_repository() {
  PONDER_TRY(const tools::ToolOutput diff, use("git_diff", R"({"path":".git"})", {}));
  if (!diff.content.starts_with(tools::kNoRepository)) return {};
  return fail(Errc::invalid_argument,
              fmt::format("{} is not in a git repository, by which {} in {} would be made: `git "
                          "init` and a commit make it one",
                          project_.folder.string(), kPatchFile, directory().string()));
}

Result<WorkflowVerdict> CodeWorkflow::judge(const SessionState&, std::stop_token stop) {
  WorkflowVerdict verdict;
  verdict.has_answer = true;
  verdict.report = "{}";
  if (project_.test_command.empty()) {
    verdict.is_solved = true;
    verdict.is_checked = false;
    verdict.detail = "there is no test command (--test)";
    return verdict;
  }
  PONDER_TRY(const tools::ToolOutput tests, use("run_tests", "{}", std::move(stop)));
  const std::string summary = tests.content.substr(0, tests.content.find('\n'));
  verdict.is_solved = !tests.is_error && tests.content.ends_with("[exit code 0]\n");
  verdict.detail = fmt::format("{}: {}", project_.test_command, summary);
  verdict.report =
      json({{"tests", tests.content}}).dump(-1, ' ', false, json::error_handler_t::replace);
  return verdict;
}

Result<std::vector<std::string>> CodeWorkflow::write_artefacts(const fs::path& dir,
                                                               const SessionId&,
                                                               const SessionState&) {
  std::error_code error;
  fs::create_directories(dir, error);
  if (error) return fail(Errc::unavailable, fmt::format("{}: {}", dir.string(), error.message()));
  const Status has_repository = expect_repository();
  if (!has_repository && has_repository.error().code == Errc::invalid_argument) {
    // It was in one as the work began. The turn has its verdict all the same.
    PONDER_CHECK(write_whole_file(dir / kPatchFile, fmt::format("# {}\n", tools::kNoRepository)));
    return std::vector<std::string>{kPatchFile};
  }
  PONDER_CHECK(has_repository);
  PONDER_TRY(const std::string patch,
             tools::uncommitted_changes(project_, pool_.get_executor(), dir));
  PONDER_CHECK(write_whole_file(dir / kPatchFile, patch));
  return std::vector<std::string>{kPatchFile};
}

}  // namespace

Result<std::unique_ptr<Workflow>> open_code_workflow(const WorkflowOptions& options) {
  PONDER_TRY(auto workflow, CodeWorkflow::make(options.project, options.request, options.directory,
                                               options.has_person, options.toolset));
  if (!options.directory.empty()) {
    PONDER_CHECK(workflow->expect_repository());
  }
  return std::unique_ptr<Workflow>(std::move(workflow));
}

Result<std::unique_ptr<Workflow>> reopen_code_workflow(const SessionStarted& start,
                                                       const ToolsetOptions& toolset) {
  const json logged = json::parse(start.environment, nullptr, /*allow_exceptions=*/false);
  tools::CodeProject project;
  std::string request;
  std::string directory;
  try {
    project.folder = field<std::string>(logged, "folder");
    project.test_command = field<std::string>(logged, "test_command");
    project.test_reports = field_or(logged, "test_reports", "");
    PONDER_TRY(project.isolation, tools::parse_isolation(field<std::string>(logged, "sandbox")));
    request = field<std::string>(logged, "request");
    directory = field<std::string>(logged, "directory");
  } catch (const std::exception& e) {
    return fail(Errc::corrupt, fmt::format("the session's environment: {}", json_problem(e)));
  }
  PONDER_TRY(auto workflow,
             CodeWorkflow::make(std::move(project), std::move(request), std::move(directory),
                                was_person_there(start), toolset));
  tell_changed_tools(start, workflow->registry(), toolset);
  return std::unique_ptr<Workflow>(std::move(workflow));
}

}  // namespace ponder::runtime
