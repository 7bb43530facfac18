#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "engine/config.h"

/// Any text as a config.json: refused, or a config that keeps its promises.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto config = ponder::engine::parse_config({reinterpret_cast<const char*>(data), size});
  if (!config) return 0;
  if (config->layers.size() != config->num_hidden_layers + config->num_nextn_predict_layers)
    abort();
  if (config->inv_freq.size() * 2 != config->qk_rope_head_dim) abort();
  if (config->eos_token_id.empty()) abort();
  return 0;
}
