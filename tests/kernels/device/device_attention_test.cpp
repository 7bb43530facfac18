// Gathered attention on a device, against the scalar row.

#include "tests/kernels/device/attention_cases.h"

namespace ponder::kernels {
namespace {

using Shape = AttentionShape;

TEST_F(DeviceAttention, AgreesAtOddShapesAndInEveryCacheType) {
  for (const Shape& s :
       {Shape{1, 5, 2, DType::f32, false}, Shape{17, 40, 6, DType::bf16, false},
        Shape{3, 260, 64, DType::f32, false}, Shape{20, 300, 10, DType::fp8_e4m3, false}}) {
    PagedSequences pages = make_pages(s, 600);
    const AttentionCase c = make_case(s, pages, {0, 1, 7, 8, 9, 255, 256, 257, 600}, 600);
    EXPECT_TRUE(all_close(run(s, pages, c, 4), reference(s, pages, c), kAttentionTolerance))
        << s.text();
  }
}

TEST_F(DeviceAttention, AgreesAtEveryNumberOfSlots) {
  for (const Shape& s : {Shape{3, 32, 16, DType::bf16}, Shape{16, 128, 32, DType::bf16},
                         Shape{1, 64, 8, DType::fp8_e4m3}, Shape{17, 136, 24, DType::fp8_e4m3},
                         Shape{5, 40, 24, DType::f32}}) {
    PagedSequences pages = make_pages(s, 700);
    const AttentionCase c =
        make_case(s, pages, {0, 1, 7, 15, 16, 17, 64, 65, 255, 256, 257, 700}, 700);
    EXPECT_TRUE(all_close(run(s, pages, c, 5), reference(s, pages, c), kAttentionTolerance))
        << s.text();
  }
}

TEST_F(DeviceAttention, AgreesAtEveryNumberOfHeads) {
  for (const std::size_t heads : {1, 3, 16, 17, 33, 64, 65, 128}) {
    for (const DType dtype : {DType::f32, DType::bf16, DType::fp8_e4m3}) {
      const Shape s{heads, 72, 16, dtype};
      PagedSequences pages = make_pages(s, 80);
      const AttentionCase c = make_case(s, pages, {65, 7}, 80);
      EXPECT_TRUE(all_close(run(s, pages, c, 2), reference(s, pages, c), kAttentionTolerance))
          << s.text();
    }
  }
}

TEST_F(DeviceAttention, AgreesAtTheShapesOfLargeModels) {
  for (const Shape& s : {Shape{128, 512, 64, DType::fp8_e4m3}, Shape{64, 512, 64, DType::bf16}}) {
    PagedSequences pages = make_pages(s, 300);
    const AttentionCase c = make_case(s, pages, {65, 300}, 300);
    EXPECT_TRUE(all_close(run(s, pages, c, 2), reference(s, pages, c), kAttentionTolerance))
        << s.text();
  }
}

/// One row, a few and many, for which blocks take 16, 32 and 64 heads; on a GPU with contexts for
/// which all of them have enough to do, on the emulated device shorter ones.
TEST_F(DeviceAttention, RowsOfLargeModelsHaveTheirBitsWhateverABlockTakes) {
  const bool is_gpu = &device() != &emulated_device();
  const auto slots = static_cast<std::int32_t>(is_gpu ? 2048 : 40);
  const std::size_t rows = is_gpu ? 8 : 2;
  for (const DType dtype : {DType::bf16, DType::fp8_e4m3}) {
    const Shape s{128, 512, 64, dtype};
    PagedSequences pages = make_pages(s, static_cast<std::size_t>(slots));
    const AttentionCase c =
        make_case(s, pages, std::vector(rows, slots), static_cast<std::size_t>(slots));
    const auto together = run(s, pages, c, rows);
    EXPECT_TRUE(all_close(together, reference(s, pages, c), kAttentionTolerance)) << s.text();
    for (std::size_t at_once = 1; at_once < rows; at_once *= 2) {
      EXPECT_TRUE(same_bits(run(s, pages, c, at_once), together)) << at_once << " at once";
    }
  }
}

TEST_F(DeviceAttention, ANanInTheCacheStaysWithTheRowsThatReadIt) {
  for (const Shape& s : {Shape{2, 16, 4, DType::f32}, Shape{2, 16, 8, DType::bf16},
                         Shape{2, 16, 8, DType::fp8_e4m3}}) {
    PagedSequences pages = make_pages(s, 600);
    AttentionCase c = make_case(s, pages, {40, 40}, 600);
    const auto slot = static_cast<std::size_t>(c.slots[33]);
    for (std::size_t i = 0; i < 40; ++i) {
      auto& other = c.slots[c.slots_stride + i];
      if (other == c.slots[33]) other = c.slots[0];
    }
    std::vector<float> latent(s.rank + s.rope_dim);
    latent[2] = kNan;
    write_latent(pages, s, slot, latent);
    pages.upload(device());
    const auto got = run(s, pages, c, 2);
    EXPECT_TRUE(all_close(got, reference(s, pages, c), kAttentionTolerance)) << s.text();
    EXPECT_TRUE(std::isnan(got[0]));
    EXPECT_FALSE(std::isnan(got[2 * s.rank]));
  }
}

TEST_F(DeviceAttention, APartOfNothingButNansIsOne) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::fp8_e4m3}) {
    const Shape s{2, 16, 8, dtype};
    PagedSequences pages = make_pages(s, 600);
    AttentionCase c = make_case(s, pages, {300, 300}, 600);
    for (std::size_t i = 0; i < s.rank; ++i) c.q_nope[i] = i == 3 ? kNan : 1.0F;
    c.q_nope[(s.heads + 1) * s.rank + 1] = kInf;
    const auto got = run(s, pages, c, 2);
    EXPECT_TRUE(all_close(got, reference(s, pages, c), kAttentionTolerance)) << s.text();
    EXPECT_TRUE(std::isnan(got[0]));
    EXPECT_FALSE(std::isnan(got[s.rank]));
  }
}

