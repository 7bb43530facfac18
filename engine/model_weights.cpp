#include "engine/model_weights.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <span>
#include <utility>

#include "engine/load_plan.h"
#include "engine/numeric_formats.h"
#include "engine/pack_bf16.h"
#include "engine/tensor_check.h"
#include "kernels/packed_weights.h"

namespace ponder::engine {
namespace {

/// How matrices are kept, and what packs them.
struct Placement {
  bool is_copied = false;  // as LoadPlan has it, like what follows
  bool packs_codes = false;
  bool packs_bf16 = false;
  bool packs_factors = false;
  bool may_round_x = false;
  kernels::ThreadPool* pool = nullptr;
};

/// Takes pages of a mapped file out of this process, which has what it needs from them. They come
/// back if they are read after all.
void forget_pages(const std::byte* data, std::size_t num_bytes) {
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<std::uintptr_t>(data) + page - 1) / page * page;
  const auto end = (reinterpret_cast<std::uintptr_t>(data) + num_bytes) / page * page;
  // Only memory is at stake, so its result does not matter.
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

/// Makes Linear matrices out of tensors and values.
class MatrixLoader {
 public:
  MatrixLoader(const Checkpoint& checkpoint, Arena& arena, const Placement& placement)
      : checkpoint_(checkpoint), arena_(arena), placement_(placement) {}
  const Checkpoint& checkpoint() const { return checkpoint_; }
  /// The same, but what is not read in place goes to another arena.
  MatrixLoader into(Arena& arena) const { return {checkpoint_, arena, placement_}; }
  /// The same for a matrix whose rows are looked up, and so not packed.
  Result<Linear> load_table(const std::string& name, std::size_t out, std::size_t in) const {
    Placement placement = placement_;
    placement.packs_bf16 = false;
    return MatrixLoader(checkpoint_, arena_, placement).load(name, out, in);
  }

  Result<Linear> load(const std::string& name, std::size_t out, std::size_t in) const;
  Result<Linear> own_f32(std::span<const float> values, std::size_t out, std::size_t in) const;
  Result<Linear> own_factor(std::span<const float> values, std::size_t out, std::size_t in) const;

 private:
  Result<const void*> place(const StoredMatrix& matrix) const;
  Result<const void*> pack_codes(const StoredMatrix& matrix) const;
  Result<const void*> pack_bf16_matrix(const StoredMatrix& matrix) const;
  Result<const kernels::bf16*> place_group_scales(const StoredMatrix& matrix) const;

