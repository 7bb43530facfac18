// Norms, the residual stream, activation and gathers on a device: the bits of single operations one
// after the other, and the numbers of the scalar row.

#include <algorithm>

#include "tests/kernels/device/device_cases.h"
#include "tests/kernels/device/row_reference.h"

namespace ponder::kernels {
namespace {

const std::size_t kDims[] = {1, 7, 64, 129, 300, 1031, 2048, 8500};
// A chain of n sums errs by at most n units of roundoff; the products and functions add a few.
constexpr Tolerance kTolerance{.abs = 2e-6, .rel = 2e-6};

class DeviceElementwise : public DeviceTest {};

TEST_F(DeviceElementwise, RmsNormAgreesInPlaceAndOut) {
  for (const std::size_t dim : kDims) {
    for (const std::size_t rest : {4U, 5U}) {  // rows that are aligned, and others
      const std::size_t rows = 3;
      const std::size_t stride = dim + rest;
      auto x = random_floats(rows * stride, rng);
      const auto weight = random_floats(dim, rng);
      if (dim == 300) put_special_values(x, rng);
      std::vector<float> want = x;
      const RmsNormArgs host{want.data(),   stride, x.data(), stride,
                             weight.data(), rows,   dim,      1e-6F};
      scalar_table().rms_norm(host, 0, rows);
      std::vector<float> want_bits = x;
      for (std::size_t r = 0; r < rows; ++r) {
        rms_norm_row(want_bits.data() + r * stride, x.data() + r * stride, weight.data(), dim,
                     1e-6F);
      }
      const DeviceArray<float> in_place(device(), x);
      const DeviceArray<float> weights(device(), weight);
      const DeviceArray<float> out(device(), rows * dim);
      device().rms_norm(
          {out.data(), dim, in_place.data(), stride, weights.data(), rows, dim, 1e-6F});
      device().rms_norm(
          {in_place.data(), stride, in_place.data(), stride, weights.data(), rows, dim, 1e-6F});
      const auto got = in_place.download();
      EXPECT_TRUE(all_close(got, want, kTolerance)) << dim;
      EXPECT_TRUE(all_close(got, want_bits, {})) << dim;
      const auto got_out = out.download();
      for (std::size_t r = 0; r < rows; ++r) {
        EXPECT_TRUE(all_close({got_out.begin() + static_cast<std::ptrdiff_t>(r * dim),
                               got_out.begin() + static_cast<std::ptrdiff_t>((r + 1) * dim)},
                              {got.begin() + static_cast<std::ptrdiff_t>(r * stride),
                               got.begin() + static_cast<std::ptrdiff_t>(r * stride + dim)},
                              {}))
            << dim;
      }
    }
  }
}

/// Rows of the residual stream, and what a layer adds to them.
struct ResidualCase {
  std::size_t dim;
  std::size_t slots;
  bool has_output;
  std::size_t offset = 0;  // of every array, in floats: 1 is not aligned
};

class DeviceResidual : public DeviceTest {
 protected:
  static constexpr std::size_t kRows = 3;
  static constexpr std::size_t kExpertRows = 5;
  std::vector<float> floats(std::size_t n, const ResidualCase& c) {
    return random_floats(n + c.offset, rng);
  }
  std::vector<float> without_offset(const DeviceArray<float>& array, const ResidualCase& c) {
    const auto values = array.download();
    return {values.begin() + static_cast<std::ptrdiff_t>(c.offset), values.end()};
  }

