// Products on a device, against the scalar row.

#include "kernels/packed_weights.h"
#include "tests/kernels/device/device_cases.h"

namespace ponder::kernels {
namespace {

/// A random [n, k] matrix as the CPU has it, and the same on the device.
struct Weights {
  Weights(const DeviceTable& device, DType dtype, std::size_t n, std::size_t k, std::size_t group,
          bool is_packed, std::mt19937_64& rng)
      : data_bytes(bytes_of(dtype, n, k, rng)),
        scales(random_floats((n + 127) / 128 * ((k + 127) / 128), rng)),
        group_scales(
            to_bf16(random_floats((n + 15) / 16 * 16 * (group == 0 ? 0 : k / group), rng))) {
    if (is_packed) {
      const std::size_t row_bytes = data_bytes.size() / n;
      std::vector<std::uint8_t> packed(packed_bytes(n, row_bytes));
      pack_weights(data_bytes.data(), n, row_bytes, packed.data());
      data_bytes = packed;
    }
    on_device = std::make_unique<DeviceArray<std::uint8_t>>(device, data_bytes);
    scales_on_device = std::make_unique<DeviceArray<float>>(device, scales);
    group_scales_on_device = std::make_unique<DeviceArray<bf16>>(device, group_scales);
    host = {.y = nullptr,
            .y_stride = 0,
            .x = nullptr,
            .x_stride = 0,
            .w = data_bytes.data(),
            .w_stride = k,
            .w_scales = scales.data(),
            .w_scales_stride = (k + 127) / 128,
            .w_dtype = dtype,
            .m = 0,
            .n = n,
            .k = k,
            .w_group_scales = group_scales.data(),
            .w_group = group,
            .w_is_packed = is_packed};
    matrix = {.data = on_device->data(),
              .scales = scales_on_device->data(),
              .group_scales = group_scales_on_device->data(),
              .scales_stride = static_cast<std::uint32_t>((k + 127) / 128),
              .group = static_cast<std::uint16_t>(group),
              .dtype = dtype,
              .is_packed = is_packed};
  }

  static std::vector<std::uint8_t> bytes_of(DType dtype, std::size_t n, std::size_t k,
                                            std::mt19937_64& rng) {
    std::vector<std::uint8_t> bytes;
    const auto values = random_floats(n * k, rng);
    if (dtype == DType::f32 || dtype == DType::bf16) {
      const auto narrow = to_bf16(values);
      const void* from = dtype == DType::f32 ? static_cast<const void*>(values.data())
                                             : static_cast<const void*>(narrow.data());
      bytes.resize(n * k * (dtype == DType::f32 ? 4 : 2));
      std::memcpy(bytes.data(), from, bytes.size());
      return bytes;
    }
    bytes.resize(dtype == DType::int4 ? n * k / 2 : n * k);
    for (auto& byte : bytes) {
      byte = static_cast<std::uint8_t>(rng());
      // E4M3 without NaN; int8 without -128; int4 without -8.
      if (dtype == DType::fp8_e4m3 && (byte & 0x7f) == 0x7f) byte = 0;
      if (dtype == DType::int8 && byte == 0x80) byte = 0x81;
      if (dtype == DType::int4 && (byte & 15) == 0) byte |= 1;
      if (dtype == DType::int4 && (byte >> 4) == 0) byte |= 16;
    }
    return bytes;
  }

  std::vector<std::uint8_t> data_bytes;
  std::vector<float> scales;
  std::vector<bf16> group_scales;
  std::unique_ptr<DeviceArray<std::uint8_t>> on_device;
  std::unique_ptr<DeviceArray<float>> scales_on_device;
  std::unique_ptr<DeviceArray<bf16>> group_scales_on_device;
  MatmulArgs host{};
  DeviceMatrix matrix{};
};

class DeviceMatmul : public DeviceTest {
 protected:
  /// [m, n] by the scalar row.
  static std::vector<float> reference(const Weights& weights, const std::vector<float>& x,
                                      std::size_t m) {
    MatmulArgs args = weights.host;
    std::vector<float> y(m * args.n);
    args.y = y.data();
    args.y_stride = args.n;
    args.x = x.data();
    args.x_stride = args.k;
    args.m = m;
    scalar_table().matmul(args, 0, m, 0, args.n);
    return y;
  }

