#pragma once

#include <boost/asio/thread_pool.hpp>
#include <cstddef>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "runtime/workflow/protections.h"
#include "runtime/workflow/toolset.h"
#include "runtime/workflow/workflow.h"
#include "tools/registry.h"
#include "tools/session/session_tools.h"

namespace ponder::runtime {

/// What the workflows have in common that have no tasks of their own: the person's words are the
/// request, and the person may add tools.
class OpenWorkflow : public Workflow {
 public:
  ~OpenWorkflow() override { pool_.join(); }
  const std::string& name() const override { return name_; }
  const tools::Registry& registry() const override { return registry_; }
  const std::vector<std::string>& grants() const override { return grants_; }
  const std::string& request() const override { return request_; }
  const std::string& task_kind() const override { return task_kind_; }
  const std::filesystem::path& directory() const override { return directory_; }
  Status hear(const std::string&) override { return {}; }

 protected:
  OpenWorkflow(std::string name, std::string request, std::filesystem::path directory)
      : name_(std::move(name)), request_(std::move(request)), directory_(std::move(directory)) {}

  /// Adds `todo`, `ask_user` with a person, and what the person adds; and the grants for it.
  Status add_common_tools(bool has_person, const ToolsetOptions& toolset) {
    tools::SessionToolOptions session;
    session.has_person = has_person;
    PONDER_CHECK(tools::add_session_tools(registry_, session));
    const std::size_t num_before = registry_.specs().size();
    PONDER_TRY(const auto added,
               add_toolset(registry_, toolset, system_clock(), pool_.get_executor()));
    grants_.insert(grants_.end(), added.begin(), added.end());
    protections_.add_toolset(registry_, num_before, toolset);
    return {};
  }

  boost::asio::thread_pool pool_{2};  // first: everything else may still use it while it goes
  tools::Registry registry_;
  std::vector<std::string> grants_;
  Protections protections_;  // for the log

 private:
  std::string name_;
  std::string task_kind_ = "free";
  std::string request_;
  std::filesystem::path directory_;
};

}  // namespace ponder::runtime
