#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace ponder::http {

/// Server-sent events out of bytes that come in any pieces. Only the data of events is of interest
/// here; comments, names, ids and retry times are passed over.
class SseReader {
 public:
  using Sink = std::function<Status(std::string_view data)>;
  explicit SseReader(std::size_t event_bytes_max) : event_bytes_max_(event_bytes_max) {}

  /// Hands on each event that these bytes complete. `exhausted` when one is too long; an error of
  /// the sink ends the reading and is given back.
  Status feed(std::string_view bytes, const Sink& sink);

 private:
  Status take_line(const Sink& sink);
  std::size_t event_bytes_max_;
  std::string line_;
  std::string data_;
  bool has_data_ = false;
  bool last_was_cr_ = false;  // so that "\r\n", also when split, ends one line and not two
};

}  // namespace ponder::http
