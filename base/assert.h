#pragma once

/// Assertions stay on in release: what they guard is a bug, and a wrong answer is worse than none.
namespace ponder::detail {
[[noreturn]] void assertion_failed(const char* condition, const char* file, int line) noexcept;
}

#define PONDER_ASSERT(condition)                                                  \
  do {                                                                            \
    if (!(condition)) [[unlikely]]                                                \
      ::ponder::detail::assertion_failed(#condition, __FILE__, __LINE__);         \
  } while (false)
