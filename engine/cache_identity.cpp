#include "engine/cache_identity.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

namespace ponder::engine {
namespace {

namespace fs = std::filesystem;
using detail::Digest;
using detail::Sha256;

/// Raised whenever what kernels put into a row changes.
constexpr std::string_view kVersion = "ponder cache rows 1\n";
constexpr std::size_t kSampleBytes = 4096;
constexpr std::size_t kSamples = 64;  // of each weight file, evenly spread
constexpr std::size_t kHeadBytes = std::size_t{1} << 20;

template <class T>
void add_value(Sha256& sha, const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  sha.add(std::as_bytes(std::span(&value, 1)));
}

template <class T>
void add_values(Sha256& sha, const std::vector<T>& values) {
  add_value(sha, values.size());
  sha.add(std::as_bytes(std::span(values)));
}

/// Size, time, beginning, and samples of the rest.
Status add_file(Sha256& sha, const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  struct stat info{};
  if (!file || stat(path.c_str(), &info) != 0) {
    return fail(Errc::unavailable, fmt::format("cannot read {}", path.string()));
  }
  sha.add(path.filename().string());
  add_value(sha, info.st_size);
  add_value(sha, info.st_mtim.tv_sec);
  add_value(sha, info.st_mtim.tv_nsec);
  std::string bytes(kHeadBytes, '\0');
  const auto add_at = [&](std::uint64_t offset, std::size_t num_bytes) {
    file.clear();
    file.seekg(static_cast<std::streamoff>(offset));
    file.read(bytes.data(), static_cast<std::streamsize>(num_bytes));
    sha.add(std::string_view(bytes.data(), static_cast<std::size_t>(file.gcount())));
  };
  add_at(0, kHeadBytes);
  const auto size = static_cast<std::uint64_t>(info.st_size);
  for (std::size_t i = 1; i <= kSamples; ++i) add_at(size / (kSamples + 1) * i, kSampleBytes);
  return {};
}

void add_layout(Sha256& sha, const CacheLayout& layout) {
  add_value(sha, kPageTokens);
  add_value(sha, layout.dtype);
  add_value(sha, layout.index_keys);
  add_value(sha, layout.key_dtype);
  add_value(sha, layout.latent_stride);
  add_value(sha, layout.index_stride);
  add_value(sha, layout.page_bytes);
  add_values(sha, layout.latent_offsets);
  add_values(sha, layout.index_offsets);
}

/// What becomes of the configuration, in case a later version reads the same file otherwise.
void add_config(Sha256& sha, const ModelConfig& config) {
  add_values(sha, config.inv_freq);
  add_value(sha, config.rope_amplitude);
  add_value(sha, config.softmax_scale);
  add_value(sha, config.indexer_scale);
  add_value(sha, config.lora_norm_eps);
  for (const LayerDescriptor& layer : config.layers) {
    add_value(sha, layer.ffn);
    add_value(sha, layer.indexer);
    add_value(sha, layer.rope_layout);
    add_value(sha, layer.indexer_rope_layout);
  }
}

}  // namespace

Result<Digest> cache_identity(const fs::path& model_dir, const ModelConfig& config,
                              const CacheLayout& layout, std::string_view isa) {
  Sha256 sha;
  sha.add(kVersion);
  sha.add(isa);
  add_layout(sha, layout);
  add_config(sha, config);
  std::vector<fs::path> files{model_dir / "config.json"};
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(model_dir, error)) {
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
  }
  std::sort(files.begin() + 1, files.end());
  for (const fs::path& file : files) {
    PONDER_CHECK(add_file(sha, file));
  }
  return sha.finish();
}

}  // namespace ponder::engine