  const Checkpoint& checkpoint_;
  Arena& arena_;
  Placement placement_;
};

Result<Linear> MatrixLoader::own_f32(std::span<const float> values, std::size_t out,
                                     std::size_t in) const {
  PONDER_TRY(std::byte * to, arena_.allocate(values.size_bytes()));
  std::memcpy(to, values.data(), values.size_bytes());
  Linear linear;
  linear.out = out;
  linear.in = in;
  linear.data = to;
  return linear;
}

/// Rounded to BF16, and packed if that makes it smaller.
Result<Linear> MatrixLoader::own_factor(std::span<const float> values, std::size_t out,
                                        std::size_t in) const {
  std::vector<kernels::bf16> rounded(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) rounded[i] = float_to_bf16(values[i]);
  Linear linear;
  linear.out = out;
  linear.in = in;
  linear.dtype = kernels::DType::bf16;
  linear.may_round_x = placement_.may_round_x;
  if (placement_.packs_factors) {
    PONDER_TRY(linear.data, pack_bf16(rounded.data(), out, in, arena_, placement_.pool));
    linear.is_packed = linear.data != nullptr;
    if (linear.is_packed) return linear;
  }
  const std::size_t bytes = rounded.size() * sizeof(kernels::bf16);
  PONDER_TRY(std::byte * to, arena_.allocate(bytes));
  std::memcpy(to, rounded.data(), bytes);
  linear.data = to;
  return linear;
}

/// Where the matrix is read from.
Result<const void*> MatrixLoader::place(const StoredMatrix& matrix) const {
  const TensorView& tensor = *matrix.values;
  if (is_readable_in_place(matrix) && !placement_.is_copied) return tensor.data;
  PONDER_CHECK(checkpoint_.check_finite(tensor));
  PONDER_TRY(std::byte * to, arena_.allocate(tensor.num_bytes));
  std::memcpy(to, tensor.data, tensor.num_bytes);
  return to;
}

Result<const void*> MatrixLoader::pack_codes(const StoredMatrix& matrix) const {
  const std::size_t row_bytes = matrix.values->num_bytes / matrix.out;
  PONDER_TRY(std::byte * to, arena_.allocate(kernels::packed_bytes(matrix.out, row_bytes)));
  kernels::pack_weights(reinterpret_cast<const std::uint8_t*>(matrix.values->data), matrix.out,
                        row_bytes, reinterpret_cast<std::uint8_t*>(to));
  return to;
}

/// Null: it stays as it is.
Result<const void*> MatrixLoader::pack_bf16_matrix(const StoredMatrix& matrix) const {
  if (!placement_.packs_bf16 || !is_readable_in_place(matrix)) return nullptr;
  if (placement_.is_copied) {
    PONDER_CHECK(checkpoint_.check_finite(*matrix.values));
  }
  const auto* rows = reinterpret_cast<const kernels::bf16*>(matrix.values->data);
  PONDER_TRY(const void* packed, pack_bf16(rows, matrix.out, matrix.in, arena_, placement_.pool));
  if (packed != nullptr) forget_pages(matrix.values->data, matrix.values->num_bytes);
  return packed;
}

/// The scales of each 16 rows together, in the order in which a product needs them.
Result<const kernels::bf16*> MatrixLoader::place_group_scales(const StoredMatrix& matrix) const {
  const std::size_t block_rows = kernels::kScaleRows;
  const std::size_t groups = matrix.in / matrix.format.group;
  const std::size_t stored_groups = matrix.scales->shape[1];  // 1: the whole row shares it
  const std::size_t num_blocks = (matrix.out + block_rows - 1) / block_rows;
  PONDER_TRY(std::byte * bytes,
             arena_.allocate(num_blocks * groups * block_rows * sizeof(kernels::bf16)));
  auto* to = reinterpret_cast<kernels::bf16*>(bytes);
  for (std::size_t row = 0; row < matrix.out; ++row) {
    for (std::size_t g = 0; g < groups; ++g) {
      const std::size_t at = row * stored_groups + (stored_groups == 1 ? 0 : g);
      kernels::bf16 scale = 0;
      std::memcpy(&scale, matrix.scales->data + at * sizeof scale, sizeof scale);
      to[(row / block_rows * groups + g) * block_rows + row % block_rows] = scale;
    }
  }
  return to;
}

Result<Linear> MatrixLoader::load(const std::string& name, std::size_t out, std::size_t in) const {
  PONDER_TRY(const StoredMatrix matrix, checkpoint_.stored_matrix(name, out, in));
  if (matrix.scales != nullptr) {
    PONDER_CHECK(checkpoint_.check_finite(*matrix.scales));
  }
  if (matrix.values->dtype == DType::f16) {
    PONDER_TRY(const std::vector<float> values, checkpoint_.load_f32(name, {out, in}));
    return own_f32(values, out, in);
  }
  Linear linear;
  linear.out = out;
  linear.in = in;
  linear.may_round_x = placement_.may_round_x;
  switch (matrix.format.dtype) {
    case WeightDType::f32:
      break;
    case WeightDType::bf16: {
      linear.dtype = kernels::DType::bf16;
      PONDER_TRY(linear.data, pack_bf16_matrix(matrix));
      linear.is_packed = linear.data != nullptr;
      if (linear.is_packed) return linear;
      break;
    }
    case WeightDType::fp8: {
      PONDER_TRY(Fp8Weight weight, checkpoint_.raw_fp8(name, std::array{out, in}));
      linear.dtype = kernels::DType::fp8_e4m3;
      linear.scales = std::move(weight.scales);
      linear.scales_stride = weight.scale_cols;
      break;
    }
    case WeightDType::int8:
    case WeightDType::int4: {
      const bool is_int8 = matrix.format.dtype == WeightDType::int8;
      linear.dtype = is_int8 ? kernels::DType::int8 : kernels::DType::int4;
      linear.group = matrix.format.group;
      PONDER_TRY(linear.group_scales, place_group_scales(matrix));
      linear.is_packed = placement_.packs_codes;
      break;
    }
  }
  if (linear.is_packed) {
    PONDER_TRY(linear.data, pack_codes(matrix));
    return linear;
  }
  PONDER_TRY(linear.data, place(matrix));
  return linear;
}

/// Builds the weights of one layer from the names below one prefix.
class LayerLoader {
 public:
  LayerLoader(const MatrixLoader& matrices, const ModelConfig& config, std::string prefix)
      : matrices_(matrices),
        checkpoint_(matrices.checkpoint()),
        config_(config),
        prefix_(std::move(prefix)) {}

  Result<LayerWeights> load(const LayerDescriptor& layer) const;
  Result<MtpWeights> load_mtp() const;

 private:
  Result<Linear> linear(const std::string& name, std::size_t out, std::size_t in) const;
  Result<std::vector<float>> vector(const std::string& name, std::size_t size) const {
    return checkpoint_.load_f32(prefix_ + name, {size});
  }
  Result<FfnWeights> ffn(const std::string& name, std::size_t width) const;
  Status load_attention(LayerWeights& weights) const;
  Status load_kv_b(LayerWeights& weights) const;
  Status load_indexer(IndexerWeights& weights) const;
  Status load_moe(LayerWeights& weights) const;

