#include "engine/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>

#include "base/assert.h"
#include "engine/config.h"
#include "engine/numeric_formats.h"

namespace ponder::engine {
namespace {

static_assert(std::endian::native == std::endian::little, "weights are read in place");

template <class T, class Decode>
void decode_elements(const std::byte* data, std::span<float> out, Decode decode) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    T element;
    std::memcpy(&element, data + i * sizeof(T), sizeof(T));
    out[i] = decode(element);
  }
}

std::size_t num_blocks(std::size_t length) { return (length + kFp8BlockSize - 1) / kFp8BlockSize; }

float stored_f32(const TensorView& tensor, std::size_t element) {
  float value = 0.0F;
  std::memcpy(&value, tensor.data + element * sizeof value, sizeof value);
  return value;
}

void scale_fp8_rows(const StoredMatrix& matrix, std::size_t first_row, std::span<float> rows) {
  const std::size_t scale_cols = num_blocks(matrix.in);
  for (std::size_t begin = 0; begin < rows.size(); begin += matrix.in) {
    const std::size_t row = first_row + begin / matrix.in;
    for (std::size_t col = 0; col < matrix.in; col += kFp8BlockSize) {
      const std::size_t block = row / kFp8BlockSize * scale_cols + col / kFp8BlockSize;
      const float scale = stored_f32(*matrix.scales, block);
      const std::size_t end = std::min(col + kFp8BlockSize, matrix.in);
      for (std::size_t i = begin + col; i < begin + end; ++i) rows[i] *= scale;
    }
  }
}

void decode_code_rows(const StoredMatrix& matrix, std::size_t first_row, std::span<float> rows) {
  const std::size_t codes_per_byte = matrix.format.dtype == WeightDType::int4 ? 2 : 1;
  const std::size_t groups = matrix.in / matrix.format.group;
  const std::size_t stored_groups = matrix.scales->shape[1];  // 1: the whole row shares it
  std::vector<std::uint16_t> scales(rows.size() / matrix.format.group);
  for (std::size_t i = 0; i < scales.size(); ++i) {
    const std::size_t column = stored_groups == 1 ? 0 : i % groups;
    const std::size_t at = (first_row + i / groups) * stored_groups + column;
    std::memcpy(&scales[i], matrix.scales->data + at * sizeof scales[i], sizeof scales[i]);
  }
  const auto* codes = reinterpret_cast<const std::uint8_t*>(matrix.values->data) +
                      first_row * matrix.in / codes_per_byte;
  decode_rows(matrix.format, {codes, rows.size() / codes_per_byte}, scales, rows);
}

/// The first element whose bits, taken with `mask`, are those of no finite number.
template <class T>
std::optional<std::size_t> find_bits(const TensorView& tensor, T mask) {
  for (std::size_t i = 0; i < tensor.num_elements(); ++i) {
    T bits;
    std::memcpy(&bits, tensor.data + i * sizeof bits, sizeof bits);
    if ((bits & mask) == mask) return i;
  }
  return std::nullopt;
}

std::optional<std::size_t> first_not_finite(const TensorView& tensor) {
  switch (tensor.dtype) {
    case DType::f32:
      return find_bits<std::uint32_t>(tensor, 0x7f800000U);
    case DType::bf16:
      return find_bits<std::uint16_t>(tensor, 0x7f80U);
    case DType::f16:
      return find_bits<std::uint16_t>(tensor, 0x7c00U);
    case DType::f8_e4m3:
      return find_bits<std::uint8_t>(tensor, 0x7fU);
    default:
      return std::nullopt;
  }
}

bool is_narrow_weight(const TensorView& tensor) {
  const DType dtype = tensor.dtype;
  return dtype == DType::bf16 || dtype == DType::f16 || dtype == DType::f8_e4m3 ||
         dtype == DType::i8 || tensor.name.ends_with(".weight_packed");
}

/// Twice config.h's bound, for each expert stands in two tensors. Each costs memory for its names,
/// which a file of holes does not.
constexpr std::size_t kFusedExpertsMax = 2 * kExpertsOfAllLayersMax;

bool is_aligned(const TensorView& tensor, std::size_t alignment) {
  return reinterpret_cast<std::uintptr_t>(tensor.data) % alignment == 0;
}

