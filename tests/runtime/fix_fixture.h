#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "runtime/agent/agent.h"
#include "runtime/store/sqlite_session_store.h"
#include "runtime/workflow/fix_workflow.h"
#include "tests/runtime/scripted_steps.h"
#include "tests/runtime/support.h"
#include "tools/process/sandbox_support.h"

namespace ponder::runtime::test {

/// A repository of Python with one bug that one of three tests shows, and with a branch whose
/// commit mends it.
class FixFixture : public ::testing::Test {
 protected:
  static constexpr const char* kWrong =
      "def add(a, b):\n    return a - b\n\n\ndef double(a):\n    return 2 * a\n";
  static constexpr const char* kRight =
      "def add(a, b):\n    return a + b\n\n\ndef double(a):\n    return 2 * a\n";
  static constexpr const char* kTests =
      "import unittest\nimport sys\n\nsys.path.insert(0, '.')\nimport calc\n\n\n"
      "class CalcTest(unittest.TestCase):\n"
      "    def test_add(self):\n        self.assertEqual(calc.add(2, 3), 5)\n\n"
      "    def test_add_nothing(self):\n        self.assertEqual(calc.add(2, 0), 2)\n\n"
      "    def test_double(self):\n        self.assertEqual(calc.double(4), 8)\n\n\n"
      "if __name__ == '__main__':\n    unittest.main()\n";
  static constexpr const char* kCommand = "python3 -m unittest discover -v tests";
  static constexpr const char* kAddTest = "test_add (test_calc.CalcTest.test_add)";

  void SetUp() override {
    const Status status =
        tools::check_support(tools::sandbox_support(), tools::Isolation::isolated);
    if (!status) GTEST_SKIP() << status.error().message;
    store_ = std::move(*SqliteSessionStore::open(dir_.path() / "sessions.db", system_clock()));
    write("tests/test_calc.py", kTests);
    write("calc.py", kRight);
    git("init -q -b main");
    git("add -A");
    git("commit -q -m right");
    git("branch future");
    write("calc.py", kWrong);
    git("commit -q -a --amend -m start");
  }

  void git(const std::string& words) const {
    const std::string command = "git -C " + repo_.path().string() +
                                " -c user.name=t -c user.email=t@t " + words + " >/dev/null";
    ASSERT_EQ(std::system(command.c_str()), 0) << words;
  }
  void write(const std::string& file, const std::string& text) const {
    std::filesystem::create_directories((repo_.path() / file).parent_path());
    std::ofstream(repo_.path() / file) << text;
  }
  static std::string read(const std::filesystem::path& file) {
    std::ifstream in(file);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  std::string artefact(const std::string& name) const { return read(out() / name); }
  std::filesystem::path out() const { return dir_.path() / "out"; }

  WorkflowOptions options() const {
    WorkflowOptions how;
    how.name = kFixWorkflow;
    how.request = "2 + 3 should be 5";
    how.directory = out();
    how.project.folder = repo_.path();
    how.project.test_command = kCommand;
    return how;
  }
  /// Runs a script to its end and judges what it did.
  WorkflowVerdict fix(const WorkflowOptions& how, std::vector<ScriptedStep> script) {
    auto workflow = Workflow::open(how);
    PONDER_ASSERT(workflow.has_value());
    script.push_back(says("Done."));
    ScriptedModel model(std::move(script));
    AgentParts parts(model, (*workflow)->registry(), *store_, system_clock());
    parts.grants = (*workflow)->grants();
    parts.approvals.mode = ApprovalMode::always;
    const auto agent =
        std::move(*test::run(context_, Agent::start(parts, (*workflow)->session_start())));
    const auto end = test::run(context_, agent->run_turn((*workflow)->request()));
    PONDER_ASSERT(end.has_value() && end->reason == TurnEnd::answered);
    results_.clear();
    for (const auto& message : agent->state().history()) {
      if (message.role == context::Role::tool) results_.push_back(message.content);
    }
    auto verdict = (*workflow)->judge(agent->state());
    PONDER_ASSERT(verdict.has_value());
    files_ = *(*workflow)->write_artefacts(how.directory, agent->id(), agent->state());
    return *verdict;
  }
  WorkflowVerdict fix(std::vector<ScriptedStep> script) {
    return fix(options(), std::move(script));
  }

  static ScriptedStep edit(const std::string& path, const std::string& old_text,
                           const std::string& new_text) {
    return calls("edit", {{"path", path}, {"old", old_text}, {"new", new_text}});
  }
  static ScriptedStep write_file(const std::string& path, const std::string& content) {
    return calls("write", {{"path", path}, {"content", content}});
  }
  static ScriptedStep shell(const std::string& command) {
    return calls("shell", {{"command", command}});
  }
  static ScriptedStep right_edit() { return edit("calc.py", "a - b", "a + b"); }

  TempDir dir_{"/var/tmp"};
  TempDir repo_{"/var/tmp"};
  boost::asio::io_context context_;
  std::unique_ptr<SessionStore> store_;
  std::vector<std::string> results_;  // of the script's calls
  std::vector<std::string> files_;    // the artefacts
};

}  // namespace ponder::runtime::test
