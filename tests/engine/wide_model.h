#pragma once

#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/convert_checkpoint.h"
#include "engine/weight_format.h"
#include "tests/engine/golden_model.h"
#include "tests/engine/small_model.h"

/// The small model made wider, for tests of experts that are on a device or in host memory.
namespace ponder::engine {

/// Widths that every format can store, three layers of experts, and an odd number for a token.
inline nlohmann::json wide_config_json(std::size_t n_shared_experts) {
  nlohmann::json config = small_config_json();
  config.update({{"hidden_size", 128},
                 {"num_hidden_layers", 4},
                 {"intermediate_size", 128},
                 {"moe_intermediate_size", 128},
                 {"n_routed_experts", 6},
                 {"num_experts_per_tok", 3},
                 {"n_shared_experts", n_shared_experts}});
  return config;
}

/// Such a model as a checkpoint of any format, written once for each test program.
inline const std::filesystem::path& wide_model_dir(const std::string& format,
                                                   std::size_t n_shared_experts = 1) {
  static std::map<std::string, std::unique_ptr<testing::TempDir>> dirs;
  auto& dir = dirs[format + std::to_string(n_shared_experts)];
  if (dir != nullptr) return dir->path();
  dir = std::make_unique<testing::TempDir>();
  const bool is_converted = format.starts_with("int");
  const std::string text = wide_config_json(n_shared_experts).dump();
  RandomCheckpointOptions options;
  options.dtype = parse_weight_format(is_converted ? "bf16" : format)->dtype;
  const testing::TempDir plain;
  const std::filesystem::path& written = is_converted ? plain.path() : dir->path();
  if (!write_random_checkpoint(*parse_config(text), text, written, options)) std::abort();
  testing::write_file(written / "tokenizer.json", testing::small_tokenizer_json().dump());
  if (is_converted && !convert_checkpoint(written, dir->path(), *parse_weight_format(format))) {
    std::abort();
  }
  return dir->path();
}

inline std::vector<TokenId> prompt_below(std::size_t length, std::size_t vocab_size) {
  std::vector<TokenId> tokens = golden_prompt(length);
  for (TokenId& token : tokens) token %= vocab_size;
  return tokens;
}

}  // namespace ponder::engine
