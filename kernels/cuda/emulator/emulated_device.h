#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/cuda/device_table.h"

namespace ponder::kernels {

/// A device whose kernels are those of the CUDA backend, run by emulator/simt.h. Memory is the
/// program's own, so tests may look into it. Allocations are counted; one that would go beyond
/// `bytes_max` fails.
const DeviceTable& emulated_device();

/// So many devices, of whose memory others have taken so much; what is allocated counts for all of
/// them. To begin with there is one, and nothing taken.
void set_emulated_devices(std::vector<std::size_t> bytes_taken);
/// The device that was opened last.
int emulated_device_in_use();

/// For tests of failures. The limit is 1 GiB to begin with.
void set_emulated_memory(std::size_t bytes_max);
std::size_t emulated_memory_used();
/// By all downloads so far.
std::size_t emulated_bytes_downloaded();
/// From the next wait() or download() on the device is lost, as after a sticky error of CUDA.
void lose_emulated_device(bool is_lost);

/// From now on end_capture() finds no memory for its graph when so many are held.
void limit_emulated_graphs(std::size_t held_max);
struct EmulatedLaunches {
  std::uint64_t operations;  // kernels that were launched one by one, since the program began
  std::uint64_t graphs;      // launched since then
  std::size_t graphs_held;   // captured and not released
};
EmulatedLaunches emulated_launches();

/// Whether kernels' use of shared memory is watched (emulator/simt.h), as it is to begin with.
void watch_emulated_memory(bool is_on);

}  // namespace ponder::kernels
