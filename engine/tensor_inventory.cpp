#include "engine/tensor_inventory.h"

#include <fmt/format.h>

#include <utility>

namespace ponder::engine {
namespace {

/// Names the tensors of one layer and hands them on.
class LayerTensors {
 public:
  LayerTensors(std::size_t layer_idx, const std::function<void(TensorSpec)>& visit)
      : layer_(layer_idx), prefix_(fmt::format("model.layers.{}.", layer_idx)), visit_(visit) {}

  void add(const std::string& name, std::vector<std::size_t> shape, TensorRole role,
           std::string values_of = {}, Precision precision = Precision::full) const {
    visit_({prefix_ + name, std::move(shape), role, std::move(values_of), precision, layer_});
  }
  void norm(const std::string& name, std::size_t width) const {
    add(name, {width}, TensorRole::vector_bf16);
  }
  void linear(const std::string& name, std::size_t out, std::size_t in,
              Precision precision = Precision::four_bits) const {
    add(name + ".weight", {out, in}, TensorRole::matrix_fp8, {}, precision);
  }
  void swiglu(const std::string& name, std::size_t hidden, std::size_t width) const {
    linear(name + ".gate_proj", width, hidden);
    linear(name + ".up_proj", width, hidden);
    linear(name + ".down_proj", hidden, width);
  }

 private:
  std::size_t layer_;
  std::string prefix_;
  const std::function<void(TensorSpec)>& visit_;
};

void add_attention(const ModelConfig& config, const LayerTensors& layer) {
  const std::size_t num_heads = config.num_attention_heads;
  layer.linear("self_attn.q_a_proj", config.q_lora_rank, config.hidden_size);
  layer.norm("self_attn.q_a_layernorm.weight", config.q_lora_rank);
  layer.linear("self_attn.q_b_proj", num_heads * config.qk_head_dim(), config.q_lora_rank);
  layer.linear("self_attn.kv_a_proj_with_mqa", config.kv_lora_rank + config.qk_rope_head_dim,
               config.hidden_size);
  layer.norm("self_attn.kv_a_layernorm.weight", config.kv_lora_rank);
  layer.linear("self_attn.kv_b_proj", num_heads * (config.qk_nope_head_dim + config.v_head_dim),
               config.kv_lora_rank, Precision::eight_bits);
  layer.linear("self_attn.o_proj", config.hidden_size, num_heads * config.v_head_dim);
}

void add_indexer(const ModelConfig& config, const LayerTensors& layer) {
  layer.linear("self_attn.indexer.wq_b", config.index_n_heads * config.index_head_dim,
               config.q_lora_rank, Precision::eight_bits);
  layer.linear("self_attn.indexer.wk", config.index_head_dim, config.hidden_size,
               Precision::eight_bits);
  layer.norm("self_attn.indexer.k_norm.weight", config.index_head_dim);
  layer.norm("self_attn.indexer.k_norm.bias", config.index_head_dim);
  layer.add("self_attn.indexer.weights_proj.weight", {config.index_n_heads, config.hidden_size},
            TensorRole::matrix_bf16);
}

void add_moe(const ModelConfig& config, const LayerTensors& layer) {
  const std::size_t hidden = config.hidden_size;
  const std::size_t width = config.moe_intermediate_size;
  layer.add("mlp.gate.weight", {config.n_routed_experts, hidden}, TensorRole::matrix_bf16);
  layer.add("mlp.gate.e_score_correction_bias", {config.n_routed_experts}, TensorRole::vector_f32);
  if (config.n_shared_experts > 0) {
    layer.swiglu("mlp.shared_experts", hidden, width * config.n_shared_experts);
  }
  for (std::size_t e = 0; e < config.n_routed_experts; ++e) {
    layer.swiglu(fmt::format("mlp.experts.{}", e), hidden, width);
  }
}

void add_mtp(const ModelConfig& config, const LayerTensors& layer) {
  const std::size_t hidden = config.hidden_size;
  layer.norm("enorm.weight", hidden);
  layer.norm("hnorm.weight", hidden);
  layer.add("eh_proj.weight", {hidden, 2 * hidden}, TensorRole::matrix_bf16);
  layer.norm("shared_head.norm.weight", hidden);
  if (config.architecture != Architecture::deepseek_v32) return;
  layer.add("embed_tokens.weight", {config.vocab_size, hidden}, TensorRole::matrix_bf16,
            "model.embed_tokens.weight");
  layer.add("shared_head.head.weight", {config.vocab_size, hidden}, TensorRole::matrix_bf16,
            config.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight",
            Precision::eight_bits);
}

}  // namespace

bool may_be_stored_as(const TensorSpec& spec, const WeightFormat& format) {
  switch (format.dtype) {
    case WeightDType::f32:
    case WeightDType::bf16:
      return true;
    case WeightDType::fp8:
    case WeightDType::int8:
      return spec.precision != Precision::full;
    case WeightDType::int4:
      return spec.precision == Precision::four_bits;
  }
  return false;
}

WeightDType published_dtype(const ModelConfig& config, const TensorSpec& spec) {
  if (spec.role == TensorRole::vector_f32) return WeightDType::f32;
  const bool is_fp8 = config.quantization_config.has_value() &&
                      config.quantization_config->quant_method == "fp8" &&
                      spec.role == TensorRole::matrix_fp8;
  return is_fp8 ? WeightDType::fp8 : WeightDType::bf16;
}

void for_each_tensor(const ModelConfig& config, const std::function<void(TensorSpec)>& visit) {
  const std::vector<std::size_t> vocab_shape{config.vocab_size, config.hidden_size};
  visit({"model.embed_tokens.weight", vocab_shape, TensorRole::matrix_bf16, {}, Precision::full});
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    const LayerDescriptor& descriptor = config.layers[i];
    const LayerTensors layer(i, visit);
    layer.norm("input_layernorm.weight", config.hidden_size);
    add_attention(config, layer);
    if (descriptor.indexer == IndexerKind::full) add_indexer(config, layer);
    layer.norm("post_attention_layernorm.weight", config.hidden_size);
    if (descriptor.ffn == FfnKind::moe) {
      add_moe(config, layer);
    } else {
      layer.swiglu("mlp", config.hidden_size, config.intermediate_size);
    }
    if (descriptor.is_mtp) add_mtp(config, layer);
  }
  visit({"model.norm.weight", {config.hidden_size}, TensorRole::vector_bf16, {}, Precision::full});
  if (!config.tie_word_embeddings) {
    visit({"lm_head.weight", vocab_shape, TensorRole::matrix_bf16, {}, Precision::eight_bits});
  }
}

}  // namespace ponder::engine
