#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

struct z_stream_s;

namespace ponder::http {

/// Undoes a Content-Encoding as the bytes come: gzip (also several members), deflate (with zlib's
/// wrapper, as it should be, and without, as some servers send it), identity. Memory is bounded
/// whatever the bytes expand to: they are handed on in pieces, and the sink says when it is enough.
class ContentDecoder {
 public:
  using Sink = std::function<Status(std::string_view piece)>;

  /// `invalid_argument` for an encoding that we do not know, or several on top of each other.
  static Result<ContentDecoder> create(std::string_view content_encoding);

  /// `corrupt` when the bytes are not what they claim to be; an error of the sink is given back.
  Status feed(std::string_view bytes, const Sink& sink);
  /// After the last bytes: `unavailable` when the end is missing.
  Status finish() const;

 private:
  enum class Kind { identity, gzip, deflate };
  struct End {
    void operator()(z_stream_s* stream) const noexcept;
  };
  explicit ContentDecoder(Kind kind) : kind_(kind) {}
  Status begin(std::string_view bytes);
  Status inflate_all(std::string_view bytes, const Sink& sink);

  Kind kind_;
  std::unique_ptr<z_stream_s, End> stream_;
  std::string held_;  // the first bytes, until they say which deflate it is
  bool has_ended_ = false;
};

}  // namespace ponder::http
