#pragma once

#include <zlib.h>

#include <string>
#include <string_view>

#include "base/assert.h"

namespace ponder::http::test {

// zlib's windowBits: its own wrapper, gzip's, none.
inline constexpr int kZlib = 15;
inline constexpr int kGzip = 15 + 16;
inline constexpr int kRaw = -15;

inline std::string compressed(std::string_view text, int window) {
  z_stream stream{};
  PONDER_ASSERT(deflateInit2(&stream, 9, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  PONDER_ASSERT(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

}  // namespace ponder::http::test
