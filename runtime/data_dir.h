#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"

namespace ponder::runtime {

/// What the search for the program's own files starts from. Empty fields are skipped.
struct DataDirHints {
  std::filesystem::path option;       // given on the command line; wins, and must exist
  std::filesystem::path environment;  // value of the environment variable; the same
  std::filesystem::path executable;   // the running program
};

/// The folder of shipped environments (`tools/library`): the hint, else
/// `<prefix>/share/ponder/library`, else the source tree that the program was built in. The error
/// lists the places that were looked at.
Result<std::filesystem::path> find_library(const DataDirHints& hints);

/// A shipped model (`engine/models/NAME`), found the same way below `share/ponder/models/NAME`.
Result<std::filesystem::path> find_model(const DataDirHints& hints,
                                         const std::string& name = "mini");

}  // namespace ponder::runtime