/// The slice of a fused tensor that is one projection of one expert.
TensorView expert_slice(const TensorView& fused, std::string name, std::size_t offset_elements,
                        std::vector<std::size_t> shape) {
  TensorView slice = fused;
  const std::size_t width = dtype_bytes(fused.dtype);
  slice.name = std::move(name);
  slice.num_bytes = shape[0] * shape[1] * width;
  if (fused.data != nullptr) slice.data = fused.data + offset_elements * width;
  slice.shape = std::move(shape);
  return slice;
}

}  // namespace

Status Checkpoint::add_fused_experts() {
  constexpr std::string_view kGateUp = ".experts.gate_up_proj";
  constexpr std::string_view kDown = ".experts.down_proj";
  const std::size_t num_stored = tensors_.size();
  std::size_t num_experts = 0;
  for (std::size_t i = 0; i < num_stored; ++i) {
    const TensorView fused = tensors_[i];
    const bool is_gate_up = fused.name.ends_with(kGateUp);
    if (!is_gate_up && !fused.name.ends_with(kDown)) continue;
    if (fused.shape.size() != 3 || fused.dtype == DType::f8_e4m3 || fused.num_bytes == 0 ||
        (is_gate_up && fused.shape[1] % 2 != 0)) {
      return tl::unexpected(misfit(fused, "fused experts [E, 2M, H] or [E, H, M], not FP8"));
    }
    if (fused.shape[0] > kFusedExpertsMax - num_experts) {
      return tl::unexpected(misfit(
          fused, fmt::format("no more than {} experts in all fused tensors", kFusedExpertsMax)));
    }
    num_experts += fused.shape[0];
    const std::string prefix = fused.name.substr(0, fused.name.rfind('.') + 1);
    const std::size_t rows = is_gate_up ? fused.shape[1] / 2 : fused.shape[1];
    const std::vector<std::size_t> shape{rows, fused.shape[2]};
    const std::size_t expert_elements = fused.shape[1] * fused.shape[2];
    for (std::size_t e = 0; e < fused.shape[0]; ++e) {
      const std::string name = fmt::format("{}{}.", prefix, e);
      const std::size_t at = e * expert_elements;
      if (is_gate_up) {
        tensors_.push_back(expert_slice(fused, name + "gate_proj.weight", at, shape));
        tensors_.push_back(
            expert_slice(fused, name + "up_proj.weight", at + rows * shape[1], shape));
      } else {
        tensors_.push_back(expert_slice(fused, name + "down_proj.weight", at, shape));
      }
    }
  }
  return {};
}

Status Checkpoint::finish() {
  std::ranges::sort(tensors_, {}, &TensorView::name);
  const auto twice = std::ranges::adjacent_find(tensors_, {}, &TensorView::name);
  if (twice != tensors_.end()) {
    return fail(Errc::corrupt, fmt::format("tensor {} in {} stands twice, fused and on its own",
                                           twice->name, file_of(*twice).string()));
  }
  bool has_fp8 = false;
  bool has_narrow = false;
  for (const TensorView& tensor : tensors_) {
    has_fp8 = has_fp8 || tensor.dtype == DType::f8_e4m3;
    has_narrow = has_narrow || is_narrow_weight(tensor);
  }
  compute_dtype_ = has_fp8 ? DType::f8_e4m3 : has_narrow ? DType::bf16 : DType::f32;
  return {};
}

const TensorView* Checkpoint::find(std::string_view name) const {
  const auto it = std::ranges::lower_bound(
      tensors_, name, {}, [](const TensorView& tensor) { return std::string_view(tensor.name); });
  return it == tensors_.end() || it->name != name ? nullptr : &*it;
}

Error Checkpoint::misfit(const TensorView& tensor, std::string_view expected) const {
  return {Errc::corrupt, fmt::format("tensor {} in {}: expected {}, found {} {}; {}", tensor.name,
                                     file_of(tensor).string(), expected, dtype_name(tensor.dtype),
                                     shape_text(tensor.shape), kRemedy)};
}

Error Checkpoint::missing(std::string_view name) const {
  const std::string where =
      paths_.size() == 1
          ? paths_[0].string()
          : fmt::format("{} ({} files)", paths_[0].parent_path().string(), paths_.size());
  return {Errc::not_found, fmt::format("tensor {}: missing from {}; {}", name, where, kRemedy)};
}

