// What the first projections come to on a device: the bytes in every page must be those that the
// CPU's functions write, of rows that single operations have normed and turned.

#include "engine/fp8_latent.h"
#include "engine/index_fp8.h"
#include "kernels/index_select.h"
#include "tests/kernels/device/device_pages.h"
#include "tests/kernels/device/row_reference.h"

namespace ponder::kernels {
namespace {

constexpr std::size_t kOffset = 192;  // of the first block in its page
constexpr float kEps = 1e-6F;

struct LatentCase {
  std::size_t q_dim = 40;
  std::size_t rank = 20;
  std::size_t rope_dim = 6;
  std::size_t index_dim = 32;
  DType latents = DType::bf16;
  DType keys = DType::int8;
  RopeLayout layout = RopeLayout::interleaved;
  RopeLayout index_layout = RopeLayout::half_split;
  bool has_odd_strides = false;
};

std::ostream& operator<<(std::ostream& out, const LatentCase& c) {
  return out << "q_dim " << c.q_dim << ", rank " << c.rank << ", rope_dim " << c.rope_dim
             << ", index_dim " << c.index_dim << ", latents " << static_cast<int>(c.latents)
             << ", keys " << static_cast<int>(c.keys) << ", odd strides " << c.has_odd_strides;
}

/// The rows of one step, on the host: [kRows, ...]. Row 4 is not written, a row of latents is
/// small, another has a NaN, a third an infinity, and a key is constant.
class Rows {
 public:
  static constexpr std::size_t kRows = 9;
  Rows(const LatentCase& c, std::mt19937_64& rng)
      : queries(random_floats(kRows * c.q_dim, rng)),
        latents(random_floats(kRows * (c.rank + c.rope_dim), rng)),
        keys(random_floats(kRows * c.index_dim, rng)),
        q_norm(random_floats(c.q_dim, rng)),
        kv_norm(random_floats(c.rank, rng)),
        k_norm(random_floats(c.index_dim, rng)),
        k_bias(c.index_dim, 0.0F),
        cos(random_floats(kRows * c.rope_dim / 2, rng)),
        sin(random_floats(kRows * c.rope_dim / 2, rng)) {
    const std::size_t dim = c.rank + c.rope_dim;
    for (std::size_t i = 0; i < dim; ++i) latents[i] *= 1e-20F;
    latents[2 * dim + c.rank / 2] = kNan;
    latents[3 * dim + dim - 1] = kInf;
    queries[c.q_dim] = kInf;
    std::fill_n(keys.begin(), c.index_dim, 0.5F);
    keys[2 * c.index_dim + 1] = kNan;
    keys[3 * c.index_dim] = kInf;
    keys[5 * c.index_dim] = 1e30F;
  }
  std::vector<float> queries, latents, keys;
  std::vector<float> q_norm, kv_norm, k_norm, k_bias;
  std::vector<float> cos, sin;
};

class DeviceLatents : public DeviceTest {
 protected:
  static constexpr std::size_t kRows = Rows::kRows;

  static std::size_t latent_stride(const LatentCase& c) {
    const std::size_t dim = c.rank + c.rope_dim;
    if (c.latents == DType::fp8_e4m3) {
      return (engine::fp8_latent_layout(c.rank, c.rope_dim).bytes + 3) / 4 * 4;
    }
    return c.has_odd_strides ? dim + 1 : (dim + 7) / 8 * 8;
  }
  static std::size_t key_stride(const LatentCase& c) {
    const bool is_floating = c.keys == DType::f32 || c.keys == DType::bf16;
    return is_floating && c.has_odd_strides ? c.index_dim + 3 : c.index_dim;
  }
  static std::size_t latent_block_bytes(const LatentCase& c) {
    return kPageSize * latent_stride(c) * sizeof(float);
  }

  static void write_latent(std::byte* block, std::size_t token, const float* latent,
                           const LatentCase& c) {
    const std::size_t at = token * latent_stride(c);
    const std::size_t dim = c.rank + c.rope_dim;
    if (c.latents == DType::fp8_e4m3) {
      engine::write_fp8_latent(block + at, latent, c.rank, c.rope_dim);
    } else if (c.latents == DType::f32) {
      std::memcpy(block + at * sizeof(float), latent, dim * sizeof(float));
    } else {
      scalar_table().f32_to_bf16(reinterpret_cast<bf16*>(block) + at, latent, dim);
    }
  }

