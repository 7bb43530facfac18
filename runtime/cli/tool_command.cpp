#include "runtime/cli/tool_command.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <fstream>
#include <map>
#include <optional>
#include <utility>
#include <variant>

#include "base/clock.h"
#include "runtime/cli/compose.h"
#include "runtime/cli/terminal.h"
#include "runtime/cli/terminal_services.h"
#include "runtime/cli/tool_template.h"
#include "runtime/session/event.h"
#include "tools/registry.h"
#include "tools/script/grants.h"
#include "tools/script/lua_tools.h"
#include "tools/script/tool_trial.h"

namespace ponder::cli {
namespace {

namespace asio = boost::asio;

constexpr std::size_t kOutputBytesMax = 1 << 20;

/// The secrets of `--secret NAME=FILE`.
Result<std::map<std::string, std::string>> read_secrets(const std::vector<std::string>& options) {
  std::map<std::string, std::string> out;
  for (const std::string& option : options) {
    const std::size_t equals = option.find('=');
    if (equals == std::string::npos || equals == 0) {
      return fail(Errc::invalid_argument, fmt::format("--secret {}: NAME=FILE is meant", option));
    }
    const std::string file = option.substr(equals + 1);
    std::ifstream in(file);
    std::string value;
    if (!std::getline(in, value) || value.empty()) {
      return fail(Errc::not_found, fmt::format("--secret {}: {} has no first line", option, file));
    }
    out[option.substr(0, equals)] = value;
  }
  return out;
}

/// One call, at the end of which the exit status is known.
class OneCall {
 public:
  OneCall(const tools::Registry& registry, std::vector<std::string> capabilities)
      : registry_(registry), capabilities_(std::move(capabilities)) {}

  asio::awaitable<int> run(context::ToolCall call) {
    const auto admitted = registry_.admit(call, capabilities_);
    if (const auto* refusal = std::get_if<tools::Refusal>(&admitted)) {
      const bool has_no_arguments = call.arguments == "{}";
      const bool is_about_them = refusal->message.find("parameter") != std::string::npos;
      co_return complain(refusal->message + (has_no_arguments && is_about_them
                                                 ? "; arguments go with --args '{\"NAME\": ...}'"
                                                 : ""));
    }
    tools::ToolContext context(system_clock(), Deadline::never(), kOutputBytesMax);
    context.services = &services_;
    tools::Tool* tool = std::get<tools::Tool*>(admitted);
    auto output = co_await tool->invoke(std::move(call.arguments), std::move(context));
    if (!output) co_return complain(output.error().message);
    fmt::print("{}\n", printable(output->content));
    co_return output->is_error ? 1 : 0;
  }

 private:
  const tools::Registry& registry_;
  std::vector<std::string> capabilities_;
  TerminalServices services_;
};

}  // namespace

int tool_new(const ToolNewOptions& options) {
  const Status status = tools::check_tool_name(options.name);
  if (!status) return complain(status.error().message);
  const std::filesystem::path file = options.folder / (options.name + ".lua");
  if (std::filesystem::exists(file)) {
    return complain(fmt::format("{} is there already", file.string()));
  }
  std::ofstream out(file, std::ios::binary);
  out << tool_template(options.name);
  out.close();
  if (!out) return complain(fmt::format("{}: cannot be written", file.string()));
  fmt::print("wrote {}; next: ponder tool test {}\n", file.string(), file.string());
  return 0;
}

int tool_check(const std::filesystem::path& file) {
  const auto check = tools::check_tool_file(file, system_clock());
  if (!check) return complain(check.error().message);
  for (const std::string& fault : check->faults) fmt::print(stderr, "{}\n", printable(fault));
  if (!check->card) return 1;
  const auto& card = *check->card;
  fmt::print(
      "{}: {}; needs {}; {} examples\n", card.spec.name, runtime::effect_name(card.effect),
      card.capabilities.empty() ? "nothing" : fmt::format("{}", fmt::join(card.capabilities, ", ")),
      card.num_examples);
  return 0;
}

int tool_run(const Environment& environment, const ToolRunOptions& options) {
  auto secrets = read_secrets(options.secrets);
  if (!secrets) return complain(secrets.error().message);
  const auto isolation = tools::parse_isolation(options.sandbox);
  if (!isolation) return complain(isolation.error().message);
  tools::LuaToolsOptions lua;
  lua.paths = {options.file};
  lua.grants = options.grants;
  lua.data_folder =
      options.data_folder.empty() ? environment.state_folder / "tools" : options.data_folder;
  lua.isolation = *isolation;
  lua.warm_states = 1;
  lua.secrets = [&secrets](const std::string& name) -> Result<std::string> {
    const auto found = secrets->find(name);
    if (found != secrets->end()) return found->second;
    return fail(Errc::not_found, fmt::format("no value is there: --secret {}=FILE", name));
  };
  asio::thread_pool pool(1);
  tools::Registry registry;
  const Status status = tools::add_lua_tools(registry, lua, system_clock(), pool.get_executor());
  if (!status) return complain(status.error().message);
  auto capabilities = tools::covered_capabilities(registry, options.grants);
  if (!capabilities) return complain(capabilities.error().message);
  context::ToolCall call;
  call.name = registry.specs()[0].name;
  call.arguments = options.arguments;
  asio::io_context io;
  OneCall one(registry, std::move(*capabilities));
  const int exit_status = run_interruptibly(io, one.run(std::move(call)));
  pool.join();
  return exit_status;
}

}  // namespace ponder::cli
