#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "engine/checkpoint.h"
#include "engine/detail/fault_list.h"
#include "engine/detail/file_error.h"
#include "engine/detail/json_input.h"

/// Finding and opening the files of a checkpoint.
namespace ponder::engine {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr std::string_view kIndexName = "model.safetensors.index.json";
constexpr std::string_view kSingleName = "model.safetensors";

constexpr std::size_t kNameBytesMax = 1024;  // messages repeat names

/// What the index says: file name -> the tensors wanted from it, sorted.
using ShardPlan = std::map<std::string, std::vector<std::string>>;

Result<ShardPlan> read_index(const fs::path& index) {
  const auto damaged = [&](const std::string& why) {
    return detail::fail_in_file(index, Error(Errc::corrupt, why));
  };
  PONDER_TRY(const MappedFile file, MappedFile::open(index));
  const auto bytes = file.bytes();
  auto parsed = detail::parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  if (!parsed) return detail::fail_in_file(index, parsed.error());
  const json& root = *parsed;
  if (!root.is_object() || !root.contains("weight_map") || !root["weight_map"].is_object()) {
    return damaged("has no weight_map object");
  }
  if (root["weight_map"].empty()) return damaged("weight_map names no tensor");
  ShardPlan plan;
  for (const auto& [tensor, shard] : root["weight_map"].items()) {
    if (tensor.size() > kNameBytesMax) {
      return damaged(fmt::format("a tensor's name has {} bytes: {}", tensor.size(),
                                 detail::brief(json(tensor))));
    }
    // A shard lies beside its index: anything else could read any file of this machine.
    if (!shard.is_string() || shard.get_ref<const std::string&>().size() > kNameBytesMax ||
        fs::path(shard.get<std::string>()).has_parent_path()) {
      return damaged(fmt::format("{} lies in {}, which is no file beside the index", tensor,
                                 detail::brief(shard)));
    }
    plan[shard.get<std::string>()].push_back(tensor);
  }
  return plan;
}

}  // namespace

Result<Checkpoint> Checkpoint::open(const fs::path& dir) {
  return open(dir, DataPresence::required);
}

Result<Checkpoint> Checkpoint::open_headers(const fs::path& dir) {
  return open(dir, DataPresence::optional);
}

Result<Checkpoint> Checkpoint::open(const fs::path& dir, DataPresence presence) {
  std::error_code ignored;
  if (!fs::is_directory(dir, ignored)) {
    return fail(Errc::not_found, dir.string() + ": no such model directory");
  }
  Checkpoint checkpoint;
  const fs::path index = dir / kIndexName;
  const fs::path single = dir / kSingleName;
  if (fs::exists(index, ignored)) {
    PONDER_CHECK(checkpoint.add_shards(dir, index, presence));
  } else if (fs::exists(single, ignored)) {
    PONDER_CHECK(checkpoint.add_file(single, presence));
  } else {
    return fail(Errc::not_found, fmt::format("{}: holds neither {} nor {}; point to the folder "
                                             "of a downloaded or exported model",
                                             dir.string(), kSingleName, kIndexName));
  }
  PONDER_CHECK(checkpoint.add_fused_experts());
  PONDER_CHECK(checkpoint.finish());
  return checkpoint;
}

Status Checkpoint::add_file(const fs::path& path, DataPresence presence) {
  PONDER_TRY(MappedFile file, MappedFile::open(path));
  auto tensors = parse_safetensors(file.bytes(), presence);
  if (!tensors) return detail::fail_in_file(path, std::move(tensors).error());
  const auto file_idx = static_cast<std::uint32_t>(files_.size());
  for (TensorView& tensor : *tensors) {
    tensor.file_idx = file_idx;
    tensors_.push_back(std::move(tensor));
  }
  files_.push_back(std::move(file));
  paths_.push_back(path);
  return {};
}

Status Checkpoint::add_shards(const fs::path& dir, const fs::path& index, DataPresence presence) {
  PONDER_TRY(const ShardPlan plan, read_index(index));
  detail::FaultList faults;
  std::map<std::string, std::string> strays;  // tensors that the index wants from another file
  std::vector<std::pair<std::string, std::string>> missing;  // tensor, the file that lacks it
  for (const auto& [shard, wanted] : plan) {
    const std::size_t first = tensors_.size();
    if (Status added = add_file(dir / shard, presence); !added) {
      faults.add(added.error().message);
      continue;
    }
    std::vector<std::string> found;
    // Only what the index assigns to this shard counts, so that no name can come from two files.
    const auto is_stray = [&](const TensorView& tensor) {
      if (std::ranges::binary_search(wanted, tensor.name)) {
        found.push_back(tensor.name);
        return false;
      }
      strays[tensor.name] = shard;
      return true;
    };
    const auto begin = tensors_.begin() + static_cast<std::ptrdiff_t>(first);
    tensors_.erase(std::remove_if(begin, tensors_.end(), is_stray), tensors_.end());
    std::ranges::sort(found);
    for (const std::string& name : wanted) {
      if (!std::ranges::binary_search(found, name)) missing.emplace_back(name, shard);
    }
  }
  for (const auto& [name, shard] : missing) {
    const auto stray = strays.find(name);
    faults.add(fmt::format("tensor {}: the index places it in {}, which does not have it{}", name,
                           shard, stray == strays.end() ? "" : "; it lies in " + stray->second));
  }
  if (faults.size() == 0) return {};
  return fail_in(index.string(),
                 faults.status(Errc::corrupt, "download these files again").error());
}

}  // namespace ponder::engine
