#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <memory>
#include <string>
#include <utility>

#include "base/async/offload.h"
#include "base/async/with_deadline.h"
#include "tools/process/guarded_run.h"
#include "tools/script/detail/arguments.h"
#include "tools/script/detail/context_functions.h"
#include "tools/script/detail/tool_database.h"

/// ctx.fs, ctx.sql and ctx.exec: files, a database and programs. What blocks runs on the pool.
namespace ponder::tools {
namespace {

namespace asio = boost::asio;

constexpr std::uint64_t kFileBytesMax = 8 << 20;
constexpr std::size_t kEntriesMax = 10'000;
constexpr std::int64_t kProgramSecondsMax = 3600;
constexpr std::int64_t kProgramSeconds = 60;
constexpr std::int64_t kStreamBytes = 256 << 10;
constexpr std::int64_t kStreamBytesMax = 8 << 20;

using Folder = std::shared_ptr<const RootedFolder>;

const char* kind_name(FileEntry::Kind kind) {
  switch (kind) {
    case FileEntry::Kind::file:
      return "file";
    case FileEntry::Kind::folder:
      return "folder";
    case FileEntry::Kind::link:
      return "link";
    case FileEntry::Kind::other:
      return "other";
  }
  return "other";
}

asio::awaitable<Answer> read_file(asio::any_io_executor pool, Folder folder, std::string path) {
  auto work = [folder = std::move(folder), path = std::move(path)]() -> Answer {
    PONDER_TRY(std::string text, folder->read(path, kFileBytesMax));
    return Json(std::move(text));
  };
  auto answer = co_await offload(std::move(pool), std::move(work));
  co_return answer;
}

asio::awaitable<Answer> write_file(asio::any_io_executor pool, Folder folder, std::string path,
                                   std::string text) {
  auto work = [folder = std::move(folder), path = std::move(path),
               text = std::move(text)]() -> Answer {
    PONDER_CHECK(folder->write(path, text));
    return Json(true);
  };
  auto answer = co_await offload(std::move(pool), std::move(work));
  co_return answer;
}

asio::awaitable<Answer> list_folder(asio::any_io_executor pool, Folder folder, std::string path) {
  auto work = [folder = std::move(folder), path = std::move(path)]() -> Answer {
    PONDER_TRY(const auto entries, folder->list(path, kEntriesMax));
    Json out = Json::array();
    for (const FileEntry& entry : entries) {
      out.push_back(
          {{"name", entry.name}, {"kind", kind_name(entry.kind)}, {"bytes", entry.bytes}});
    }
    return out;
  };
  auto answer = co_await offload(std::move(pool), std::move(work));
  co_return answer;
}

asio::awaitable<Answer> run_statement(std::shared_ptr<ToolDatabase> database, std::string sql,
                                      Json values, Deadline deadline) {
  auto rows = co_await database->run(std::move(sql), std::move(values), deadline);
  co_return rows;
}

/// How long a program may take: its own time, and that of the call.
struct ProgramTime {
  ProgramTime(const Clock& clock, std::int64_t seconds, Deadline call)
      : clock(&clock), seconds(seconds), call(call) {}
  const Clock* clock;
  std::int64_t seconds;
  Deadline call;