  const MatrixLoader& matrices_;
  const Checkpoint& checkpoint_;
  const ModelConfig& config_;
  std::string prefix_;
};

Result<Linear> LayerLoader::linear(const std::string& name, std::size_t out, std::size_t in) const {
  return matrices_.load(prefix_ + name + ".weight", out, in);
}

Result<FfnWeights> LayerLoader::ffn(const std::string& name, std::size_t width) const {
  FfnWeights weights;
  PONDER_TRY(weights.gate, linear(name + ".gate_proj", width, config_.hidden_size));
  PONDER_TRY(weights.up, linear(name + ".up_proj", width, config_.hidden_size));
  PONDER_TRY(weights.down, linear(name + ".down_proj", config_.hidden_size, width));
  return weights;
}

Result<LayerWeights> LayerLoader::load(const LayerDescriptor& layer) const {
  LayerWeights weights;
  PONDER_CHECK(load_attention(weights));
  if (layer.indexer == IndexerKind::full) {
    PONDER_CHECK(load_indexer(weights.indexer));
  }
  if (layer.ffn == FfnKind::moe) {
    PONDER_CHECK(load_moe(weights));
  } else {
    PONDER_TRY(weights.dense, ffn("mlp", config_.intermediate_size));
  }
  return weights;
}

Result<MtpWeights> LayerLoader::load_mtp() const {
  const std::size_t hidden = config_.hidden_size;
  MtpWeights weights;
  PONDER_TRY(weights.enorm, vector("enorm.weight", hidden));
  PONDER_TRY(weights.hnorm, vector("hnorm.weight", hidden));
  PONDER_TRY(weights.eh_proj, linear("eh_proj", hidden, 2 * hidden));
  PONDER_TRY(weights.shared_head_norm, vector("shared_head.norm.weight", hidden));
  return weights;
}

Status LayerLoader::load_attention(LayerWeights& weights) const {
  const ModelConfig& c = config_;
  const std::size_t heads = c.num_attention_heads;
  PONDER_TRY(weights.input_layernorm, vector("input_layernorm.weight", c.hidden_size));
  PONDER_TRY(weights.post_attention_layernorm,
             vector("post_attention_layernorm.weight", c.hidden_size));
  PONDER_TRY(weights.q_a_layernorm, vector("self_attn.q_a_layernorm.weight", c.q_lora_rank));
  PONDER_TRY(weights.kv_a_layernorm, vector("self_attn.kv_a_layernorm.weight", c.kv_lora_rank));
  PONDER_TRY(weights.q_a, linear("self_attn.q_a_proj", c.q_lora_rank, c.hidden_size));
  PONDER_TRY(weights.q_b, linear("self_attn.q_b_proj", heads * c.qk_head_dim(), c.q_lora_rank));
  PONDER_TRY(weights.kv_a, linear("self_attn.kv_a_proj_with_mqa",
                                  c.kv_lora_rank + c.qk_rope_head_dim, c.hidden_size));
  PONDER_TRY(weights.o, linear("self_attn.o_proj", c.hidden_size, heads * c.v_head_dim));
  return load_kv_b(weights);
}

/// Splits kv_b by head into the two factors of the absorbed form. BF16 holds BF16 weights and FP8
/// weights with power-of-two scales exactly; other FP8 scales are rounded once, here.
Status LayerLoader::load_kv_b(LayerWeights& weights) const {
  const std::size_t rank = config_.kv_lora_rank;
  const std::size_t nope = config_.qk_nope_head_dim;
  const std::size_t v_dim = config_.v_head_dim;
  const std::size_t heads = config_.num_attention_heads;
  const std::string name = prefix_ + "self_attn.kv_b_proj.weight";
  PONDER_TRY(const std::vector<float> kv_b,
             checkpoint_.load_f32(name, {heads * (nope + v_dim), rank}));
  const DType stored = checkpoint_.find(name)->dtype;
  const auto own = stored == DType::bf16 || stored == DType::f8_e4m3 ? &MatrixLoader::own_factor
                                                                     : &MatrixLoader::own_f32;
  std::vector<float> turned(rank * nope);
  for (std::size_t head = 0; head < heads; ++head) {
    const float* keys = kv_b.data() + head * (nope + v_dim) * rank;
    for (std::size_t d = 0; d < nope; ++d) {
      for (std::size_t r = 0; r < rank; ++r) turned[r * nope + d] = keys[d * rank + r];
    }
    const std::span<const float> values(keys + nope * rank, v_dim * rank);
    PONDER_TRY(Linear key_up, (matrices_.*own)(turned, rank, nope));
    PONDER_TRY(Linear value_up, (matrices_.*own)(values, v_dim, rank));
    weights.key_up.push_back(std::move(key_up));
    weights.value_up.push_back(std::move(value_up));
  }
  return {};
}

Status LayerLoader::load_indexer(IndexerWeights& weights) const {
  const ModelConfig& c = config_;
  const std::string name = "self_attn.indexer.";
  PONDER_TRY(weights.wq_b,
             linear(name + "wq_b", c.index_n_heads * c.index_head_dim, c.q_lora_rank));
  PONDER_TRY(weights.wk, linear(name + "wk", c.index_head_dim, c.hidden_size));
  PONDER_TRY(weights.weights_proj, linear(name + "weights_proj", c.index_n_heads, c.hidden_size));
  PONDER_TRY(weights.k_norm, vector(name + "k_norm.weight", c.index_head_dim));
  PONDER_TRY(weights.k_norm_bias, vector(name + "k_norm.bias", c.index_head_dim));
  return {};
}

Status LayerLoader::load_moe(LayerWeights& weights) const {
  const ModelConfig& c = config_;
  const std::size_t width = c.moe_intermediate_size;
  const std::string gate = prefix_ + "mlp.gate.weight";
  PONDER_TRY(const std::vector<float> router,
             checkpoint_.load_f32(gate, {c.n_routed_experts, c.hidden_size}));
  PONDER_TRY(weights.router, matrices_.own_f32(router, c.n_routed_experts, c.hidden_size));
  PONDER_TRY(weights.router_bias, vector("mlp.gate.e_score_correction_bias", c.n_routed_experts));
  if (c.n_shared_experts > 0) {
    PONDER_TRY(weights.shared, ffn("mlp.shared_experts", width * c.n_shared_experts));
  }
  const MatrixLoader expert_matrices = matrices_.into(weights.expert_arena);
  const LayerLoader experts(expert_matrices, config_, prefix_);
  for (std::size_t expert = 0; expert < c.n_routed_experts; ++expert) {
    PONDER_TRY(FfnWeights loaded, experts.ffn(fmt::format("mlp.experts.{}", expert), width));
    weights.experts.push_back(std::move(loaded));
  }
  return {};
}

}  // namespace

kernels::MatmulArgs Linear::args(float* y, std::size_t y_stride, const float* x,
                                 std::size_t x_stride, std::size_t rows) const {
  return {.y = y,
          .y_stride = y_stride,
          .x = x,
          .x_stride = x_stride,
          .w = data,
          .w_stride = in,
          .w_scales = scales.empty() ? nullptr : scales.data(),
          .w_scales_stride = scales_stride,
          .w_dtype = dtype,
          .m = rows,
          .n = out,
          .k = in,
          .w_group_scales = group_scales,
          .w_group = group,
          .w_is_packed = is_packed,
          .may_round_x = may_round_x};
}

Result<ModelWeights> load_weights(const Checkpoint& checkpoint, const ModelConfig& config,
                                  const WeightOptions& options) {
  PONDER_CHECK(check_tensors(checkpoint, config));
  const LoadPlan plan = plan_load(config, &checkpoint, options);
  PONDER_CHECK(plan.check_memory());
  ModelWeights weights;
  weights.is_read_in_place = !plan.is_copied;
  const MatrixLoader matrices(checkpoint, weights.arena,
                              {.is_copied = plan.is_copied,
                               .packs_codes = plan.packs_codes,
                               .packs_bf16 = plan.packs_bf16,
                               .packs_factors = plan.packs_factors,
                               .may_round_x = options.activations == Activations::bf16,
                               .pool = options.pool});
  const std::size_t vocab = config.vocab_size;
  const std::size_t hidden = config.hidden_size;
  PONDER_TRY(weights.embed_tokens, matrices.load_table("model.embed_tokens.weight", vocab, hidden));
  PONDER_TRY(weights.norm, checkpoint.load_f32("model.norm.weight", {hidden}));
  const char* head = config.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight";
  PONDER_TRY(weights.lm_head, matrices.load(head, vocab, hidden));
  const std::size_t num_layers = config.num_hidden_layers + (options.with_mtp ? 1 : 0);
  for (std::size_t i = 0; i < num_layers; ++i) {
    const LayerLoader loader(matrices, config, fmt::format("model.layers.{}.", i));
    PONDER_TRY(LayerWeights layer, loader.load(config.layers[i]));
    weights.layers.push_back(std::move(layer));
    if (config.layers[i].is_mtp) {
      PONDER_TRY(weights.mtp, loader.load_mtp());
    }
  }
  return weights;
}

}  // namespace ponder::engine
