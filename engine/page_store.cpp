#include "engine/page_store.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <optional>
#include <utility>
#include <vector>

namespace ponder::engine {
namespace {

namespace fs = std::filesystem;
using detail::Digest;
using detail::Sha256;

/// Raised whenever the file's form changes, or what kernels put into a row.
constexpr std::string_view kMagic = "ponder cache page 1\n";
constexpr const char* kSuffix = ".page";
constexpr const char* kTemporary = ".writing";

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

std::optional<Digest> digest_of(std::string_view hex) {
  Digest digest;
  if (hex.size() != 2 * digest.size()) return std::nullopt;
  constexpr std::string_view kDigits = "0123456789abcdef";
  for (std::size_t i = 0; i < digest.size(); ++i) {
    const auto high = kDigits.find(hex[2 * i]);
    const auto low = kDigits.find(hex[2 * i + 1]);
    if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
    digest[i] = static_cast<std::uint8_t>(high << 4 | low);
  }
  return digest;
}

std::string_view text_of(const Digest& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

Digest checksum_of(std::string_view header, std::string_view page) {
  Sha256 sha;
  sha.add(header);
  sha.add(page);
  return sha.finish();
}

}  // namespace

Result<Digest> cache_identity(const fs::path& model_dir, const ModelConfig& config,
                              const CacheLayout& layout, std::string_view isa) {
  Sha256 sha;
  sha.add(kMagic);
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

std::size_t PageStore::KeyHash::operator()(const Key& key) const noexcept {
  std::size_t hash = 0;
  std::memcpy(&hash, key.data(), sizeof hash);
  return hash;
}

PageStore::PageStore(fs::path dir, std::uint64_t bytes_max, Digest identity, std::size_t page_bytes)
    : dir_(std::move(dir)), bytes_max_(bytes_max), identity_(identity), page_bytes_(page_bytes) {}

Result<std::unique_ptr<PageStore>> PageStore::open(fs::path dir, std::uint64_t bytes_max,
                                                   Digest identity, std::size_t page_bytes) {
  std::unique_ptr<PageStore> store(new PageStore(std::move(dir), bytes_max, identity, page_bytes));
  PONDER_CHECK(store->scan());
  return store;
}

/// Files of any identity count: they share the limit.
Status PageStore::scan() {
  std::error_code error;
  fs::create_directories(dir_, error);
  if (!error) fs::permissions(dir_, fs::perms::owner_all, error);
  std::vector<std::pair<fs::file_time_type, fs::directory_entry>> found;
  for (auto it = fs::directory_iterator(dir_, error); !error && it != fs::directory_iterator();
       it.increment(error)) {
    if (it->path().extension() == kTemporary) fs::remove(it->path(), error);
    if (it->path().extension() != kSuffix || !it->is_regular_file(error)) continue;
    found.emplace_back(it->last_write_time(error), *it);
  }
  if (error) {
    return fail(Errc::unavailable, fmt::format("{}: {}", dir_.string(), error.message()));
  }
  std::sort(found.begin(), found.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [time, entry] : found) {
    const auto key = digest_of(entry.path().stem().string());
    if (key) add(*key, entry.file_size(error));
  }
  return {};
}

PageStore::Key PageStore::child(const Key& parent, std::span<const TokenId> tokens) {
  Sha256 sha;
  sha.add(text_of(parent));
  sha.add(std::as_bytes(tokens));
  return sha.finish();
}

fs::path PageStore::path_of(const Key& key) const { return dir_ / (detail::hex(key) + kSuffix); }

std::string PageStore::header_of(const Key& key, std::span<const TokenId> tokens) const {
  const auto tokens_bytes = std::as_bytes(tokens);
  std::string header(kMagic);
  header.append(text_of(identity_)).append(text_of(key));
  header.append(fmt::format("{:16}", page_bytes_));
  header.append(reinterpret_cast<const char*>(tokens_bytes.data()), tokens_bytes.size());
  return header;
}

void PageStore::write(const Key& key, std::span<const TokenId> tokens, const std::byte* page) {
  if (contains(key)) return;
  const std::string header = header_of(key, tokens);
  const std::string_view rows(reinterpret_cast<const char*>(page), page_bytes_);
  const Digest checksum = checksum_of(header, rows);
  const std::uint64_t num_bytes = header.size() + rows.size() + checksum.size();
  if (num_bytes > bytes_max_) return;
  const fs::path temporary = dir_ / fmt::format("{}-{}{}", getpid(), ++num_temporary_, kTemporary);
  std::ofstream file(temporary, std::ios::binary);
  std::error_code error;
  fs::permissions(temporary, fs::perms::owner_read | fs::perms::owner_write, error);
  file << header << rows << text_of(checksum);
  file.close();
  if (file && !error) fs::rename(temporary, path_of(key), error);
  if (!file || error) {
    ++counters_.writes_failed;
    fs::remove(temporary, error);
    return;
  }
  ++counters_.pages_written;
  add(key, num_bytes);
}

bool PageStore::read(const Key& key, std::span<const TokenId> tokens, std::byte* page) {
  const auto known = files_.find(key);
  if (known == files_.end()) return false;
  const std::string wanted = header_of(key, tokens);
  std::ifstream file(path_of(key), std::ios::binary);
  std::string header(wanted.size(), '\0');
  Digest checksum{};
  file.read(header.data(), static_cast<std::streamsize>(header.size()));
  file.read(reinterpret_cast<char*>(page), static_cast<std::streamsize>(page_bytes_));
  file.read(reinterpret_cast<char*>(checksum.data()), checksum.size());
  const bool is_whole = file && file.peek() == std::ifstream::traits_type::eof();
  const std::string_view rows(reinterpret_cast<const char*>(page), page_bytes_);
  if (!is_whole || header != wanted || checksum != checksum_of(header, rows)) {
    ++counters_.pages_refused;
    remove(key);
    return false;
  }
  ++counters_.pages_read;
  used_.splice(used_.end(), used_, known->second.place);
  std::error_code ignored;
  fs::last_write_time(path_of(key), fs::file_time_type::clock::now(), ignored);
  return true;
}

void PageStore::add(const Key& key, std::uint64_t bytes) {
  files_[key] = {used_.insert(used_.end(), key), bytes};
  counters_.bytes += bytes;
  while (counters_.bytes > bytes_max_) remove(Key(used_.front()));
}

void PageStore::remove(const Key& key) {
  const auto it = files_.find(key);
  counters_.bytes -= it->second.bytes;
  used_.erase(it->second.place);
  files_.erase(it);
  std::error_code ignored;
  fs::remove(path_of(key), ignored);
}

}  // namespace ponder::engine
