#pragma once

#include <cstddef>
#include <cstdint>

#include "base/result.h"
#include "engine/huge_pages.h"
#include "kernels/kernel_table.h"
#include "kernels/thread_pool.h"

/// Packs BF16 matrices as a model is loaded (kernels/packed_bf16_layout.h).
namespace ponder::engine {

/// The packed form of `rows`, [out, in] dense, in the arena; null when it would save less than an
/// eighth, as with narrow matrices or wild values. Reads the rows twice, on all threads of `pool`;
/// null: on this one. Fails as Arena::allocate() does.
Result<const void*> pack_bf16(const kernels::bf16* rows, std::size_t out, std::size_t in,
                              Arena& arena, kernels::ThreadPool* pool);

/// What BF16 matrices of so many bytes take packed, to a few per cent, before any is read: 13 of 16
/// bits. Normally distributed weights take 12.2, and what takes more than 14 is not packed.
std::uint64_t packed_bf16_estimate(std::uint64_t bytes);

}  // namespace ponder::engine
