#include "engine/model_report.h"

#include <fmt/format.h>

#include <string_view>

#include "engine/cache.h"
#include "engine/device_model.h"
#include "engine/tensor_inventory.h"

namespace ponder::engine {
namespace {

std::uint64_t num_elements(const std::vector<std::size_t>& shape) {
  std::uint64_t elements = 1;
  for (const std::size_t dimension : shape) elements *= dimension;
  return elements;
}

/// A tensor as it is stored: elements with scales, and bytes.
struct Stored {
  std::uint64_t elements = 0;
  std::uint64_t bytes = 0;
  std::size_t tensors = 0;
};

Stored stored_in(const Checkpoint& checkpoint, const TensorSpec& spec) {
  Stored stored;
  for (const char* companion : {"", "_scale_inv", "_scale", "_packed", "_shape"}) {
    const TensorView* tensor = checkpoint.find(spec.name + companion);
    if (tensor == nullptr) continue;
    const bool is_packed = tensor->name.ends_with("_packed");  // eight codes in an element
    stored.elements += tensor->num_elements() * (is_packed ? 8 : 1);
    stored.bytes += tensor->num_bytes;
    ++stored.tensors;
  }
  return stored;
}

/// What the published checkpoints of this configuration hold.
Stored stored_by_formula(const ModelConfig& config, const TensorSpec& spec) {
  const std::uint64_t elements = num_elements(spec.shape);
  const WeightDType dtype = published_dtype(config, spec);
  if (dtype == WeightDType::f32) return {elements, 4 * elements, 1};
  if (dtype == WeightDType::bf16) return {elements, 2 * elements, 1};
  const auto blocks = [](std::size_t length) {
    return (length + kFp8BlockSize - 1) / kFp8BlockSize;
  };
  const std::uint64_t scales = blocks(spec.shape[0]) * blocks(spec.shape[1]);
  return {elements + scales, elements + 4 * scales, 2};
}

Amount& part_of(LayerAmounts& layer, std::string_view name) {
  const auto has = [&](std::string_view part) { return name.find(part) != std::string_view::npos; };
  if (has(".self_attn.indexer.")) return layer.indexer;
  if (has("layernorm.weight")) return layer.norms;
  if (has(".self_attn.")) return layer.attention;
  if (has(".mlp.experts.")) return layer.routed_experts;
  if (has(".mlp.shared_experts.")) return layer.shared_experts;
  if (has(".mlp.gate.")) return layer.router;
  if (has(".mlp.")) return layer.ffn;
  return layer.mtp;
}

/// `chosen` of `of` equal experts.
Amount share(const Amount& experts, std::size_t chosen, std::size_t of) {
  if (of == 0) return {};
  return {experts.parameters / of * chosen, experts.bytes / of * chosen};
}

void add_up(const ModelConfig& config, ModelAmounts& amounts) {
  const bool is_tied = config.tie_word_embeddings;
  for (Amount* sum : {&amounts.main, &amounts.resident, &amounts.active}) {
    if (sum != &amounts.active) *sum += amounts.embedding;
    *sum += sum == &amounts.active && is_tied ? amounts.embedding : amounts.lm_head;
    *sum += amounts.norm;
  }
  for (std::size_t i = 0; i < amounts.layers.size(); ++i) {
    const LayerAmounts& layer = amounts.layers[i];
    const Amount total = layer.total();
    if (config.layers[i].is_mtp) {
      amounts.mtp += total;
      continue;
    }
    amounts.main += total;
    const Amount& routed = layer.routed_experts;
    const Amount rest{total.parameters - routed.parameters, total.bytes - routed.bytes};
    amounts.resident += rest;
    amounts.active += rest;
    if (layer.router.parameters > 0) amounts.active.parameters -= config.n_routed_experts;
    amounts.active += share(routed, config.num_experts_per_tok, config.n_routed_experts);
  }
}

std::uint64_t cached_layers(const ModelConfig& config, bool with_mtp) {
  return with_mtp ? config.layers.size() : config.num_hidden_layers;
}

/// Of several MTP layers the engine takes the first.
std::size_t computed_layers(const ModelConfig& config, bool has_drafts) {
  return config.num_hidden_layers + (has_drafts ? 1 : 0);
}

}  // namespace

Amount LayerAmounts::total() const {
  Amount sum;
  for (const Amount& part :
       {attention, indexer, norms, ffn, router, shared_experts, routed_experts, mtp}) {
    sum += part;
  }
  return sum;
}

ModelAmounts model_amounts(const ModelConfig& config, const Checkpoint* checkpoint) {
  ModelAmounts amounts;
  amounts.layers.resize(config.layers.size());
  for_each_tensor(config, [&](const TensorSpec& spec) {
    const Stored stored =
        checkpoint != nullptr ? stored_in(*checkpoint, spec) : stored_by_formula(config, spec);
    amounts.stored += {stored.elements, stored.bytes};
    amounts.tensors += stored.tensors;
    if (stored.tensors == 0 || !spec.values_of.empty()) return;
    const Amount amount{num_elements(spec.shape), stored.bytes};
    if (spec.name == "model.embed_tokens.weight") {
      amounts.embedding += amount;
    } else if (spec.name == "lm_head.weight") {
      amounts.lm_head += amount;
    } else if (spec.name == "model.norm.weight") {
      amounts.norm += amount;
    } else {
      part_of(amounts.layers[spec.layer.value()], spec.name) += amount;
    }
  });
  add_up(config, amounts);
  return amounts;
}

CacheBytesPerToken cache_bytes_per_token(const ModelConfig& config, bool with_mtp) {
  CacheBytesPerToken bytes;
  const std::uint64_t latent = config.kv_lora_rank + config.qk_rope_head_dim;
  const std::uint64_t latent_scales = (config.kv_lora_rank + kFp8BlockSize - 1) / kFp8BlockSize;
  const std::uint64_t fp8_latent =
      config.kv_lora_rank + 4 * latent_scales + 2 * config.qk_rope_head_dim;
  const std::uint64_t fp8_key = config.index_head_dim + 4;
  for (std::size_t i = 0; i < cached_layers(config, with_mtp); ++i) {
    const bool has_keys = config.layers[i].indexer == IndexerKind::full;
    bytes.bf16 += 2 * latent + (has_keys ? 2 * config.index_head_dim : 0);
    bytes.bf16_fp8_keys += 2 * latent + (has_keys ? fp8_key : 0);
    bytes.fp8 += fp8_latent + (has_keys ? fp8_key : 0);
  }
  return bytes;
}

CacheLayout cache_layout(const ModelConfig& config, const Checkpoint* checkpoint,
                         const ModelOptions& how) {
  const DType weights = checkpoint != nullptr ? checkpoint->compute_dtype() : DType::bf16;
  return CacheLayout(config, choose_cache_dtype(how.cache_dtype, weights, config), how.has_drafts,
                     how.index_keys);
}

std::uint64_t cache_bytes_used(const CacheLayout& layout) {
  return (layout.page_bytes + kPageTokens - 1) / kPageTokens;
}

std::uint64_t unfolded_bytes(const ModelConfig& config, bool has_drafts) {
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < computed_layers(config, has_drafts); ++i) {
    bytes += 2 * config.num_attention_heads * (config.qk_nope_head_dim + config.v_head_dim) *
             config.kv_lora_rank;
    if (config.layers[i].ffn == FfnKind::moe) {
      bytes += 4 * config.n_routed_experts * config.hidden_size;
    }
  }
  return bytes;
}

