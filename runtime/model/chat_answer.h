#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "context/json.h"
#include "runtime/model/model_client.h"

/// The answers of the OpenAI chat-completions protocol, as bytes: no sockets here.
namespace ponder::runtime {

/// The words of an error's body: the message in whichever envelope it has, else the text itself,
/// on one line and cut.
std::string error_words(std::string_view body);

/// Puts a streamed (or whole) answer together.
///
/// Accepts reasoning as `reasoning_content` or `reasoning`; calls in fragments or whole, with or
/// without an index, which may begin anywhere or be the same for all; arguments as text or as an
/// object. One object for each answer.
class ChatAnswer {
 public:
  explicit ChatAnswer(const ModelSink* sink) : sink_(sink) {}

  /// One `data:` of the stream. `unavailable` when it is no JSON or reports an error,
  /// `invalid_argument` when that error is the request's fault.
  Status take_chunk(std::string_view data);
  /// The whole answer of an endpoint that does not stream.
  Status take_whole(std::string_view body);
  /// The completion; `unavailable` when the answer has not come to its end, or the endpoint broke
  /// it off. A call whose arguments are no JSON object has a fault.
  Result<Completion> finish() const;
  bool has_begun() const { return has_begun_; }
  /// What it has cost so far, as far as is known: an endpoint that has not said it yet has
  /// generated a token at least for each piece that came.
  Usage usage_so_far() const;
  /// The reason to finish has come; at most the usage is missing.
  bool has_ended() const { return !finish_reason_.empty(); }

 private:
  Status take_choice(const context::Json& choice, const char* part);
  void take_message(const context::Json& message);
  void take_call(const context::Json& call);
  std::size_t place_of(const context::Json& call, const std::string& id,
                       const std::string& name) const;
  void take_usage(const context::Json& usage);
  void tell(ModelDelta::Kind kind, std::string text) const;

  const ModelSink* sink_;
  Completion completion_;
  std::vector<std::uint32_t> indices_;  // of each call, as the endpoint counts
  std::uint64_t pieces_ = 0;            // of text, whatever kind
  std::string finish_reason_;
  bool is_done_ = false;  // the stream said so
  bool has_begun_ = false;
};

}  // namespace ponder::runtime
