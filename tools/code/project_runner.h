#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "tools/code/code_tools.h"
#include "tools/code/test_environment.h"
#include "tools/process/run_process.h"

namespace ponder::tools {

/// Runs programs in one project, in a sandbox without a network. A `.git` that a program makes is
/// removed: git would run what it names.
///
/// Thread: any; calls share nothing. Lifetime: `pool` outlives the runs.
class ProjectRunner {
 public:
  /// `unavailable` when this machine cannot keep the sandbox's promises, `not_found` without the
  /// folder.
  static Result<ProjectRunner> open(CodeProject project, boost::asio::any_io_executor pool);

  const CodeProject& project() const { return project_; }
  const boost::asio::any_io_executor& pool() const { return pool_; }

  /// `note` gets what the model is to know beside the result. `environment` is
  /// project_environment() or, for tests, test_environment(). Fails as run_process does.
  boost::asio::awaitable<Result<ProcessResult>> run(std::vector<std::string> argv,
                                                    Variables environment, Deadline deadline,
                                                    std::string* note) const;
  /// The same for a request whose folder is filled in.
  boost::asio::awaitable<Result<ProcessResult>> run(ProcessRequest request, Deadline deadline,
                                                    std::string* note) const;

 private:
  ProjectRunner(CodeProject project, boost::asio::any_io_executor pool)
      : project_(std::move(project)), pool_(std::move(pool)) {}

  CodeProject project_;
  boost::asio::any_io_executor pool_;
};

}  // namespace ponder::tools
