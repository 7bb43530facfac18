#include "engine/bench/device_timer.h"

#include <algorithm>
#include <random>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "engine/bench/cublas.h"
#include "kernels/bench/options.h"

namespace ponder::engine::bench {
namespace {

constexpr std::size_t kBlocksPerProcessor = 2;
constexpr std::size_t kFillBytes = std::size_t{1} << 22;

}  // namespace

Result<DeviceTimer> DeviceTimer::create(std::shared_ptr<OpenDevice> device, const Effort& effort) {
  PONDER_ASSERT(2 * effort.repetitions <= kernels::kDeviceEventsMax && effort.repetitions > 0);
  PONDER_TRY(DeviceBuffer from, DeviceBuffer::create(device, effort.copy_bytes));
  PONDER_TRY(DeviceBuffer to, DeviceBuffer::create(device, effort.copy_bytes));
  // bf16 numbers of moderate magnitude: a product of zeros would be faster.
  std::minstd_rand rng(1);
  std::vector<kernels::bf16> values(std::min(effort.copy_bytes, kFillBytes) / 2);
  for (auto& value : values) {
    const auto bits = static_cast<std::uint32_t>(rng());
    value = static_cast<kernels::bf16>((bits & 0x8000U) | (0x3c00U + bits % 0x300U));
  }
  const auto& table = device->table();
  for (std::size_t at = 0; at < from.size(); at += values.size() * 2) {
    const std::size_t n = std::min(values.size() * 2, from.size() - at);
    PONDER_CHECK(device_status(table, table.upload(from.data() + at, values.data(), n), "upload"));
  }
  return DeviceTimer(std::move(device), effort, std::move(from), std::move(to));
}

Result<double> DeviceTimer::median_ms(const std::function<void(std::size_t)>& launch) {
  for (std::size_t i = 0; i < effort_.warmup; ++i) launch(i);
  PONDER_CHECK(device_status(table(), table().wait(), "warm-up"));
  for (int i = 0; i < 4; ++i) copy();
  for (std::size_t i = 0; i < effort_.repetitions; ++i) {
    table().record_event(2 * i);
    launch(effort_.warmup + i);
    table().record_event(2 * i + 1);
  }
  PONDER_CHECK(device_status(table(), table().wait(), "benchmark"));
  std::vector<double> times;
  for (std::size_t i = 0; i < effort_.repetitions; ++i) {
    float ms = 0.0F;
    PONDER_CHECK(device_status(table(), table().event_ms(2 * i, 2 * i + 1, &ms), "event"));
    times.push_back(ms);
  }
  return kernels::bench::median(std::move(times));
}

Result<Ceilings> DeviceTimer::measure_ceilings() {
  Ceilings result;
  PONDER_TRY(const double copy_ms, median_ms([&](std::size_t) { copy(); }));
  result.bytes_per_s = 2e3 * static_cast<double>(from_.size()) / copy_ms;
  PONDER_TRY(result.probe_bf16_flops, probe(kernels::DType::bf16, 2.0 * 16 * 8 * 16));
  PONDER_TRY(result.int8_ops, probe(kernels::DType::int8, 2.0 * 16 * 8 * 32));
  PONDER_TRY(result.cublas_bf16_flops, cublas());
  result.bf16_flops = std::max(result.probe_bf16_flops, result.cublas_bf16_flops);
  return result;
}

/// Operations per second.
Result<double> DeviceTimer::probe(kernels::DType dtype, double operations_per_tile) {
  const std::size_t processors = static_cast<std::size_t>(device_->info().num_processors);
  const std::size_t blocks = kBlocksPerProcessor * processors;
  const std::size_t warps = blocks * kernels::kProbeWarps;
  PONDER_TRY(const DeviceBuffer sums, DeviceBuffer::create(device_, warps * 32 * sizeof(float)));
  PONDER_TRY(const double ms, median_ms([&](std::size_t) {
               table().probe_products({.sums = reinterpret_cast<float*>(sums.data()),
                                       .blocks = blocks,
                                       .rounds = effort_.probe_rounds,
                                       .dtype = dtype});
             }));
  const auto tiles = static_cast<double>(warps * effort_.probe_rounds * kernels::kProbeTiles);
  return 1e3 * tiles * operations_per_tile / ms;
}

/// Operations per second; 0 without cuBLAS.
Result<double> DeviceTimer::cublas() {
  const std::unique_ptr<Cublas> library = Cublas::open(*device_);
  const auto side = static_cast<std::size_t>(effort_.product_side);
  const std::size_t matrix = side * side;
  if (library == nullptr || 2 * matrix * sizeof(kernels::bf16) > from_.size()) return 0.0;
  const auto* x = reinterpret_cast<const kernels::bf16*>(from_.data());
  bool is_good = true;
  PONDER_TRY(const double ms, median_ms([&](std::size_t) {
               is_good = library->multiply(reinterpret_cast<kernels::bf16*>(to_.data()), x,
                                           x + matrix, effort_.product_side) &&
                         is_good;
             }));
  return is_good ? 2e3 * static_cast<double>(matrix) * static_cast<double>(side) / ms : 0.0;
}

}  // namespace ponder::engine::bench
