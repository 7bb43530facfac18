#include "base/assert.h"

#include <cstdio>
#include <cstdlib>

namespace ponder::detail {

void assertion_failed(const char* condition, const char* file, int line) noexcept {
  std::fprintf(stderr, "ponder: bug: %s:%d: assertion failed: %s\n", file, line, condition);
  std::abort();
}

}  // namespace ponder::detail
