// Stands for libponder_cuda.so. Its table's version and the answer to how many devices there are
// come from how it was compiled.

#include "kernels/cuda/device_table.h"

namespace {

using ponder::kernels::DeviceTable;

constexpr int kInsufficientDriver = 35;  // as CUDA numbers it

int num_devices(int* count) {
  *count = 2;
  return FAKE_ERROR;
}
const char* error_text(int code) {
  return code == kInsufficientDriver ? "CUDA driver version is insufficient for CUDA runtime version"
                                     : "unknown error";
}

}  // namespace

extern "C" const DeviceTable* ponder_device_table() {
  static const DeviceTable the_table = [] {
    DeviceTable table{};
    table.version = ponder::kernels::kDeviceTableVersion + FAKE_VERSION_OFFSET;
    table.name = "fake";
    table.num_devices = num_devices;
    table.error_text = error_text;
    return table;
  }();
  return &the_table;
}
