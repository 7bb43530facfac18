#include "engine/machine.h"

#include <utility>

#include "engine/cache_identity.h"
#include "engine/machine_memory.h"
#include "engine/speculation.h"

namespace ponder::engine {
namespace {

std::uint64_t cache_bytes(const EngineOptions& options) {
  if (options.cache_bytes_max != 0) return options.cache_bytes_max;
  return default_cache_bytes(machine_memory());
}

Result<detail::Digest> store_identity(const std::filesystem::path& model_dir, const Model& model) {
  return cache_identity(model_dir, model.config(), model.cache_layout(), model.arithmetic_name());
}

}  // namespace

ModelOptions model_options(const EngineOptions& options, const kernels::DeviceTable* device) {
  ModelOptions how;
  how.num_threads = options.num_threads;
  how.batch_rows_max = options.batch_rows_max;
  if (how.batch_rows_max > 0) how.batch_rows_max += Speculation::rows_max(options.draft_tokens_max);
  how.isa = options.isa;
  how.cache_dtype = options.cache_dtype;
  how.copied_bytes_max = options.copied_bytes_max;
  how.index_keys = options.index_keys;
  how.activations = options.activations;
  how.has_drafts = options.draft_tokens_max > 0;
  how.device = device;
  how.experts = options.experts;
  how.prompt_attention = options.prompt_attention;
  how.cache_bytes = cache_bytes(options);
  how.device_graphs = options.device_graphs;
  how.on_notice = options.on_notice;
  return how;
}

Result<Machine> open_machine(const std::filesystem::path& model_dir, const EngineOptions& options,
                             const kernels::DeviceTable* device) {
  PONDER_TRY(auto model, Model::load(model_dir, model_options(options, device)));
  PONDER_TRY(PagePool pool, model->create_pool(cache_bytes(options)));
  std::unique_ptr<PageStore> store;
  if (!options.spill_dir.empty()) {
    PONDER_TRY(const detail::Digest identity, store_identity(model_dir, *model));
    PONDER_TRY(store, PageStore::open(options.spill_dir, {.bytes_max = options.spill_bytes_max},
                                      identity, pool.layout().page_bytes));
  }
  tell_placement(*model, options);
  return Machine{std::move(model), std::move(pool), std::move(store)};
}

Status open_on_chosen_device(const EngineOptions& options,
                             const std::function<Status(const kernels::DeviceTable*)>& open) {
  if (options.device == DeviceChoice::cpu &&
      options.prompt_attention == PromptAttention::expanded) {
    return fail(Errc::invalid_argument,
                "prompt attention: expanded is computed on a GPU alone, and the device is cpu");
  }
  PONDER_TRY(ChosenDevice device, choose_device(options.device, options.device_table));
  Status opened = open(device.table);
  if (!opened && device.table != nullptr && options.device == DeviceChoice::automatic) {
    device = {nullptr, opened.error().message};
    opened = open(nullptr);
  }
  if (opened && !device.why_not.empty() && options.on_notice) {
    options.on_notice("the CPU computes: " + device.why_not);
  }
  return opened;
}

void tell_placement(const Model& model, const EngineOptions& options) {
  const std::string experts = model.expert_placement();
  if (!experts.empty() && options.on_notice) options.on_notice(experts);
}

Result<Spare> load_spare(const std::filesystem::path& model_dir, const EngineOptions& options) {
  Spare spare;
  PONDER_TRY(spare.model, Model::load(model_dir, model_options(options, nullptr)));
  if (options.spill_dir.empty()) return spare;
  PONDER_TRY(spare.store_identity, store_identity(model_dir, *spare.model));
  return spare;
}

}  // namespace ponder::engine