DeviceNeed device_need(const ModelConfig& config, const ModelAmounts& amounts,
                       const CacheLayout& cache, const ModelOptions& how) {
  DeviceNeed need;
  need.weight_bytes = amounts.resident.bytes + unfolded_bytes(config, how.has_drafts);
  need.weight_bytes += DeviceModel::turned_key_bytes(config, how.prompt_attention);
  if (how.has_drafts) {
    const LayerAmounts& drafting = amounts.layers[config.num_hidden_layers];
    need.weight_bytes += drafting.total().bytes - drafting.routed_experts.bytes;
  }
  need.workspace_bytes = DeviceModel::workspace_bytes(config, how);
  need.cache_bytes = DeviceModel::cache_bytes(cache, how);
  for (std::size_t layer = 0; layer < computed_layers(config, how.has_drafts); ++layer) {
    const std::uint64_t bytes = amounts.layers[layer].routed_experts.bytes;
    if (bytes > 0) need.experts.push_back({layer, bytes});
  }
  return need;
}

MemoryNeed memory_need(const ModelConfig& config, const LoadPlan& plan,
                       std::uint64_t context_tokens, std::uint64_t cache_bytes,
                       std::uint64_t total_bytes) {
  MemoryNeed need;
  need.made_bytes = plan.made_bytes();
  need.in_place_bytes = plan.in_place_bytes();
  need.in_place_expert_bytes = plan.in_place_expert_bytes();
  need.cache_bytes = cache_bytes * context_tokens;
  const std::uint64_t all = need.made_bytes + need.in_place_bytes + need.cache_bytes;
  const std::uint64_t resident = all - need.in_place_expert_bytes;
  const std::string has = fmt::format("{} of memory available (of {})", bytes_text(plan.available),
                                      bytes_text(total_bytes));
  const Status loads = plan.check_memory();
  if (context_tokens > config.max_position_embeddings) {
    need.reason = fmt::format("a context of {} tokens; the model knows {} positions",
                              context_tokens, config.max_position_embeddings);
  } else if (!loads) {
    need.reason = loads.error().message;
  } else if (resident > plan.available) {
    const char* without = need.in_place_expert_bytes > 0 ? " even without routed experts" : "";
    need.reason = fmt::format("{} needed{}, {}", bytes_text(resident), without, has);
  } else if (all > plan.available) {
    need.verdict = Verdict::runs_from_disk;
    need.reason = fmt::format("{} needed, {}: experts are read from disk at almost every token",
                              bytes_text(all), has);
  } else {
    need.verdict = Verdict::runs;
    need.reason = fmt::format("{} needed, {}", bytes_text(all), has);
  }
  return need;
}

}  // namespace ponder::engine
