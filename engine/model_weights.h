#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/checkpoint.h"
#include "engine/config.h"
#include "engine/huge_pages.h"
#include "engine/weight_format.h"
#include "kernels/kernel_table.h"
#include "kernels/thread_pool.h"

/// The weights of one model in the form in which the forward pass reads them.
///
/// Matrices keep the numbers that the checkpoint stores (F32, BF16, FP8 with block scales, int8 or
/// int4 with group scales): those of a small checkpoint are copied to huge pages, those of a large
/// one are read in place in the mapped files. int8 and int4 codes are packed as products read them
/// (kernels/packed_weights.h), and BF16 matrices to some 12 bits a weight, which loses nothing
/// (kernels/packed_bf16_layout.h): also those of a large checkpoint unless that would take more
/// than half of the memory. Norms and the router's matrix are widened to fp32. `kv_b_proj` is split
/// and turned for the absorbed form of attention, in BF16, which is packed where BF16 may be.
namespace ponder::engine {

/// One [out, in] matrix. Points into the checkpoint or into an arena of its ModelWeights.
struct Linear {
  const void* data = nullptr;
  kernels::DType dtype = kernels::DType::f32;
  std::size_t out = 0;
  std::size_t in = 0;
  std::vector<float> scales;  // fp8 only: [ceil(out/128), ceil(in/128)]
  std::size_t scales_stride = 0;
  const kernels::bf16* group_scales = nullptr;  // int8, int4: as MatmulArgs has them
  std::size_t group = 0;
  bool is_packed = false;    // int8, int4, bf16
  bool may_round_x = false;  // bf16, fp8: see MatmulArgs

  /// y = x @ w^T for `rows` rows.
  kernels::MatmulArgs args(float* y, std::size_t y_stride, const float* x, std::size_t x_stride,
                           std::size_t rows) const;
};

/// gate, up, down of a SwiGLU.
struct FfnWeights {
  Linear gate;
  Linear up;
  Linear down;
};

struct IndexerWeights {
  Linear wq_b;                     // [index_n_heads * index_head_dim, q_lora_rank]
  Linear wk;                       // [index_head_dim, hidden_size]
  Linear weights_proj;             // [index_n_heads, hidden_size]
  std::vector<float> k_norm;       // [index_head_dim]
  std::vector<float> k_norm_bias;  // [index_head_dim]
};

struct LayerWeights {
  std::vector<float> input_layernorm;           // [hidden_size]
  std::vector<float> post_attention_layernorm;  // [hidden_size]
  std::vector<float> q_a_layernorm;             // [q_lora_rank]
  std::vector<float> kv_a_layernorm;            // [kv_lora_rank]
  Linear q_a;
  Linear q_b;
  Linear kv_a;
  std::vector<Linear> key_up;    // per head [kv_lora_rank, qk_nope_head_dim]: kv_b's keys, turned
  std::vector<Linear> value_up;  // per head [v_head_dim, kv_lora_rank]
  Linear o;
  IndexerWeights indexer;  // empty on layers that share another's selection
  FfnWeights dense;        // dense layers
  Linear router;           // MoE layers: [n_routed_experts, hidden_size], fp32
  std::vector<float> router_bias;
  FfnWeights shared;  // all shared experts as one; empty when there are none
  std::vector<FfnWeights> experts;
  Arena expert_arena;  // of the experts that are not read in place, apart from everything else
};

/// What an MTP layer has beside the decoder layer. Its embedding and head are the model's.
struct MtpWeights {
  std::vector<float> enorm;             // [hidden_size]
  std::vector<float> hnorm;             // [hidden_size]
  Linear eh_proj;                       // [hidden_size, 2 * hidden_size]: [embedding | hidden]
  std::vector<float> shared_head_norm;  // [hidden_size]
};

struct ModelWeights {
  Arena arena;                       // of the other matrices that are not read in place
  bool is_read_in_place = false;     // some are, so that the files must stay as they are
  Linear embed_tokens;               // [vocab_size, hidden_size]
  std::vector<float> norm;           // [hidden_size]
  Linear lm_head;                    // [vocab_size, hidden_size]; may be the embedding
  std::vector<LayerWeights> layers;  // [num_hidden_layers], then the first MTP layer if asked for
  std::optional<MtpWeights> mtp;     // of that layer
};

/// Checkpoints of up to this size are copied to huge pages; larger ones are read in place.
inline constexpr std::uint64_t kCopiedBytesMax = std::uint64_t{1} << 30;

struct WeightOptions {
  bool with_mtp = false;  // the first MTP layer too, which the configuration must have
  Activations activations = Activations::f32;
  std::uint64_t memory_bytes_max = 0;  // 0: what the machine has available
  std::uint64_t copied_bytes_max = kCopiedBytesMax;
  /// Whether BF16 matrices are packed, where there is room, for products on the CPU in fp32. Not
  /// with Activations::bf16.
  bool packs_bf16 = false;
  kernels::ThreadPool* pool = nullptr;  // that packs them; null: the calling thread
};

/// Fails with all tensors that are missing or have another shape or dtype (see check_tensors); when
/// a norm, bias or scale, or a weight that is copied, is not finite; and (exhausted), before it
/// allocates, when it needs more than `memory_bytes_max`: see plan_load(), which says what it
/// makes. Lifetime: the checkpoint must outlive the weights.
Result<ModelWeights> load_weights(const Checkpoint& checkpoint, const ModelConfig& config,
                                  const WeightOptions& options = {});

}  // namespace ponder::engine