  Deadline deadline() const {
    return Deadline::earlier(Deadline::after(*clock, std::chrono::seconds(seconds)), call);
  }
};

Answer program_answer(Result<ProcessResult> result, const ProgramTime& time,
                      const std::string& note) {
  const bool was_its_own =
      !result && result.error().code == Errc::deadline && !time.call.passed(*time.clock);
  if (was_its_own) {
    return fail(Errc::unavailable,
                fmt::format("the program was killed after {} s; seconds_max gives it longer",
                            time.seconds));
  }
  if (!result) return tl::unexpected<Error>(result.error());
  return Json{{"code", result->exit_code},
              {"stdout", std::move(result->standard_output.text)},
              {"stderr", std::move(result->standard_error.text) + note}};
}

asio::awaitable<Answer> run_program(ProcessRequest request, SandboxPolicy policy,
                                    ProgramTime time) {
  const Deadline deadline = time.deadline();
  auto result = co_await run_process(std::move(request), std::move(policy), deadline);
  auto answer = program_answer(std::move(result), time, "");
  co_return answer;
}

/// In a folder that the program may write to.
asio::awaitable<Answer> run_program_in(ProcessRequest request, SandboxPolicy policy,
                                       ProgramTime time, asio::any_io_executor pool) {
  std::string note;
  std::filesystem::path folder = request.working_folder;
  const Deadline deadline = time.deadline();
  auto result = co_await run_guarded(std::move(request), std::move(policy), std::move(folder),
                                     deadline, std::move(pool), &note);
  auto answer = program_answer(std::move(result), time, note);
  co_return answer;
}

/// The pool and the folder, or why there is none.
Result<Folder> folder_of(const ScriptCall& call) {
  const ScriptResources& resources = call.resources();
  if (resources.folder || resources.answers) return resources.folder;
  return fail(Errc::unavailable, "no folder was granted: fs:DIR or fs-read:DIR");
}

Result<std::vector<std::string>> program_argument(lua_State* L, const LuaGrants& grants) {
  PONDER_TRY(const Json list, Arguments(L).value(1));
  std::vector<std::string> argv;
  for (const Json& item : list.is_array() ? list : Json::array()) {
    if (!item.is_string()) break;
    argv.push_back(item.get<std::string>());
  }
  if (argv.empty() || argv.size() != list.size()) {
    return fail(
        Errc::invalid_argument,
        "argument 1 is a list of strings: the program and its arguments; no shell reads it");
  }
  const auto& allowed = grants.programs;
  const bool is_allowed = grants.has_all_programs ||
                          std::find(allowed.begin(), allowed.end(), argv[0]) != allowed.end();
  if (is_allowed) return argv;
  return fail(Errc::invalid_argument,
              fmt::format("the program '{}' was not granted: exec:{}", argv[0], argv[0]));
}

Result<std::vector<std::pair<std::string, std::string>>> variables_option(const Json& options) {
  std::vector<std::pair<std::string, std::string>> out;
  const auto found = options.find("env");
  if (found == options.end()) return out;
  if (!found->is_object()) {
    return fail(Errc::invalid_argument, "option 'env' must be a table of named strings");
  }
  for (const auto& [name, value] : found->items()) {
    auto text = text_or_secret(value);
    if (!text || name.find('=') != std::string::npos || text->find('\0') != std::string::npos) {
      return fail(Errc::invalid_argument,
                  fmt::format("the variable '{}' must be a string or a secret", name));
    }
    out.emplace_back(name, std::move(*text));
  }
  return out;
}

}  // namespace

Result<Reply> fs_read(lua_State* L, ScriptCall& call) {
  PONDER_TRY(std::string path, Arguments(L).text(1));
  PONDER_TRY(Folder folder, folder_of(call));
  return Reply(read_file(call.resources().pool, std::move(folder), std::move(path)));
}

Result<Reply> fs_list(lua_State* L, ScriptCall& call) {
  const Arguments arguments(L);
  std::string path = ".";
  if (!arguments.is_absent(1)) {
    PONDER_TRY(path, arguments.text(1));
  }
  PONDER_TRY(Folder folder, folder_of(call));
  return Reply(list_folder(call.resources().pool, std::move(folder), std::move(path)));
}

Result<Reply> fs_write(lua_State* L, ScriptCall& call) {
  const Arguments arguments(L);
  PONDER_TRY(std::string path, arguments.text(1));
  PONDER_TRY(std::string text, arguments.text(2));
  PONDER_TRY(Folder folder, folder_of(call));
  return Reply(
      write_file(call.resources().pool, std::move(folder), std::move(path), std::move(text)));
}

Result<Reply> sql_run(lua_State* L, ScriptCall& call) {
  const Arguments arguments(L);
  PONDER_TRY(std::string sql, arguments.text(1));
  Json values = Json::array();
  for (int i = 2; i <= arguments.count(); ++i) {
    PONDER_TRY(Json value, arguments.value(i));
    if (value.is_structured()) {
      return fail(Errc::invalid_argument, fmt::format("argument {} is a table", i));
    }
    values.push_back(std::move(value));
  }
  const ScriptResources& resources = call.resources();
  if (!resources.database && !resources.answers) {
    return Reply(fail(Errc::unavailable, "there is no folder for databases of tools"));
  }
  return Reply(
      run_statement(resources.database, std::move(sql), std::move(values), call.deadline()));
}

Result<Reply> exec_run(lua_State* L, ScriptCall& call) {
  const ScriptResources& resources = call.resources();
  LuaGrants grants = resources.grants;
  if (resources.answers) grants.has_all_programs = true;
  PONDER_TRY(std::vector<std::string> argv, program_argument(L, grants));
  PONDER_TRY(const Json options,
             Arguments(L).options(2, {"input", "env", "seconds_max", "bytes_max"}));
  ProcessRequest request(std::move(argv));
  PONDER_TRY(request.input, text_option(options, "input", ""));
  PONDER_TRY(request.environment, variables_option(options));
  PONDER_TRY(const std::int64_t seconds,
             count_option(options, "seconds_max", kProgramSeconds, kProgramSecondsMax));
  PONDER_TRY(const std::int64_t bytes,
             count_option(options, "bytes_max", kStreamBytes, kStreamBytesMax));
  request.output_bytes_max = static_cast<std::size_t>(bytes);
  SandboxPolicy policy;
  policy.isolation = resources.isolation;
  const ProgramTime time(*call.context().clock, seconds, call.deadline());
  if (resources.folder) request.working_folder = resources.folder->path();
  if (resources.folder && grants.may_write) {
    return Reply(run_program_in(std::move(request), std::move(policy), time, resources.pool));
  }
  if (resources.folder) policy.readable.push_back(resources.folder->path());
  return Reply(run_program(std::move(request), std::move(policy), time));
}

}  // namespace ponder::tools
