#include <fmt/core.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "engine/checkpoint.h"
#include "engine/convert_checkpoint.h"
#include "engine/device_memory.h"
#include "engine/load_plan.h"
#include "engine/machine.h"
#include "engine/model_report.h"
#include "engine/random_weights.h"
#include "engine/speculation.h"
#include "engine/tensor_check.h"
#include "kernels/cuda_library.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/engine_options.h"

/// `ponder model inspect|convert|random`.
namespace ponder::cli {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

const char* verdict_name(engine::Verdict verdict) {
  switch (verdict) {
    case engine::Verdict::runs:
      return "yes";
    case engine::Verdict::runs_from_disk:
      return "slowly";
    case engine::Verdict::does_not_run:
      return "no";
  }
  return "";
}

const char* cache_dtype_name(kernels::DType dtype) {
  if (dtype == kernels::DType::f32) return "f32";
  return dtype == kernels::DType::bf16 ? "bf16" : "fp8";
}

/// Everything that inspect shows.
struct Inspection {
  engine::ModelConfig config;
  bool has_files = false;
  bool has_data = false;
  std::string fault;  // of the files against the configuration; empty: none
  engine::ModelAmounts amounts;
  std::uint64_t context_tokens = 0;
  std::string cache_dtype;  // f32, bf16 or fp8: what a run chooses where it is told auto
  std::string index_keys;
  std::uint64_t cache_bytes_per_token = 0;
  std::uint64_t run_cache_bytes = 0;   // that a run takes, whatever the context
  std::uint64_t run_cache_tokens = 0;  // that it holds
  engine::LoadPlan load;               // on the CPU
  engine::MemoryNeed need;
  std::uint64_t unfolded_bytes = 0;  // of what loading makes: kv_b and the router
  engine::DeviceNeed device_need;
  std::string device_plan;  // what the GPU would hold, or why it cannot; empty: there is none
};

/// Of the machine that is asked about.
engine::MachineMemory memory_of(const InspectOptions& options) {
  if (options.memory_gb <= 0) return engine::machine_memory();
  const auto bytes = static_cast<std::uint64_t>(options.memory_gb * 1e9);
  return {.total = bytes, .available = bytes};
}

/// The GPU that is asked about; of no name when there is none.
engine::DeviceRoom gpu_room(const InspectOptions& options, std::uint64_t host_bytes) {
  if (options.gpu_memory_gb > 0) {
    const auto bytes = static_cast<std::uint64_t>(options.gpu_memory_gb * 1e9);
    return {"such a GPU", bytes, bytes, host_bytes};
  }
  const kernels::CudaLibrary library = kernels::load_cuda_library();
  if (library.table == nullptr) return {};
  const auto found = engine::find_device(*library.table);
  if (!found) return {};
  return {found->info.name, found->info.memory_bytes, found->info.memory_bytes_free, host_bytes};
}

/// As a run would load it that is told what inspect is told.
engine::ModelOptions load_options(const InspectOptions& options,
                                  const engine::MachineMemory& memory) {
  engine::EngineOptions run;
  run.draft_tokens_max = options.num_drafts;
  run.cache_dtype = cache_dtype_of(options.cache_dtype);
  run.index_keys = index_keys_of(options.index_keys);
  run.prompt_attention = prompt_attention_of(options.prompt_attention);
  run.cache_bytes_max = engine::default_cache_bytes(memory);
  engine::ModelOptions how = engine::model_options(run, nullptr);
  how.memory_bytes_max = memory.available;
  return how;
}

/// config.json alone will do; then the amounts follow from it.
Result<std::optional<engine::Checkpoint>> open_if_there(const fs::path& dir) {
  std::error_code ignored;
  if (!fs::exists(dir / "model.safetensors", ignored) &&
      !fs::exists(dir / "model.safetensors.index.json", ignored)) {
    return std::optional<engine::Checkpoint>();
  }
  PONDER_TRY(engine::Checkpoint checkpoint, engine::Checkpoint::open_headers(dir));
  return std::optional(std::move(checkpoint));
}

Result<Inspection> inspect(const InspectOptions& options) {
  Inspection found;
  PONDER_TRY(found.config, engine::load_config(options.dir));
  PONDER_TRY(const auto checkpoint, open_if_there(options.dir));
  found.has_files = checkpoint.has_value();
  if (checkpoint) {
    const auto has_data = [](const engine::TensorView& t) { return t.data != nullptr; };
    found.has_data = std::ranges::all_of(checkpoint->tensors(), has_data);
    const Status checked = engine::check_tensors(*checkpoint, found.config);
    if (!checked) found.fault = checked.error().message;
  }
  const engine::Checkpoint* files = checkpoint ? &*checkpoint : nullptr;
  found.amounts = engine::model_amounts(found.config, files);
  found.context_tokens =
      options.context_tokens != 0 ? options.context_tokens : found.config.max_position_embeddings;
  found.index_keys = options.index_keys;
  const engine::MachineMemory memory = memory_of(options);
  const engine::ModelOptions how = load_options(options, memory);
  PONDER_CHECK(engine::Speculation::check(options.num_drafts));
  PONDER_CHECK(engine::check_drafts(found.config, how));
  const engine::CacheLayout layout = engine::cache_layout(found.config, files, how);
  found.cache_dtype = cache_dtype_name(layout.dtype);
  found.cache_bytes_per_token = engine::cache_bytes_used(layout);
  found.run_cache_bytes = how.cache_bytes / layout.page_bytes * layout.page_bytes;
  found.run_cache_tokens = how.cache_bytes / layout.page_bytes * engine::kPageTokens;
  found.load = engine::plan_load(found.config, files, engine::cpu_weight_options(how));
  found.need = engine::memory_need(found.config, found.load, found.context_tokens,
                                   found.cache_bytes_per_token, memory.total);
  found.unfolded_bytes = engine::unfolded_bytes(found.config, how.has_drafts);
  found.device_need = engine::device_need(found.config, found.amounts, layout, how);
  const engine::DeviceRoom room = gpu_room(options, memory.available);
  if (!room.name.empty()) {
    const auto plan = engine::plan_experts(found.device_need, experts_of(options.experts), room);
    found.device_plan = plan ? plan->text : plan.error().message;
  }
  if (!found.fault.empty()) {
    found.need.verdict = engine::Verdict::does_not_run;
    found.need.reason = found.fault;
  }
  return found;
}

std::size_t count_layers(const engine::ModelConfig& config,
                         const std::function<bool(const engine::LayerDescriptor&)>& counts) {
  return static_cast<std::size_t>(std::ranges::count_if(config.layers, counts));
}

std::uint64_t experts_bytes(const engine::DeviceNeed& need) {
  return need.bytes_with(need.experts.size()) - need.bytes_with(0);
}

json load_as_json(const Inspection& found) {
  const engine::LoadPlan& load = found.load;
  return {{"is_copied", load.is_copied},
          {"packs_codes", load.packs_codes && load.all.codes > 0},
          {"packs_bf16", load.packs_bf16 && load.all.bf16 > 0},
          {"made_bytes", found.need.made_bytes},
          {"packed_code_bytes", load.all.codes},
          {"packed_bf16_bytes", load.packed_bf16_bytes()},
          {"packs_kv_b", load.packs_factors && load.all.factors > 0},
          {"kv_b_bytes", load.factor_bytes()},
          {"in_place_bytes", found.need.in_place_bytes},
          {"needed_bytes", load.needed_bytes()}};
}

json as_json(const Inspection& found) {
  const auto amount = [](const engine::Amount& a) -> json {
    return {{"parameters", a.parameters}, {"bytes", a.bytes}};
  };
  const engine::ModelAmounts& amounts = found.amounts;
  const engine::CacheBytesPerToken cache = engine::cache_bytes_per_token(found.config, false);
  return {{"model_type", engine::model_type_name(found.config.architecture)},
          {"num_hidden_layers", found.config.num_hidden_layers},
          {"tensors", amounts.tensors},
          {"files", !found.has_files ? "none"
                    : found.has_data ? "complete"
                                     : "headers"},
          {"stored", amount(amounts.stored)},
          {"main", amount(amounts.main)},
          {"mtp", amount(amounts.mtp)},
          {"active", amount(amounts.active)},
          {"resident", amount(amounts.resident)},
          {"cache_bytes_per_token",
           {{"bf16", cache.bf16}, {"bf16_fp8_keys", cache.bf16_fp8_keys}, {"fp8", cache.fp8}}},
          {"cache_dtype", found.cache_dtype},
          {"index_keys", found.index_keys},
          {"context_tokens", found.context_tokens},
          {"cache_bytes", found.need.cache_bytes},
          {"run_cache_bytes", found.run_cache_bytes},
          {"run_cache_tokens", found.run_cache_tokens},
          {"unfolded_bytes", found.unfolded_bytes},
          {"load", load_as_json(found)},
          {"gpu",
           {{"weight_bytes", found.device_need.weight_bytes},
            {"workspace_bytes", found.device_need.workspace_bytes},
            {"experts_bytes", experts_bytes(found.device_need)},
            {"plan", found.device_plan}}},
          {"runs_here", verdict_name(found.need.verdict)},
          {"reason", found.need.reason}};
}

void print_amount(const char* name, const engine::Amount& amount) {
  fmt::print("{:<22} {:>16} parameters  {:>12}\n", name, fmt::format("{}", amount.parameters),
             engine::bytes_text(amount.bytes));
}

void print_layers(const Inspection& found) {
  const engine::ModelConfig& config = found.config;
  const auto is_dense = [](const engine::LayerDescriptor& layer) {
    return layer.ffn == engine::FfnKind::dense;
  };
  const auto is_full = [](const engine::LayerDescriptor& layer) {
    return layer.indexer == engine::IndexerKind::full;
  };
  fmt::print("{:<22} {}\n", "architecture", engine::model_type_name(config.architecture));
  fmt::print("{:<22} {} and {} MTP; {} dense, {} with an indexer of their own\n", "layers",
             config.num_hidden_layers, config.num_nextn_predict_layers,
             count_layers(config, is_dense), count_layers(config, is_full));
  fmt::print("{:<22} {} heads, latent {} + {}, selects {} keys\n", "attention",
             config.num_attention_heads, config.kv_lora_rank, config.qk_rope_head_dim,
             config.index_topk);
  if (config.n_routed_experts > 0) {
    fmt::print("{:<22} {} routed, {} for a token, {} shared\n", "experts", config.n_routed_experts,
               config.num_experts_per_tok, config.n_shared_experts);
  }
  const char* files = !found.has_files ? "none; the amounts follow from the configuration"
                      : found.has_data ? "complete"
                                       : "headers without all their data";
  fmt::print("{:<22} {} tensors; files: {}\n", "checkpoint", found.amounts.tensors, files);
}

void print_gpu(const Inspection& found) {
  const engine::DeviceNeed& need = found.device_need;
  std::string experts;
  if (!need.experts.empty()) {
    experts = fmt::format(", {} for routed experts of {} layers",
                          engine::bytes_text(experts_bytes(need)), need.experts.size());
  }
  fmt::print("{:<22} {} for weights, {} for a batch, {} for the cache{}\n", "on a GPU",
             engine::bytes_text(need.weight_bytes), engine::bytes_text(need.workspace_bytes),
             engine::bytes_text(need.cache_bytes), experts);
  if (!found.device_plan.empty()) fmt::print("{:<22} {}\n", "", found.device_plan);
}

/// Which matrices are packed, to what, and else why not.
std::string packing_text(const engine::LoadPlan& load) {
  const bool has_codes = load.all.codes > 0;
  const bool has_bf16 = load.all.bf16 > 0;
  std::vector<std::string> parts;
  if (has_codes && load.packs_codes) {
    parts.push_back(fmt::format("codes to {}", engine::bytes_text(load.all.codes)));
  }
  if (has_bf16 && load.packs_bf16) {
    parts.push_back(
        fmt::format("BF16 matrices to some {}", engine::bytes_text(load.packed_bf16_bytes())));
  }
  if (load.all.factors > 0 && load.packs_factors) {
    parts.push_back(fmt::format("kv_b to some {}", engine::bytes_text(load.factor_bytes())));
  }
  const std::size_t num_packed = parts.size();
  if (has_codes && !load.packs_codes) parts.emplace_back("no codes");
  if (has_bf16 && !load.packs_bf16) parts.emplace_back("no BF16 matrices");
  if (parts.empty()) return "nothing";
  const std::string text = fmt::format("{}", fmt::join(parts, ", "));
  if (parts.size() == num_packed) return text;
  return fmt::format("{}: with all packed {} would be made, more than half of the {} available",
                     text, engine::bytes_text(load.packed_bytes()),
                     engine::bytes_text(load.available));
}

void print_load(const Inspection& found) {
  fmt::print("{:<22} {}\n", "made at the start", engine::bytes_text(found.need.made_bytes));
  fmt::print("{:<22} {}\n", "of it packed", packing_text(found.load));
  fmt::print("{:<22} {}\n", "read in place", engine::bytes_text(found.need.in_place_bytes));
}

void print(const Inspection& found) {
  const engine::ModelAmounts& amounts = found.amounts;
  const engine::MemoryNeed& need = found.need;
  print_layers(found);
  print_amount("stored in all", amounts.stored);
  print_amount("main model", amounts.main);
  if (amounts.mtp.parameters > 0) print_amount("MTP layers", amounts.mtp);
  print_amount("active for a token", amounts.active);
  print_amount("without routed experts", amounts.resident);
  const std::string cache =
      found.index_keys == "floating"
          ? fmt::format("cache ({})", found.cache_dtype)
          : fmt::format("cache ({}, {} keys)", found.cache_dtype, found.index_keys);
  fmt::print("{:<22} {} for {} tokens, {} bytes each\n", cache,
             engine::bytes_text(need.cache_bytes), found.context_tokens,
             found.cache_bytes_per_token);
  fmt::print("{:<22} {} for {} tokens\n", "a run's cache",
             engine::bytes_text(found.run_cache_bytes), found.run_cache_tokens);
  print_load(found);
  print_gpu(found);
  fmt::print("{:<22} {}: {}\n", "runs here", verdict_name(need.verdict), need.reason);
  for (const std::string& key : found.config.unknown_keys) {
    fmt::print("{:<22} the config's key {} is not known, and ignored\n", "note", key);
  }
}

/// "key=value" into the object: JSON where the value is JSON, else a string.
Status replace_value(json& config, const std::string& assignment) {
  const auto at = assignment.find('=');
  if (at == std::string::npos || at == 0) {
    return fail(Errc::invalid_argument, fmt::format("--set {}: not KEY=VALUE", assignment));
  }
  const std::string text = assignment.substr(at + 1);
  const json value = json::parse(text, nullptr, /*allow_exceptions=*/false);
  config[assignment.substr(0, at)] = value.is_discarded() ? json(text) : value;
  return {};
}

Result<std::string> config_text(const RandomModelOptions& options) {
  std::ifstream in(options.config, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  if (!in) return fail(Errc::not_found, fmt::format("cannot read {}", options.config.string()));
  if (options.num_layers == 0 && options.values.empty()) return text.str();
  json config = json::parse(text.str(), nullptr, /*allow_exceptions=*/false);
  if (!config.is_object()) {
    return fail(Errc::corrupt, options.config.string() + ": not a JSON object");
  }
  if (options.num_layers != 0) {
    config["num_hidden_layers"] = options.num_layers;
    config["num_nextn_predict_layers"] = 0;
  }
  for (const std::string& assignment : options.values) {
    PONDER_CHECK(replace_value(config, assignment));
  }
  return config.dump();
}

}  // namespace

int inspect_model(const InspectOptions& options) {
  const auto found = inspect(options);
  if (!found) return complain(found.error().message);
  if (options.json) {
    fmt::print("{}\n", as_json(*found).dump(2, ' ', false, json::error_handler_t::replace));
  } else {
    print(*found);
  }
  return found->fault.empty() ? 0 : 1;
}

int convert_model(const ConvertOptions& options) {
  const auto to = engine::parse_weight_format(options.to);
  if (!to) return complain(to.error().message);
  const auto report = engine::convert_checkpoint(options.in, options.out, *to);
  if (!report) return complain(report.error().message);
  fmt::print("wrote {}: {} matrices as {}, {} tensors as they were; {} -> {}\n",
             options.out.string(), report->matrices_converted, options.to, report->tensors_kept,
             engine::bytes_text(report->bytes_before), engine::bytes_text(report->bytes_after));
  return 0;
}

int random_model(const RandomModelOptions& options) {
  const auto text = config_text(options);
  if (!text) return complain(text.error().message);
  const auto config = engine::parse_config(*text);
  if (!config)
    return complain(fmt::format("{}: {}", options.config.string(), config.error().message));
  const auto format = engine::parse_weight_format(options.dtype);
  if (!format) return complain(format.error().message);
  engine::RandomCheckpointOptions how;
  how.dtype = format->dtype;
  const auto written = engine::write_random_checkpoint(*config, *text, options.out, how);
  if (!written) return complain(written.error().message);
  fmt::print("wrote {}\n", options.out.string());
  return 0;
}

}  // namespace ponder::cli
