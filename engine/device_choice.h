#pragma once

#include <cstdint>
#include <functional>
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

/// Calls `open` with what choose_device() chose and, where the choice was ours and nothing could be
/// opened on a device, once more with null. Returns what the last call did; before it returns the
/// CPU's success it tells `on_notice`, unless that is empty, why it is not a device.
Status open_on_chosen_device(DeviceChoice choice, const kernels::DeviceTable* given,
                             const std::function<void(const std::string&)>& on_notice,
                             const std::function<Status(const kernels::DeviceTable*)>& open);

}  // namespace ponder::engine
