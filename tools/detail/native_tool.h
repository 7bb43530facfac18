#pragma once

#include <atomic>
#include <boost/asio/any_io_executor.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tools/detail/json.h"
#include "tools/tool.h"

namespace ponder::tools {

/// Whoever sets it ends the work soon.
using StopFlag = std::shared_ptr<std::atomic<bool>>;

/// What a native tool does: reads its arguments, which fit its schema, and looks at the flag and
/// the deadline where it can take long. An error is what the model reads.
using NativeWork =
    std::function<Result<std::string>(const Json&, const ToolContext&, const std::atomic<bool>&)>;

/// What a tool says of itself.
struct ToolCard {
  context::ToolSpec spec;
  Effect effect = Effect::irreversible;
  std::vector<std::string> capabilities;
};

/// A tool in C++ that works with files: each call blocks a thread of `pool`.
///
/// Errors of the work are tool output, but for `cancelled` and `deadline`. Lifetime: `pool`
/// outlives every call.
class NativeTool final : public Tool {
 public:
  NativeTool(ToolCard card, boost::asio::any_io_executor pool, NativeWork work)
      : card_(std::move(card)), pool_(std::move(pool)), work_(std::move(work)) {}

  const context::ToolSpec& spec() const override { return card_.spec; }
  Effect effect() const override { return card_.effect; }
  const std::vector<std::string>& capabilities() const override { return card_.capabilities; }
  boost::asio::awaitable<Result<ToolOutput>> invoke(std::string arguments,
                                                    ToolContext context) override;

 private:
  ToolCard card_;
  boost::asio::any_io_executor pool_;
  NativeWork work_;
};

/// The output that a tool's result makes: errors of the tool are text for the model.
Result<ToolOutput> output_of(Result<std::string> result, std::size_t output_kept_max);

}  // namespace ponder::tools
