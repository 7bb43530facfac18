#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "engine/config.h"

/// What the tests of checkpoints and tokenizers share: files to load, and ways to damage them.
namespace ponder::engine::testing {

/// A directory that vanishes with everything in it.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// PONDER_TEST_SEED, or a fixed seed.
std::uint64_t test_seed();

std::string read_file(const std::filesystem::path& path);
void write_file(const std::filesystem::path& path, std::string_view bytes);
/// The contents of a gzip file.
std::string read_gzip(const std::filesystem::path& path);

/// The config of the tiny model, and what it parses to.
std::string tiny_config_json();
ModelConfig tiny_config();

struct StoredTensor {
  std::string name;
  std::string dtype;
  std::vector<std::size_t> shape;
  std::string bytes;
};
/// The bytes of a safetensors file with these tensors.
std::string safetensors_bytes(const std::vector<StoredTensor>& tensors);
/// The same with any header text: length, header, data.
std::string safetensors_bytes(std::string_view header, std::string_view data);

template <class T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

/// A tokenizer.json with DeepSeek's pipeline, the 256 bytes as ids 3 to 258, a few merges, and the
/// added tokens <begin>, <end> and <pad> (ids 0 to 2), <think>, </think> and <thinking>.
nlohmann::json small_tokenizer_json();

}  // namespace ponder::engine::testing
