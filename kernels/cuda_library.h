#pragma once

// Finds out whether the CUDA backend can be used, and loads it. The program links nothing of CUDA:
// the driver is asked first, and the library (libponder_cuda.so, with the runtime in it) is opened
// only when there is a driver with a device.

#include <string>

#include "kernels/cuda/device_table.h"

namespace ponder::kernels {

/// The driver as it is found on this machine, without the library.
struct CudaDriver {
  bool is_present = false;  // libcuda.so.1 can be opened
  int version = 0;          // 13000 is 13.0; 0: unknown
  int num_devices = 0;
};
[[nodiscard]] CudaDriver find_cuda_driver();

struct CudaLibrary {
  const DeviceTable* table = nullptr;  // lives as long as the program
  std::string reason;                  // why there is none
};

/// An empty path: as this program was built, beside the executable or where the build put it.
/// Thread: any, but one call at a time.
[[nodiscard]] CudaLibrary load_cuda_library(const std::string& path = "");

/// "13.0", or "none" where the program was built without the toolkit.
[[nodiscard]] const char* cuda_toolkit() noexcept;

}  // namespace ponder::kernels
