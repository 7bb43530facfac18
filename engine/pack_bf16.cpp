#include "engine/pack_bf16.h"

#include <cstdint>

#include "kernels/packed_bf16.h"

namespace ponder::engine {
namespace {

constexpr std::size_t kBandsPerChunk = 4;

/// body(begin, end) for ranges of bands.
template <class Body>
void for_bands(const kernels::PackedBf16Plan& plan, kernels::ThreadPool* pool, Body&& body) {
  if (pool == nullptr) return body(std::size_t{0}, plan.shape.bands);
  pool->parallel_for(plan.shape.bands, kBandsPerChunk, body);
}

}  // namespace

Result<const void*> pack_bf16(const kernels::bf16* rows, std::size_t out, std::size_t in,
                              Arena& arena, kernels::ThreadPool* pool) {
  kernels::PackedBf16Plan plan(out, in);
  for_bands(plan, pool, [&](std::size_t begin, std::size_t end) {
    kernels::choose_windows(plan, rows, begin, end);
  });
  const std::size_t bytes = kernels::place_bands(plan);
  const std::size_t bytes_now = out * in * sizeof(kernels::bf16);
  if (bytes > bytes_now / 8 * 7) return nullptr;
  PONDER_TRY(std::byte * to, arena.allocate(bytes));
  for_bands(plan, pool, [&](std::size_t begin, std::size_t end) {
    kernels::pack_bands(plan, rows, begin, end, reinterpret_cast<std::uint8_t*>(to));
  });
  return to;
}

std::uint64_t packed_bf16_estimate(std::uint64_t bytes) { return bytes / 16 * 13; }

}  // namespace ponder::engine
