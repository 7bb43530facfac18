#include "runtime/workflow/protections.h"

#include <fmt/format.h>

#include <algorithm>

#include "tools/code/code_tools.h"
#include "tools/process/sandbox_support.h"
#include "tools/web/pdf_text.h"
#include "tools/web/web_tools.h"

namespace ponder::runtime {
namespace {

/// "exec", or "exec:git".
bool is_program_right(const std::string& capability) {
  const std::string all = tools::kRunPrograms;
  return capability == all || capability.starts_with(all + ":");
}

}  // namespace

void Protections::add_own(tools::Isolation isolation) {
  programs_.push_back(fmt::format("programs: {}", tools::isolation_name(isolation)));
}

void Protections::add_toolset(const tools::Registry& registry, std::size_t first,
                              const ToolsetOptions& toolset) {
  bool has_programs = false;
  bool has_web = false;
  for (std::size_t i = first; i < registry.specs().size(); ++i) {
    const auto& needs = registry.find(registry.specs()[i].name)->capabilities();
    has_programs |= std::any_of(needs.begin(), needs.end(), is_program_right);
    has_web |= std::find(needs.begin(), needs.end(), tools::kWeb) != needs.end();
  }
  if (has_programs) {
    programs_.push_back(fmt::format("programs of tools in Lua files: {}",
                                    tools::isolation_name(toolset.isolation)));
  }
  if (has_web) {
    programs_.push_back(fmt::format("programs that read PDF: {}",
                                    tools::isolation_name(tools::isolation_of_pdf_text())));
  }
  for (const McpServerConfig& server : toolset.config.mcp) {
    if (server.command.empty()) continue;
    const tools::SandboxSupport& support = tools::sandbox_support();
    const bool has_namespace = !support.bubblewrap.empty() && support.namespace_error.empty();
    programs_.push_back(fmt::format("mcp {}: the user's rights, in a {} of its own", server.name,
                                    has_namespace ? "process namespace" : "process group"));
  }
}

std::vector<std::string> Protections::lines() const {
  std::vector<std::string> out = programs_;
  if (out.empty()) return out;
  for (std::string& line : tools::describe(tools::sandbox_support())) {
    out.push_back(std::move(line));
  }
  return out;
}

}  // namespace ponder::runtime
