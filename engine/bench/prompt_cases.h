#pragma once

#include <functional>

#include "engine/bench/device_data.h"
#include "engine/bench/device_timer.h"

namespace ponder::engine::bench {

/// Attention of one layer for all rows of a prompt that sees everything, gathered and expanded:
/// from queries and cached latents to the values of every head, the products with each head's
/// matrices included. Work is what either form cannot do without; how far their results are apart
/// is noted. Fails with exhausted when the device has not enough memory.
Status measure_prompt_attention(DeviceTimer& timer, const DeviceData& data,
                                const std::function<void(const Measurement&)>& report);

}  // namespace ponder::engine::bench
