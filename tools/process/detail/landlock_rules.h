#pragma once

#include <filesystem>
#include <vector>

#include "base/result.h"
#include "tools/detail/unique_fd.h"

namespace ponder::tools {

/// The version of Landlock that the kernel speaks; 0: none.
int landlock_abi();

/// What a confined process may reach in the file system.
struct LandlockPaths {
  std::vector<std::filesystem::path> readable;  // and executable
  std::vector<std::filesystem::path> writable;  // readable and executable too
  std::vector<std::filesystem::path> devices;   // read and write, not create
};

/// A ruleset for landlock_restrict_self: those paths, no TCP, no signals and no abstract sockets
/// beyond the sandbox. Paths that are not there are left out. Requires: ABI kLandlockAbiMin.
Result<UniqueFd> make_landlock_ruleset(const LandlockPaths& paths);

}  // namespace ponder::tools
