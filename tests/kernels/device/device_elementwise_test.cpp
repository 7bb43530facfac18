// Norms, rotary embedding, activation, sums and gathers on a device, against the scalar row.

#include <algorithm>

#include "tests/kernels/device/device_cases.h"

namespace ponder::kernels {
namespace {

const std::size_t kDims[] = {1, 7, 64, 129, 300, 1031};
// A chain of n sums errs by at most n units of roundoff; the products and functions add a few.
constexpr Tolerance kTolerance{.abs = 2e-6, .rel = 2e-6};

class DeviceElementwise : public DeviceTest {};

TEST_F(DeviceElementwise, RmsNormAgreesInPlaceAndOut) {
  for (const std::size_t dim : kDims) {
    const std::size_t rows = 3;
    const std::size_t stride = dim + 5;
    auto x = random_floats(rows * stride, rng);
    const auto weight = random_floats(dim, rng);
    if (dim == 300) put_special_values(x, rng);
    std::vector<float> want = x;
    const RmsNormArgs host{want.data(), stride, x.data(), stride, weight.data(), rows, dim, 1e-6F};
    scalar_table().rms_norm(host, 0, rows);
    const DeviceArray<float> in_place(device(), x);
    const DeviceArray<float> weights(device(), weight);
    RmsNormArgs args = host;
    args.y = in_place.data();
    args.x = in_place.data();
    args.weight = weights.data();
    device().rms_norm(args);
    EXPECT_TRUE(all_close(in_place.download(), want, kTolerance)) << dim;
  }
}

TEST_F(DeviceElementwise, LayerNormAgrees) {
  for (const std::size_t dim : kDims) {
    const std::size_t rows = 4;
    const auto x = random_floats(rows * dim, rng);
    const auto weight = random_floats(dim, rng);
    const auto bias = random_floats(dim, rng);
    std::vector<float> want(rows * dim);
    const LayerNormArgs host{want.data(), dim,  x.data(), dim,  weight.data(),
                             bias.data(), rows, dim,      1e-6F};
    scalar_table().layer_norm(host, 0, rows);
    const DeviceArray<float> from(device(), x);
    const DeviceArray<float> weights(device(), weight);
    const DeviceArray<float> biases(device(), bias);
    const DeviceArray<float> y(device(), rows * dim);
    device().layer_norm(
        {y.data(), dim, from.data(), dim, weights.data(), biases.data(), rows, dim, 1e-6F});
    EXPECT_TRUE(all_close(y.download(), want, {.abs = 1e-5, .rel = 1e-5})) << dim;
  }
}

TEST_F(DeviceElementwise, RopeAgreesInBothLayoutsAndTouchesNothingElse) {
  for (const RopeLayout layout : {RopeLayout::interleaved, RopeLayout::half_split}) {
    const std::size_t rows = 5;
    const std::size_t heads = 3;
    const std::size_t dim = 6;
    const std::size_t head_stride = 11;
    const std::size_t row_stride = heads * head_stride + 2;
    auto want = random_floats(rows * row_stride, rng);
    const auto cos = random_floats(rows * dim / 2, rng);
    const auto sin = random_floats(rows * dim / 2, rng);
    const DeviceArray<float> x(device(), want);
    const DeviceArray<float> cosines(device(), cos);
    const DeviceArray<float> sines(device(), sin);
    scalar_table().rope({want.data() + 1, row_stride, head_stride, cos.data(), sin.data(), nullptr,
                         rows, heads, dim, layout},
                        0, rows);
    device().rope({x.data() + 1, row_stride, head_stride, cosines.data(), sines.data(), nullptr,
                   rows, heads, dim, layout});
    EXPECT_TRUE(all_close(x.download(), want, kTolerance));
  }
}

TEST_F(DeviceElementwise, SiluMulAgreesUpToTheEndsOfTheRange) {
  const std::size_t rows = 3;
  const std::size_t dim = 71;
  auto gate = random_floats(rows * dim, rng);
  for (float& z : gate) z *= 100.0F;
  const auto up = random_floats(rows * dim, rng);
  put_special_values(gate, rng);
  std::vector<float> want(rows * dim);
  scalar_table().silu_mul({want.data(), dim, gate.data(), dim, up.data(), dim, rows, dim}, 0, rows);
  const DeviceArray<float> gates(device(), gate);
  const DeviceArray<float> ups(device(), up);
  device().silu_mul({gates.data(), dim, gates.data(), dim, ups.data(), dim, rows, dim});
  EXPECT_TRUE(all_close(gates.download(), want, kTolerance));
}

TEST_F(DeviceElementwise, WeightedSumSkipsAbsentSlots) {
  const std::size_t rows = 4;
  const std::size_t slots = 3;
  const std::size_t dim = 37;
  auto want = random_floats(rows * dim, rng);
  const auto x = random_floats(6 * dim, rng);
  const std::vector<std::int32_t> indices = {0, 5, -1, -1, -1, -1, 2, 2, 2, 4, 1, 3};
  const auto weights = random_floats(rows * slots, rng);
  const DeviceArray<float> y(device(), want);
  const DeviceArray<float> from(device(), x);
  const DeviceArray<std::int32_t> device_indices(device(), indices);
  const DeviceArray<float> device_weights(device(), weights);
  scalar_table().weighted_sum(
      {want.data(), dim, x.data(), dim, indices.data(), weights.data(), rows, slots, dim}, 0, rows);
  device().weighted_sum({y.data(), dim, from.data(), dim, device_indices.data(),
                         device_weights.data(), rows, slots, dim});
  EXPECT_TRUE(all_close(y.download(), want, kTolerance));
}

TEST_F(DeviceElementwise, AddAndScaleRoundAsTheCpuDoes) {
  const std::size_t n = 1000;
  auto want = random_floats(n, rng);
  const auto x = random_floats(n, rng);
  const DeviceArray<float> y(device(), want);
  const DeviceArray<float> from(device(), x);
  device().add(y.data(), from.data(), n);
  scalar_table().add(want.data(), x.data(), n);
  EXPECT_TRUE(same_bits(y.download(), want));
  device().scale_index_weights({y.data(), from.data(), 0.0110485F, n});
  for (std::size_t i = 0; i < n; ++i) want[i] = want[i] * 0.0110485F * x[i];
  EXPECT_TRUE(same_bits(y.download(), want));
}

TEST_F(DeviceElementwise, GatheredRowsAreWidenedAndAbsentOnesAreZeros) {
  const std::size_t dim = 45;
  const auto table = random_floats(7 * dim, rng);
  const std::vector<std::int32_t> indices = {6, -1, 0, 6, 3};
  const DeviceArray<std::int32_t> device_indices(device(), indices);
  const DeviceArray<float> wide(device(), table);
  const DeviceArray<bf16> narrow(device(), to_bf16(table));
  for (const bool is_bf16 : {false, true}) {
    const DeviceArray<float> y(device(), indices.size() * dim);
    device().gather_rows({y.data(), dim, is_bf16 ? static_cast<void*>(narrow.data()) : wide.data(),
                          is_bf16 ? DType::bf16 : DType::f32, device_indices.data(), indices.size(),
                          dim});
    std::vector<float> want(indices.size() * dim, 0.0F);
    for (std::size_t r = 0; r < indices.size(); ++r) {
      for (std::size_t i = 0; indices[r] >= 0 && i < dim; ++i) {
        const float value = table[static_cast<std::size_t>(indices[r]) * dim + i];
        want[r * dim + i] = is_bf16 ? bf16_to_f32(f32_to_bf16(value)) : value;
      }
    }
    EXPECT_TRUE(same_bits(y.download(), want));
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
