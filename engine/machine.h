#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>

#include "base/result.h"
#include "engine/cache.h"
#include "engine/detail/sha256.h"
#include "engine/engine.h"
#include "engine/model.h"
#include "engine/page_store.h"

namespace ponder::engine {

/// What an engine computes with: a model on the CPU or on a device, and the cache beside it.
struct Machine {
  std::unique_ptr<Model> model;
  PagePool pool;                     // of the model, which outlives it
  std::unique_ptr<PageStore> store;  // null: nothing goes to disk
};

/// A model on the CPU that takes over from a device, and whose its pages are on disk.
struct Spare {
  std::unique_ptr<Model> model;
  std::optional<detail::Digest> store_identity;  // nullopt: nothing goes to disk
};
Result<Spare> load_spare(const std::filesystem::path& model_dir, const EngineOptions& options);

/// `device` null: the CPU. Tells options.on_notice which experts stay in host memory. Fails as
/// Model::load() and PageStore::open() do, and with exhausted when the cache does not fit.
Result<Machine> open_machine(const std::filesystem::path& model_dir, const EngineOptions& options,
                             const kernels::DeviceTable* device);

/// Calls `open` with the device of the options' choice (engine/device_choice.h), or null: the CPU.
/// Where the choice is ours and nothing can be opened on a device, it calls it once more with null.
/// Returns what the last call did; before it returns the CPU's success it tells options.on_notice
/// why it is not a device. Fails too for a device that is wanted and not there (unavailable), and
/// for attention that nothing computes without one (invalid_argument); a CPU that takes its place
/// gathers.
Status open_on_chosen_device(const EngineOptions& options,
                             const std::function<Status(const kernels::DeviceTable*)>& open);

/// Tells options.on_notice which experts of the model stay in host memory, if any.
void tell_placement(const Model& model, const EngineOptions& options);

/// How the options want their model loaded.
ModelOptions model_options(const EngineOptions& options, const kernels::DeviceTable* device);

}  // namespace ponder::engine
