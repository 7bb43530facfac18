// Gathered attention on a device, against the scalar row.

#include "engine/fp8_latent.h"
#include "kernels/attention.h"
#include "tests/kernels/device/device_pages.h"

namespace ponder::kernels {
namespace {

constexpr std::size_t kOffset = 128;

struct Shape {
  std::size_t heads, rank, rope_dim;
  DType dtype;
};

class DeviceAttention : public DeviceTest {
 protected:
  std::size_t stride(const Shape& s) const {
    const std::size_t bytes = engine::fp8_latent_layout(s.rank, s.rope_dim).bytes;
    return s.dtype == DType::fp8_e4m3 ? (bytes + 3) / 4 * 4 : (s.rank + s.rope_dim + 3) / 2 * 2;
  }

  void fill(PagedSequences& pages, const Shape& s) {
    for (std::size_t page = 0; page < pages.num_pages(); ++page) {
      for (std::size_t token = 0; token < kPageSize; ++token) {
        const auto latent = random_floats(s.rank + s.rope_dim, rng);
        std::byte* block = pages.block(page);
        const std::size_t at = token * stride(s);
        if (s.dtype == DType::fp8_e4m3) {
          engine::write_fp8_latent(block + at, latent.data(), s.rank, s.rope_dim);
        } else if (s.dtype == DType::f32) {
          std::memcpy(block + at * 4, latent.data(), latent.size() * 4);
        } else {
          scalar_table().f32_to_bf16(reinterpret_cast<bf16*>(block) + at, latent.data(),
                                     latent.size());
        }
      }
    }
    pages.upload(device());
  }

  /// Rows of random queries over random slots of one sequence.
  struct Case {
    std::vector<float> q_nope, q_rope;
    std::vector<std::int32_t> slots;
    std::vector<std::int32_t> num_slots;
    std::size_t slots_stride = 0;
  };

  Case make_case(const Shape& s, PagedSequences& pages, const std::vector<std::int32_t>& num_slots,
                 std::size_t length) {
    Case c;
    c.num_slots = num_slots;
    c.slots_stride = 600;
    const std::size_t rows = num_slots.size();
    c.q_nope = random_floats(rows * s.heads * s.rank, rng);
    c.q_rope = random_floats(rows * s.heads * s.rope_dim, rng);
    c.slots.resize(rows * c.slots_stride, -1);
    for (std::size_t r = 0; r < rows; ++r) {
      std::vector<std::size_t> positions(length);
      std::iota(positions.begin(), positions.end(), 0);
      std::shuffle(positions.begin(), positions.end(), rng);
      for (std::int32_t i = 0; i < num_slots[r]; ++i) {
        c.slots[r * c.slots_stride + static_cast<std::size_t>(i)] =
            pages.slot(0, positions[static_cast<std::size_t>(i)]);
      }
    }
    return c;
  }

  std::vector<float> run(const Shape& s, const PagedSequences& pages, const Case& c,
                         std::size_t rows_together) {
    const std::size_t rows = c.num_slots.size();
    const std::size_t parts_max = (c.slots_stride + kDevicePartSlots - 1) / kDevicePartSlots;
    const DeviceArray<float> q_nope(device(), c.q_nope);
    const DeviceArray<float> q_rope(device(), c.q_rope);
    const DeviceArray<std::int32_t> slots(device(), c.slots);
    const DeviceArray<std::int32_t> num_slots(device(), c.num_slots);
    const DeviceArray<float> out(device(), rows * s.heads * s.rank);
    const DeviceArray<float> parts(device(), rows_together * parts_max * s.heads * (s.rank + 2));
    device().attention({.q_nope = q_nope.data(),
                        .q_nope_row_stride = s.heads * s.rank,
                        .q_nope_head_stride = s.rank,
                        .q_rope = q_rope.data(),
                        .q_rope_row_stride = s.heads * s.rope_dim,
                        .q_rope_head_stride = s.rope_dim,
                        .out = out.data(),
                        .cache = pages.pages(s.dtype, stride(s)),
                        .fp8 = engine::fp8_latent_layout(s.rank, s.rope_dim),
                        .slots = slots.data(),
                        .num_slots = num_slots.data(),
                        .slots_stride = c.slots_stride,
                        .rows = rows,
                        .heads = s.heads,
                        .kv_lora_rank = s.rank,
                        .qk_rope_head_dim = s.rope_dim,
                        .softmax_scale = 0.3F,
                        .parts = parts.data(),
                        .rows_together = rows_together,
                        .parts_max = parts_max});
    return out.download();
  }

