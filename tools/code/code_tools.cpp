#include "tools/code/code_tools.h"

#include <fmt/format.h>

#include <memory>
#include <utility>

#include "base/async/offload.h"
#include "tools/code/junit_report.h"
#include "tools/code/project_runner.h"
#include "tools/code/test_report.h"
#include "tools/detail/native_tool.h"
#include "tools/process/run_process.h"

namespace ponder::tools {
namespace {

namespace asio = boost::asio;

constexpr std::size_t kFailuresShownMax = 50;
constexpr std::chrono::seconds kSecondsDefault{120};
// `git diff` outside of a repository compares two files, and ends so, with its usage, without them.
constexpr int kGitUsage = 129;

/// What ended, and how, in the words that the model reads.
std::string describe(const ProcessResult& result) {
  std::string out = result.standard_output.text;
  if (!result.standard_error.text.empty()) {
    if (!out.empty() && !out.ends_with('\n')) out += '\n';
    out += "[standard error]\n" + result.standard_error.text;
  }
  if (!out.empty() && !out.ends_with('\n')) out += '\n';
  if (result.signal != 0) return out + fmt::format("[ended by signal {}]\n", result.signal);
  return out + fmt::format("[exit code {}]\n", result.exit_code);
}

std::string describe_tests(const TestReport& report, const std::vector<std::string>& problems,
                           const ProcessResult& result) {
  std::string out = fmt::format(
      "{} passed, {} failed, {} skipped ({})\n", report.count(TestOutcome::State::passed),
      report.count(TestOutcome::State::failed), report.count(TestOutcome::State::skipped),
      report.runner.empty() ? "no test runner's output was recognised" : report.runner);
  std::size_t shown = 0;
  for (const TestOutcome& test : report.tests) {
    if (test.state != TestOutcome::State::failed || ++shown > kFailuresShownMax) continue;
    out += fmt::format("failed: {}{}{}\n", test.name, test.detail.empty() ? "" : ": ", test.detail);
  }
  if (shown > kFailuresShownMax) out += fmt::format("[{} failed tests in all]\n", shown);
  for (const std::string& problem : problems) out += fmt::format("[{}]\n", problem);
  return out + describe(result);
}

/// A tool that runs one program; derived ones say which, and how the result reads.
class ProgramTool : public Tool {
 public:
  ProgramTool(ToolCard card, std::shared_ptr<const ProjectRunner> runner)
      : card_(std::move(card)), runner_(std::move(runner)) {}

  const context::ToolSpec& spec() const override { return card_.spec; }
  Effect effect() const override { return card_.effect; }
  const std::vector<std::string>& capabilities() const override { return card_.capabilities; }
  bool limits_its_time() const override { return true; }  // by the call's own "seconds"

  asio::awaitable<Result<ToolOutput>> invoke(std::string arguments, ToolContext context) override {
    const auto parsed = parse_json(arguments);
    if (!parsed) co_return error_output(parsed.error().message);
    const std::chrono::seconds seconds(parsed->value("seconds", kSecondsDefault.count()));
    const Deadline own = Deadline::after(*context.clock, seconds);
    const Deadline deadline = Deadline::earlier(own, context.deadline);
    std::string note;
    auto look = [this] { return reports(); };
    const auto before = co_await offload(runner_->pool(), look);
    auto argv = command(*parsed);
    auto variables = environment();
    auto result = co_await runner_->run(std::move(argv), std::move(variables), deadline, &note);
    if (!result && result.error().code == Errc::deadline &&
        !context.deadline.passed(*context.clock)) {
      co_return error_output(
          fmt::format("killed after {} s; \"seconds\" gives it longer", seconds.count()));
    }
    Result<std::string> text = tl::unexpected<Error>(Error(Errc::internal, ""));
    if (result) {
      auto describe_it = [this, &result, &before] { return read(*result, before); };
      auto said = co_await offload(runner_->pool(), describe_it);
      text = std::move(said) + note;
    } else {
      text = tl::unexpected<Error>(result.error());
    }
    auto output = output_of(std::move(text), context.output_kept_max);
    co_return output;
  }

 protected:
  const CodeProject& project() const { return runner_->project(); }

 private:
  virtual std::vector<std::string> command(const Json& arguments) const = 0;
  virtual Variables environment() const { return project_environment(); }
  /// What lies there before it runs. Blocks, as read() does.
  virtual std::vector<ReportFile> reports() const { return {}; }
  virtual std::string read(const ProcessResult& result,
                           const std::vector<ReportFile>& /*before*/) const {
    return describe(result);
  }

  ToolCard card_;
  std::shared_ptr<const ProjectRunner> runner_;  // shared by the tools of a project
};

class ShellTool final : public ProgramTool {
 public:
  using ProgramTool::ProgramTool;

