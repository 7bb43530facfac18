#pragma once

#include <string>

#include "base/result.h"
#include "engine/engine.h"
#include "runtime/cli/commands.h"

/// What the command line says of the embedded engine, in the engine's words. Every command that
/// loads a model takes it from here, so that an option means the same everywhere.
namespace ponder::cli {

/// How an engine is to be opened, as the options and the environment say. Notices go to standard
/// error. Fails with invalid_argument for a variable that has an impossible value, and for a
/// placement of experts where the device is the CPU.
/// Requires: the options' words are among those that the command line takes.
Result<engine::EngineOptions> engine_options(const Environment& environment,
                                             const ModelOptions& options);

/// What `--cache-dtype` says: auto, f32, bf16 or fp8. Requires: one of these.
engine::CacheDType cache_dtype_of(const std::string& name);
/// What `--index-keys` says: floating, int8 or fp8. Requires: one of these.
engine::IndexKeys index_keys_of(const std::string& name);
/// What `--device` says: cpu, cuda or auto. Requires: one of these.
engine::DeviceChoice device_of(const std::string& name);
/// What `--experts` says: auto, device or host. Requires: one of these.
engine::ExpertPlacement experts_of(const std::string& name);
/// What `--prompt-attention` says: gathered or expanded. Requires: one of these.
engine::PromptAttention prompt_attention_of(const std::string& name);
/// What `--activations` says: f32 or bf16. Requires: one of these.
engine::Activations activations_of(const std::string& name);
/// What PONDER_DEVICE_GRAPHS says, on (also without it) or off, to find out whether they are what
/// is wrong; `invalid_argument` for another word.
Result<bool> has_device_graphs(const Environment& environment);

}  // namespace ponder::cli
