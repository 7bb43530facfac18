#include "runtime/workflow/shipped_model.h"

#include <boost/asio/thread_pool.hpp>

#include "runtime/workflow/fix_workflow.h"
#include "tools/environment.h"

namespace ponder::runtime {
namespace {

bool fixes_code(const std::string& workflow, const std::filesystem::path& library) {
  if (workflow == kFixWorkflow) return true;
  boost::asio::thread_pool pool(1);
  tools::WorldOptions world;
  world.library = library;
  world.name = workflow;
  const auto environment = tools::Environment::open(world, pool.get_executor());
  return environment && (*environment)->card().is_project;
}

}  // namespace

std::string shipped_model_for(const std::string& workflow, const std::filesystem::path& library) {
  return fixes_code(workflow, library) ? "mini-code" : "mini";
}

}  // namespace ponder::runtime
