#pragma once

#include <filesystem>
#include <string_view>

#include "base/result.h"
#include "engine/cache.h"
#include "engine/config.h"
#include "engine/detail/sha256.h"

namespace ponder::engine {

/// What the rows of a cache depend on, as a digest: the model's files (their headers, sizes, times
/// and samples of their contents; all of a 600 GB model is not read), its configuration as parsed,
/// the layout of a page, and the kernels that computed it. Fails when a file cannot be read.
Result<detail::Digest> cache_identity(const std::filesystem::path& model_dir,
                                      const ModelConfig& config, const CacheLayout& layout,
                                      std::string_view isa);

}  // namespace ponder::engine
