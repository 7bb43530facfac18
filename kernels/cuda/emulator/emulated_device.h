#pragma once

#include "kernels/cuda/device_table.h"

namespace ponder::kernels {

/// A device whose kernels are those of the CUDA backend, run by emulator/simt.h. Memory is the
/// program's own, so tests may look into it. Allocations are counted; one that would go beyond
/// `bytes_max` fails.
const DeviceTable& emulated_device();

/// For tests of failures. The limit is 1 GiB to begin with.
void set_emulated_memory(std::size_t bytes_max);
std::size_t emulated_memory_used();
/// From the next wait() or download() on the device is lost, as after a sticky error of CUDA.
void lose_emulated_device(bool is_lost);

/// Whether kernels' use of shared memory is watched (emulator/simt.h), as it is to begin with.
void watch_emulated_memory(bool is_on);

}  // namespace ponder::kernels
