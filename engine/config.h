#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

/// The shape of a model, as its `config.json` states it: everything that the rest of the engine
/// needs to know before it looks at a single weight.
///
/// Fields carry the checkpoint's own names. Values derived from them stand at the end of
/// ModelConfig, so that no formula is written down twice. A parsed ModelConfig is consistent: every
/// value that no model could have has been refused, with the field's name and the value.
namespace ponder::engine {

enum class Architecture {
  deepseek_v32,  // DeepseekV32ForCausalLM
  glm_moe_dsa,   // GlmMoeDsaForCausalLM
};

/// The `model_type` that configs of the architecture state.
std::string_view model_type_name(Architecture architecture);

/// How rotary pairs lie in a head: (2j, 2j+1), or (j, j + qk_rope_head_dim / 2).
enum class RopeLayout { interleaved, half_split };

enum class FfnKind { dense, moe };

/// A shared layer has no indexer weights; it reuses the selection of the nearest full layer before.
enum class IndexerKind { full, shared };

/// What the index keys of a cache are: numbers like the latents; rotated and rounded to int8
/// (kernels/sparse_attention_args.h), a quarter of the bytes of fp32 and several times as fast to
/// score; or rotated and rounded to E4M3 as DeepSeek does (engine/index_fp8.h), for parity. The
/// selected sets differ a little, so pages of one kind mean nothing to the others. The user's
/// choice, not the checkpoint's.
enum class IndexKeys { floating, int8, fp8 };

/// As it is said on the command line and in reports.
const char* index_keys_name(IndexKeys index_keys) noexcept;

/// Which numbers the cache holds. `automatic`: f32 for an F32 checkpoint and for models whose cache
/// is small anyway, else bf16. `fp8`: latents in FP8 (engine/fp8_latent.h), the rest in bf16: 1.6
/// times the tokens of bf16, at the price of some rounding; never chosen on its own.
enum class CacheDType { automatic, f32, bf16, fp8 };

/// `rope_scaling` (or the scaling part of `rope_parameters`), type yarn.
struct RopeScaling {
  double factor = 1.0;
  std::size_t original_max_position_embeddings = 0;
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  double mscale = 1.0;
  double mscale_all_dim = 0.0;
};

struct QuantizationConfig {
  std::string quant_method;  // fp8, or compressed-tensors (int8, int4), which leaves out the rest
  std::string fmt;                                         // e4m3
  std::string activation_scheme;                           // dynamic
  std::array<std::size_t, 2> weight_block_size{128, 128};  // [out, in]
  std::string scale_fmt;                                   // ue8m0, or empty: arbitrary F32 scales
};

/// What one decoder layer is made of. MTP layers are always moe (if the model has experts at all)
/// and own a full indexer.
struct LayerDescriptor {
  FfnKind ffn = FfnKind::dense;
  IndexerKind indexer = IndexerKind::full;
  RopeLayout rope_layout = RopeLayout::interleaved;         // of the main heads and k_r
  RopeLayout indexer_rope_layout = RopeLayout::half_split;  // of the indexer's q and k
  bool is_mtp = false;

  bool operator==(const LayerDescriptor&) const = default;
};

/// Routed experts of all layers together that a config may ask for, far above any known model: some
/// of what looks at a checkpoint takes time and memory for each.
inline constexpr std::size_t kExpertsOfAllLayersMax = std::size_t{1} << 20;

struct ModelConfig {
  Architecture architecture = Architecture::deepseek_v32;

  std::size_t vocab_size = 0;
  std::size_t hidden_size = 0;
  std::size_t num_hidden_layers = 0;  // MTP layers not counted
  std::size_t num_nextn_predict_layers = 0;
  std::size_t num_attention_heads = 0;
  std::size_t q_lora_rank = 0;
  std::size_t kv_lora_rank = 0;
  std::size_t qk_nope_head_dim = 0;
  std::size_t qk_rope_head_dim = 0;  // even; also the rotary width in the indexer
  std::size_t v_head_dim = 0;
  std::size_t index_n_heads = 0;
  std::size_t index_head_dim = 0;  // a power of two, >= qk_rope_head_dim
  std::size_t index_topk = 0;  // at most max_position_embeddings
  std::size_t intermediate_size = 0;
  std::size_t moe_intermediate_size = 0;
  std::size_t first_k_dense_replace = 0;
  std::size_t moe_layer_freq = 1;
  std::size_t n_routed_experts = 0;  // 0: every layer is dense
  std::size_t n_shared_experts = 0;
  std::size_t num_experts_per_tok = 0;
  std::size_t n_group = 1;  // divides n_routed_experts
  std::size_t topk_group = 1;
  std::string scoring_func = "sigmoid";
  std::string topk_method = "noaux_tc";
  bool norm_topk_prob = true;
  double routed_scaling_factor = 1.0;
  double rms_norm_eps = 1e-6;
  std::string hidden_act = "silu";
  bool attention_bias = false;       // always false: true is refused
  bool tie_word_embeddings = false;  // true: the checkpoint has no lm_head.weight
  double rope_theta = 10000.0;
  std::optional<RopeScaling> rope_scaling;
  std::size_t max_position_embeddings = 0;
  std::uint32_t bos_token_id = 0;
  std::vector<std::uint32_t> eos_token_id;  // one or more
  std::string torch_dtype = "bfloat16";
  std::optional<QuantizationConfig> quantization_config;  // informative; tensors decide
  bool indexer_rope_interleave = false;
  bool index_share_for_mtp_iteration = false;

  // Derived.
  double lora_norm_eps = 1e-6;          // of q_a_layernorm and kv_a_layernorm
  double softmax_scale = 0.0;           // (nope+rope)^-0.5, times YaRN's mscale squared
  double indexer_scale = 0.0;           // index_head_dim^-0.5 * index_n_heads^-0.5
  double rope_amplitude = 1.0;          // factor on cos and sin: get(mscale)/get(mscale_all_dim)
  std::vector<float> inv_freq;          // [qk_rope_head_dim / 2], YaRN applied
  std::vector<LayerDescriptor> layers;  // [num_hidden_layers + num_nextn_predict_layers]

  std::vector<std::string> unknown_keys;  // ignored keys worth a warning, sorted

  std::size_t qk_head_dim() const { return qk_nope_head_dim + qk_rope_head_dim; }
};

/// Parses the text of a config.json. Errors start with the field's name: "hidden_size: ...".
Result<ModelConfig> parse_config(std::string_view json);

/// Reads and parses `dir`/config.json. Errors name the file.
Result<ModelConfig> load_config(const std::filesystem::path& dir);

}  // namespace ponder::engine
