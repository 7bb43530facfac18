#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <optional>

#include "base/async/task_group.h"
#include "runtime/agent/agent.h"
#include "runtime/cli/desk.h"
#include "runtime/cli/line_source.h"

namespace ponder::cli {

/// The person at the terminal of a command that takes no lines but answers to questions: `/allow`,
/// `/deny` and `/answer`. Without a terminal there is nobody: calls that need a word are denied,
/// and what calls ask is `unavailable`.
///
/// Thread: that of `io`. Lifetime: after begin() until close() has been awaited.
class DeskLines {
 public:
  /// Whether the program runs at a terminal.
  static bool is_person_there();
  /// `is_quiet`: the output is not for people.
  DeskLines(boost::asio::io_context& io, Output& output, bool is_quiet);

  /// Where an agent asks; nullptr without a person.
  Desk* desk() { return lines_ ? &desk_ : nullptr; }
  /// Starts reading.
  void begin();
  /// Stops reading.
  boost::asio::awaitable<void> close();

 private:
  boost::asio::awaitable<void> listen();

  Desk desk_;
  TaskGroup listener_;
  std::optional<LineSource> lines_;  // none: nobody is there
};

}  // namespace ponder::cli
