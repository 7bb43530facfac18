#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <filesystem>

#include "base/result.h"
#include "tools/registry.h"

namespace ponder::tools {

/// What the tools below need to be granted.
inline constexpr const char* kReadFiles = "fs.read";
inline constexpr const char* kWriteFiles = "fs.write";

/// Adds the tools that work with the files of one folder: read, list, search (fs.read); write,
/// edit, apply_patch (fs.write). No path leads out of the folder (RootedFolder). docs/tools.md
/// describes each as the model sees it.
///
/// Lifetime: `pool` outlives the registry's calls. Fails when the folder cannot be opened.
Status add_file_tools(Registry& registry, const std::filesystem::path& folder,
                      boost::asio::any_io_executor pool);

}  // namespace ponder::tools
