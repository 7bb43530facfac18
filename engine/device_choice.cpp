#include "engine/device_choice.h"

#include <fmt/format.h>

#include "kernels/cuda_library.h"

namespace ponder::engine {

Result<ChosenDevice> choose_device(DeviceChoice choice, const kernels::DeviceTable* given) {
  if (choice == DeviceChoice::cpu) return ChosenDevice{};
  if (given != nullptr) return ChosenDevice{given, ""};
  const kernels::CudaLibrary library = kernels::load_cuda_library();
  if (library.table == nullptr && choice == DeviceChoice::cuda) {
    return fail(Errc::unavailable, "device cuda: " + library.reason);
  }
  return ChosenDevice{library.table, library.reason};
}

Status check_prompt_attention(PromptAttention attention, DeviceChoice choice) {
  if (attention == PromptAttention::gathered || choice != DeviceChoice::cpu) return {};
  return fail(Errc::invalid_argument,
              "prompt attention: expanded is computed on a GPU alone, and the device is cpu");
}

Status open_on_chosen_device(DeviceChoice choice, const kernels::DeviceTable* given,
                             const std::function<void(const std::string&)>& on_notice,
                             const std::function<Status(const kernels::DeviceTable*)>& open) {
  PONDER_TRY(ChosenDevice device, choose_device(choice, given));
  Status opened = open(device.table);
  if (!opened && device.table != nullptr && choice == DeviceChoice::automatic) {
    device = {nullptr, opened.error().message};
    opened = open(nullptr);
  }
  if (opened && !device.why_not.empty() && on_notice) {
    on_notice(fmt::format("the CPU computes: {}", device.why_not));
  }
  return opened;
}

}  // namespace ponder::engine