  static void write_key(std::byte* block, std::size_t token, std::vector<float> key,
                        const LatentCase& c) {
    const std::size_t at = token * key_stride(c);
    if (c.keys == DType::int8) {
      std::vector<std::int8_t> codes(c.index_dim);
      float scale = 0.0F;
      scalar_table().index_quantize({key.data(), c.index_dim, codes.data(), &scale, 1, c.index_dim},
                                    0, 1);
      write_index_key(block, token, codes.data(), scale, c.index_dim);
    } else if (c.keys == DType::fp8_e4m3) {
      engine::rotate_index_row(key.data(), c.index_dim);
      engine::write_fp8_index_key(block, token, key.data(), c.index_dim);
    } else if (c.keys == DType::f32) {
      std::memcpy(block + at * sizeof(float), key.data(), c.index_dim * sizeof(float));
    } else {
      scalar_table().f32_to_bf16(reinterpret_cast<bf16*>(block) + at, key.data(), c.index_dim);
    }
  }

  /// By single operations, into the host's copy of the pages; the queries' latents.
  static std::vector<float> compute_on_host(const LatentCase& c, const Rows& rows,
                                            const std::vector<std::int32_t>& slots,
                                            PagedSequences& pages) {
    std::vector<float> queries(rows.queries.size());
    const std::size_t dim = c.rank + c.rope_dim;
    for (std::size_t r = 0; r < kRows; ++r) {
      rms_norm_row(queries.data() + r * c.q_dim, rows.queries.data() + r * c.q_dim,
                   rows.q_norm.data(), c.q_dim, kEps);
      if (slots[r] < 0) continue;
      const float* cos = rows.cos.data() + r * c.rope_dim / 2;
      const float* sin = rows.sin.data() + r * c.rope_dim / 2;
      const float* x = rows.latents.data() + r * dim;
      std::vector<float> latent(x, x + dim);
      rms_norm_row(latent.data(), x, rows.kv_norm.data(), c.rank, kEps);
      rope_row(latent.data() + c.rank, cos, sin, c.rope_dim, c.layout);
      std::vector<float> key(c.index_dim);
      layer_norm_row(key.data(), rows.keys.data() + r * c.index_dim, rows.k_norm.data(),
                     rows.k_bias.data(), c.index_dim, kEps);
      rope_row(key.data(), cos, sin, c.rope_dim, c.index_layout);
      std::byte* block = pages.block(static_cast<std::size_t>(slots[r]) / kPageSize);
      const std::size_t token = static_cast<std::size_t>(slots[r]) % kPageSize;
      write_latent(block, token, latent.data(), c);
      write_key(block + latent_block_bytes(c), token, key, c);
    }
    return queries;
  }

