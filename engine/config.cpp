#include "engine/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/assert.h"
#include "engine/detail/config_fields.h"
#include "engine/detail/file_error.h"
#include "engine/detail/json_input.h"
#include "engine/detail/rope.h"
#include "engine/mapped_file.h"

namespace ponder::engine {
namespace {

using detail::brief;
using detail::ConfigFields;
using detail::Presence;
using detail::SizeRange;
using nlohmann::json;

// Bounds far above any known model, and low enough that no product of dimensions overflows.
constexpr SizeRange kWidth{1, 1 << 20};
constexpr SizeRange kHeads{1, 1 << 14};
constexpr SizeRange kHeadDim{1, 1 << 14};
constexpr SizeRange kLayers{1, 4096};
constexpr SizeRange kExperts{0, 1 << 16};

struct KnownArchitecture {
  Architecture architecture;
  const char* class_name;
  const char* model_type;
};
constexpr KnownArchitecture kArchitectures[] = {
    {Architecture::deepseek_v32, "DeepseekV32ForCausalLM", "deepseek_v32"},
    {Architecture::glm_moe_dsa, "GlmMoeDsaForCausalLM", "glm_moe_dsa"},
};

void read_architecture(ConfigFields& fields, ModelConfig& config) {
  std::vector<std::string> found = fields.names("architectures", 0);
  std::string model_type;
  fields.text("model_type", model_type);
  // The class decides; only a config without one that we know is judged by its model_type.
  const auto is_listed = [&](const KnownArchitecture& known) {
    return std::ranges::find(found, known.class_name) != found.end();
  };
  const auto is_type = [&](const KnownArchitecture& known) {
    return model_type == known.model_type;
  };
  const auto* known = std::ranges::find_if(kArchitectures, is_listed);
  if (known == std::end(kArchitectures)) known = std::ranges::find_if(kArchitectures, is_type);
  if (known != std::end(kArchitectures)) {
    config.architecture = known->architecture;
    return;
  }
  const std::string name = !found.empty() ? found.front() : model_type;
  std::string known_names;
  for (const KnownArchitecture& known : kArchitectures) {
    known_names += fmt::format("{}{} ({})", known_names.empty() ? "" : ", ", known.class_name,
                               known.model_type);
  }
  fields.refuse("architectures", name.empty() ? "missing; known: " + known_names
                                              : fmt::format("unknown architecture {}; known: {}",
                                                            brief(json(name)), known_names));
}

void read_attention(ConfigFields& fields, ModelConfig& config) {
  const auto required = Presence::required;
  fields.size("vocab_size", config.vocab_size, {1, 1 << 24}, required);
  fields.size("hidden_size", config.hidden_size, kWidth, required);
  fields.size("num_hidden_layers", config.num_hidden_layers, kLayers, required);
  fields.size("num_nextn_predict_layers", config.num_nextn_predict_layers, {0, 64},
              Presence::optional);
  fields.size("num_attention_heads", config.num_attention_heads, kHeads, required);
  fields.size("q_lora_rank", config.q_lora_rank, kWidth, required);
  fields.size("kv_lora_rank", config.kv_lora_rank, kWidth, required);
  fields.size("qk_nope_head_dim", config.qk_nope_head_dim, kHeadDim, required);
  fields.size("qk_rope_head_dim", config.qk_rope_head_dim, kHeadDim, required);
  fields.size("v_head_dim", config.v_head_dim, kHeadDim, required);
  fields.size("index_n_heads", config.index_n_heads, kHeads, required);
  fields.size("index_head_dim", config.index_head_dim, kHeadDim, required);
  fields.size("index_topk", config.index_topk, {1, 1 << 30}, required);
  fields.size("max_position_embeddings", config.max_position_embeddings, {1, 1 << 30}, required);
  config.index_topk = std::min(config.index_topk, config.max_position_embeddings);
  fields.boolean("attention_bias", config.attention_bias);
  fields.boolean("tie_word_embeddings", config.tie_word_embeddings);
  fields.positive("rms_norm_eps", config.rms_norm_eps, required);
  config.lora_norm_eps = config.rms_norm_eps;
  fields.positive("lora_norm_eps", config.lora_norm_eps, Presence::optional);
  config.indexer_rope_interleave = config.architecture == Architecture::glm_moe_dsa;
  fields.boolean("indexer_rope_interleave", config.indexer_rope_interleave);
  fields.boolean("index_share_for_mtp_iteration", config.index_share_for_mtp_iteration);
  if (config.attention_bias) fields.refuse("attention_bias", "true is not supported");
  if (config.qk_rope_head_dim % 2 != 0) {
    fields.refuse("qk_rope_head_dim", fmt::format("{} is odd", config.qk_rope_head_dim));
  }
  if (!std::has_single_bit(config.index_head_dim) ||
      config.index_head_dim < config.qk_rope_head_dim) {
    fields.refuse("index_head_dim", fmt::format("{} is not a power of two from qk_rope_head_dim {}",
                                                config.index_head_dim, config.qk_rope_head_dim));
  }
}

void check_groups(ConfigFields& fields, const ModelConfig& config) {
  const std::size_t num_experts = config.n_routed_experts;
  const auto refuse = [&](const char* key, std::size_t value, const std::string& why) {
    fields.refuse(key, fmt::format("{} {}", value, why));
  };
  if (config.moe_intermediate_size == 0) {
    refuse("moe_intermediate_size", 0, "for a model with routed experts");
  }
  if (num_experts % config.n_group != 0) {
    return refuse("n_group", config.n_group,
                  fmt::format("does not divide n_routed_experts {}", num_experts));
  }
  const std::size_t group_size = num_experts / config.n_group;
  if (config.n_group > 1 && group_size < 2) {
    refuse("n_group", config.n_group, "leaves groups of fewer than two experts");
  }
  if (config.topk_group > config.n_group) {
    refuse("topk_group", config.topk_group, fmt::format("is above n_group {}", config.n_group));
  }
  if (config.num_experts_per_tok == 0 ||
      config.num_experts_per_tok > config.topk_group * group_size) {
    refuse("num_experts_per_tok", config.num_experts_per_tok,
           fmt::format("is not from 1 to the {} experts in topk_group groups",
                       config.topk_group * group_size));
  }
}

void read_ffn(ConfigFields& fields, ModelConfig& config) {
  const auto optional = Presence::optional;
  fields.size("intermediate_size", config.intermediate_size, kWidth, Presence::required);
  fields.choice("hidden_act", config.hidden_act, {"silu"});
  fields.size("n_routed_experts", config.n_routed_experts, kExperts, optional);
  fields.size("n_shared_experts", config.n_shared_experts, {0, 1024}, optional);
  fields.size("moe_intermediate_size", config.moe_intermediate_size, kWidth, optional);
  fields.size("first_k_dense_replace", config.first_k_dense_replace, {0, kLayers.max}, optional);
  fields.size("moe_layer_freq", config.moe_layer_freq, {1, kLayers.max}, optional);
  fields.size("num_experts_per_tok", config.num_experts_per_tok, kExperts, optional);
  fields.size("n_group", config.n_group, {1, kExperts.max}, optional);
  fields.size("topk_group", config.topk_group, {1, kExperts.max}, optional);
  fields.choice("scoring_func", config.scoring_func, {"sigmoid"});
  fields.choice("topk_method", config.topk_method, {"noaux_tc"});
  fields.boolean("norm_topk_prob", config.norm_topk_prob);
  fields.positive("routed_scaling_factor", config.routed_scaling_factor, optional);
  if (config.n_routed_experts > 0) check_groups(fields, config);
}

void read_ffn_kinds(ConfigFields& fields, ModelConfig& config) {
  const std::vector<std::string> types = fields.names("mlp_layer_types", config.num_hidden_layers);
  for (std::size_t i = 0; i < config.num_hidden_layers; ++i) {
    bool is_moe = config.n_routed_experts > 0 && i >= config.first_k_dense_replace &&
                  i % config.moe_layer_freq == 0;
    if (!types.empty()) {
      is_moe = types[i] == "sparse";
      if (!is_moe && types[i] != "dense") {
        fields.refuse("mlp_layer_types", brief(json(types[i])) + " is neither dense nor sparse");
      }
      if (is_moe && config.n_routed_experts == 0) {
        fields.refuse("n_routed_experts", "0, but mlp_layer_types has sparse layers");
      }
    }
    config.layers[i].ffn = is_moe ? FfnKind::moe : FfnKind::dense;
  }
}

void read_indexer_kinds(ConfigFields& fields, ModelConfig& config) {
  std::size_t freq = 1;
  std::size_t offset = 2;
  fields.size("index_topk_freq", freq, {0, kLayers.max}, Presence::optional);
  fields.size("index_skip_topk_offset", offset, {0, kLayers.max}, Presence::optional);
  freq = std::max<std::size_t>(freq, 1);
  const std::vector<std::string> types = fields.names("indexer_types", config.num_hidden_layers);
  const std::vector<std::string> pattern =
      fields.names("index_topk_pattern", config.num_hidden_layers);
  const bool has_types = !types.empty();
  for (std::size_t i = 0; i < config.num_hidden_layers; ++i) {
    bool is_full = i + 1 <= offset || (i + 1 - offset) % freq == 0;
    if (has_types || !pattern.empty()) {
      const std::string& kind = has_types ? types[i] : pattern[i];
      is_full = kind == "full" || kind == "F";
      if (!is_full && kind != "shared" && kind != "S") {
        fields.refuse(has_types ? "indexer_types" : "index_topk_pattern",
                      brief(json(kind)) + " is neither full nor shared");
      }
    }
    config.layers[i].indexer = is_full ? IndexerKind::full : IndexerKind::shared;
  }
  if (config.layers[0].indexer == IndexerKind::shared) {
    fields.refuse(has_types ? "indexer_types" : "index_topk_pattern",
                  "layer 0 shares the selection of a layer before it, and there is none");
  }
}

void describe_layers(ConfigFields& fields, ModelConfig& config) {
  LayerDescriptor layer;
  layer.indexer_rope_layout =
      config.indexer_rope_interleave ? RopeLayout::interleaved : RopeLayout::half_split;
  config.layers.assign(config.num_hidden_layers, layer);
  if (!fields.fault()) read_ffn_kinds(fields, config);
  if (!fields.fault()) read_indexer_kinds(fields, config);
  layer.ffn = config.n_routed_experts > 0 ? FfnKind::moe : FfnKind::dense;
  layer.is_mtp = true;
  config.layers.insert(config.layers.end(), config.num_nextn_predict_layers, layer);
  const auto num_moe = static_cast<std::size_t>(
      std::ranges::count(config.layers, FfnKind::moe, &LayerDescriptor::ffn));
  if (num_moe * config.n_routed_experts > kExpertsOfAllLayersMax) {
    fields.refuse("n_routed_experts",
                  fmt::format("{} in each of {} layers are more than {} experts",
                              config.n_routed_experts, num_moe, kExpertsOfAllLayersMax));
  }
}

/// Each value may be one that fp32 holds, and what follows from them not.
Status check_derived(const ModelConfig& config) {
  const auto is_fp32 = [](double value) { return std::isfinite(static_cast<float>(value)); };
  if (is_fp32(config.softmax_scale) && is_fp32(config.rope_amplitude) &&
      std::ranges::all_of(config.inv_freq, is_fp32)) {
    return {};
  }
  return fail(Errc::invalid_argument,
              "rope_scaling: its values give frequencies or scales beyond the range of fp32");
}

void read_rope_scaling(ConfigFields& fields, const json& object, ModelConfig& config) {
  ConfigFields scaling(object,
                       object.contains("rope_theta") ? "rope_parameters." : "rope_scaling.");
  std::string type = "default";
  scaling.choice("type", type, {"default", "yarn"});
  scaling.choice("rope_type", type, {"default", "yarn"});
  if (type == "yarn") {
    RopeScaling yarn;
    scaling.positive("factor", yarn.factor, Presence::required);
    scaling.size("original_max_position_embeddings", yarn.original_max_position_embeddings,
                 {1, 1 << 30}, Presence::required);
    scaling.positive("beta_fast", yarn.beta_fast, Presence::optional);
    scaling.positive("beta_slow", yarn.beta_slow, Presence::optional);
    scaling.non_negative("mscale", yarn.mscale, Presence::optional);
    scaling.non_negative("mscale_all_dim", yarn.mscale_all_dim, Presence::optional);
    if (yarn.factor < 1.0) {
      scaling.refuse("factor", fmt::format("{} is below 1", yarn.factor));
    }
    if (yarn.beta_fast < yarn.beta_slow) {
      scaling.refuse("beta_fast",
                     fmt::format("{} is below beta_slow {}", yarn.beta_fast, yarn.beta_slow));
    }
    config.rope_scaling = yarn;
  }
  fields.adopt(scaling);
}

void read_rope(ConfigFields& fields, ModelConfig& config) {
  const json* parameters = fields.find("rope_parameters");
  const json* scaling = fields.find("rope_scaling");
  const char* scaling_key = parameters != nullptr ? "rope_parameters" : "rope_scaling";
  if (parameters != nullptr) scaling = parameters;
  if (scaling != nullptr && !scaling->is_object()) {
    return fields.refuse(scaling_key, brief(*scaling) + " is not an object");
  }
  if (parameters != nullptr && parameters->contains("rope_theta")) {
    fields.ignore("rope_theta");
    ConfigFields theta(*parameters, "rope_parameters.");
    theta.positive("rope_theta", config.rope_theta, Presence::required);
    fields.adopt(theta);
  } else {
    fields.positive("rope_theta", config.rope_theta, Presence::required);
  }
  if (config.rope_theta <= 1.0) {
    fields.refuse("rope_theta", fmt::format("{} is not above 1", config.rope_theta));
  }
  if (scaling != nullptr) read_rope_scaling(fields, *scaling, config);
}

void read_token_ids(ConfigFields& fields, ModelConfig& config) {
  std::size_t bos = 0;
  const SizeRange range{0, config.vocab_size - 1};
  fields.size("bos_token_id", bos, range, Presence::optional);
  config.bos_token_id = static_cast<std::uint32_t>(bos);
  const json* eos = fields.find("eos_token_id");
  if (eos == nullptr) return fields.refuse("eos_token_id", "missing");
  const json list = eos->is_array() ? *eos : json::array({*eos});
  for (const json& id : list) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() > range.max) {
      return fields.refuse("eos_token_id", fmt::format("{} is not a token id below vocab_size {}",
                                                       brief(id), config.vocab_size));
    }
    config.eos_token_id.push_back(id.get<std::uint32_t>());
  }
  if (list.empty()) fields.refuse("eos_token_id", "an empty list");
}

