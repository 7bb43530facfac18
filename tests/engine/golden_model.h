#pragma once

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "engine/random_weights.h"
#include "engine/tokenizer.h"
#include "tests/engine/support.h"

/// The worked tiny model: six layers with every part of the architecture, deterministic weights,
/// and a prompt longer than its index_topk of 64, so that selection matters.
namespace ponder::engine {

/// The golden model as a checkpoint of the given type, written once for each test program; the
/// tokenizer beside it is the small one, which names only the first few of the 4096 ids.
inline const std::filesystem::path& golden_dir(WeightDType dtype = WeightDType::f32) {
  const auto write = [](WeightDType type) {
    auto dir = std::make_unique<testing::TempDir>();
    RandomCheckpointOptions options;
    options.dtype = type;
    if (!write_random_checkpoint(testing::tiny_config(), testing::tiny_config_json(), dir->path(),
                                 options)) {
      std::abort();
    }
    testing::write_file(dir->path() / "tokenizer.json", testing::small_tokenizer_json().dump());
    return dir;
  };
  static const auto f32 = write(WeightDType::f32);
  if (dtype == WeightDType::f32) return f32->path();
  if (dtype == WeightDType::bf16) {
    static const auto bf16 = write(WeightDType::bf16);
    return bf16->path();
  }
  static const auto fp8 = write(WeightDType::fp8);
  return fp8->path();
}

inline std::vector<TokenId> golden_prompt(std::size_t length = 96) {
  std::vector<TokenId> tokens;
  for (std::size_t i = 0; i < length; ++i) {
    tokens.push_back(static_cast<TokenId>((7 + 13 * i + 5 * i * i) % 4096));
  }
  return tokens;
}

}  // namespace ponder::engine
