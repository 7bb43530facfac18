#include "base/http/content_decoder.h"

#include <fmt/format.h>
#include <zlib.h>

#include <array>
#include <boost/beast/core/string.hpp>

namespace ponder::http {
namespace {

// Of windowBits: zlib's own wrapper, gzip's, none.
constexpr int kZlib = 15;
constexpr int kGzip = 15 + 16;
constexpr int kRaw = -15;

bool has_zlib_header(std::string_view bytes) {  // RFC 1950, 2.2
  const auto cmf = static_cast<unsigned char>(bytes[0]);
  const auto flags = static_cast<unsigned char>(bytes[1]);
  return (cmf & 0x0F) == 8 && (cmf * 256 + flags) % 31 == 0;
}

}  // namespace

void ContentDecoder::End::operator()(z_stream_s* stream) const noexcept {
  inflateEnd(stream);
  std::default_delete<z_stream_s>()(stream);
}

Result<ContentDecoder> ContentDecoder::create(std::string_view content_encoding) {
  const auto is = [content_encoding](std::string_view name) {
    return boost::beast::iequals(content_encoding, name);
  };
  if (content_encoding.empty() || is("identity")) return ContentDecoder(Kind::identity);
  if (is("gzip") || is("x-gzip")) return ContentDecoder(Kind::gzip);
  if (is("deflate")) return ContentDecoder(Kind::deflate);
  return fail(Errc::invalid_argument,
              fmt::format("the content encoding {} is not known", content_encoding));
}

Status ContentDecoder::begin(std::string_view bytes) {
  int window = kGzip;
  if (kind_ == Kind::deflate) window = has_zlib_header(bytes) ? kZlib : kRaw;
  auto stream = std::make_unique<z_stream_s>();
  if (inflateInit2(stream.get(), window) != Z_OK) {
    return fail(Errc::internal, "zlib cannot be set up");
  }
  stream_.reset(stream.release());
  return {};
}

Status ContentDecoder::feed(std::string_view bytes, const Sink& sink) {
  if (bytes.empty()) return {};
  if (kind_ == Kind::identity) return sink(bytes);
  if (stream_ != nullptr) return inflate_all(bytes, sink);
  held_ += bytes;
  if (held_.size() < 2) return {};
  PONDER_CHECK(begin(held_));
  const std::string first = std::move(held_);
  return inflate_all(first, sink);
}

Status ContentDecoder::inflate_all(std::string_view bytes, const Sink& sink) {
  std::array<char, 16 * 1024> out;
  stream_->next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream_->avail_in = static_cast<uInt>(bytes.size());
  while (true) {
    if (has_ended_) {
      // Another member of a gzip file; anything else behind the end is passed over.
      const bool is_member =
          kind_ == Kind::gzip && stream_->avail_in > 0 && *stream_->next_in == 0x1F;
      if (!is_member) return {};
      inflateReset(stream_.get());
      has_ended_ = false;
    }
    stream_->next_out = reinterpret_cast<Bytef*>(out.data());
    stream_->avail_out = static_cast<uInt>(out.size());
    const int result = inflate(stream_.get(), Z_NO_FLUSH);
    if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) {
      return fail(Errc::corrupt, "the compressed content is damaged");
    }
    const std::size_t made = out.size() - stream_->avail_out;
    if (made > 0) {
      PONDER_CHECK(sink(std::string_view(out.data(), made)));
    }
    has_ended_ = result == Z_STREAM_END;
    if (!has_ended_ && stream_->avail_out > 0 && stream_->avail_in == 0) return {};
    if (result == Z_BUF_ERROR && made == 0) return {};
  }
}

Status ContentDecoder::finish() const {
  const bool has_begun = stream_ != nullptr || !held_.empty();
  if (kind_ == Kind::identity || !has_begun || has_ended_) return {};
  return fail(Errc::unavailable, "the compressed content ends in the middle");
}

}  // namespace ponder::http
