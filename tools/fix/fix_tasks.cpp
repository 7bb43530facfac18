#include "tools/fix/fix_tasks.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

#include "base/clock.h"
#include "tools/detail/json.h"
#include "tools/lua/json_convert.h"
#include "tools/lua/sandbox.h"
#include "tools/lua/state.h"

namespace ponder::tools {
namespace fs = std::filesystem;
namespace {

constexpr const char* kModule = "codefix.tasks";
constexpr std::size_t kMemoryBytesMax = std::size_t{256} << 20;
constexpr std::int64_t kInstructionsMax = 500'000'000;
constexpr std::chrono::seconds kTimeMax{30};

Result<std::string> read_text(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return fail(Errc::not_found, fmt::format("{}: cannot be read", file.string()));
  return std::string(std::istreambuf_iterator<char>(in), {});
}

Status write_text(const fs::path& file, const std::string& text) {
  std::error_code error;
  fs::create_directories(file.parent_path(), error);
  std::ofstream out(file, std::ios::binary);
  out << text;
  out.close();
  if (!out) return fail(Errc::unavailable, fmt::format("{}: cannot be written", file.string()));
  return {};
}

/// One call of a function of the module with (seed, language, class).
struct Call {
  const char* function;
  lua_Integer seed;
  const char* language;
  const char* bug_class;
};

/// Runs in Lua's protected mode: nothing here has a destructor.
int call_module(lua_State* L) {
  const auto* call = static_cast<const Call*>(lua_touserdata(L, 1));
  lua_settop(L, 0);
  lua_getfield(L, LUA_REGISTRYINDEX, lua::kEnvironmentKey);
  lua_getfield(L, 1, call->function);
  lua_pushinteger(L, call->seed);
  lua_pushstring(L, call->language);
  lua_pushstring(L, call->bug_class);
  lua_call(L, 3, 1);
  return 1;
}

std::map<std::string, std::string> files_of(const Json& object) {
  std::map<std::string, std::string> files;
  for (const auto& [path, text] : object.items()) files.emplace(path, text.get<std::string>());
  return files;
}

Result<FixTaskInfo> info_of(const Json& task, std::string issue, const std::string& where) {
  FixTaskInfo info;
  try {
    info.test_command = task.at("test").get<std::string>();
    info.id = task.value("id", "");
    info.language = task.value("language", "");
    info.bug_class = task.value("class", "");
    info.protects = task.value("protect", std::vector<std::string>());
    info.seconds_max = std::chrono::seconds(task.value("seconds", info.seconds_max.count()));
  } catch (const Json::exception& e) {
    return fail(Errc::corrupt, fmt::format("{}: {}", where, e.what()));
  }
  info.issue = std::move(issue);
  return info;
}

}  // namespace

struct FixTaskGenerator::Lua {
  std::unique_ptr<lua::State> state;

  Result<Json> call(const char* function, std::uint64_t seed, const FixTaskFilter& filter) {
    Call call{function, static_cast<lua_Integer>(seed), filter.language.c_str(),
              filter.bug_class.c_str()};
    const Status called = state->call(call_module, &call, 1, budget());
    if (!called) {
      // What the generator says of a filter that nothing fits is the caller's mistake.
      return fail(Errc::invalid_argument, called.error().message);
    }
    auto value = lua::to_json(state->raw(), -1);
    state->reset_stack();
    return value;
  }
  static lua::Budget budget() {
    return {kInstructionsMax, Deadline::after(system_clock(), kTimeMax), nullptr};
  }
};

FixTaskGenerator::FixTaskGenerator(std::unique_ptr<Lua> lua) : lua_(std::move(lua)) {}
FixTaskGenerator::FixTaskGenerator(FixTaskGenerator&&) noexcept = default;
FixTaskGenerator::~FixTaskGenerator() = default;

Result<FixTaskGenerator> FixTaskGenerator::open(const fs::path& library) {
  auto lua = std::make_unique<Lua>();
  PONDER_TRY(lua->state, lua::State::create(kMemoryBytesMax, system_clock()));
  PONDER_CHECK(lua::load_environment(*lua->state, library, kModule, Lua::budget()));
  return FixTaskGenerator(std::move(lua));
}

Result<GeneratedFixTask> FixTaskGenerator::generate(std::uint64_t seed,
                                                    const FixTaskFilter& filter) {
  PONDER_TRY(const Json made, lua_->call("generate", seed, filter));
  GeneratedFixTask task;
  try {
    PONDER_TRY(task.info, info_of(made, made.at("issue").get<std::string>(), kModule));
    task.files = files_of(made.at("files"));
    task.hidden = files_of(made.at("hidden"));
    task.reference_patch = made.at("reference_patch").get<std::string>();
  } catch (const Json::exception& e) {
    return fail(Errc::internal, fmt::format("{}: {}", kModule, e.what()));
  }
  return task;
}

Result<std::uint64_t> FixTaskGenerator::count(const FixTaskFilter& filter) {
  PONDER_TRY(const Json number, lua_->call("count", 0, filter));
  if (!number.is_number_unsigned() && !number.is_number_integer()) {
    return fail(Errc::internal, fmt::format("{}: count gives no number", kModule));
  }
  return number.get<std::uint64_t>();
}

Result<FixTaskInfo> read_fix_task(const fs::path& folder) {
  PONDER_TRY(const std::string text, read_text(folder / "task.json"));
  PONDER_TRY(std::string issue, read_text(folder / "issue.md"));
  const auto task = parse_json(text);
  if (!task) {
    return fail(Errc::corrupt,
                fmt::format("{}: {}", (folder / "task.json").string(), task.error().message));
  }
  PONDER_TRY(FixTaskInfo info, info_of(*task, std::move(issue), (folder / "task.json").string()));
  if (info.id.empty()) info.id = folder.filename().string();
  std::error_code error;
  if (!fs::is_directory(folder / "repo", error)) {
    return fail(Errc::not_found, fmt::format("{}: is no folder", (folder / "repo").string()));
  }
  return info;
}

Result<std::vector<fs::path>> list_fix_tasks(const fs::path& folder) {
  std::vector<fs::path> tasks;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (fs::exists(it->path() / "task.json", error)) tasks.push_back(it->path());
  }
  if (error) return fail(Errc::not_found, fmt::format("{}: {}", folder.string(), error.message()));
  if (tasks.empty()) {
    return fail(Errc::not_found, fmt::format("{}: no tasks in it", folder.string()));
  }
  std::sort(tasks.begin(), tasks.end());
  return tasks;
}

Status write_fix_task(const fs::path& folder, const GeneratedFixTask& task) {
  std::error_code error;
  if (fs::exists(folder, error)) {
    return fail(Errc::invalid_argument, fmt::format("{}: is there already", folder.string()));
  }
  for (const auto& [path, text] : task.files) {
    PONDER_CHECK(write_text(folder / "repo" / path, text));
  }
  for (const auto& [path, text] : task.hidden) {
    PONDER_CHECK(write_text(folder / "hidden" / path, text));
  }
  const Json about = {{"id", task.info.id},
                      {"test", task.info.test_command},
                      {"language", task.info.language},
                      {"class", task.info.bug_class},
                      {"protect", task.info.protects},
                      {"seconds", task.info.seconds_max.count()}};
  PONDER_CHECK(write_text(folder / "task.json", about.dump(2) + "\n"));
  PONDER_CHECK(write_text(folder / "issue.md", task.info.issue));
  return write_text(folder / "reference.patch", task.reference_patch);
}

}  // namespace ponder::tools
