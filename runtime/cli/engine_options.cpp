#include "runtime/cli/engine_options.h"

#include <fmt/format.h>

#include <cstdint>
#include <cstdio>

#include "base/assert.h"

namespace ponder::cli {
namespace {

/// That the CPU takes over, or what stays in host memory.
void tell_notice(const std::string& notice) { fmt::print(stderr, "ponder: note: {}\n", notice); }

/// The CPU computes all experts from host memory: a placement would be ignored.
Status check_experts(const ModelOptions& options) {
  if (options.experts == "auto" || options.device != "cpu") return {};
  return fail(Errc::invalid_argument,
              fmt::format("experts: {} is a placement beside a GPU, and the device is cpu",
                          options.experts));
}

}  // namespace

Result<engine::EngineOptions> engine_options(const Environment& environment,
                                             const ModelOptions& options) {
  PONDER_CHECK(check_experts(options));
  engine::EngineOptions how;
  how.num_threads = options.num_threads;
  how.draft_tokens_max = options.num_drafts;
  how.isa = environment.isa;
  how.device = device_of(options.device);
  how.experts = experts_of(options.experts);
  how.prompt_attention = prompt_attention_of(options.prompt_attention);
  PONDER_TRY(how.device_graphs, has_device_graphs(environment));
  how.on_notice = tell_notice;
  how.cache_dtype = cache_dtype_of(options.cache_dtype);
  how.index_keys = index_keys_of(options.index_keys);
  how.activations = activations_of(options.activations);
  how.spill_dir = options.spill_dir;
  how.spill_bytes_max = std::uint64_t{options.spill_gib_max} << 30;
  return how;
}

engine::CacheDType cache_dtype_of(const std::string& name) {
  if (name == "f32") return engine::CacheDType::f32;
  if (name == "bf16") return engine::CacheDType::bf16;
  if (name == "fp8") return engine::CacheDType::fp8;
  PONDER_ASSERT(name == "auto");
  return engine::CacheDType::automatic;
}

engine::IndexKeys index_keys_of(const std::string& name) {
  if (name == "int8") return engine::IndexKeys::int8;
  if (name == "fp8") return engine::IndexKeys::fp8;
  PONDER_ASSERT(name == "floating");
  return engine::IndexKeys::floating;
}

engine::DeviceChoice device_of(const std::string& name) {
  if (name == "cuda") return engine::DeviceChoice::cuda;
  if (name == "auto") return engine::DeviceChoice::automatic;
  PONDER_ASSERT(name == "cpu");
  return engine::DeviceChoice::cpu;
}

engine::ExpertPlacement experts_of(const std::string& name) {
  if (name == "device") return engine::ExpertPlacement::device;
  if (name == "host") return engine::ExpertPlacement::host;
  PONDER_ASSERT(name == "auto");
  return engine::ExpertPlacement::automatic;
}

engine::PromptAttention prompt_attention_of(const std::string& name) {
  if (name == "expanded") return engine::PromptAttention::expanded;
  PONDER_ASSERT(name == "gathered");
  return engine::PromptAttention::gathered;
}

engine::Activations activations_of(const std::string& name) {
  if (name == "bf16") return engine::Activations::bf16;
  PONDER_ASSERT(name == "f32");
  return engine::Activations::f32;
}

Result<bool> has_device_graphs(const Environment& environment) {
  const std::string word =
      environment.variable ? environment.variable("PONDER_DEVICE_GRAPHS") : std::string();
  if (word.empty() || word == "on") return true;
  if (word == "off") return false;
  return fail(Errc::invalid_argument,
              fmt::format("PONDER_DEVICE_GRAPHS is on or off, not \"{}\"", word));
}

}  // namespace ponder::cli