  std::vector<float> reference(const Shape& s, PagedSequences& pages, const Case& c) {
    const std::size_t rows = c.num_slots.size();
    std::vector<const void*> blocks;  // slots name pages of the pool here, not of the sequence
    for (std::size_t page = 0; page < pages.num_pages(); ++page)
      blocks.push_back(pages.block(page));
    std::vector<float> out(rows * s.heads * s.rank);
    std::vector<AttentionRow> attention_rows;
    for (std::size_t r = 0; r < rows; ++r) {
      attention_rows.push_back(
          {c.q_nope.data() + r * s.heads * s.rank, c.q_rope.data() + r * s.heads * s.rope_dim,
           out.data() + r * s.heads * s.rank, blocks.data(), c.slots.data() + r * c.slots_stride,
           static_cast<std::size_t>(c.num_slots[r])});
    }
    ThreadPool pool({.num_threads = 1});
    Attention attention;
    attention.run({&scalar_table(), &pool}, {.rows = attention_rows.data(),
                                             .num_rows = rows,
                                             .heads = s.heads,
                                             .kv_lora_rank = s.rank,
                                             .qk_rope_head_dim = s.rope_dim,
                                             .q_nope_stride = s.rank,
                                             .q_rope_stride = s.rope_dim,
                                             .out_stride = s.rank,
                                             .cache_stride = stride(s),
                                             .cache_dtype = s.dtype,
                                             .softmax_scale = 0.3F,
                                             .fp8 = engine::fp8_latent_layout(s.rank, s.rope_dim)});
    return out;
  }
};

// exp2f of logits up to about 30 errs by a few units; sums of up to 600 weights by some more.
constexpr Tolerance kTolerance{.abs = 2e-5, .rel = 2e-5};

TEST_F(DeviceAttention, AgreesAtOddShapesAndInEveryCacheType) {
  for (const Shape& s : {Shape{1, 5, 2, DType::f32}, Shape{17, 40, 6, DType::bf16},
                         Shape{3, 260, 64, DType::f32}, Shape{20, 300, 10, DType::fp8_e4m3}}) {
    PagedSequences pages(device(), kOffset + 64 * stride(s) * 4, kOffset, {600}, rng);
    fill(pages, s);
    const Case c = make_case(s, pages, {0, 1, 7, 8, 9, 255, 256, 257, 600}, 600);
    EXPECT_TRUE(all_close(run(s, pages, c, 4), reference(s, pages, c), kTolerance))
        << s.heads << " " << s.rank;
  }
}

TEST_F(DeviceAttention, ANanInTheCacheStaysWithTheRowsThatReadIt) {
  const Shape s{2, 16, 4, DType::f32};
  PagedSequences pages(device(), kOffset + 64 * stride(s) * 4, kOffset, {600}, rng);
  fill(pages, s);
  Case c = make_case(s, pages, {40, 40}, 600);
  const auto slot = static_cast<std::size_t>(c.slots[33]);
  for (std::size_t i = 0; i < 40; ++i) {
    auto& other = c.slots[c.slots_stride + i];
    if (other == c.slots[33]) other = c.slots[0];
  }
  std::memcpy(pages.block(slot / kPageSize) + slot % kPageSize * stride(s) * 4 + 8, &kNan, 4);
  pages.upload(device());
  const auto got = run(s, pages, c, 2);
  EXPECT_TRUE(all_close(got, reference(s, pages, c), kTolerance));
  EXPECT_TRUE(std::isnan(got[0]));
  EXPECT_FALSE(std::isnan(got[2 * 16]));
}

TEST_F(DeviceAttention, ARowsBitsDependOnNeitherItsPlaceNorItsCompany) {
  const Shape s{5, 24, 8, DType::bf16};
  PagedSequences pages(device(), kOffset + 64 * stride(s) * 4, kOffset, {600}, rng);
  fill(pages, s);
  const Case c = make_case(s, pages, {300, 13, 512}, 600);
  const auto want = run(s, pages, c, 3);
  EXPECT_TRUE(same_bits(run(s, pages, c, 1), want));
  Case last = c;
  last.num_slots = {512};
  last.q_nope.erase(last.q_nope.begin(), last.q_nope.begin() + 2 * 5 * 24);
  last.q_rope.erase(last.q_rope.begin(), last.q_rope.begin() + 2 * 5 * 8);
  last.slots.erase(last.slots.begin(), last.slots.begin() + 2 * 600);
  EXPECT_TRUE(same_bits(run(s, pages, last, 8), {want.begin() + 2 * 5 * 24, want.end()}));
}

}  // namespace
}  // namespace ponder::kernels