 private:
  std::vector<std::string> command(const Json& arguments) const override {
    return {"/bin/sh", "-c", arguments.at("command").get<std::string>()};
  }
};

class TestTool final : public ProgramTool {
 public:
  using ProgramTool::ProgramTool;

 private:
  std::vector<std::string> command(const Json& arguments) const override {
    std::vector<std::string> argv = {"/bin/sh", "-c", project().test_command + " \"$@\"", "sh"};
    for (const Json& word : arguments.value("arguments", Json::array())) {
      argv.push_back(word.get<std::string>());
    }
    return argv;
  }
  Variables environment() const override { return test_environment(); }
  std::vector<ReportFile> reports() const override {
    if (project().test_reports.empty()) return {};
    const auto folder = RootedFolder::open(project().folder);
    if (!folder) return {};
    auto found = find_reports(*folder, project().test_reports);
    return found ? std::move(*found) : std::vector<ReportFile>();
  }
  std::string read(const ProcessResult& result,
                   const std::vector<ReportFile>& before) const override {
    std::vector<std::string> problems;
    TestReport report = written_report(before, problems);
    if (report.tests.empty()) {
      report = read_test_output(result.standard_output.text + "\n" + result.standard_error.text);
    }
    return describe_tests(report, problems, result);
  }
  TestReport written_report(const std::vector<ReportFile>& before,
                            std::vector<std::string>& problems) const {
    if (project().test_reports.empty()) return {};
    const auto folder = RootedFolder::open(project().folder);
    if (folder) return read_reports(*folder, project().test_reports, before, problems);
    problems.push_back(folder.error().message);
    return {};
  }
};

class DiffTool final : public ProgramTool {
 public:
  using ProgramTool::ProgramTool;

 private:
  /// Of what the repository's configuration and attributes name, filters alone are run, as by git
  /// itself: inside the sandbox.
  std::vector<std::string> command(const Json& arguments) const override {
    std::vector<std::string> argv = {"git",
                                     "-c",
                                     "core.fsmonitor=false",
                                     "-c",
                                     "safe.directory=*",
                                     "--no-pager",
                                     "diff",
                                     "--no-ext-diff",
                                     "--no-textconv",
                                     "--no-color"};
    const std::string path = arguments.value("path", "");
    if (!path.empty()) argv.insert(argv.end(), {"--", path});
    return argv;
  }
  std::string read(const ProcessResult& result, const std::vector<ReportFile>&) const override {
    if (result.exit_code != kGitUsage || result.signal != 0) return describe(result);
    return fmt::format("{}: there is nothing to compare with\n[exit code {}]\n", kNoRepository,
                       kGitUsage);
  }
};

ToolCard card(const char* name, std::string description, const char* parameters, Effect effect) {
  ToolCard out;
  out.spec = {name, std::move(description), parameters};
  out.effect = effect;
  out.capabilities = {kRunPrograms};
  return out;
}

ToolCard shell_card() {
  return card(
      "shell",
      "Runs a command with sh in the project's folder, in a sandbox without a network. Gives "
      "its output and its exit code. Nothing goes on running afterwards.",
      R"({"type":"object","properties":{"command":{"type":"string"},)"
      R"("seconds":{"type":"integer","minimum":1,"maximum":3600,"description":"default 120"}},)"
      R"("required":["command"],"additionalProperties":false})",
      Effect::compensable);
}

ToolCard test_card(const std::string& command) {
  return card(
      "run_tests",
      fmt::format("Runs the project's tests ({}); says which failed, then the output.", command),
      R"({"type":"object","properties":{)"
      R"("arguments":{"type":"array","items":{"type":"string"},"maxItems":50,)"
      R"("description":"added to the command, such as a filter"},)"
      R"("seconds":{"type":"integer","minimum":1,"maximum":3600,"description":"default 120"}},)"
      R"("additionalProperties":false})",
      Effect::idempotent);
}

ToolCard diff_card() {
  return card("git_diff", "Shows what has been changed since the last commit and is not staged.",
              R"({"type":"object","properties":{"path":{"type":"string"}},)"
              R"("additionalProperties":false})",
              Effect::pure);
}

}  // namespace

Status add_code_tools(Registry& registry, const CodeProject& project, asio::any_io_executor pool) {
  PONDER_TRY(ProjectRunner opened, ProjectRunner::open(project, std::move(pool)));
  const auto runner = std::make_shared<const ProjectRunner>(std::move(opened));
  PONDER_CHECK(registry.add(std::make_unique<ShellTool>(shell_card(), runner)));
  PONDER_CHECK(registry.add(std::make_unique<DiffTool>(diff_card(), runner)));
  if (project.test_command.empty()) return {};
  return registry.add(std::make_unique<TestTool>(test_card(project.test_command), runner));
}

}  // namespace ponder::tools
