#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "engine/bench/measurement.h"
#include "engine/device_memory.h"

namespace ponder::engine::bench {

/// How much is done to learn a number; a test wants less than a report.
struct Effort {
  std::size_t warmup = 3;
  std::size_t repetitions = 21;  // at most kDeviceEventsMax / 2
  std::size_t copy_bytes = std::size_t{1} << 30;
  std::size_t probe_rounds = 4096;
  int product_side = 8192;
};

/// Times what is launched, by the device's own events.
///
/// All repetitions are launched before the first is waited for, behind a copy that keeps the device
/// busy meanwhile, so that a short operation's time holds no gap in which the device waits for the
/// program. What takes longer to launch than to run is timed at the pace of its launches.
class DeviceTimer {
 public:
  static Result<DeviceTimer> create(std::shared_ptr<OpenDevice> device, const Effort& effort);

  /// The median of the repetitions, each of which is given its number, so that inputs rotate.
  Result<double> median_ms(const std::function<void(std::size_t repetition)>& launch);
  Result<Ceilings> measure_ceilings();

 private:
  DeviceTimer(std::shared_ptr<OpenDevice> device, const Effort& effort, DeviceBuffer from,
              DeviceBuffer to)
      : device_(std::move(device)), effort_(effort), from_(std::move(from)), to_(std::move(to)) {}
  const kernels::DeviceTable& table() const { return device_->table(); }
  void copy() { table().copy(to_.data(), from_.data(), from_.size()); }
  Result<double> probe(kernels::DType dtype, double operations_per_tile);
  Result<double> cublas();

  std::shared_ptr<OpenDevice> device_;
  Effort effort_;
  DeviceBuffer from_;  // random bytes
  DeviceBuffer to_;
};

}  // namespace ponder::engine::bench
