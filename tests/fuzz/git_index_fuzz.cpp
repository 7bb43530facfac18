#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tools/files/tracked_files.h"

/// The index of a stranger's repository.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto tracked = ponder::tools::TrackedFiles::parse(bytes);
  if (!tracked) return 0;
  (void)tracked->contains(bytes);
  (void)tracked->contains_below(bytes);
  return 0;
}