Result<const TensorView*> Checkpoint::require(std::string_view name,
                                              std::span<const std::size_t> shape) const {
  const TensorView* tensor = find(name);
  if (tensor == nullptr) return tl::unexpected(missing(name));
  if (!std::ranges::equal(tensor->shape, shape)) {
    return tl::unexpected(misfit(*tensor, "shape " + shape_text(shape)));
  }
  return tensor;
}

Result<StoredMatrix> Checkpoint::stored_matrix(std::string_view name, std::size_t out,
                                               std::size_t in) const {
  StoredMatrix matrix;
  matrix.out = out;
  matrix.in = in;
  if (find(name) == nullptr && find(fmt::format("{}_packed", name)) != nullptr) {
    return stored_codes(matrix, name);
  }
  const std::array<std::size_t, 2> shape{out, in};
  PONDER_TRY(matrix.values, require(name, shape));
  switch (matrix.values->dtype) {
    case DType::f32:
      matrix.format = {WeightDType::f32, 0};
      return matrix;
    case DType::bf16:
    case DType::f16:
      matrix.format = {WeightDType::bf16, 0};
      return matrix;
    case DType::f8_e4m3: {
      matrix.format = {WeightDType::fp8, 0};
      const std::array<std::size_t, 2> blocks{num_blocks(out), num_blocks(in)};
      PONDER_TRY(matrix.scales, require(fmt::format("{}_scale_inv", name), blocks));
      if (matrix.scales->dtype == DType::f32) return matrix;
      return tl::unexpected(misfit(*matrix.scales, "dtype F32"));
    }
    case DType::i8:
      return stored_codes(matrix, name);
    default:
      return tl::unexpected(misfit(*matrix.values, "dtype F32, BF16, F16, F8_E4M3 or I8"));
  }
}

/// int8 or int4: codes and group scales.
Result<StoredMatrix> Checkpoint::stored_codes(StoredMatrix matrix, std::string_view name) const {
  const bool is_int8 = matrix.values != nullptr;
  if (!is_int8) {
    const std::array<std::size_t, 2> shape{matrix.out, matrix.in / 8};
    PONDER_TRY(matrix.values, require(fmt::format("{}_packed", name), shape));
    if (matrix.values->dtype != DType::i32) {
      return tl::unexpected(misfit(*matrix.values, "dtype I32"));
    }
  }
  if (matrix.in % kCodedWidthMultiple != 0) {
    return tl::unexpected(
        misfit(*matrix.values, fmt::format("inputs in multiples of {}", kCodedWidthMultiple)));
  }
  const std::string scale_name = fmt::format("{}_scale", name);
  matrix.scales = find(scale_name);
  if (matrix.scales == nullptr) return tl::unexpected(missing(scale_name));
  const auto& shape = matrix.scales->shape;
  const std::size_t groups = shape.size() == 2 && shape[0] == matrix.out ? shape[1] : 0;
  std::size_t group = groups == 0 ? 0 : matrix.in / groups;
  if (groups == 1) group = kCodedWidthMultiple;  // one scale for the row serves each of its groups
  const bool is_known = group == 32 || group == 64 || group == 128;
  if (!is_known || (groups != 1 && groups * group != matrix.in) ||
      matrix.scales->dtype != DType::bf16) {
    return tl::unexpected(misfit(
        *matrix.scales, fmt::format("BF16 [{}, 1] or groups of 32, 64 or 128 of the {} inputs",
                                    matrix.out, matrix.in)));
  }
  matrix.format = {is_int8 ? WeightDType::int8 : WeightDType::int4, group};
  return matrix;
}

void Checkpoint::load_rows(const StoredMatrix& matrix, std::size_t first_row,
                           std::span<float> out) const {
  PONDER_ASSERT(matrix.values->data != nullptr && out.size() % matrix.in == 0);
  PONDER_ASSERT(first_row + out.size() / matrix.in <= matrix.out);
  const std::size_t first = first_row * matrix.in;
  switch (matrix.format.dtype) {
    case WeightDType::f32:
      std::memcpy(out.data(), matrix.values->data + first * sizeof(float), out.size_bytes());
      return;
    case WeightDType::bf16: {
      const std::byte* data = matrix.values->data + first * sizeof(std::uint16_t);
      if (matrix.values->dtype == DType::f16) {
        return decode_elements<std::uint16_t>(data, out, fp16_to_float);
      }
      return decode_elements<std::uint16_t>(data, out, bf16_to_float);
    }
    case WeightDType::fp8:
      decode_elements<std::uint8_t>(matrix.values->data + first, out, e4m3_to_float);
      return scale_fp8_rows(matrix, first_row, out);
    case WeightDType::int8:
    case WeightDType::int4:
      return decode_code_rows(matrix, first_row, out);
  }
}

