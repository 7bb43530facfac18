#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

/// How a matrix can be stored, and how floats become codes: the one place that decides which code a
/// weight gets. docs/checkpoints.md has the formats byte by byte.
namespace ponder::engine {

enum class WeightDType { f32, bf16, fp8, int8, int4 };

/// `group` inputs of a row share a scale (int8, int4); fp8 has one for each square of 128.
struct WeightFormat {
  WeightDType dtype = WeightDType::bf16;
  std::size_t group = 0;

  bool operator==(const WeightFormat&) const = default;
};

inline constexpr std::size_t kInt8Group = 128;
/// Matrices of other widths than multiples of this are not stored as int8 or int4.
inline constexpr std::size_t kCodedWidthMultiple = 128;

/// What products with BF16 and FP8 weights take activations as. bf16 rounds them, which is faster
/// where the processor has instructions for it and changes nothing where it has none.
enum class Activations { f32, bf16 };

/// "f32", "bf16", "fp8", "int8", "int4-32", "int4-64" or "int4-128".
std::string weight_format_name(const WeightFormat& format);
/// Fails (invalid_argument) naming the known ones.
Result<WeightFormat> parse_weight_format(std::string_view name);

/// Whole rows of a matrix as they are stored. Rows are encoded in bands that begin at multiples of
/// kBandRows, so that fp8 squares are whole.
struct EncodedRows {
  std::vector<std::byte> codes;   // row-major; int4: element 2i in the lower half of byte i
  std::vector<std::byte> scales;  // fp8: F32 [1, ceil(in/128)]; int8, int4: BF16 [rows, in/group]
};
inline constexpr std::size_t kBandRows = 128;

/// Encodes a band of at most kBandRows rows of `in` values. Scales are chosen from each group's (or
/// square's) largest magnitude: fp8 the smallest power of two that fits, int8 and int4 the next
/// bf16 from magnitude / 127 or / 7 upward, so that an error is at most half a step.
/// Requires: finite values; for int8 and int4 a width that the group divides.
void encode_rows(const WeightFormat& format, std::span<const float> rows, std::size_t in,
                 EncodedRows& out);

/// Decodes int8 or int4 rows: out[i] = code * scale of its group. All spans hold whole rows.
void decode_rows(const WeightFormat& format, std::span<const std::uint8_t> codes,
                 std::span<const std::uint16_t> scales, std::span<float> out);

}  // namespace ponder::engine
