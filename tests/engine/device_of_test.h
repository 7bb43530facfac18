#pragma once

#include <cstddef>
#include <limits>
#include <string>

#include "kernels/cuda/emulator/emulated_device.h"
#include "tests/kernels/device/device_cases.h"

/// The device that the tests of an engine run on: the emulated one, or the GPU where the program is
/// run for it (tests/engine/CMakeLists.txt), one model at a time.
namespace ponder::engine {

class DeviceOfTest {
 protected:
  static constexpr std::size_t kEmulatedMemory = std::size_t{1} << 30;

  /// For SetUp(). False: there is none, and the test is to be skipped with no_device().
  bool take_device() {
    device_ = kernels::device_under_test(why_not_);
    kernels::watch_emulated_memory(false);  // the tests of each kernel do
    return device_ != nullptr;
  }
  std::string no_device() const { return "no GPU: " + why_not_; }
  /// For TearDown(): the next test finds the emulated device as it was to begin with.
  static void mend_emulator() {
    kernels::watch_emulated_memory(true);
    kernels::lose_emulated_device(false);
    kernels::limit_emulated_graphs(std::numeric_limits<std::size_t>::max());
    kernels::set_emulated_memory(kEmulatedMemory);
    kernels::set_emulated_devices({0});
  }

  /// For what no GPU can be made to do, or can tell: from now on it is the emulated device, also
  /// where the program is run for a GPU.
  void use_emulator() { device_ = &kernels::emulated_device(); }
  bool is_emulated() const { return device_ == &kernels::emulated_device(); }
  const kernels::DeviceTable* device_table() const { return device_; }

 private:
  const kernels::DeviceTable* device_ = nullptr;
  std::string why_not_;
};

}  // namespace ponder::engine
