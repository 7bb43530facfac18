#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/model/model_client.h"

namespace ponder::runtime {

/// One answer of a script.
struct ScriptedStep {
  ScriptedStep() = default;
  explicit ScriptedStep(Completion completion) : completion(std::move(completion)) {}
  explicit ScriptedStep(Error error) : error(std::move(error)) {}
  static ScriptedStep hang() {
    ScriptedStep step;
    step.hangs = true;
    return step;
  }
  std::optional<Completion> completion;
  std::optional<Error> error;
  bool hangs = false;  // waits until it is cancelled
  std::string when;    // only where a message of a user or a tool holds this; empty: anywhere
};

/// A model that says what a script says: for demonstrations without a model, and for tests. Each
/// request takes the first step left whose `when` fits, so that sessions side by side can each have
/// steps of their own.
///
/// It is strict about what it is asked: the system message comes first, roles alternate as a chat
/// does, and every tool call has exactly one result with its id, in call order. Anything else ends
/// the completion with invalid_argument, as a careful endpoint would.
class ScriptedModel final : public ModelClient {
 public:
  explicit ScriptedModel(std::vector<ScriptedStep> steps);
  /// One step on each line:
  /// {"when":"..","reasoning":"..","content":"..","calls":[{"name":"..","arguments":{}}]}; all
  /// fields are optional. `invalid_argument` names the line.
  static Result<std::vector<ScriptedStep>> read_script(std::string_view json_lines);

  std::string description() const override { return "script"; }
  std::string family() const override { return family_; }
  std::uint32_t tokens_context_max() const override { return tokens_context_max_; }
  context::TokenizeFn tokenizer() const override { return tokenizer_; }
  /// From now on it has a window, and makes its prompts in `family`'s format.
  void set_window(std::string family, std::uint32_t tokens_context_max,
                  context::TokenizeFn tokenizer);
  boost::asio::awaitable<Result<Completion>> complete(ModelRequest request,
                                                      ModelSink sink) override;

  /// Every request so far, oldest first.
  const std::vector<ModelRequest>& requests() const { return requests_; }
  std::size_t steps_left() const { return steps_.size(); }

 private:
  std::string family_ = "openai";
  std::uint32_t tokens_context_max_ = 0;
  context::TokenizeFn tokenizer_;
  std::deque<ScriptedStep> steps_;
  std::vector<ModelRequest> requests_;
};

/// What a careful endpoint would say to a conversation: nothing, or invalid_argument.
Status check_conversation(const context::Conversation& conversation);

}  // namespace ponder::runtime
