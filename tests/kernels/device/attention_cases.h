#pragma once

// Cases of gathered attention on a device, and what the scalar row makes of them.

#include "engine/fp8_latent.h"
#include "kernels/attention.h"
#include "tests/kernels/device/device_pages.h"

namespace ponder::kernels {

inline constexpr float kAttentionScale = 0.3F;
/// exp2f of logits up to about 30 errs by a few units; sums of up to 700 weights by some more.
inline constexpr Tolerance kAttentionTolerance{.abs = 2e-5, .rel = 2e-5};
inline constexpr std::size_t kAttentionOffset = 128;

struct AttentionShape {
  std::size_t heads, rank, rope_dim;
  DType dtype;
  /// Whether cache rows begin where the engine's do, at multiples of 64 bytes, or anywhere.
  bool is_aligned = true;

  std::size_t stride() const {
    const std::size_t bytes = engine::fp8_latent_layout(rank, rope_dim).bytes;
    if (dtype == DType::fp8_e4m3) return is_aligned ? (bytes + 63) / 64 * 64 : (bytes + 3) / 4 * 4;
    const std::size_t unit = dtype == DType::f32 ? 16 : 32;
    return is_aligned ? (rank + rope_dim + unit - 1) / unit * unit : (rank + rope_dim + 3) / 2 * 2;
  }
  std::string text() const {
    return std::to_string(heads) + " heads, " + std::to_string(rank) + " + " +
           std::to_string(rope_dim) + ", " +
           (dtype == DType::f32    ? "f32"
            : dtype == DType::bf16 ? "bf16"
                                   : "fp8");
  }
};

/// Rows of random queries over random slots of one sequence.
struct AttentionCase {
  std::vector<float> q_nope, q_rope;
  std::vector<std::int32_t> slots;
  std::vector<std::int32_t> num_slots;
  std::size_t slots_stride = 0;

  /// Row `row` alone.
  AttentionCase only(const AttentionShape& s, std::size_t row) const {
    const auto part = [row](const auto& all, std::size_t n) {
      const auto begin = all.begin() + static_cast<std::ptrdiff_t>(row * n);
      return std::vector(begin, begin + static_cast<std::ptrdiff_t>(n));
    };
    return {part(q_nope, s.heads * s.rank),
            part(q_rope, s.heads * s.rope_dim),
            part(slots, slots_stride),
            {num_slots[row]},
            slots_stride};
  }
};

/// A case in device memory; what is to be written is poisoned.
struct AttentionBuffers {
  AttentionBuffers(const DeviceTable& device, const AttentionShape& s, const AttentionCase& c,
                   std::size_t rows_together)
      : rows_together(rows_together),
        parts_max((c.slots_stride + kDevicePartSlots - 1) / kDevicePartSlots),
        q_nope(device, c.q_nope),
        q_rope(device, c.q_rope),
        slots(device, c.slots),
        num_slots(device, c.num_slots),
        out(device, c.num_slots.size() * s.heads * s.rank),
        parts(device, rows_together * parts_max * s.heads * (s.rank + 2)) {}

  DeviceAttentionArgs args(const AttentionShape& s, const PagedSequences& pages,
                           const AttentionCase& c) const {
    return {.q_nope = q_nope.data(),
            .q_nope_row_stride = s.heads * s.rank,
            .q_nope_head_stride = s.rank,
            .q_rope = q_rope.data(),
            .q_rope_row_stride = s.heads * s.rope_dim,
            .q_rope_head_stride = s.rope_dim,
            .out = out.data(),
            .cache = pages.pages(s.dtype, s.stride()),
            .fp8 = engine::fp8_latent_layout(s.rank, s.rope_dim),
            .slots = slots.data(),
            .num_slots = num_slots.data(),
            .slots_stride = c.slots_stride,
            .rows = c.num_slots.size(),
            .heads = s.heads,
            .kv_lora_rank = s.rank,
            .qk_rope_head_dim = s.rope_dim,
            .softmax_scale = kAttentionScale,
            .parts = parts.data(),
            .rows_together = rows_together,
            .parts_max = parts_max};
  }

  std::size_t rows_together;
  std::size_t parts_max;
  DeviceArray<float> q_nope, q_rope;
  DeviceArray<std::int32_t> slots, num_slots;
  DeviceArray<float> out, parts;
};

class DeviceAttention : public DeviceTest {
 protected:
  PagedSequences make_pages(const AttentionShape& s, std::size_t length) {
    PagedSequences pages(device(), kAttentionOffset + kPageSize * s.stride() * 4, kAttentionOffset,
                         {length}, rng);
    fill(pages, s);
    return pages;
  }

  void fill(PagedSequences& pages, const AttentionShape& s) {
    for (std::size_t slot = 0; slot < pages.num_pages() * kPageSize; ++slot) {
      write_latent(pages, s, slot, random_floats(s.rank + s.rope_dim, rng));
    }
    pages.upload(device());
  }

  /// In the host's copy.
  static void write_latent(PagedSequences& pages, const AttentionShape& s, std::size_t slot,
                           const std::vector<float>& latent) {
    std::byte* block = pages.block(slot / kPageSize);
    const std::size_t at = slot % kPageSize * s.stride();
    if (s.dtype == DType::fp8_e4m3) {
      engine::write_fp8_latent(block + at, latent.data(), s.rank, s.rope_dim);
    } else if (s.dtype == DType::f32) {
      std::memcpy(block + at * 4, latent.data(), latent.size() * 4);
    } else {
      scalar_table().f32_to_bf16(reinterpret_cast<bf16*>(block) + at, latent.data(), latent.size());
    }
  }

  AttentionCase make_case(const AttentionShape& s, PagedSequences& pages,
                          const std::vector<std::int32_t>& num_slots, std::size_t length) {
    AttentionCase c;
    c.num_slots = num_slots;
    c.slots_stride = length;
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

  std::vector<float> run(const AttentionShape& s, const PagedSequences& pages,
                         const AttentionCase& c, std::size_t rows_together) {
    const AttentionBuffers buffers(device(), s, c, rows_together);
    device().attention(buffers.args(s, pages, c));
    return buffers.out.download();
  }

  std::vector<float> reference(const AttentionShape& s, PagedSequences& pages,
                               const AttentionCase& c) {
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
                                             .cache_stride = s.stride(),
                                             .cache_dtype = s.dtype,
                                             .softmax_scale = kAttentionScale,
                                             .fp8 = engine::fp8_latent_layout(s.rank, s.rope_dim)});
    return out;
  }
};

}  // namespace ponder::kernels
