#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace ponder::http {

/// Server-sent events out of bytes that come in any pieces, as the HTML standard has them (section
/// 9.2.6). Comments and names of events are passed over.
class SseReader {
 public:
  using Sink = std::function<Status(std::string_view data)>;
  explicit SseReader(std::size_t event_bytes_max) : event_bytes_max_(event_bytes_max) {}

  /// Hands on each event that these bytes complete. `exhausted` when one is too long; an error of
  /// the sink ends the reading and is given back.
  Status feed(std::string_view bytes, const Sink& sink);

  /// The id of the latest event that had one: where a server may be asked to go on. Empty: none.
  const std::string& last_event_id() const { return last_event_id_; }
  /// How long the server wants a client to wait before it connects again.
  std::optional<std::chrono::milliseconds> retry() const { return retry_; }

 private:
  void take_field(std::string_view name, std::string_view value);
  Status take_line(const Sink& sink);
  std::size_t event_bytes_max_;
  std::string line_;
  std::string data_;
  bool has_data_ = false;
  std::string id_;  // of the event that is being read
  std::string last_event_id_;
  std::optional<std::chrono::milliseconds> retry_;
  bool is_first_line_ = true;  // which may begin with a byte order mark
  bool last_was_cr_ = false;   // so that "\r\n", also when split, ends one line and not two
};

}  // namespace ponder::http
