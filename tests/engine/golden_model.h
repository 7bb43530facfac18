#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "engine/config.h"
#include "engine/random_weights.h"
#include "engine/tokenizer.h"

/// The worked tiny model: six layers with every part of the architecture, deterministic weights, and
/// a prompt longer than its index_topk of 64, so that selection matters.
namespace ponder::engine {

inline constexpr std::string_view kGoldenConfig = R"({
"architectures":["DeepseekV32ForCausalLM"],"model_type":"deepseek_v32","vocab_size":4096,
"hidden_size":256,"num_hidden_layers":6,"num_nextn_predict_layers":1,"num_attention_heads":4,
"num_key_value_heads":4,"q_lora_rank":128,"kv_lora_rank":128,"qk_nope_head_dim":64,
"qk_rope_head_dim":32,"v_head_dim":64,"index_n_heads":4,"index_head_dim":128,"index_topk":64,
"intermediate_size":768,"moe_intermediate_size":128,"first_k_dense_replace":1,"moe_layer_freq":1,
"n_routed_experts":16,"n_shared_experts":1,"num_experts_per_tok":4,"n_group":4,"topk_group":2,
"scoring_func":"sigmoid","topk_method":"noaux_tc","norm_topk_prob":true,
"routed_scaling_factor":2.5,"hidden_act":"silu","rms_norm_eps":1e-06,"attention_bias":false,
"attention_dropout":0.0,"tie_word_embeddings":false,"rope_theta":10000,
"rope_scaling":{"type":"yarn","factor":4,"original_max_position_embeddings":1024,
"beta_fast":32,"beta_slow":1,"mscale":1.0,"mscale_all_dim":1.0},
"max_position_embeddings":4096,"initializer_range":0.02,"bos_token_id":0,"eos_token_id":1,
"torch_dtype":"bfloat16","use_cache":true})";

/// A directory of its own, removed at the end.
class TempDir {
 public:
  TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "ponder_XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// The golden model as a checkpoint of the given type, written once for each test program.
inline const std::filesystem::path& golden_dir(WeightDType dtype = WeightDType::f32) {
  const auto write = [](WeightDType type) {
    auto dir = std::make_unique<TempDir>();
    const auto config = parse_config(kGoldenConfig);
    RandomCheckpointOptions options;
    options.dtype = type;
    if (!config || !write_random_checkpoint(*config, kGoldenConfig, dir->path(), options)) {
      std::abort();
    }
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
