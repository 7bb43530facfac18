// Rounding and page writes on a device: the bytes must be those that the CPU writes.

#include "engine/fp8_latent.h"
#include "engine/index_fp8.h"
#include "kernels/index_select.h"
#include "tests/kernels/device/device_pages.h"

namespace ponder::kernels {
namespace {

constexpr std::size_t kOffset = 192;  // of the block in its page

class DeviceIndex : public DeviceTest {
 protected:
  /// Rows of many magnitudes, among them zeros, a NaN and an infinity.
  std::vector<float> rows_of(std::size_t rows, std::size_t dim) {
    auto x = random_floats(rows * dim, rng);
    for (std::size_t r = 0; r < rows; ++r) {
      const float scale = std::ldexp(1.0F, static_cast<int>(rng() % 40) - 25);
      for (std::size_t i = 0; i < dim; ++i) x[r * dim + i] *= scale;
    }
    std::fill_n(x.begin(), dim, 0.0F);
    if (rows > 3) {
      x[2 * dim + 1] = kNan;
      x[3 * dim] = kInf;
    }
    return x;
  }
};

TEST_F(DeviceIndex, QuantizedRowsHaveTheBitsOfTheCpu) {
  for (const std::size_t dim : {4U, 64U, 128U, 256U}) {
    const std::size_t rows = 11;
    const auto x = rows_of(rows, dim);
    std::vector<std::int8_t> want(rows * dim);
    std::vector<float> want_scales(rows);
    scalar_table().index_quantize({x.data(), dim, want.data(), want_scales.data(), rows, dim}, 0,
                                  rows);
    const DeviceArray<float> from(device(), x);
    const DeviceArray<std::int8_t> codes(device(), rows * dim);
    const DeviceArray<float> scales(device(), rows);
    device().index_quantize({from.data(), dim, codes.data(), scales.data(), rows, dim});
    EXPECT_EQ(codes.download(), want) << dim;
    EXPECT_TRUE(same_bits(scales.download(), want_scales)) << dim;
  }
}

TEST_F(DeviceIndex, RotatedRowsHaveTheBitsOfTheCpu) {
  for (const std::size_t dim : {4U, 32U, 128U}) {
    const std::size_t rows = 9;
    const auto x = rows_of(rows, dim);
    for (const bool is_query : {false, true}) {
      std::vector<float> want = x;
      for (std::size_t r = 0; r < rows; ++r) {
        engine::rotate_index_row(want.data() + r * dim, dim);
        if (is_query) engine::round_index_query(want.data() + r * dim, dim);
      }
      const DeviceArray<float> values(device(), x);
      device().rotate_index({values.data(), rows, dim, is_query});
      EXPECT_TRUE(all_close(values.download(), want, {})) << dim << " " << is_query;
    }
  }
}

TEST_F(DeviceIndex, KeysOfEveryTypeAreWrittenAsTheCpuWritesThem) {
  const std::size_t dim = 32;
  const std::size_t rows = 70;
  const auto x = rows_of(rows, dim);
  std::vector<std::int8_t> codes(rows * dim);
  for (auto& code : codes) code = static_cast<std::int8_t>(rng());
  const auto scales = random_floats(rows, rng);
  const DeviceArray<float> keys(device(), x);
  const DeviceArray<std::int8_t> device_codes(device(), codes);
  const DeviceArray<float> device_scales(device(), scales);
  for (const DType dtype : {DType::f32, DType::bf16, DType::int8, DType::fp8_e4m3}) {
    PagedSequences pages(device(), kOffset + 64 * (dim + 3) * 4, kOffset, {200}, rng);
    const std::size_t stride = dtype == DType::f32 || dtype == DType::bf16 ? dim + 3 : dim;
    std::vector<std::int32_t> slots(rows);
    for (std::size_t r = 0; r < rows; ++r) slots[r] = pages.slot(0, 50 + r);
    slots[10] = -1;
    const DeviceArray<std::int32_t> device_slots(device(), slots);
    device().write_index_keys({pages.pages(dtype, stride), keys.data(), device_codes.data(),
                               device_scales.data(), device_slots.data(), rows, dim});
    for (std::size_t r = 0; r < rows; ++r) {
      if (slots[r] < 0) continue;
      std::byte* block = pages.block(static_cast<std::size_t>(slots[r]) / kPageSize);
      const std::size_t token = static_cast<std::size_t>(slots[r]) % kPageSize;
      const float* key = x.data() + r * dim;
      if (dtype == DType::int8) {
        write_index_key(block, token, codes.data() + r * dim, scales[r], dim);
      } else if (dtype == DType::fp8_e4m3) {
        engine::write_fp8_index_key(block, token, key, dim);
      } else if (dtype == DType::f32) {
        std::memcpy(block + token * stride * 4, key, dim * 4);
      } else {
        scalar_table().f32_to_bf16(reinterpret_cast<bf16*>(block) + token * stride, key, dim);
      }
    }
    EXPECT_TRUE(pages.device_bytes() == pages.host_bytes()) << static_cast<int>(dtype);
  }
}

TEST_F(DeviceIndex, LatentsOfEveryTypeAreWrittenAsTheCpuWritesThem) {
  const std::size_t rope_dim = 6;
  for (const std::size_t rank : {20U, 128U, 300U}) {
    const std::size_t dim = rank + rope_dim;
    const std::size_t rows = 7;
    const auto x = rows_of(rows, dim);
    const DeviceArray<float> latents(device(), x);
    const Fp8LatentLayout fp8 = engine::fp8_latent_layout(rank, rope_dim);
    for (const DType dtype : {DType::f32, DType::bf16, DType::fp8_e4m3}) {
      const std::size_t stride =
          dtype == DType::fp8_e4m3 ? (fp8.bytes + 3) / 4 * 4 : (dim + 1) / 2 * 2;
      PagedSequences pages(device(), kOffset + 64 * stride * 4, kOffset, {100}, rng);
      std::vector<std::int32_t> slots;
      for (std::size_t r = 0; r < rows; ++r) slots.push_back(pages.slot(0, 60 + r));
      slots[4] = -1;
      const DeviceArray<std::int32_t> device_slots(device(), slots);
      device().write_latents({pages.pages(dtype, stride), fp8, latents.data(), device_slots.data(),
                              rows, rank, rope_dim});
      for (std::size_t r = 0; r < rows; ++r) {
        if (slots[r] < 0) continue;
        std::byte* block = pages.block(static_cast<std::size_t>(slots[r]) / kPageSize);
        const std::size_t at = static_cast<std::size_t>(slots[r]) % kPageSize * stride;
        const float* latent = x.data() + r * dim;
        if (dtype == DType::fp8_e4m3) {
          engine::write_fp8_latent(block + at, latent, rank, rope_dim);
        } else if (dtype == DType::f32) {
          std::memcpy(block + at * 4, latent, dim * 4);
        } else {
          scalar_table().f32_to_bf16(reinterpret_cast<bf16*>(block) + at, latent, dim);
        }
      }
      EXPECT_TRUE(pages.device_bytes() == pages.host_bytes())
          << rank << " " << static_cast<int>(dtype);
    }
  }
}

}  // namespace
}  // namespace ponder::kernels
