#pragma once

#include <cstddef>

namespace ponder::kernels::bench {

/// Memory on huge pages where the system grants them, zeroed; lives as long as the program.
std::byte* allocate(std::size_t bytes);

/// The same, filled with bytes from 0x20 to 0x3f: in all types moderate numbers, none denormal.
std::byte* allocate_codes(std::size_t bytes);

}  // namespace ponder::kernels::bench
