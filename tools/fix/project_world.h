#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <optional>
#include <stop_token>
#include <string>

#include "base/result.h"
#include "tools/fix/fix_judge.h"
#include "tools/fix/fix_tasks.h"
#include "tools/registry.h"

namespace ponder::tools {

/// The world of an environment whose tasks are projects: a copy of the task's files that tools work
/// on, and a judge that runs its tests on others. It lies in a folder of ours that goes with it.
///
/// Thread: one at a time; blocks while programs run. Lifetime: `pool` outlives it and its tools.
class ProjectWorld {
 public:
  ProjectWorld(SandboxedRun how, boost::asio::any_io_executor pool);
  ~ProjectWorld();
  ProjectWorld(const ProjectWorld&) = delete;
  ProjectWorld& operator=(const ProjectWorld&) = delete;

  /// Begins a task, given as its JSON, or the same one anew. It is laid out when it is needed: the
  /// methods below fail with `invalid_argument` before begin() and when the task is no project, and
  /// with `unavailable` when this machine cannot keep the sandbox's promises.
  void begin(const std::string& task_json);
  /// Adds the tools of the workflow "code". They are of use until another task begins.
  Status add_tools(Registry& registry);
  /// Runs the tests. `invalid_argument` also when none fails at first; `cancelled` when stopped.
  Result<FixReport> judge(std::stop_token stop = {});
  /// What was done to the copy, as text.
  Result<std::string> dump();

 private:
  void clear();
  Status lay_out();

  SandboxedRun how_;
  boost::asio::any_io_executor pool_;
  std::string task_json_;  // empty: begin() was not called
  FixTask task_;           // without a folder until it was laid out
  bool is_laid_out_ = false;
  std::optional<FixJudge> judge_;  // of the task, once it was asked for
};

}  // namespace ponder::tools
