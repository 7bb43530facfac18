#include "tests/engine/support.h"

#include <unistd.h>
#include <zlib.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "engine/detail/pre_tokenizer.h"

namespace ponder::engine::testing {

using nlohmann::json;
namespace fs = std::filesystem;

TempDir::TempDir() {
  std::string pattern = (fs::temp_directory_path() / "ponder-test-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary directory");
  path_ = pattern;
}

TempDir::~TempDir() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::uint64_t test_seed() {
  const char* seed = std::getenv("PONDER_TEST_SEED");
  return seed != nullptr ? std::strtoull(seed, nullptr, 10) : 20251;
}

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path.string());
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_file(const fs::path& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!file.flush()) throw std::runtime_error("cannot write " + path.string());
}

std::string read_gzip(const fs::path& path) {
  gzFile file = gzopen(path.c_str(), "rb");
  if (file == nullptr) throw std::runtime_error("cannot read " + path.string());
  std::string out;
  std::string block(1 << 16, '\0');
  int length = 0;
  while ((length = gzread(file, block.data(), static_cast<unsigned>(block.size()))) > 0) {
    out.append(block, 0, static_cast<std::size_t>(length));
  }
  gzclose(file);
  if (length < 0) throw std::runtime_error("damaged " + path.string());
  return out;
}

std::string tiny_config_json() { return read_file("tests/engine/data/tiny_config.json"); }

ModelConfig tiny_config() {
  auto config = parse_config(tiny_config_json());
  if (!config) throw std::runtime_error(config.error().message);
  return *std::move(config);
}

std::string safetensors_bytes(std::string_view header, std::string_view data) {
  std::string out;
  for (int i = 0; i < 8; ++i) out += static_cast<char>(header.size() >> (8 * i) & 0xFF);
  return out.append(header).append(data);
}

std::string safetensors_bytes(const std::vector<StoredTensor>& tensors) {
  json header = json::object();
  std::string data;
  for (const StoredTensor& tensor : tensors) {
    header[tensor.name] = {{"dtype", tensor.dtype},
                           {"shape", tensor.shape},
                           {"data_offsets", {data.size(), data.size() + tensor.bytes.size()}}};
    data += tensor.bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return safetensors_bytes(text, data);
}

namespace {

/// The byte-level name of a byte.
std::string byte_name(int byte) {
  const auto is_printable = [](int b) {
    return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b != 0xAD);
  };
  int code_point = byte;
  if (!is_printable(byte)) {
    code_point = 0x100;
    for (int b = 0; b < byte; ++b) code_point += is_printable(b) ? 0 : 1;
  }
  if (code_point < 0x80) return {static_cast<char>(code_point)};
  return {static_cast<char>(0xC0 | code_point >> 6), static_cast<char>(0x80 | (code_point & 0x3F))};
}

json split_by(std::string_view pattern) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", std::string(pattern)}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

json added(int id, const std::string& content, bool is_special) {
  return {{"id", id},        {"content", content},        {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", !is_special}, {"special", is_special}};
}

}  // namespace

json small_tokenizer_json() {
  json vocab = {{"<begin>", 0}, {"<end>", 1}, {"<pad>", 2}};
  for (int byte = 0; byte < 256; ++byte) vocab[byte_name(byte)] = 3 + byte;
  const std::string space = byte_name(' ');
  json merges = json::array();
  int next_id = 259;
  const auto merge = [&](const std::string& left, const std::string& right) {
    merges.push_back(left + " " + right);
    vocab[left + right] = next_id++;
  };
  merge("a", "b");
  merge("b", "a");
  merge("ab", "a");
  merge("ab", "ab");
  merge("t", "h");
  merge("th", "e");
  merge(space, "the");
  merge(byte_name(0xC3), byte_name(0xA9));
  merge("a", "a");
  const json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  json tokens = {added(0, "<begin>", true), added(1, "<end>", true), added(2, "<pad>", true)};
  for (const char* text : {"<think>", "</think>", "<thinking>"}) {
    tokens.push_back(added(next_id++, text, false));
  }
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", tokens},
          {"normalizer", {{"type", "Sequence"}, {"normalizers", json::array()}}},
          {"pre_tokenizer",
           {{"type", "Sequence"},
            {"pretokenizers",
             {split_by(detail::kDigitPattern), split_by(detail::kCjkPattern),
              split_by(detail::kWordPattern), byte_level}}}},
          {"post_processor", {{"type", "ByteLevel"}}},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"byte_fallback", false},
            {"vocab", vocab},
            {"merges", merges}}}};
}

}  // namespace ponder::engine::testing
