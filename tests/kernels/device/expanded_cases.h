#pragma once

// Cases of attention over expanded keys and values on a device, and what plain arithmetic in double
// precision makes of them.

#include <cmath>

#include "tests/kernels/device/device_cases.h"

namespace ponder::kernels {

inline constexpr float kExpandedScale = 0.3F;

struct ExpandedShape {
  std::size_t heads, nope, rope, v;
  std::size_t rank = 24;  // columns of a latent before those that all heads share

  std::size_t key() const { return nope + rope; }
  std::string text() const {
    return std::to_string(heads) + " heads, " + std::to_string(nope) + " + " +
           std::to_string(rope) + ", " + std::to_string(v);
  }
};

/// Consecutive rows of one sequence.
struct ExpandedPiece {
  std::size_t first_position;
  std::size_t num_rows;
  std::size_t num_keys() const { return first_position + num_rows; }
  std::size_t num_pages() const { return (num_keys() + kPageSize - 1) / kPageSize; }
};

/// Pieces of sequences with the keys of each; rows follow each other.
struct ExpandedCase {
  ExpandedShape s;
  std::vector<ExpandedPiece> pieces;
  std::vector<float> q;        // [rows, heads, key()]
  std::vector<float> keys;     // [heads, 64 pages, nope]
  std::vector<float> values;   // [heads, 64 pages, v]
  std::vector<float> latents;  // [64 pages, rank + rope]

  ExpandedCase(const ExpandedShape& shape, std::vector<ExpandedPiece> of, std::mt19937_64& rng)
      : s(shape), pieces(std::move(of)) {
    q = random_floats(num_rows() * s.heads * s.key(), rng);
    keys = random_floats(s.heads * num_keys() * s.nope, rng);
    values = random_floats(s.heads * num_keys() * s.v, rng);
    latents = random_floats(num_keys() * (s.rank + s.rope), rng);
  }

  std::size_t num_rows() const {
    std::size_t n = 0;
    for (const ExpandedPiece& piece : pieces) n += piece.num_rows;
    return n;
  }
  std::size_t num_pages() const {
    std::size_t n = 0;
    for (const ExpandedPiece& piece : pieces) n += piece.num_pages();
    return n;
  }
  std::size_t num_keys() const { return num_pages() * kPageSize; }

  float* key_at(std::size_t head, std::size_t key) {
    return keys.data() + (head * num_keys() + key) * s.nope;
  }
  float* value_at(std::size_t head, std::size_t key) {
    return values.data() + (head * num_keys() + key) * s.v;
  }

  /// At most `rows_max` rows for each tile.
  std::vector<ExpandedTile> tiles(std::size_t rows_max = kExpandedRows) const {
    std::vector<ExpandedTile> tiles;
    std::size_t row = 0;
    std::size_t page = 0;
    for (const ExpandedPiece& piece : pieces) {
      for (std::size_t at = 0; at < piece.num_rows; at += rows_max) {
        const std::size_t n = std::min(rows_max, piece.num_rows - at);
        tiles.push_back({static_cast<std::int32_t>(row + at), static_cast<std::int32_t>(n),
                         static_cast<std::int32_t>(page),
                         static_cast<std::int32_t>(piece.first_position + at + 1)});
      }
      row += piece.num_rows;
      page += piece.num_pages();
    }
    return tiles;
  }

