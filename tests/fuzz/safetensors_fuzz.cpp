#include <cstdint>
#include <cstdlib>
#include <span>

#include "engine/safetensors.h"

/// Any bytes as a safetensors file: refused, or every tensor can be read to its end.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto tensors = ponder::engine::parse_safetensors(std::as_bytes(std::span(data, size)));
  if (!tensors) return 0;
  unsigned sum = 0;
  for (const auto& tensor : *tensors) {
    for (std::size_t i = 0; i < tensor.num_bytes; ++i) {
      sum += std::to_integer<unsigned>(tensor.data[i]);
    }
  }
  return sum == 0xFFFFFFFF ? -1 : 0;  // uses the sum, so that the reads stay
}
