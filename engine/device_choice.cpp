#include "engine/device_choice.h"

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

}  // namespace ponder::engine