  /// A case of the rows [first, first + n) of the first piece alone, with as many keys as they see.
  ExpandedCase part(std::size_t first, std::size_t n, std::mt19937_64& rng) const {
    ExpandedCase result(s, {{pieces[0].first_position + first, n}}, rng);
    const std::size_t keys_there = result.num_keys();
    const auto copy = [&](const std::vector<float>& from, std::vector<float>& to, std::size_t dim) {
      for (std::size_t head = 0; head < s.heads; ++head) {
        for (std::size_t i = 0; i < keys_there * dim; ++i) {
          to[head * keys_there * dim + i] = from[head * num_keys() * dim + i];
        }
      }
    };
    copy(keys, result.keys, s.nope);
    copy(values, result.values, s.v);
    const auto of_keys = static_cast<std::ptrdiff_t>(keys_there * (s.rank + s.rope));
    result.latents.assign(latents.begin(), latents.begin() + of_keys);
    const auto begin = q.begin() + static_cast<std::ptrdiff_t>(first * s.heads * s.key());
    result.q.assign(begin, begin + static_cast<std::ptrdiff_t>(n * s.heads * s.key()));
    return result;
  }
};

class DeviceExpanded : public DeviceTest {
 protected:
  std::vector<float> run(const ExpandedCase& c, const std::vector<ExpandedTile>& tiles) {
    const ExpandedShape& s = c.s;
    const DeviceArray<float> q(device(), c.q);
    const DeviceArray<float> keys(device(), c.keys);
    const DeviceArray<float> values(device(), c.values);
    const DeviceArray<float> latents(device(), c.latents);
    const DeviceArray<ExpandedTile> device_tiles(device(), tiles);
    const DeviceArray<float> out(device(), c.num_rows() * s.heads * s.v);
    const DeviceArray<std::uint32_t> workspace(
        device(), s.heads * c.num_pages() * expanded_workspace_words(s.key(), s.v));
    EXPECT_TRUE(fits_expanded(s.rank, s.nope, s.rope, s.v));
    device().attention_expanded({.q = q.data(),
                                 .q_row_stride = s.heads * s.key(),
                                 .q_head_stride = s.key(),
                                 .out = out.data(),
                                 .out_row_stride = s.heads * s.v,
                                 .out_head_stride = s.v,
                                 .keys = keys.data(),
                                 .values = values.data(),
                                 .latents = latents.data(),
                                 .tiles = device_tiles.data(),
                                 .num_tiles = tiles.size(),
                                 .pages = c.num_pages(),
                                 .heads = s.heads,
                                 .kv_lora_rank = s.rank,
                                 .qk_nope_head_dim = s.nope,
                                 .qk_rope_head_dim = s.rope,
                                 .v_head_dim = s.v,
                                 .softmax_scale = kExpandedScale,
                                 .workspace = workspace.data()});
    return out.download();
  }
  std::vector<float> run(const ExpandedCase& c) { return run(c, c.tiles()); }

  static std::vector<float> reference(ExpandedCase& c) {
    const ExpandedShape& s = c.s;
    std::vector<float> out;
    std::size_t row = 0;
    std::size_t first_key = 0;
    for (const ExpandedPiece& piece : c.pieces) {
      for (std::size_t i = 0; i < piece.num_rows; ++i, ++row) {
        for (std::size_t head = 0; head < s.heads; ++head) {
          const auto of_head = attend(c, row, head, first_key, piece.first_position + i + 1);
          out.insert(out.end(), of_head.begin(), of_head.end());
        }
      }
      first_key += piece.num_pages() * kPageSize;
    }
    return out;
  }

 private:
  static std::vector<float> attend(ExpandedCase& c, std::size_t row, std::size_t head,
                                   std::size_t first_key, std::size_t num_keys) {
    const ExpandedShape& s = c.s;
    const float* q = c.q.data() + (row * s.heads + head) * s.key();
    std::vector<double> logits(num_keys);
    double max = -INFINITY;
    for (std::size_t i = 0; i < num_keys; ++i) {
      const float* key = c.key_at(head, first_key + i);
      const float* rope = c.latents.data() + (first_key + i) * (s.rank + s.rope) + s.rank;
      for (std::size_t d = 0; d < s.nope; ++d) logits[i] += double{q[d]} * key[d];
      for (std::size_t d = 0; d < s.rope; ++d) logits[i] += double{q[s.nope + d]} * rope[d];
      logits[i] *= double{kExpandedScale};
      max = std::fmax(max, logits[i]);
    }
    double total = 0.0;
    std::vector<double> sums(s.v);
    for (std::size_t i = 0; i < num_keys; ++i) {
      const double weight = std::exp(logits[i] - max);
      total += weight;
      const float* value = c.value_at(head, first_key + i);
      for (std::size_t d = 0; d < s.v; ++d) sums[d] += weight * value[d];
    }
    std::vector<float> out;
    for (const double sum : sums) out.push_back(static_cast<float>(sum / total));
    return out;
  }
};

}  // namespace ponder::kernels
