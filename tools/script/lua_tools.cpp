#include "tools/script/lua_tools.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>
#include <system_error>
#include <utility>

#include "tools/script/detail/resources.h"
#include "tools/script/detail/script_tool.h"
#include "tools/script/detail/tool_file.h"

namespace ponder::tools {
namespace {

namespace fs = std::filesystem;

/// The files themselves, and what is "*.lua" in the folders, by name.
Result<std::vector<fs::path>> files_of(const std::vector<fs::path>& paths) {
  std::vector<fs::path> files;
  for (const fs::path& path : paths) {
    std::error_code error;
    if (!fs::is_directory(path, error)) {
      files.push_back(path);
      continue;
    }
    std::vector<fs::path> found;
    for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
      if (it->path().extension() == ".lua") found.push_back(it->path());
    }
    if (error) {
      return fail(Errc::unavailable, fmt::format("{}: {}", path.string(), error.message()));
    }
    std::sort(found.begin(), found.end());
    files.insert(files.end(), found.begin(), found.end());
  }
  return files;
}

/// Reads files and gathers what is wrong with any of them.
class Loader {
 public:
  Loader(const Registry& registry, const LuaToolsOptions& options, const Clock& clock,
         boost::asio::any_io_executor pool)
      : registry_(registry), options_(options), clock_(clock), pool_(std::move(pool)) {}

  void load(const fs::path& file) {
    const Status status = try_to_load(file);
    if (!status) faults_.push_back(status.error().message);
  }
  const std::vector<std::string>& faults() const { return faults_; }
  std::vector<std::unique_ptr<Tool>> take_tools() { return std::move(tools_); }

 private:
  Status try_to_load(const fs::path& file) {
    // Before the text: a change in between is then seen by the next call.
    PONDER_TRY(const ScriptTool::Stamp stamp, stamp_of(file));
    PONDER_TRY(std::string text, read_script_text(file));
    ScriptFile script = read_script(text, file.filename().string(), clock_);
    if (!script.declaration) {
      return fail(Errc::invalid_argument, describe_faults(script.faults, file.string()));
    }
    const std::string& name = script.declaration->spec.name;
    PONDER_CHECK(claim(name, file));
    PONDER_TRY(ScriptResources resources,
               make_resources(options_, *script.declaration, file, clock_, pool_));
    auto version = std::make_shared<ScriptVersion>(std::move(text), std::move(resources),
                                                   options_.warm_states);
    PONDER_CHECK(version->warm());
    tools_.push_back(std::make_unique<ScriptTool>(file, stamp, std::move(*script.declaration),
                                                  std::move(version), options_.warm_states,
                                                  options_.tell));
    return {};
  }

  Status claim(const std::string& name, const fs::path& file) {
    const auto [other, is_new] = files_by_name_.emplace(name, file);
    if (!is_new) {
      return fail(Errc::invalid_argument,
                  fmt::format("{}: there are two tools '{}', the other is in {}", file.string(),
                              name, other->second.string()));
    }
    if (registry_.find(name) == nullptr) return {};
    return fail(Errc::invalid_argument,
                fmt::format("{}: there is another tool '{}' already", file.string(), name));
  }

  const Registry& registry_;
  const LuaToolsOptions& options_;
  const Clock& clock_;
  boost::asio::any_io_executor pool_;
  std::map<std::string, fs::path> files_by_name_;
  std::vector<std::unique_ptr<Tool>> tools_;
  std::vector<std::string> faults_;
};

}  // namespace

Status add_lua_tools(Registry& registry, const LuaToolsOptions& options, const Clock& clock,
                     boost::asio::any_io_executor pool) {
  PONDER_TRY(const std::vector<fs::path> files, files_of(options.paths));
  Loader loader(registry, options, clock, std::move(pool));
  for (const fs::path& file : files) loader.load(file);
  if (!loader.faults().empty()) {
    return fail(Errc::invalid_argument, fmt::format("{}", fmt::join(loader.faults(), "\n")));
  }
  for (auto& tool : loader.take_tools()) {
    PONDER_CHECK(registry.add(std::move(tool)));
  }
  return {};
}

}  // namespace ponder::tools
