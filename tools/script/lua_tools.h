#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "tools/process/sandbox_policy.h"
#include "tools/registry.h"

namespace ponder::tools {

/// Tools that people write, each in one Lua file (docs/writing-tools.md).
struct LuaToolsOptions {
  /// Files, and folders of which every "*.lua" is a tool, by name.
  std::vector<std::filesystem::path> paths;
  /// What the tools may have (tools/script/grants.h), such as "http:api.example.com",
  /// "fs:/home/me/notes" or "secret:weather_key". A tool gets of it what it declares, no more.
  std::vector<std::string> grants;
  /// The value of a secret that is granted; empty: there are none.
  std::function<Result<std::string>(const std::string& name)> secrets;
  /// Where the tools' databases lie, NAME.db each; empty: ctx.sql is not to be had.
  std::filesystem::path data_folder;
  /// How programs of ctx.exec are kept in.
  Isolation isolation = Isolation::isolated;
  /// More certificates to trust than the system's, for ctx.http.
  std::filesystem::path ca_file;
  /// Gets lines for the person: a file that changed and cannot be used, and the like. Called on
  /// the session's executor.
  std::function<void(const std::string& line)> tell;

  // Limits of one call.
  std::size_t memory_bytes_max = 64 << 20;      // of its Lua state
  std::int64_t instructions_max = 100'000'000;  // some second of computing
  std::chrono::milliseconds time_max{300'000};  // waiting included
  std::size_t warm_states = 8;                  // kept ready for each tool
};

/// Adds the tools of all files. Files that cannot be used, and names that are taken, are an
/// `invalid_argument` whose message has a line for each fault, with its file and line; nothing is
/// added then.
///
/// A file that changes later is read again when its tool is next called. A version with faults, or
/// one that is not the same tool to the model (name, description, parameters, effect,
/// capabilities: the session's log has told it those), is refused: the old one stays, and `tell`
/// says so. Calls under way end with the version they began with.
///
/// Lifetime: `clock` outlives the registry; `pool`, where what blocks runs and states are made
/// ahead, outlives every call.
Status add_lua_tools(Registry& registry, const LuaToolsOptions& options, const Clock& clock,
                     boost::asio::any_io_executor pool);

}  // namespace ponder::tools