  std::vector<float> run(const Weights& weights, const std::vector<float>& x, std::size_t m) {
    const std::size_t n = weights.host.n;
    const std::size_t k = weights.host.k;
    const DeviceArray<float> from(device(), x);
    const DeviceArray<float> y(device(), m * n);
    const DeviceArray<DeviceMatrix> matrices(device(), std::vector{weights.matrix});
    const DeviceArray<std::int8_t> codes(device(), m * k);
    const DeviceArray<float> scales(device(), m * (k / 128 + 1));
    device().matmul({.y = y.data(),
                     .y_stride = n,
                     .x = from.data(),
                     .x_stride = k,
                     .w = matrices.data(),
                     .w_dtype = weights.host.w_dtype,
                     .batch = 1,
                     .m = m,
                     .m_total = m,
                     .n = n,
                     .k = k,
                     .x_codes = codes.data(),
                     .x_scales = scales.data()});
    return y.download();
  }
};

TEST_F(DeviceMatmul, FloatingWeightsAgreeAtOddShapes) {
  struct Shape {
    std::size_t m, n, k;
  };
  for (const DType dtype : {DType::f32, DType::bf16, DType::fp8_e4m3}) {
    for (const Shape& s : {Shape{1, 1, 1}, Shape{3, 65, 31}, Shape{33, 130, 129}, Shape{5, 7, 300},
                           Shape{64, 64, 64}, Shape{2, 257, 161}}) {
      const Weights weights(device(), dtype, s.n, s.k, 0, false, rng);
      const auto x = random_floats(s.m * s.k, rng);
      // E4M3 codes reach 448; a chain of k terms errs by k units of the largest partial sum.
      const double largest = dtype == DType::fp8_e4m3 ? 448.0 : 1.0;
      const double error = static_cast<double>(s.k * s.k) * largest * kUnitRoundoff;
      EXPECT_TRUE(all_close(run(weights, x, s.m), reference(weights, x, s.m), {.abs = error}))
          << s.m << " " << s.n << " " << s.k;
    }
  }
}

TEST_F(DeviceMatmul, WhatIsNotFiniteStaysInItsRow) {
  const Weights weights(device(), DType::bf16, 70, 90, 0, false, rng);
  auto x = random_floats(40 * 90, rng);
  x[7 * 90 + 11] = kNan;
  EXPECT_TRUE(all_close(run(weights, x, 40), reference(weights, x, 40), {.abs = 1e-3}));
}

TEST_F(DeviceMatmul, AWeightThatIsNotFiniteStaysInItsColumn) {
  // Widths at which lanes read whole words, some of them beyond the end of a row.
  for (const std::size_t k : {16U, 48U, 144U}) {
    Weights weights(device(), DType::fp8_e4m3, 20, k, 0, false, rng);
    weights.data_bytes[5 * k] = 0x7f;
    device().upload(weights.on_device->data(), weights.data_bytes.data(),
                    weights.data_bytes.size());
    const auto x = random_floats(3 * k, rng);
    EXPECT_TRUE(all_close(run(weights, x, 3), reference(weights, x, 3), {.abs = 1e-2})) << k;
  }
}

TEST_F(DeviceMatmul, ARowsBitsDependOnNeitherItsPlaceNorItsCompany) {
  struct Case {
    DType dtype;
    std::size_t k;
  };
  for (const auto& [dtype, k] :
       {Case{DType::f32, 130}, Case{DType::bf16, 130}, Case{DType::bf16, 640},
        Case{DType::fp8_e4m3, 1155}, Case{DType::fp8_e4m3, 640}, Case{DType::int8, 640},
        Case{DType::int4, 640}}) {
    const Weights weights(device(), dtype, 100, k, 128, false, rng);
    const auto x = random_floats(50 * k, rng);
    const auto together = run(weights, x, 50);
    for (const std::size_t row : {0U, 31U, 32U, 49U}) {
      const auto from = x.begin() + static_cast<std::ptrdiff_t>(row * k);
      const auto to = together.begin() + static_cast<std::ptrdiff_t>(row * 100);
      EXPECT_TRUE(
          same_bits(run(weights, {from, from + static_cast<std::ptrdiff_t>(k)}, 1), {to, to + 100}))
          << static_cast<int>(dtype) << " " << row;
    }
  }
}

TEST_F(DeviceMatmul, NothingOfAnInputIsRoundedBeforeTheSum) {
  // Ones cancel; what is left are the inputs' last bits.
  const std::size_t k = 256;
  std::vector<float> x(k);
  std::vector<std::uint16_t> w(k);
  double want = 0.0;
  for (std::size_t i = 0; i < k; ++i) {
    x[i] = 1.0F + static_cast<float>(rng() % 256) * 0x1p-20F;
    w[i] = i % 2 == 0 ? 0x3f80 : 0xbf80;  // 1, -1
    want += (i % 2 == 0 ? 1.0 : -1.0) * double{x[i]};
  }
  const DeviceArray<float> from(device(), x);
  const DeviceArray<std::uint16_t> weights(device(), w);
  DeviceMatrix matrix{};
  matrix.data = weights.data();
  matrix.dtype = DType::bf16;
  const DeviceArray<DeviceMatrix> matrices(device(), std::vector{matrix});
  const DeviceArray<float> y(device(), 1);
  device().matmul({.y = y.data(),
                   .y_stride = 1,
                   .x = from.data(),
                   .x_stride = k,
                   .w = matrices.data(),
                   .w_dtype = DType::bf16,
                   .batch = 1,
                   .m = 1,
                   .m_total = 1,
                   .n = 1,
                   .k = k});
  // Every partial sum is a multiple of 2^-20 below 4, so that none is rounded.
  EXPECT_EQ(y.download()[0], want);
}

TEST_F(DeviceMatmul, EveryE4m3CodeIsReadForWhatItIs) {
  // Row n of the matrix has code n in one of the places that a word has, and 1 elsewhere.
  const std::size_t k = 32;
  Weights weights(device(), DType::fp8_e4m3, 256, k, 0, false, rng);
  std::fill(weights.data_bytes.begin(), weights.data_bytes.end(), std::uint8_t{0x38});
  for (std::size_t n = 0; n < 256; ++n) {
    weights.data_bytes[n * k + n % 7] = static_cast<std::uint8_t>(n);
  }
  device().upload(weights.on_device->data(), weights.data_bytes.data(), weights.data_bytes.size());
  std::vector<float> x(7 * k);
  for (std::size_t row = 0; row < 7; ++row) x[row * k + row] = 1.0F;
  EXPECT_TRUE(all_close(run(weights, x, 7), reference(weights, x, 7), {}));
}

TEST_F(DeviceMatmul, CodesGiveTheBitsOfTheCpu) {
  for (const bool is_packed : {false, true}) {
    for (const auto& [dtype, group] : {std::pair{DType::int8, 128U},
                                       {DType::int4, 32U},
                                       {DType::int4, 64U},
                                       {DType::int4, 128U}}) {
      const Weights weights(device(), dtype, 75, 384, group, is_packed, rng);
      auto x = random_floats(35 * 384, rng);
      std::fill_n(x.begin() + 384, 128, 0.0F);
      x[5 * 384 + 200] = kNan;
      const auto got = run(weights, x, 35);
      const auto want = reference(weights, x, 35);
      EXPECT_TRUE(all_close(got, want, {})) << group << " " << is_packed;
    }
  }
}

TEST_F(DeviceMatmul, HeadsAreABatchWithStrides) {
  const std::size_t heads = 3;
  const std::size_t m = 5;
  const std::size_t n = 20;
  const std::size_t k = 33;
  std::vector<std::unique_ptr<Weights>> weights;
  std::vector<DeviceMatrix> matrices;
  for (std::size_t head = 0; head < heads; ++head) {
    weights.push_back(std::make_unique<Weights>(device(), DType::bf16, n, k, 0, false, rng));
    matrices.push_back(weights.back()->matrix);
  }
  const auto x = random_floats(m * heads * k, rng);
  const DeviceArray<float> from(device(), x);
  const DeviceArray<DeviceMatrix> on_device(device(), matrices);
  const DeviceArray<float> y(device(), m * heads * n);
  device().matmul({.y = y.data(),
                   .y_stride = heads * n,
                   .y_batch_stride = n,
                   .x = from.data(),
                   .x_stride = heads * k,
                   .x_batch_stride = k,
                   .w = on_device.data(),
                   .w_dtype = DType::bf16,
                   .batch = heads,
                   .m = m,
                   .m_total = m,
                   .n = n,
                   .k = k});
  std::vector<float> want(m * heads * n);
  for (std::size_t head = 0; head < heads; ++head) {
    MatmulArgs args = weights[head]->host;
    args.y = want.data() + head * n;
    args.y_stride = heads * n;
    args.x = x.data() + head * k;
    args.x_stride = heads * k;
    args.m = m;
    scalar_table().matmul(args, 0, m, 0, n);
  }
  EXPECT_TRUE(all_close(y.download(), want, {.abs = 1e-5}));
}

TEST_F(DeviceMatmul, EachExpertTakesItsOwnRowsAndOneWithoutRowsTakesNone) {
  struct Case {
    DType dtype;
    std::vector<std::int32_t> begin;
  };
  std::vector<Case> cases;
  for (const DType dtype : {DType::f32, DType::bf16, DType::fp8_e4m3, DType::int8, DType::int4}) {
    cases.push_back({dtype, {0, 0, 37, 40, 40, 45}});
    cases.push_back({dtype, {0, 1, 1, 28, 28, 29, 29, 29, 30}});  // few rows for most
  }
  for (const auto& [dtype, begin] : cases) {
    const auto num_rows = static_cast<std::size_t>(begin.back());
    const std::size_t n = 66;
    const std::size_t k = 128;
    std::vector<std::unique_ptr<Weights>> weights;
    std::vector<DeviceMatrix> matrices;
    for (std::size_t e = 0; e + 1 < begin.size(); ++e) {
      weights.push_back(std::make_unique<Weights>(device(), dtype, n, k, 128, false, rng));
      matrices.push_back(weights.back()->matrix);
    }
    const auto x = random_floats(num_rows * k, rng);
    const DeviceArray<float> from(device(), x);
    const DeviceArray<DeviceMatrix> on_device(device(), matrices);
    const DeviceArray<std::int32_t> groups(device(), begin);
    const DeviceArray<float> y(device(), num_rows * n);
    const DeviceArray<std::int8_t> codes(device(), num_rows * k);
    const DeviceArray<float> scales(device(), num_rows);
    device().matmul({.y = y.data(),
                     .y_stride = n,
                     .x = from.data(),
                     .x_stride = k,
                     .w = on_device.data(),
                     .w_dtype = dtype,
                     .batch = matrices.size(),
                     .group_begin = groups.data(),
                     .m = num_rows,
                     .m_total = num_rows,
                     .n = n,
                     .k = k,
                     .x_codes = codes.data(),
                     .x_scales = scales.data()});
    std::vector<float> want;
    for (std::size_t e = 0; e < weights.size(); ++e) {
      const auto rows = static_cast<std::size_t>(begin[e + 1] - begin[e]);
      const auto at = x.begin() + begin[e] * static_cast<std::ptrdiff_t>(k);
      const auto part =
          reference(*weights[e], {at, at + static_cast<std::ptrdiff_t>(rows * k)}, rows);
      want.insert(want.end(), part.begin(), part.end());
    }
    const bool is_exact = dtype == DType::int8 || dtype == DType::int4;
    const double error = dtype == DType::fp8_e4m3 ? 5e-2 : 1e-4;  // of codes up to 448
    EXPECT_TRUE(all_close(y.download(), want, {.abs = is_exact ? 0.0 : error}))
        << static_cast<int>(dtype);
  }
}

/// Rows of x in another order, some twice, have the bits that a copy in this order has; places that
/// are in no group have no row and get nothing.
TEST_F(DeviceMatmul, RowsAreReadWhereTheyLie) {
  const std::vector<std::int32_t> x_rows = {5, 0, 0, 3, 2, 5, 1, -1, -1};
  const std::vector<std::int32_t> begin = {0, 3, 3, 7};
  const std::size_t n = 35;
  const std::size_t k = 256;
  const DeviceArray<std::int32_t> groups(device(), begin), rows(device(), x_rows);
  for (const DType dtype : {DType::f32, DType::bf16, DType::fp8_e4m3, DType::int8, DType::int4}) {
    std::vector<std::unique_ptr<Weights>> weights;
    std::vector<DeviceMatrix> matrices;
    for (std::size_t e = 0; e + 1 < begin.size(); ++e) {
      weights.push_back(std::make_unique<Weights>(device(), dtype, n, k, 128, false, rng));
      matrices.push_back(weights.back()->matrix);
    }
    auto x = random_floats(6 * k, rng);
    x[k] = kNan;
    std::vector<float> copy(x_rows.size() * k, 0.0F);
    for (std::size_t r = 0; r < x_rows.size(); ++r) {
      if (x_rows[r] >= 0) std::copy_n(x.data() + x_rows[r] * k, k, copy.data() + r * k);
    }
    const DeviceArray<DeviceMatrix> on_device(device(), matrices);
    const auto multiply = [&](const DeviceArray<float>& from, const std::int32_t* from_rows) {
      const DeviceArray<float> y(device(), x_rows.size() * n);
      const DeviceArray<std::int8_t> codes(device(), x_rows.size() * k);
      const DeviceArray<float> scales(device(), x_rows.size() * k / 128);
      device().matmul({.y = y.data(),
                       .y_stride = n,
                       .x = from.data(),
                       .x_stride = k,
                       .x_rows = from_rows,
                       .w = on_device.data(),
                       .w_dtype = dtype,
                       .batch = matrices.size(),
                       .group_begin = groups.data(),
                       .m = 6,
                       .m_total = x_rows.size(),
                       .n = n,
                       .k = k,
                       .x_codes = codes.data(),
                       .x_scales = scales.data()});
      return y.download();
    };
    const auto want = multiply(DeviceArray<float>(device(), copy), nullptr);
    EXPECT_TRUE(same_bits(multiply(DeviceArray<float>(device(), x), rows.data()), want))
        << static_cast<int>(dtype);
    EXPECT_TRUE(std::isnan(want[7 * n]));
    EXPECT_FALSE(std::isnan(want[0]));
  }
}

TEST_F(DeviceMatmul, ProductsOfTheSameRowsShareTheirCodes) {
  const std::size_t m = 3;
  const std::size_t n = 20;
  const std::size_t k = 256;
  const auto x = random_floats(m * k, rng);
  const DeviceArray<float> from(device(), x), other(device(), m * k);
  const DeviceArray<std::int8_t> codes(device(), m * k);
  const DeviceArray<float> scales(device(), m * k / 128), y(device(), m * n);
  for (const DType dtype : {DType::int8, DType::int4}) {
    const Weights weights(device(), dtype, n, k, 128, false, rng);
    const DeviceArray<DeviceMatrix> matrices(device(), std::vector{weights.matrix});
    DeviceMatmulArgs args{};
    args.y = y.data();
    args.y_stride = n;
    args.x = from.data();
    args.x_stride = k;
    args.w = matrices.data();
    args.w_dtype = dtype;
    args.batch = 1;
    args.m = m;
    args.m_total = m;
    args.n = n;
    args.k = k;
    args.x_codes = codes.data();
    args.x_scales = scales.data();
    device().matmul(args);
    args.x = other.data();
    args.x_is_coded = true;
    device().matmul(args);
    EXPECT_TRUE(all_close(y.download(), reference(weights, x, m), {})) << static_cast<int>(dtype);
  }
}

}  // namespace
}  // namespace ponder::kernels