  void check(const LatentCase& c) {
    SCOPED_TRACE(::testing::Message() << c);
    const Rows rows(c, rng);
    const std::size_t key_block_bytes = kPageSize * (c.index_dim + 4) * sizeof(float);
    PagedSequences pages(device(), kOffset + latent_block_bytes(c) + key_block_bytes, kOffset,
                         {100}, rng);
    std::vector<std::int32_t> slots;
    for (std::size_t r = 0; r < kRows; ++r) slots.push_back(pages.slot(0, 60 + r));
    slots[4] = -1;
    const auto want = compute_on_host(c, rows, slots, pages);

    const DeviceArray<float> queries(device(), rows.queries), latents(device(), rows.latents);
    const DeviceArray<float> keys(device(), rows.keys), q_norm(device(), rows.q_norm);
    const DeviceArray<float> kv_norm(device(), rows.kv_norm), k_norm(device(), rows.k_norm);
    const DeviceArray<float> k_bias(device(), rows.k_bias);
    const DeviceArray<float> cos(device(), rows.cos), sin(device(), rows.sin);
    const DeviceArray<std::int32_t> device_slots(device(), slots);
    LatentsArgs args{};
    args.queries = {queries.data(), q_norm.data(), c.q_dim};
    args.kv = {latents.data(),
               kv_norm.data(),
               c.rank,
               pages.pages(c.latents, latent_stride(c)),
               engine::fp8_latent_layout(c.rank, c.rope_dim),
               c.layout};
    args.index = {keys.data(),   k_norm.data(), k_bias.data(),
                  kEps,          c.index_dim,   pages.pages(c.keys, key_stride(c)),
                  c.index_layout};
    args.index.cache.block_offset += latent_block_bytes(c);
    args.slots = device_slots.data();
    args.rope = {cos.data(), sin.data(), c.rope_dim};
    args.rows = kRows;
    args.eps = kEps;
    device().latents(args);
    EXPECT_TRUE(all_close(queries.download(), want, {}));
    EXPECT_TRUE(pages.device_bytes() == pages.host_bytes());
    EXPECT_TRUE(same_bits(latents.download(), rows.latents));
    EXPECT_TRUE(same_bits(keys.download(), rows.keys));
  }
};

constexpr DType kLatentTypes[] = {DType::f32, DType::bf16, DType::fp8_e4m3};
constexpr DType kKeyTypes[] = {DType::f32, DType::bf16, DType::int8, DType::fp8_e4m3};

TEST_F(DeviceLatents, OfEveryTypeAreWrittenAsTheCpuWritesThem) {
  for (const DType latents : kLatentTypes) {
    for (const std::size_t rank : {20U, 127U, 128U, 300U, 512U, 2500U}) {
      for (const bool is_odd : {false, true}) {
        check({.rank = rank, .latents = latents, .has_odd_strides = is_odd});
      }
    }
    check({.rank = 512,
           .rope_dim = 64,
           .index_dim = 64,
           .latents = latents,
           .layout = RopeLayout::half_split});
  }
}

TEST_F(DeviceLatents, IndexKeysOfEveryTypeAreWrittenAsTheCpuWritesThem) {
  for (const DType keys : kKeyTypes) {
    for (const std::size_t dim : {8U, 32U, 128U, 256U}) {
      for (const bool is_odd : {false, true}) {
        check({.index_dim = dim, .keys = keys, .has_odd_strides = is_odd});
        check({.rope_dim = 8,
               .index_dim = dim,
               .keys = keys,
               .index_layout = RopeLayout::interleaved,
               .has_odd_strides = is_odd});
      }
    }
  }
  for (const DType keys : {DType::f32, DType::bf16}) check({.index_dim = 45, .keys = keys});
  check({.rope_dim = 2, .index_dim = 2, .keys = DType::fp8_e4m3});
}

TEST_F(DeviceLatents, OfQueriesAreNormedInPlaceHoweverLong) {
  for (const std::size_t dim : {1U, 30U, 1536U, 2048U, 2049U, 5000U}) check({.q_dim = dim});
}

/// The order of sums is the device's own; the numbers are the scalar row's.
TEST_F(DeviceLatents, NormsAreThoseOfTheScalarRow) {
  for (const std::size_t dim : {1U, 7U, 64U, 129U, 1031U}) {
    const auto x = random_floats(dim, rng);
    const auto weight = random_floats(dim, rng);
    const auto bias = random_floats(dim, rng);
    std::vector<float> got(dim);
    std::vector<float> want(dim);
    layer_norm_row(got.data(), x.data(), weight.data(), bias.data(), dim, kEps);
    scalar_table().layer_norm(
        {want.data(), dim, x.data(), dim, weight.data(), bias.data(), 1, dim, kEps}, 0, 1);
    EXPECT_TRUE(all_close(got, want, {.abs = 1e-5, .rel = 1e-5})) << dim;
    rms_norm_row(got.data(), x.data(), weight.data(), dim, kEps);
    scalar_table().rms_norm({want.data(), dim, x.data(), dim, weight.data(), 1, dim, kEps}, 0, 1);
    EXPECT_TRUE(all_close(got, want, {.abs = 2e-6, .rel = 2e-6})) << dim;
  }
}

/// A part that is not asked for is left alone.
TEST_F(DeviceLatents, PartsAreComputedAlone) {
  const LatentCase c;
  const Rows rows(c, rng);
  const DeviceArray<float> queries(device(), rows.queries), q_norm(device(), rows.q_norm);
  LatentsArgs args{};
  args.queries = {queries.data(), q_norm.data(), c.q_dim};
  args.rows = kRows;
  args.eps = kEps;
  device().latents(args);
  std::vector<float> want(rows.queries.size());
  for (std::size_t r = 0; r < kRows; ++r) {
    rms_norm_row(want.data() + r * c.q_dim, rows.queries.data() + r * c.q_dim, rows.q_norm.data(),
                 c.q_dim, kEps);
  }
  EXPECT_TRUE(all_close(queries.download(), want, {}));
}

}  // namespace
}  // namespace ponder::kernels
