// Which kernel gathered attention takes, and that its choices change nothing but the speed.

#include <array>

#include "kernels/cuda/operations.cuh"
#include "tests/kernels/device/attention_cases.h"

namespace ponder::kernels {
namespace {

using Shape = AttentionShape;

/// Arguments with the shape's strides and addresses, of `rows` rows of `slots` slots; nothing
/// there.
DeviceAttentionArgs args_of(const Shape& s, std::size_t rows, std::size_t slots) {
  DeviceAttentionArgs args{};
  args.q_nope_row_stride = s.heads * s.rank;
  args.q_nope_head_stride = s.rank;
  args.q_rope_row_stride = s.heads * s.rope_dim;
  args.q_rope_head_stride = s.rope_dim;
  args.cache = {nullptr, 64 * s.stride() * 4, 0, s.stride(), s.dtype};
  args.fp8 = engine::fp8_latent_layout(s.rank, s.rope_dim);
  args.rows = rows;
  args.heads = s.heads;
  args.kv_lora_rank = s.rank;
  args.qk_rope_head_dim = s.rope_dim;
  args.parts_max = (slots + kDevicePartSlots - 1) / kDevicePartSlots;
  return args;
}
bool takes_tensor_cores(const Shape& s) { return fits_attention_mma(args_of(s, 1, 2048)); }

TEST(AttentionKernel, IsChosenByTheOperationOfTheTable) {
  DeviceTable table{};
  set_operations(table);
  EXPECT_EQ(table.attention, launch_attention);
}

TEST(AttentionKernel, TensorCoresTakeModelsWithCachesInBf16AndFp8) {
  for (const DType dtype : {DType::bf16, DType::fp8_e4m3}) {
    EXPECT_TRUE(takes_tensor_cores({128, 512, 64, dtype}));  // DeepSeek-V3.2
    EXPECT_TRUE(takes_tensor_cores({64, 512, 64, dtype}));   // GLM-5
    EXPECT_TRUE(takes_tensor_cores({4, 256, 32, dtype}));    // ponder-mini
    EXPECT_TRUE(takes_tensor_cores({4, 128, 32, dtype}));    // the golden model
    EXPECT_TRUE(takes_tensor_cores({3, 32, 16, dtype}));
  }
}

TEST(AttentionKernel, ThePortableOneTakesTheRest) {
  EXPECT_FALSE(takes_tensor_cores({128, 512, 64, DType::f32}));
  EXPECT_FALSE(takes_tensor_cores({128, 520, 64, DType::bf16}));  // wider than its registers
  EXPECT_FALSE(takes_tensor_cores({17, 36, 8, DType::bf16}));
  EXPECT_FALSE(takes_tensor_cores({17, 40, 6, DType::bf16}));
  EXPECT_FALSE(takes_tensor_cores({17, 40, 10, DType::fp8_e4m3}));
  EXPECT_FALSE(takes_tensor_cores({17, 32, 8, DType::bf16, false}));  // rows of 84 bytes

  const DeviceAttentionArgs fits = args_of({128, 512, 64, DType::fp8_e4m3}, 1, 2048);
  DeviceAttentionArgs args = fits;
  alignas(16) const std::array<float, 2> somewhere{};
  args.q_rope = somewhere.data();
  EXPECT_TRUE(fits_attention_mma(args));
  args.q_rope = somewhere.data() + 1;
  EXPECT_FALSE(fits_attention_mma(args));
  args = fits;
  args.q_rope_head_stride += 2;
  EXPECT_FALSE(fits_attention_mma(args));
  args = fits;
  args.cache.block_offset = 4;
  EXPECT_FALSE(fits_attention_mma(args));
}

TEST(AttentionKernel, FewHeadsOrRowsTakeSmallTiles) {
  const auto tiles = [](std::size_t heads, std::size_t rows) {
    return attention_head_tiles(args_of({heads, 512, 64, DType::bf16}, rows, 2048));
  };
  EXPECT_EQ(tiles(128, 1), 1U);
  EXPECT_EQ(tiles(128, 4), 2U);
  EXPECT_EQ(tiles(128, 8), 4U);
  EXPECT_EQ(tiles(32, 1000), 2U);
  EXPECT_EQ(tiles(16, 1000), 1U);
  EXPECT_EQ(tiles(17, 1000), 2U);
}

class AttentionKernels : public DeviceAttention {
 protected:
  /// By a kernel of the test's choice, with its combination.
  std::vector<float> run_with(void (*launch_parts)(const DeviceAttentionArgs&), const Shape& s,
                              const PagedSequences& pages, const AttentionCase& c) {
    const AttentionBuffers buffers(device(), s, c, c.num_slots.size());
    const DeviceAttentionArgs args = buffers.args(s, pages, c);
    launch_parts(args);
    launch_attention_combine(args);
    return buffers.out.download();
  }
};

TEST_F(AttentionKernels, AgreeWithOneAnother) {
  for (const Shape& s : {Shape{70, 136, 24, DType::bf16}, Shape{70, 136, 24, DType::fp8_e4m3}}) {
    PagedSequences pages = make_pages(s, 300);
    const AttentionCase c = make_case(s, pages, {1, 300}, 300);
    const auto want = run_with(launch_attention_portable, s, pages, c);
    EXPECT_TRUE(all_close(run_with(launch_attention_mma, s, pages, c), want, kAttentionTolerance))
        << s.text();
  }
}

TEST_F(AttentionKernels, GiveTheSameBitsWhateverTheTile) {
  for (const Shape& s : {Shape{70, 136, 24, DType::bf16}, Shape{33, 512, 64, DType::fp8_e4m3}}) {
    PagedSequences pages = make_pages(s, 300);
    const AttentionCase c = make_case(s, pages, {50, 300}, 300);
    const auto want = run_with(launch_attention_tiles<1>, s, pages, c);
    EXPECT_TRUE(same_bits(run_with(launch_attention_tiles<2>, s, pages, c), want)) << s.text();
    EXPECT_TRUE(same_bits(run_with(launch_attention_tiles<4>, s, pages, c), want)) << s.text();
  }
}

// In whatever order a block's threads come, nothing changes and no rule of memory is broken.
TEST_F(AttentionKernels, DoNotDependOnTheOrderOfThreads) {
  const Shape s{20, 72, 16, DType::bf16};
  PagedSequences pages = make_pages(s, 300);
  const AttentionCase c = make_case(s, pages, {290}, 300);
  const auto want = run_with(launch_attention_mma, s, pages, c);
  for (const std::uint64_t seed : {1, 2}) {
    emulator::set_order_seed(seed);
    EXPECT_TRUE(same_bits(run_with(launch_attention_mma, s, pages, c), want));
  }
  emulator::set_order_seed(0);
}

}  // namespace
}  // namespace ponder::kernels
