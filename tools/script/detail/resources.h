#pragma once

#include <filesystem>

#include "tools/script/detail/script_call.h"
#include "tools/script/detail/tool_file.h"
#include "tools/script/lua_tools.h"

namespace ponder::tools {

/// What the calls of a tool get, by what it declares and what the options grant. Fails when the
/// grants cannot be read or their folder not be opened.
Result<ScriptResources> make_resources(const LuaToolsOptions& options,
                                       const ScriptDeclaration& declaration,
                                       const std::filesystem::path& file, const Clock& clock,
                                       boost::asio::any_io_executor pool);

}  // namespace ponder::tools
