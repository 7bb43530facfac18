#pragma once

#include <functional>

#include "engine/bench/device_data.h"
#include "engine/bench/device_timer.h"

namespace ponder::engine::bench {

/// The operations that make sparse attention, alone and together, and dense attention by the same
/// kernel over all positions. Each measurement is given to `report` as it is made.
Status measure_layer(DeviceTimer& timer, const DeviceData& data,
                     const std::function<void(const Measurement&)>& report);

}  // namespace ponder::engine::bench
