#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "context/json.h"
#include "runtime/model/model_client.h"

/// The OpenAI chat-completions protocol, as bytes: no sockets here.
namespace ponder::runtime {

/// The body of POST /chat/completions. Reasoning is sent back for the running turn only; live
/// values stand as `enum` in the schemas of their tools. Fails when a tool's parameters are no JSON
/// text.
Result<std::string> chat_request_body(const ModelRequest& request, const std::string& model);

/// Puts a streamed (or whole) answer together.
///
/// Accepts reasoning as `reasoning_content` or `reasoning`, calls in fragments or whole, with or
/// without an index, and arguments as text or as an object. One object for each answer.
class ChatAnswer {
 public:
  explicit ChatAnswer(const ModelSink* sink) : sink_(sink) {}

  /// One `data:` of the stream. `unavailable` when it is no JSON or reports an error.
  Status take_chunk(std::string_view data);
  /// The whole answer of an endpoint that does not stream.
  Status take_whole(std::string_view body);
  /// The completion; `unavailable` when the answer has not come to its end. A call whose arguments
  /// are no JSON object has a fault.
  Result<Completion> finish() const;
  bool has_begun() const { return has_begun_; }

 private:
  Status take_choice(const context::Json& choice, const char* part);
  void take_message(const context::Json& message);
  void take_call(const context::Json& call);
  void take_usage(const context::Json& usage);
  void tell(ModelDelta::Kind kind, std::string text) const;

  const ModelSink* sink_;
  Completion completion_;
  std::string finish_reason_;
  bool is_done_ = false;  // the stream said so
  bool has_begun_ = false;
};

}  // namespace ponder::runtime
