#include "engine/safetensors.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>
#include <unordered_set>
#include <utility>

#include "engine/detail/json_input.h"

namespace ponder::engine {
namespace {

using nlohmann::json;

constexpr std::size_t kHeaderBytesMax = 100'000'000;  // what the format's reference reader allows
constexpr std::size_t kDimensionsMax = 8;

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
  std::unordered_set<std::string> names;
  std::string twice;
  const auto note_names = [&](std::size_t depth, detail::JsonEvent event, json& item) {
    if (event == detail::JsonEvent::key && depth == 1) {
      const auto& name = item.get_ref<const std::string&>();
      if (!names.insert(name).second) twice = name;
    }
    return true;
  };
  auto header = detail::parse_json(text, note_names);
  if (!header) return fail_in("header", header.error());
  if (!twice.empty()) return fail(Errc::corrupt, fmt::format("tensor {} stands twice", twice));
  if (!header->is_object()) return fail(Errc::corrupt, "header: not a JSON object");
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

Result<TensorView> read_tensor(const std::string& name, const json& entry,
                               std::span<const std::byte> data) {
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
  if (begin > end || end > data.size()) {
    return damaged(fmt::format("bytes {} to {} lie outside the file's {} data bytes", begin, end,
                               data.size()));
  }
  if (end - begin != *num_bytes) {
    return damaged(fmt::format("{} bytes stored, but {} {} takes {}", end - begin,
                               dtype_name(*dtype), shape_text(tensor.shape), *num_bytes));
  }
  tensor.data = data.data() + begin;
  tensor.num_bytes = *num_bytes;
  return tensor;
}

/// Sorts by position and refuses tensors that share bytes.
Status order_and_check_overlap(std::vector<TensorView>& tensors) {
  std::ranges::sort(tensors, [](const TensorView& a, const TensorView& b) {
    return std::pair(a.data, a.num_bytes) < std::pair(b.data, b.num_bytes);
  });
  for (std::size_t i = 1; i < tensors.size(); ++i) {
    const TensorView& before = tensors[i - 1];
    if (before.data + before.num_bytes > tensors[i].data) {
      return fail(Errc::corrupt,
                  fmt::format("tensors {} and {} overlap", before.name, tensors[i].name));
    }
  }
  return {};
}

Error system_error(const std::filesystem::path& path, const char* what) {
  const int code = errno;
  const bool is_missing = code == ENOENT || code == ENOTDIR;
  return {is_missing ? Errc::not_found : Errc::unavailable,
          fmt::format("{}: {}: {}", path.string(), what,
                      std::error_code(code, std::generic_category()).message())};
}

struct FileDescriptor {
  int value;
  ~FileDescriptor() {
    if (value >= 0) ::close(value);
  }
};

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

Result<std::vector<TensorView>> parse_safetensors(std::span<const std::byte> file) {
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
  std::vector<TensorView> tensors;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    PONDER_TRY(TensorView tensor, read_tensor(name, entry, data));
    tensors.push_back(std::move(tensor));
  }
  PONDER_CHECK(order_and_check_overlap(tensors));
  return tensors;
}

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  const FileDescriptor fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (fd.value < 0) return tl::unexpected(system_error(path, "cannot open"));
  struct stat info{};
  if (::fstat(fd.value, &info) != 0) return tl::unexpected(system_error(path, "cannot stat"));
  if (!S_ISREG(info.st_mode)) {
    return fail(Errc::invalid_argument, path.string() + ": not a regular file");
  }
  const auto num_bytes = static_cast<std::size_t>(info.st_size);
  if (num_bytes == 0) return MappedFile({});
  void* address = ::mmap(nullptr, num_bytes, PROT_READ, MAP_PRIVATE, fd.value, 0);
  if (address == MAP_FAILED) return tl::unexpected(system_error(path, "cannot map"));
  return MappedFile({static_cast<const std::byte*>(address), num_bytes});
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

}  // namespace ponder::engine