Result<std::vector<float>> Checkpoint::load_f32(std::string_view name,
                                                std::span<const std::size_t> shape) const {
  if (shape.size() == 2) {
    PONDER_TRY(const StoredMatrix matrix, stored_matrix(name, shape[0], shape[1]));
    PONDER_CHECK(check_finite(*matrix.values));
    if (matrix.scales != nullptr) {
      PONDER_CHECK(check_finite(*matrix.scales));
    }
    std::vector<float> out(matrix.out * matrix.in);
    load_rows(matrix, 0, out);
    return out;
  }
  PONDER_TRY(const TensorView* tensor, require(name, shape));
  PONDER_CHECK(check_finite(*tensor));
  std::vector<float> out(tensor->num_elements());
  switch (tensor->dtype) {
    case DType::f32:
      std::memcpy(out.data(), tensor->data, tensor->num_bytes);
      return out;
    case DType::bf16:
      decode_elements<std::uint16_t>(tensor->data, out, bf16_to_float);
      return out;
    case DType::f16:
      decode_elements<std::uint16_t>(tensor->data, out, fp16_to_float);
      return out;
    default:
      return tl::unexpected(misfit(*tensor, "dtype F32, BF16 or F16"));
  }
}

Result<std::vector<float>> Checkpoint::load_f32(std::string_view name,
                                                std::initializer_list<std::size_t> shape) const {
  return load_f32(name, std::span(shape.begin(), shape.size()));
}

Result<std::span<const std::uint16_t>> Checkpoint::raw_bf16(
    std::string_view name, std::span<const std::size_t> shape) const {
  PONDER_TRY(const TensorView* tensor, require(name, shape));
  if (tensor->dtype != DType::bf16 || !is_aligned(*tensor, alignof(std::uint16_t))) {
    return tl::unexpected(misfit(*tensor, "aligned BF16 data"));
  }
  return std::span(reinterpret_cast<const std::uint16_t*>(tensor->data), tensor->num_elements());
}

Result<std::span<const float>> Checkpoint::raw_f32(std::string_view name,
                                                   std::span<const std::size_t> shape) const {
  PONDER_TRY(const TensorView* tensor, require(name, shape));
  if (tensor->dtype != DType::f32 || !is_aligned(*tensor, alignof(float))) {
    return tl::unexpected(misfit(*tensor, "aligned F32 data"));
  }
  return std::span(reinterpret_cast<const float*>(tensor->data), tensor->num_elements());
}

Result<Fp8Weight> Checkpoint::raw_fp8(std::string_view name,
                                      std::span<const std::size_t> shape) const {
  PONDER_TRY(const TensorView* tensor, require(name, shape));
  if (tensor->dtype != DType::f8_e4m3 || shape.size() != 2) {
    return tl::unexpected(misfit(*tensor, "an F8_E4M3 matrix"));
  }
  PONDER_TRY(const StoredMatrix matrix, stored_matrix(name, shape[0], shape[1]));
  Fp8Weight weight;
  weight.scales.resize(matrix.scales->num_elements());
  std::memcpy(weight.scales.data(), matrix.scales->data, matrix.scales->num_bytes);
  weight.codes = {reinterpret_cast<const std::uint8_t*>(tensor->data), tensor->num_elements()};
  weight.scale_cols = num_blocks(tensor->shape[1]);
  return weight;
}

Status Checkpoint::check_finite(const TensorView& tensor) const {
  const std::optional<std::size_t> place = first_not_finite(tensor);
  if (!place) return {};
  return fail(Errc::corrupt,
              fmt::format("tensor {} in {}: element {} is NaN or infinite; download or export this "
                          "file again",
                          tensor.name, file_of(tensor).string(), *place));
}

Status Checkpoint::check_unchanged() const {
  for (const MappedFile& file : files_) {
    PONDER_CHECK(file.check_unchanged());
  }
  return {};
}

}  // namespace ponder::engine
