#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>

#include "base/result.h"
#include "engine/checkpoint_writer.h"
#include "engine/weight_format.h"

namespace ponder::engine {

struct ConvertReport {
  std::size_t matrices_converted = 0;
  std::size_t tensors_kept = 0;  // written byte for byte
  std::uint64_t bytes_before = 0;
  std::uint64_t bytes_after = 0;
};

/// Writes the checkpoint in `in` to `out` (which must not hold one yet, nor a file of those that
/// are written) with its matrices stored as `to`: fp8, int8 or int4. Reads and writes shard by
/// shard; memory is one band of rows.
///
/// Kept as they are: norms, router, indexer.weights_proj, eh_proj, embedding; kv_b_proj, which the
/// engine unfolds to bf16 anyway; for int8 and int4 every matrix whose inputs are no multiple of
/// 128. For int4 the indexer's wq_b and wk and lm_head become int8, unless they have 8 bits
/// already. An MTP layer's own copies of embedding and head are left out. The tokenizer's files are
/// copied.
///
/// Fails (corrupt) at the first weight that is not finite, with the tensor's name and place, and
/// when the source has changed meanwhile. Whatever fails, what was written is removed, with `out`
/// if that was created; config.json comes last, so that a run that was killed leaves no checkpoint.
Result<ConvertReport> convert_checkpoint(const std::filesystem::path& in,
                                         const std::filesystem::path& out, const WeightFormat& to,
                                         std::size_t shard_bytes_max = kShardBytesMax);

}  // namespace ponder::engine
