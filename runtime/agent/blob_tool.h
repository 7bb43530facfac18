#pragma once

#include <string>
#include <vector>

#include "runtime/session/session_state.h"
#include "runtime/session/session_store.h"
#include "tools/tool.h"

namespace ponder::runtime {

/// What the model is told of `BlobTool`.
const context::ToolSpec& blob_tool_spec();

/// `read_blob`: gives the model what was moved out of its context, or never fit, a part at a time.
///
/// Without a hash it lists what there is. A session reads its own blobs only.
/// Lifetime: state and store outlive it. Thread: the session's executor.
class BlobTool final : public tools::Tool {
 public:
  BlobTool(const SessionState& state, const SessionStore& store);
  const context::ToolSpec& spec() const override { return blob_tool_spec(); }
  tools::Effect effect() const override { return tools::Effect::pure; }
  const std::vector<std::string>& capabilities() const override { return none_; }
  boost::asio::awaitable<Result<tools::ToolOutput>> invoke(std::string arguments,
                                                           tools::ToolContext context) override;

 private:
  /// What was moved out of this session under a hash that begins so; nullptr when nothing was.
  const BlobRef* find(const std::string& hash) const;

  const SessionState* state_;
  const SessionStore* store_;
  std::vector<std::string> none_;
};

}  // namespace ponder::runtime
