#include "engine/safetensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "engine/detail/json_input.h"

namespace ponder::engine {
namespace {

using nlohmann::json;

constexpr std::size_t kHeaderBytesMax = 100'000'000;  // what the format's reference reader allows
constexpr std::size_t kDimensionsMax = 8;
constexpr std::size_t kNameBytesMax = 1024;  // messages repeat it

struct DTypeInfo {
  DType dtype;
  const char* name;
  std::size_t num_bytes;
};
constexpr std::array kDTypes{
    DTypeInfo{DType::boolean, "BOOL", 1},    DTypeInfo{DType::u8, "U8", 1},
    DTypeInfo{DType::i8, "I8", 1},           DTypeInfo{DType::f8_e4m3, "F8_E4M3", 1},
    DTypeInfo{DType::f8_e5m2, "F8_E5M2", 1}, DTypeInfo{DType::f8_e8m0, "F8_E8M0", 1},
    DTypeInfo{DType::i16, "I16", 2},         DTypeInfo{DType::u16, "U16", 2},
    DTypeInfo{DType::f16, "F16", 2},         DTypeInfo{DType::bf16, "BF16", 2},
    DTypeInfo{DType::i32, "I32", 4},         DTypeInfo{DType::u32, "U32", 4},
    DTypeInfo{DType::f32, "F32", 4},         DTypeInfo{DType::f64, "F64", 8},
    DTypeInfo{DType::i64, "I64", 8},         DTypeInfo{DType::u64, "U64", 8},
};

std::optional<DType> dtype_of(const json& value) {
  if (!value.is_string()) return std::nullopt;
  const auto& name = value.get_ref<const std::string&>();
  const auto it =
      std::ranges::find_if(kDTypes, [&](const auto& info) { return name == info.name; });
  return it == kDTypes.end() ? std::nullopt : std::optional(it->dtype);
}

/// The header as JSON. A name that stands twice is refused: the parser alone would keep the last.
Result<json> parse_header(std::string_view text) {
  auto header = detail::parse_json(text);
  if (!header) return fail_in("header", header.error());
  if (!header->is_object()) return fail(Errc::corrupt, "header: not a JSON object");
  if (const auto twice = detail::repeated_key(text)) {
    return fail(Errc::corrupt,
                fmt::format("tensor {} stands twice", twice->substr(0, kNameBytesMax)));
  }
  return header;
}

/// The byte size that shape and dtype ask for; nullopt for a shape that makes no sense.
std::optional<std::size_t> read_shape(const json& value, std::size_t element_bytes,
                                      std::vector<std::size_t>& shape) {
  if (!value.is_array() || value.size() > kDimensionsMax) return std::nullopt;
  std::size_t num_bytes = element_bytes;
  for (const json& dimension : value) {
    if (!dimension.is_number_unsigned()) return std::nullopt;
    shape.push_back(dimension.get<std::size_t>());
    if (__builtin_mul_overflow(num_bytes, shape.back(), &num_bytes)) return std::nullopt;
  }
  return num_bytes;
}

/// A tensor and where its bytes are said to lie, from the beginning of the data.
struct Entry {
  TensorView tensor;
  std::size_t begin = 0;
  std::size_t end = 0;
};

Result<Entry> read_entry(const std::string& name, const json& entry) {
  if (name.size() > kNameBytesMax) {
    return fail(Errc::corrupt, fmt::format("a tensor's name has {} bytes: {}", name.size(),
                                           detail::brief(json(name))));
  }
  const auto damaged = [&](const std::string& why) {
    return fail(Errc::corrupt, fmt::format("tensor {}: {}", name, why));
  };
  if (!entry.is_object()) return damaged("its header entry is not an object");
  const json none;
  const auto field = [&](const char* key) -> const json& {
    const auto it = entry.find(key);
    return it == entry.end() ? none : *it;
  };
  const auto dtype = dtype_of(field("dtype"));
  if (!dtype) return damaged("unknown dtype " + detail::brief(field("dtype")));
  TensorView tensor;
  tensor.name = name;
  tensor.dtype = *dtype;
  const auto num_bytes = read_shape(field("shape"), dtype_bytes(*dtype), tensor.shape);
  if (!num_bytes) return damaged("impossible shape " + detail::brief(field("shape")));
  const json& offsets = field("data_offsets");
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned()) {
    return damaged("data_offsets " + detail::brief(offsets) + " are not two byte positions");
  }
  const auto begin = offsets[0].get<std::size_t>();
  const auto end = offsets[1].get<std::size_t>();
  if (begin > end) {
    return damaged(fmt::format("data_offsets {} and {} are in the wrong order", begin, end));
  }
  if (end - begin != *num_bytes) {
    return damaged(fmt::format("{} bytes stored, but {} {} takes {}", end - begin,
                               dtype_name(*dtype), shape_text(tensor.shape), *num_bytes));
  }
  tensor.num_bytes = *num_bytes;
  return Entry{std::move(tensor), begin, end};
}

/// Sorts by position and refuses tensors that share bytes, and bytes that belong to none: another
/// reader might find something else there. Returns where the data ends.
Result<std::size_t> order_and_check_layout(std::vector<Entry>& entries) {
  std::ranges::sort(entries, [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::size_t end = 0;
  const std::string* before = nullptr;
  for (const Entry& entry : entries) {
    if (entry.begin < end) {
      return fail(Errc::corrupt,
                  fmt::format("tensors {} and {} overlap", *before, entry.tensor.name));
    }
    if (entry.begin > end) {
      return fail(Errc::corrupt, fmt::format("bytes {} to {}, before tensor {}, belong to none",
                                             end, entry.begin, entry.tensor.name));
    }
    end = entry.end;
    before = &entry.tensor.name;
  }
  return end;
}

}  // namespace

const char* dtype_name(DType dtype) noexcept {
  for (const DTypeInfo& info : kDTypes) {
    if (info.dtype == dtype) return info.name;
  }
  return "?";
}

std::size_t dtype_bytes(DType dtype) noexcept {
  for (const DTypeInfo& info : kDTypes) {
    if (info.dtype == dtype) return info.num_bytes;
  }
  return 1;
}

std::string shape_text(std::span<const std::size_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

Result<std::vector<TensorView>> parse_safetensors(std::span<const std::byte> file,
                                                  DataPresence presence) {
  constexpr std::size_t kLengthBytes = 8;
  if (file.size() < kLengthBytes) {
    return fail(Errc::corrupt, fmt::format("{} bytes are too few for a header", file.size()));
  }
  std::uint64_t header_bytes = 0;
  for (std::size_t i = kLengthBytes; i-- > 0;) {
    header_bytes = header_bytes << 8 | std::to_integer<std::uint64_t>(file[i]);
  }
  const std::size_t rest = file.size() - kLengthBytes;
  if (header_bytes > kHeaderBytesMax || header_bytes > rest) {
    return fail(Errc::corrupt, fmt::format("header of {} bytes announced, {} bytes follow: "
                                           "truncated, or no safetensors file",
                                           header_bytes, rest));
  }
  const auto header_text = file.subspan(kLengthBytes, header_bytes);
  PONDER_TRY(const json header,
             parse_header({reinterpret_cast<const char*>(header_text.data()), header_text.size()}));
  const auto data = file.subspan(kLengthBytes + header_bytes);
  std::vector<Entry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") continue;
    PONDER_TRY(Entry entry, read_entry(name, value));
    entries.push_back(std::move(entry));
  }
  PONDER_TRY(const std::size_t end, order_and_check_layout(entries));
  const bool is_complete = end == data.size();
  if (!is_complete && (presence == DataPresence::required || end < data.size())) {
    return fail(Errc::corrupt,
                fmt::format("{} data bytes, but the header describes {}", data.size(), end));
  }
  std::vector<TensorView> tensors;
  for (Entry& entry : entries) {
    if (is_complete) entry.tensor.data = data.data() + entry.begin;
    tensors.push_back(std::move(entry.tensor));
  }
  return tensors;
}

}  // namespace ponder::engine
