#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/checkpoint.h"
#include "engine/config.h"
#include "engine/expert_plan.h"
#include "engine/load_plan.h"
#include "engine/machine_memory.h"
#include "engine/model.h"

/// What a model consists of and what it takes to run it, from its configuration and, where there
/// are any, the headers of its files. Reads no weights.
namespace ponder::engine {

/// Parameters and the bytes in which they are stored, scales included.
struct Amount {
  std::uint64_t parameters = 0;  // scales not counted
  std::uint64_t bytes = 0;

  Amount& operator+=(const Amount& other) {
    parameters += other.parameters;
    bytes += other.bytes;
    return *this;
  }
};

/// The parts of one layer.
struct LayerAmounts {
  Amount attention;  // the projections
  Amount indexer;
  Amount norms;  // of the layer and its low-rank projections
  Amount ffn;    // dense layers
  Amount router;
  Amount shared_experts;
  Amount routed_experts;
  Amount mtp;  // eh_proj and the norms of an MTP layer

  Amount total() const;
};

struct ModelAmounts {
  std::vector<LayerAmounts> layers;  // main layers, then MTP layers
  Amount embedding;
  Amount lm_head;  // nothing where it is the embedding
  Amount norm;
  Amount main;      // without MTP layers
  Amount mtp;       // the MTP layers without their copies of embedding and head
  Amount stored;    // elements, scales and copies included, of the whole checkpoint
  Amount resident;  // main model without its routed experts
  Amount active;    // of the main model for one token, without embedding and selection biases
  std::size_t tensors = 0;
};

/// Cache bytes for one token in all layers in the layouts of public kernels.
struct CacheBytesPerToken {
  std::uint64_t bf16 = 0;           // bf16 latents and index keys
  std::uint64_t bf16_fp8_keys = 0;  // bf16 latents, FP8 index keys
  std::uint64_t fp8 = 0;            // FP8 latents (656 bytes) and index keys (132)
};

enum class Verdict {
  runs,
  runs_from_disk,  // routed experts do not fit into memory and are read again and again
  does_not_run,
};

/// What running on the CPU takes, for one context of `context_tokens`.
struct MemoryNeed {
  std::uint64_t made_bytes = 0;             // LoadPlan::made_bytes(): kept from the start on
  std::uint64_t in_place_bytes = 0;         // of weights, read from their files again and again
  std::uint64_t in_place_expert_bytes = 0;  // of them of routed experts
  std::uint64_t cache_bytes = 0;
  Verdict verdict = Verdict::does_not_run;
  std::string reason;  // with the numbers
};

/// `checkpoint` may be nullptr: then the amounts follow from the configuration alone (FP8 where it
/// declares FP8, else BF16).
ModelAmounts model_amounts(const ModelConfig& config, const Checkpoint* checkpoint);

/// The layers are the main ones, or all with MTP.
CacheBytesPerToken cache_bytes_per_token(const ModelConfig& config, bool with_mtp);

/// The pages of a model that is loaded so. `checkpoint` may be nullptr: then a cache_dtype of
/// `automatic` is chosen for weights that are not F32, as model_amounts() counts them.
CacheLayout cache_layout(const ModelConfig& config, const Checkpoint* checkpoint,
                         const ModelOptions& how);

/// What this engine's cache takes for one token in these layers, padding included.
std::uint64_t cache_bytes_used(const CacheLayout& layout);

/// `cache_bytes` for each token of the context. Weights are loaded as planned, on a machine of
/// `total_bytes` of memory.
MemoryNeed memory_need(const ModelConfig& config, const LoadPlan& plan,
                       std::uint64_t context_tokens, std::uint64_t cache_bytes,
                       std::uint64_t total_bytes);

/// What a model that is loaded so takes of a GPU's memory, at most a few per cent too much: what is
/// made of kv_b and the router at the start is counted beside what it is made of. `cache` is its
/// cache_layout().
DeviceNeed device_need(const ModelConfig& config, const ModelAmounts& amounts,
                       const CacheLayout& cache, const ModelOptions& how);

/// kv_b as BF16 and the router as F32, which loading makes; with `has_drafts` of the MTP layer too.
std::uint64_t unfolded_bytes(const ModelConfig& config, bool has_drafts = false);

}  // namespace ponder::engine