void read_quantization(ConfigFields& fields, ModelConfig& config) {
  const json* object = fields.find("quantization_config");
  if (object == nullptr) return;
  if (!object->is_object()) {
    return fields.refuse("quantization_config", brief(*object) + " is not an object");
  }
  QuantizationConfig quantization;
  ConfigFields inner(*object, "quantization_config.");
  inner.choice("quant_method", quantization.quant_method, {"fp8", "compressed-tensors"});
  if (quantization.quant_method == "compressed-tensors") {
    fields.adopt(inner);
    config.quantization_config = quantization;
    return;
  }
  inner.choice("fmt", quantization.fmt, {"e4m3"});
  inner.choice("activation_scheme", quantization.activation_scheme, {"dynamic"});
  inner.choice("scale_fmt", quantization.scale_fmt, {"ue8m0"});
  const json* block = inner.find("weight_block_size");
  if (block != nullptr && *block != json::array({128, 128})) {
    inner.refuse("weight_block_size", brief(*block) + " is not supported; known: [128,128]");
  }
  fields.adopt(inner);
  config.quantization_config = quantization;
}

void read_dtype(ConfigFields& fields, ModelConfig& config) {
  const std::vector<std::string> known{"bfloat16", "float32", "float16"};
  fields.choice("torch_dtype", config.torch_dtype, known);
  fields.choice("dtype", config.torch_dtype, known);
}

