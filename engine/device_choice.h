#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace ponder::kernels {
struct DeviceTable;
}

namespace ponder::engine {

/// What computes. `automatic`: a GPU if one can be used, otherwise the CPU.
enum class DeviceChoice : std::uint8_t { cpu, cuda, automatic };

/// Where the routed experts of a model on a device are kept and computed (engine/expert_plan.h).
/// `automatic`: on the device as far as they fit. On the CPU there is no choice.
enum class ExpertPlacement : std::uint8_t { automatic, device, host };

/// How a device computes attention for the rows of a prompt. `gathered`: as for generated tokens,
/// over the latents of the positions selected. `expanded`: rows that see at most index_topk
/// positions take the keys and values of every head instead, which is less arithmetic where many
/// rows share them. Both round differently: bits of a row then depend also on whether its token,
/// and those before it, came in a prompt or were generated (Model::prompt_form_end).
enum class PromptAttention : std::uint8_t { gathered, expanded };

struct ChosenDevice {
  const kernels::DeviceTable* table = nullptr;  // null: the CPU
  std::string why_not;                          // automatic: why it is not a GPU
};

/// `given` stands for the GPU of this machine unless it is null. Fails (unavailable) with the
/// reason when a GPU is wanted and there is none that can be used.
Result<ChosenDevice> choose_device(DeviceChoice choice,
                                   const kernels::DeviceTable* given = nullptr);

}  // namespace ponder::engine
