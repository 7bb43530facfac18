#pragma once

#include <filesystem>

#include "base/result.h"

namespace ponder::engine::detail {

/// The error with the file's name in front, and what helps behind it when the file is damaged.
inline tl::unexpected<Error> fail_in_file(const std::filesystem::path& path, Error error) {
  if (error.code == Errc::corrupt) error.message += "; download or export this file again";
  return fail_in(path.string(), error);
}

}  // namespace ponder::engine::detail
