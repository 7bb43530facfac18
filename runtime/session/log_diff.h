#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "runtime/session/event.h"

/// Where two logs part. Times, cache hits and where a session was forked do not count as
/// differences: they do not change what the model sees.
namespace ponder::runtime {

struct LogDifference {
  std::uint64_t events_equal = 0;  // from the beginning on, less session_forked
  bool is_equal = false;           // to the end of both
  /// The first event of each that differs; none where a log has ended.
  std::optional<Record> left;
  std::optional<Record> right;
  /// Of two completions: the first sampled id that differs.
  std::optional<std::size_t> token;
  std::uint64_t left_more = 0;  // events from there on
  std::uint64_t right_more = 0;
};

LogDifference diff_logs(std::span<const Record> left, std::span<const Record> right);

/// The place of the first element that differs, or where the shorter one ends.
std::size_t first_difference(std::span<const std::uint32_t> a, std::span<const std::uint32_t> b);

}  // namespace ponder::runtime
