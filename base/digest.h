#pragma once

#include <string>
#include <string_view>

namespace ponder {

/// SHA-256 of the bytes, in hex.
std::string sha256_hex(std::string_view bytes);

}  // namespace ponder