TEST_F(DeviceAttention, ARowsBitsDependOnNeitherItsPlaceNorItsCompany) {
  for (const Shape& s : {Shape{5, 24, 8, DType::bf16, false}, Shape{40, 24, 8, DType::bf16},
                         Shape{5, 136, 8, DType::fp8_e4m3}}) {
    PagedSequences pages = make_pages(s, 600);
    const AttentionCase c = make_case(s, pages, {300, 13, 512}, 600);
    const auto want = run(s, pages, c, 3);
    EXPECT_TRUE(same_bits(run(s, pages, c, 1), want));
    const auto begin = want.begin() + static_cast<std::ptrdiff_t>(2 * s.heads * s.rank);
    EXPECT_TRUE(same_bits(run(s, pages, c.only(s, 2), 8), {begin, want.end()})) << s.text();
  }
}

// So many rows fill a device with blocks of many heads, one alone with blocks of few.
TEST_F(DeviceAttention, ARowAmongManyHasTheBitsOfOneAlone) {
  for (const DType dtype : {DType::bf16, DType::fp8_e4m3}) {
    const Shape s{40, 136, 8, dtype};
    PagedSequences pages = make_pages(s, 600);
    std::vector<std::int32_t> num_slots(64, 20);
    num_slots[50] = 270;
    const AttentionCase c = make_case(s, pages, num_slots, 600);
    const auto all = run(s, pages, c, 64);
    for (const std::size_t row : {0, 50, 63}) {
      const auto begin = all.begin() + static_cast<std::ptrdiff_t>(row * s.heads * s.rank);
      const auto end = begin + static_cast<std::ptrdiff_t>(s.heads * s.rank);
      EXPECT_TRUE(same_bits(run(s, pages, c.only(s, row), 1), {begin, end})) << s.text();
    }
  }
}

TEST_F(DeviceAttention, SlotsThatAreNotThereDoNotCountWhereAllLogitsAreLow) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::fp8_e4m3}) {
    const Shape s{2, 16, 8, dtype};
    PagedSequences pages = make_pages(s, 10);
    for (std::size_t slot = 0; slot < pages.num_pages() * kPageSize; ++slot) {
      auto latent = random_floats(s.rank + s.rope_dim, rng);
      latent[0] = 1.0F;
      write_latent(pages, s, slot, latent);
    }
    pages.upload(device());
    AttentionCase c = make_case(s, pages, {7}, 10);
    for (const std::size_t head : {0, 1}) c.q_nope[head * s.rank] = -3000.0F;
    EXPECT_TRUE(all_close(run(s, pages, c, 1), reference(s, pages, c), {.abs = 1e-3, .rel = 1e-3}))
        << s.text();
  }
}

// Two slots. With the query 2^16 (1 + 2^-8 + 2^-23) in the first place and the same without its
// last bit, negative, in the second, the logit of a slot with ones there is 0.3 * 2^-7, and
// otherwise 0.
TEST_F(DeviceAttention, TheLastBitOfAQueryCounts) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::fp8_e4m3}) {
    const Shape s{1, 16, 8, dtype};
    PagedSequences pages = make_pages(s, 2);
    AttentionCase c = make_case(s, pages, {2}, 2);
    c.slots = {pages.slot(0, 0), pages.slot(0, 1)};
    c.q_nope.assign(s.rank, 0.0F);
    c.q_rope.assign(s.rope_dim, 0.0F);
    c.q_nope[0] = std::nextafter(0x1.01p16F, kInf);
    c.q_nope[1] = -0x1.01p16F;
    std::vector<float> latent(s.rank + s.rope_dim);
    write_latent(pages, s, static_cast<std::size_t>(c.slots[1]), latent);
    latent[0] = latent[1] = latent[2] = 1.0F;
    write_latent(pages, s, static_cast<std::size_t>(c.slots[0]), latent);
    pages.upload(device());
    const auto got = run(s, pages, c, 1);
    EXPECT_NEAR(got[2], 0.5 + 0.3 * 0x1p-7 / 4, 1e-6) << s.text();
    EXPECT_TRUE(all_close(got, reference(s, pages, c), kAttentionTolerance)) << s.text();
  }
}

// Two slots with 1 and -1 in a column, and weights that differ in 2^-18 of their value.
TEST_F(DeviceAttention, TheLastBitsOfAWeightCount) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::fp8_e4m3}) {
    const Shape s{1, 16, 8, dtype};
    PagedSequences pages = make_pages(s, 2);
    AttentionCase c = make_case(s, pages, {2}, 2);
    c.slots = {pages.slot(0, 0), pages.slot(0, 1)};
    c.q_nope.assign(s.rank, 0.0F);
    c.q_rope.assign(s.rope_dim, 0.0F);
    c.q_nope[0] = 0x1p-18F / kAttentionScale;
    std::vector<float> latent(s.rank + s.rope_dim);
    latent[2] = -1.0F;
    write_latent(pages, s, static_cast<std::size_t>(c.slots[1]), latent);
    latent[0] = latent[2] = 1.0F;
    write_latent(pages, s, static_cast<std::size_t>(c.slots[0]), latent);
    pages.upload(device());
    EXPECT_NEAR(run(s, pages, c, 1)[2], 0x1p-19, 0x1p-19 / 20) << s.text();
  }
}

}  // namespace
}  // namespace ponder::kernels
