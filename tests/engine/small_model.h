#pragma once

#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/random_weights.h"
#include "tests/engine/support.h"

/// The golden model made small, for tests in which arithmetic is slow: two layers, one of them of
/// experts, an MTP layer, an indexer that selects from 17 tokens on, and narrow matrices.
namespace ponder::engine {

inline nlohmann::json small_config_json() {
  nlohmann::json config = nlohmann::json::parse(testing::tiny_config_json());
  config.update({{"vocab_size", 320},        {"hidden_size", 64},
                 {"num_hidden_layers", 2},   {"num_attention_heads", 2},
                 {"num_key_value_heads", 2}, {"q_lora_rank", 32},
                 {"kv_lora_rank", 32},       {"qk_nope_head_dim", 16},
                 {"qk_rope_head_dim", 16},   {"v_head_dim", 16},
                 {"index_n_heads", 2},       {"index_head_dim", 32},
                 {"index_topk", 16},         {"intermediate_size", 64},
                 {"n_routed_experts", 4},    {"num_experts_per_tok", 2},
                 {"n_group", 2},             {"topk_group", 1},
                 {"moe_intermediate_size", 32}});
  return config;
}

/// As a checkpoint with the small tokenizer, written once for each test program and type.
inline const std::filesystem::path& small_model_dir(WeightDType dtype = WeightDType::f32) {
  static std::map<WeightDType, std::unique_ptr<testing::TempDir>> dirs;
  std::unique_ptr<testing::TempDir>& dir = dirs[dtype];
  if (dir != nullptr) return dir->path();
  dir = std::make_unique<testing::TempDir>();
  const std::string text = small_config_json().dump();
  const auto config = parse_config(text);
  RandomCheckpointOptions options;
  options.dtype = dtype;
  if (!config || !write_random_checkpoint(*config, text, dir->path(), options)) std::abort();
  testing::write_file(dir->path() / "tokenizer.json", testing::small_tokenizer_json().dump());
  return dir->path();
}

}  // namespace ponder::engine