  void check(const ResidualCase& c) {
    SCOPED_TRACE(::testing::Message() << c.dim << " " << c.slots << " " << c.has_output);
    auto hidden = floats(kRows * c.dim, c);
    auto output = floats(kRows * c.dim, c);
    auto expert_output = floats(kExpertRows * c.dim, c);
    const auto weight = floats(c.dim, c);
    const auto expert_weights = random_floats(kRows * c.slots, rng);
    std::vector<std::int32_t> expert_rows(kRows * c.slots);
    for (auto& row : expert_rows) row = static_cast<std::int32_t>(rng() % (kExpertRows + 1)) - 1;
    if (c.dim == 300) {
      hidden[c.offset + 3] = kNan;
      output[c.offset + c.dim + 7] = kInf;
      expert_output[c.offset + 9] = kNan;  // of row 0, which the first one does not choose
      std::fill_n(expert_rows.begin(), std::min<std::size_t>(c.slots, 2), -1);
      std::replace(expert_rows.begin(), expert_rows.begin() + static_cast<std::ptrdiff_t>(c.slots),
                   0, 2);
    }
    std::vector<float> want(hidden.begin() + static_cast<std::ptrdiff_t>(c.offset), hidden.end());
    std::vector<float> want_normed(kRows * c.dim);
    const std::vector<float> experts(expert_output.begin() + static_cast<std::ptrdiff_t>(c.offset),
                                     expert_output.end());
    for (std::size_t r = 0; r < kRows; ++r) {
      std::vector<float> sum(c.dim, 0.0F);
      if (c.has_output) std::copy_n(output.data() + c.offset + r * c.dim, c.dim, sum.data());
      weighted_sum_row(sum.data(), experts, expert_rows.data() + r * c.slots,
                       expert_weights.data() + r * c.slots, c.slots, c.dim);
      float* row = want.data() + r * c.dim;
      for (std::size_t i = 0; i < c.dim; ++i) row[i] += sum[i];
      rms_norm_row(want_normed.data() + r * c.dim, row, weight.data() + c.offset, c.dim, 1e-5F);
    }
    const DeviceArray<float> device_hidden(device(), hidden);
    const DeviceArray<float> device_output(device(), output);
    const DeviceArray<float> device_experts(device(), expert_output);
    const DeviceArray<float> device_weight(device(), weight);
    const DeviceArray<float> device_expert_weights(device(), expert_weights);
    const DeviceArray<std::int32_t> device_rows(device(), expert_rows);
    const DeviceArray<float> normed(device(), kRows * c.dim + c.offset);
    device().residual_norm(
        {device_hidden.data() + c.offset, c.has_output ? device_output.data() + c.offset : nullptr,
         device_experts.data() + c.offset, device_rows.data(), device_expert_weights.data(),
         c.slots, normed.data() + c.offset, device_weight.data() + c.offset, kRows, c.dim, 1e-5F});
    EXPECT_TRUE(all_close(without_offset(device_hidden, c), want, {}));
    EXPECT_TRUE(all_close(without_offset(normed, c), want_normed, {}));
  }
};

TEST_F(DeviceResidual, SumsAndTheirNormHaveTheBitsOfSingleOperations) {
  for (const std::size_t dim : kDims) {
    check({dim, 0, true});
    check({dim, 3, true});
    check({dim, 9, false});
  }
  check({300, 8, true, 1});
  check({2048, 0, true, 1});
}

TEST_F(DeviceElementwise, SiluMulAgreesUpToTheEndsOfTheRange) {
  for (const std::size_t n : {1U, 71U, 300U}) {
    for (const std::size_t offset : {0U, 1U}) {
      auto gate = random_floats(offset + n, rng);
      for (float& z : gate) z *= 100.0F;
      auto up = random_floats(offset + n, rng);
      put_special_values(gate, rng);
      std::vector<float> want = gate;
      scalar_table().silu_mul(
          {want.data() + offset, n, gate.data() + offset, n, up.data() + offset, n, 1, n}, 0, 1);
      const DeviceArray<float> gates(device(), gate), ups(device(), up);
      device().silu_mul({gates.data() + offset, gates.data() + offset, ups.data() + offset, n});
      EXPECT_TRUE(all_close(gates.download(), want, kTolerance)) << n;
    }
  }
}

/// The codes are those that a product makes of the same values.
TEST_F(DeviceElementwise, SiluMulGivesTheCodesOfItsValues) {
  const std::size_t groups = 7;
  const std::size_t n = groups * kActivationGroup;
  auto gate = random_floats(n, rng);
  auto up = random_floats(n, rng);
  std::fill_n(up.begin() + kActivationGroup, kActivationGroup, 0.0F);
  gate[3 * kActivationGroup + 5] = kNan;
  up[4 * kActivationGroup + 127] = kInf;
  for (std::size_t i = 0; i < kActivationGroup; ++i) up[5 * kActivationGroup + i] *= 1e-38F;
  const DeviceArray<float> gates(device(), gate), ups(device(), up), y(device(), n);
  const DeviceArray<std::int8_t> codes(device(), n), alone(device(), n), want(device(), n);
  const DeviceArray<float> scales(device(), groups), alone_scales(device(), groups);
  const DeviceArray<float> want_scales(device(), groups);
  device().silu_mul({y.data(), gates.data(), ups.data(), n, codes.data(), scales.data()});
  device().silu_mul({nullptr, gates.data(), ups.data(), n, alone.data(), alone_scales.data()});
  const DeviceArray<std::uint8_t> weights(device(), std::vector<std::uint8_t>(n));
  const DeviceArray<bf16> weight_scales(device(), std::vector<bf16>(groups * kScaleRows));
  const DeviceMatrix matrix{weights.data(), nullptr, weight_scales.data(), 0, 128,
                            DType::int8,    false};
  const DeviceArray<DeviceMatrix> matrices(device(), std::vector{matrix});
  const DeviceArray<float> product(device(), 1);
  DeviceMatmulArgs args{};
  args.y = product.data();
  args.x = y.data();
  args.w = matrices.data();
  args.w_dtype = DType::int8;
  args.batch = args.m = args.m_total = args.n = 1;
  args.y_stride = 1;
  args.x_stride = args.k = n;
  args.x_codes = want.data();
  args.x_scales = want_scales.data();
  device().matmul(args);
  EXPECT_EQ(codes.download(), want.download());
  EXPECT_EQ(alone.download(), want.download());
  EXPECT_TRUE(all_close(scales.download(), want_scales.download(), {}));
  EXPECT_TRUE(all_close(alone_scales.download(), want_scales.download(), {}));
  EXPECT_TRUE(std::isnan(want_scales.download()[3]));
}

TEST_F(DeviceElementwise, GatheredRowsAreWidenedAndAbsentOnesAreZeros) {
  const std::vector<std::int32_t> indices = {6, -1, 0, 6, 3};
  const DeviceArray<std::int32_t> device_indices(device(), indices);
  for (const std::size_t dim : {45U, 48U}) {
    const auto table = random_floats(7 * dim, rng);
    const DeviceArray<float> wide(device(), table);
    const DeviceArray<bf16> narrow(device(), to_bf16(table));
    for (const bool is_bf16 : {false, true}) {
      const DeviceArray<float> y(device(), indices.size() * dim);
      device().gather_rows(
          {y.data(), dim, is_bf16 ? static_cast<void*>(narrow.data()) : wide.data(),
           is_bf16 ? DType::bf16 : DType::f32, device_indices.data(), indices.size(), dim});
      std::vector<float> want(indices.size() * dim, 0.0F);
      for (std::size_t r = 0; r < indices.size(); ++r) {
        for (std::size_t i = 0; indices[r] >= 0 && i < dim; ++i) {
          const float value = table[static_cast<std::size_t>(indices[r]) * dim + i];
          want[r * dim + i] = is_bf16 ? bf16_to_f32(f32_to_bf16(value)) : value;
        }
      }
      EXPECT_TRUE(same_bits(y.download(), want)) << dim << " " << is_bf16;
    }
  }
}

TEST_F(DeviceElementwise, TheRouterChoosesAsTheCpuDoesWithTiesAndNans) {
  struct Case {
    std::size_t experts, groups, topk_group, topk;
  };
  for (const Case& c : {Case{16, 4, 2, 4}, Case{256, 8, 4, 8}, Case{7, 1, 1, 3}, Case{5, 5, 2, 2},
                        Case{300, 1, 1, 6}}) {
    const std::size_t rows = 6;
    auto logits = random_floats(rows * c.experts, rng);
    for (float& logit : logits) logit = std::round(logit * 4.0F);  // many ties
    logits[c.experts + 2] = kNan;
    const std::vector<float> bias = random_floats(c.experts, rng);
    std::vector<std::int32_t> indices(rows * c.topk);
    std::vector<float> weights(rows * c.topk);
    RouterArgs args{logits.data(), c.experts, nullptr,      indices.data(), weights.data(), rows,
                    c.experts,     c.groups,  c.topk_group, c.topk,         true,           2.5F};
    const DeviceArray<float> device_logits(device(), logits);
    const DeviceArray<float> device_bias(device(), bias);
    for (const bool has_bias : {false, true}) {
      args.bias = has_bias ? bias.data() : nullptr;
      scalar_table().router(args, 0, rows);
      const DeviceArray<std::int32_t> device_indices(device(), indices.size());
      const DeviceArray<float> device_weights(device(), weights.size());
      RouterArgs moved = args;
      moved.logits = device_logits.data();
      moved.bias = has_bias ? device_bias.data() : nullptr;
      moved.indices = device_indices.data();
      moved.weights = device_weights.data();
      device().router(moved);
      EXPECT_EQ(device_indices.download(), indices) << c.experts << " " << has_bias;
      EXPECT_TRUE(all_close(device_weights.download(), weights, kTolerance));
    }
  }
}

TEST_F(DeviceElementwise, SlotsAreGroupedByExpertStably) {
  for (const std::size_t num_slots : {4U, 36U, 804U}) {
    const std::size_t num_experts = 19;
    const std::size_t topk = 4;
    std::vector<std::int32_t> experts(num_slots);
    for (auto& expert : experts) expert = static_cast<std::int32_t>(rng() % num_experts);
    const DeviceArray<std::int32_t> device_experts(device(), experts);
    const DeviceArray<std::int32_t> begin(device(), num_experts + 1);
    const DeviceArray<std::int32_t> slot_rows(device(), num_slots);
    const DeviceArray<std::int32_t> source_rows(device(), num_slots);
    device().group_by_expert({device_experts.data(), num_slots, topk, num_experts, begin.data(),
                              slot_rows.data(), source_rows.data()});
    std::vector<std::size_t> order(num_slots);
    for (std::size_t i = 0; i < num_slots; ++i) order[i] = i;
    std::sort(order.begin(), order.end(),
              [&](auto a, auto b) { return std::pair(experts[a], a) < std::pair(experts[b], b); });
    std::vector<std::int32_t> want_rows(num_slots);
    std::vector<std::int32_t> want_sources(num_slots);
    for (std::size_t place = 0; place < num_slots; ++place) {
      want_rows[order[place]] = static_cast<std::int32_t>(place);
      want_sources[place] = static_cast<std::int32_t>(order[place] / topk);
    }
    EXPECT_EQ(slot_rows.download(), want_rows);
    EXPECT_EQ(source_rows.download(), want_sources);
    std::vector<std::int32_t> want_begin;
    for (std::size_t e = 0; e <= num_experts; ++e) {
      want_begin.push_back(static_cast<std::int32_t>(std::count_if(
          experts.begin(), experts.end(), [&](auto x) { return x < static_cast<int>(e); })));
    }
    EXPECT_EQ(begin.download(), want_begin);
  }
}

TEST_F(DeviceElementwise, RowsBeyondTheNumberGivenAreInNoGroup) {
  const std::size_t topk = 3;
  const std::size_t num_experts = 5;
  const std::vector<std::int32_t> experts = {4, 0, 2, 0, 4, 1, 0, 1, 2, 4, 3, 1};
  const DeviceArray<std::int32_t> device_experts(device(), experts);
  for (const std::int32_t num_rows : {0, 2, 4}) {
    const DeviceArray<std::int32_t> begin(device(), num_experts + 1);
    const DeviceArray<std::int32_t> slot_rows(device(), experts.size());
    const DeviceArray<std::int32_t> source_rows(device(), experts.size());
    const DeviceArray<std::int32_t> rows(device(), std::vector<std::int32_t>{num_rows});
    device().group_by_expert({device_experts.data(), experts.size(), topk, num_experts,
                              begin.data(), slot_rows.data(), source_rows.data(), rows.data()});
    if (num_rows == 0) {
      EXPECT_EQ(begin.download(), (std::vector<std::int32_t>{0, 0, 0, 0, 0, 0}));
      EXPECT_EQ(slot_rows.download(), std::vector<std::int32_t>(12, -1));
      EXPECT_EQ(source_rows.download(), std::vector<std::int32_t>(12, -1));
    } else if (num_rows == 2) {
      EXPECT_EQ(begin.download(), (std::vector<std::int32_t>{0, 2, 3, 4, 4, 6}));
      EXPECT_EQ(slot_rows.download(),
                (std::vector<std::int32_t>{4, 0, 3, 1, 5, 2, -1, -1, -1, -1, -1, -1}));
      EXPECT_EQ(source_rows.download(),
                (std::vector<std::int32_t>{0, 1, 1, 0, 0, 1, -1, -1, -1, -1, -1, -1}));
    } else {
      EXPECT_EQ(begin.download(), (std::vector<std::int32_t>{0, 3, 6, 8, 9, 12}));
      EXPECT_EQ(source_rows.download(),
                (std::vector<std::int32_t>{0, 1, 2, 1, 2, 3, 0, 2, 3, 0, 1, 3}));
    }
  }
}

}  // namespace
}  // namespace ponder::kernels
