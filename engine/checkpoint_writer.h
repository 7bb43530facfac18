#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/detail/new_files.h"
#include "engine/safetensors.h"
#include "engine/weight_format.h"

namespace ponder::engine {

/// A tensor to be written: values that are encoded on the way, or stored bytes taken as they are.
struct OutputTensor {
  std::string name;                // of the values: "...weight"; its companions follow from format
  std::vector<std::size_t> shape;  // [out, in], or [width]
  WeightFormat format;             // f32 or bf16 for vectors
  const TensorView* verbatim = nullptr;  // not null: these bytes, and format is not looked at
};

/// Fills `out` with whole rows of the tensor from first_row on. Called for ascending rows.
using RowSource =
    std::function<Status(const OutputTensor& tensor, std::size_t first_row, std::span<float> out)>;

inline constexpr std::size_t kShardBytesMax = std::size_t{4} << 30;

/// Writes safetensors files, their index and config.json into `dir`, which is created if needed and
/// must not hold a checkpoint yet, nor a file that would be written. Memory is one band of rows,
/// whatever the tensors' sizes; files are split when they pass `shard_bytes_max`. After a failure
/// nothing that was written stays, nor a folder that was created.
///
/// Data begins at a multiple of 64 bytes, and tensors that are read in place are aligned.
Status write_checkpoint(const std::filesystem::path& dir, std::vector<OutputTensor> tensors,
                        const std::string& config_json, std::size_t shard_bytes_max,
                        const RowSource& rows);

/// The two steps of it, for who has more to write or to check in between: without a config.json a
/// directory is no checkpoint. The files stay if the caller keeps them.
Status write_weights(detail::NewFiles& files, std::vector<OutputTensor> tensors,
                     std::size_t shard_bytes_max, const RowSource& rows);
Status write_config(detail::NewFiles& files, const std::string& config_json);

/// The `quantization_config` that declares such a checkpoint, as JSON text; empty for f32 and bf16.
std::string quantization_config_json(const WeightFormat& format);

}  // namespace ponder::engine
