#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/mapped_file.h"
#include "engine/safetensors.h"
#include "engine/weight_format.h"
#include "kernels/kernel_table.h"

namespace ponder::engine {

/// Side of the square blocks that share one FP8 weight scale: in files as in the kernels.
using kernels::kFp8BlockSize;

/// An FP8 weight as it is stored: value[r][c] = e4m3(codes[r*in + c]) * scale[r/128][c/128].
/// Points into the checkpoint's mapping, except that scales are copied.
struct Fp8Weight {
  std::span<const std::uint8_t> codes;  // [out, in]
  std::vector<float> scales;            // [ceil(out/128), ceil(in/128)]
  std::size_t scale_cols = 0;           // ceil(in/128)
};

/// How one matrix is stored: its values or codes, and the scales that belong to them.
struct StoredMatrix {
  WeightFormat format;                 // F16 counts as bf16: `values` tells them apart
  const TensorView* values = nullptr;  // [out, in] values or codes; int4: I32 [out, in/8]
  const TensorView* scales = nullptr;  // fp8: F32; int8, int4: BF16 [out, in/group] or [out, 1]
  std::size_t out = 0;
  std::size_t in = 0;
};

/// The weights of a model directory: `model.safetensors`, or the shards that
/// `model.safetensors.index.json` names. Files are mapped read-only, so that opening costs a header
/// parse and weights are paged in when they are read.
///
/// Experts that were saved fused (`experts.gate_up_proj` [E, 2M, H], `experts.down_proj` [E, H, M])
/// are also found under their per-expert names (`experts.7.up_proj.weight`).
///
/// A matrix `name.weight` is stored as values (F32, BF16, F16), as F8_E4M3 with
/// `name.weight_scale_inv`, as I8 with `name.weight_scale`, or as `name.weight_packed` (eight 4-bit
/// codes in an I32) with `name.weight_scale`; each tensor decides for itself.
///
/// Invariant: every tensor lies inside its file and its byte size fits its shape and dtype.
/// Thread: immutable after open, so any number of readers.
/// Lifetime: views, spans and pointers handed out are valid while the Checkpoint lives (moving it
/// is fine). Errors name the tensor, the file, and what was expected and found.
class Checkpoint {
 public:
  /// What errors about single tensors end with.
  static constexpr std::string_view kRemedy =
      "use config.json and weights of one and the same model";

  /// Fails with all faults of the files at once: missing shards, damaged headers, tensors that the
  /// index places in a file that does not have them.
  static Result<Checkpoint> open(const std::filesystem::path& dir);

  /// The same for files that may end with their header: the tensors without data then say so
  /// (TensorView::data), and nothing may be loaded from them.
  static Result<Checkpoint> open_headers(const std::filesystem::path& dir);

  /// nullptr when there is no such tensor.
  const TensorView* find(std::string_view name) const;

  /// The tensor, which must exist and have this shape.
  Result<const TensorView*> require(std::string_view name,
                                    std::span<const std::size_t> shape) const;

  /// How the matrix `name` ("...weight") is stored. Fails when it, or what belongs to it, is
  /// missing or has another shape or dtype.
  Result<StoredMatrix> stored_matrix(std::string_view name, std::size_t out, std::size_t in) const;

  /// Values of whole rows as float, from first_row on. Requires: the matrix is of this checkpoint,
  /// has data, and out holds rows that exist.
  void load_rows(const StoredMatrix& matrix, std::size_t first_row, std::span<float> out) const;

  /// Values as float, whatever the tensor is stored as. Matrices: see stored_matrix. Fails when
  /// one is not finite.
  Result<std::vector<float>> load_f32(std::string_view name,
                                      std::span<const std::size_t> shape) const;
  Result<std::vector<float>> load_f32(std::string_view name,
                                      std::initializer_list<std::size_t> shape) const;

  /// The bits of a BF16 tensor, in place. Fails for another dtype.
  Result<std::span<const std::uint16_t>> raw_bf16(std::string_view name,
                                                  std::span<const std::size_t> shape) const;

  /// The floats of an F32 tensor, in place. Fails for another dtype.
  Result<std::span<const float>> raw_f32(std::string_view name,
                                         std::span<const std::size_t> shape) const;

  /// Fails (corrupt), naming the tensor and the place, when one of its values is NaN or infinite.
  /// Reads all of it. Integer tensors pass.
  Status check_finite(const TensorView& tensor) const;

  /// Fails, naming the file, when one was changed since it was opened (see MappedFile).
  Status check_unchanged() const;

  /// An FP8 weight [out, in] with its block scales. Fails for another dtype or without scales.
  Result<Fp8Weight> raw_fp8(std::string_view name, std::span<const std::size_t> shape) const;

  /// The dtype that decides how the model computes: f32 if every floating-point weight is stored as
  /// F32, f8_e4m3 if any weight is FP8, else bf16.
  DType compute_dtype() const { return compute_dtype_; }

  /// All tensors, sorted by name; expert views of fused tensors included.
  std::span<const TensorView> tensors() const { return tensors_; }

  /// The file that holds a tensor of this checkpoint, for messages.
  const std::filesystem::path& file_of(const TensorView& tensor) const {
    return paths_[tensor.file_idx];
  }

 private:
  Checkpoint() = default;

  static Result<Checkpoint> open(const std::filesystem::path& dir, DataPresence presence);
  Status add_file(const std::filesystem::path& path, DataPresence presence);
  Status add_shards(const std::filesystem::path& dir, const std::filesystem::path& index,
                    DataPresence presence);
  Status add_fused_experts();
  Status finish();
  Result<StoredMatrix> stored_codes(StoredMatrix matrix, std::string_view name) const;
  Error missing(std::string_view name) const;
  Error misfit(const TensorView& tensor, std::string_view expected) const;

  std::vector<std::filesystem::path> paths_;  // parallel to files_
  std::vector<MappedFile> files_;
  std::vector<TensorView> tensors_;  // sorted by name
  DType compute_dtype_ = DType::bf16;
};

}  // namespace ponder::engine
