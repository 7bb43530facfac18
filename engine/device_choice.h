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

struct ChosenDevice {
  const kernels::DeviceTable* table = nullptr;  // null: the CPU
  std::string why_not;                          // automatic: why it is not a GPU
};

/// `given` stands for the GPU of this machine unless it is null. Fails (unavailable) with the
/// reason when a GPU is wanted and there is none that can be used.
Result<ChosenDevice> choose_device(DeviceChoice choice,
                                   const kernels::DeviceTable* given = nullptr);

}  // namespace ponder::engine