/// Keys of every published config that say nothing about inference, or nothing that is true
/// (head_dim is no head width of this family; num_key_value_heads is a remnant).
void skip_irrelevant(ConfigFields& fields) {
  for (const char* key :
       {"_name_or_path", "attention_dropout", "auto_map", "aux_loss_alpha", "head_dim",
        "initializer_range", "num_key_value_heads", "pad_token_id", "pretraining_tp", "qk_head_dim",
        "seq_aux", "transformers_version", "use_cache"}) {
    fields.ignore(key);
  }
}

}  // namespace

const char* index_keys_name(IndexKeys index_keys) noexcept {
  switch (index_keys) {
    case IndexKeys::floating: return "floating";
    case IndexKeys::int8: return "int8";
    case IndexKeys::fp8: return "fp8";
  }
  return "unknown";
}

std::string_view model_type_name(Architecture architecture) {
  const auto* known =
      std::ranges::find(kArchitectures, architecture, &KnownArchitecture::architecture);
  PONDER_ASSERT(known != std::end(kArchitectures));
  return known->model_type;
}

Result<ModelConfig> parse_config(std::string_view text) {
  PONDER_TRY(const json object, detail::parse_json(text));
  if (!object.is_object()) return fail(Errc::corrupt, "not a JSON object");
  ModelConfig config;
  ConfigFields fields(object, "");
  using Reader = void (*)(ConfigFields&, ModelConfig&);
  for (const Reader read : {Reader{read_architecture}, Reader{read_attention}, Reader{read_ffn},
                            Reader{read_rope}, Reader{read_token_ids}, Reader{read_quantization},
                            Reader{read_dtype}, Reader{describe_layers}}) {
    read(fields, config);
    if (fields.fault()) return tl::unexpected(*fields.fault());
  }
  skip_irrelevant(fields);
  config.unknown_keys = fields.unknown_keys();
  detail::derive_rope(config);
  PONDER_CHECK(check_derived(config));
  return config;
}

Result<ModelConfig> load_config(const std::filesystem::path& dir) {
  const std::filesystem::path path = dir / "config.json";
  PONDER_TRY(const MappedFile file, MappedFile::open(path));
  const auto bytes = file.bytes();
  auto config = parse_config({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  if (!config) return detail::fail_in_file(path, config.error());
  return config;
}

}  // namespace ponder::engine
