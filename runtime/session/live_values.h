#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>
#include <vector>

#include "base/clock.h"
#include "context/message.h"

namespace ponder::tools {
class Registry;
}  // namespace ponder::tools

namespace ponder::runtime {

/// The values that a string parameter can have right now. The prompt does not list them: it was
/// written before they were known, and to change it would cost its cached beginning.
struct LiveValues {
  std::string tool;
  std::string parameter;
  std::vector<std::string> values;  // not empty
  bool operator==(const LiveValues&) const = default;
};

/// What tools say about their parameters before a request. Part of the log (ModelStarted), so that
/// what the model was held to can be made again.
struct ToolValues {
  std::vector<LiveValues> values;
  std::vector<std::string> problems;  // one line for each tool or parameter that is left free
  bool operator==(const ToolValues&) const = default;
};

/// Bounds of what tools may say; beyond them a parameter is left free rather than held to a part.
inline constexpr std::size_t kLiveValuesMax = 512;  // of one parameter
inline constexpr std::size_t kLiveValueBytesMax = 256;
inline constexpr std::size_t kLiveBytesMax = 64 * 1024;  // of all together

/// What the tool may say: values of a string parameter of its own that has no `enum`; texts that
/// are UTF-8 and no longer than the bounds. Returns why not; empty when it may.
std::string problem_with(const LiveValues& live, const context::ToolSpec& spec);

/// Whether there is a tool to be asked.
bool can_have_values(const tools::Registry& tools, const std::vector<std::string>& grants);

/// Asks the tools that know, one after the other, as long as the deadline allows. Doubles are taken
/// once. Whatever goes wrong leaves a tool or parameter free and is told in `problems`.
boost::asio::awaitable<ToolValues> ask_for_values(const tools::Registry& tools,
                                                  const std::vector<std::string>& grants,
                                                  const Clock& clock, Deadline deadline);

}  // namespace ponder::runtime
