#pragma once

#include <cstdint>

#include "engine/config.h"
#include "engine/device_weights.h"

/// Models that are measured and not listened to: weights of real shapes without a checkpoint.
namespace ponder::engine {

/// Random weights made in device memory, of a size that no host memory need hold: FP8 matrices with
/// block scales (heads and embedding in bf16, the router and norms in fp32), and no MTP layer. Each
/// product keeps the magnitude of its input, so that nothing overflows. The random bytes repeat
/// after some megabytes, at another offset in every matrix.
/// Fails with exhausted when the device has not enough memory.
Result<DeviceWeights> random_device_weights(const ModelConfig& config, DeviceArena& arena);

/// What these weights take, to the rounding of allocations: the embedding, head and final norm, and
/// one layer.
std::uint64_t random_weight_bytes(const ModelConfig& config);
std::uint64_t random_layer_bytes(const ModelConfig& config, FfnKind ffn);

}  // namespace ponder::engine
