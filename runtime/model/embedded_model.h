#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "context/prompt.h"
#include "engine/engine.h"
#include "runtime/model/model_client.h"

namespace ponder::runtime {

/// The token ids of a request's prompt: what the embedded engine is given, to the token. A pure
/// function of the request and the tokenizer, so that a prompt can be rebuilt from the log.
Result<context::PromptTokens> prompt_tokens(const ModelRequest& request,
                                            const engine::Tokenizer& tokenizer);

/// What the prompt assembly needs of a tokenizer, which outlives it.
context::TokenizeFn tokenize_fn(const engine::Tokenizer& tokenizer);

/// SHA-256 over the ids as little-endian 32-bit numbers, in hex; what ModelCompleted records.
std::string prompt_hash(const std::vector<context::TokenId>& ids);

/// A model that runs in this process, on a thread of its own.
///
/// Several sessions share it: their requests are batched. Tool calls are constrained by a grammar
/// made once for each set of tools.
class EmbeddedModel final : public ModelClient {
 public:
  /// Loads a model directory; errors name the file. An architecture without a chat format is
  /// refused with not_found.
  static Result<std::unique_ptr<EmbeddedModel>> open(const std::filesystem::path& model_dir,
                                                     const engine::EngineOptions& options);
  /// Takes a loaded engine; nobody else may call its step().
  EmbeddedModel(std::unique_ptr<engine::Engine> engine, std::string description,
                const context::ChatFormat& format = context::dsv32());
  /// Requires: no completion is under way.
  ~EmbeddedModel() override;

  std::string description() const override { return description_; }
  std::string family() const override { return std::string(format_->name); }
  std::uint32_t tokens_context_max() const override;
  context::TokenizeFn tokenizer() const override;
  std::string vocabulary() const override { return vocabulary_; }
  boost::asio::awaitable<Result<Completion>> complete(ModelRequest request,
                                                      ModelSink sink) override;
  /// Shadow prefill: while nothing else is to be done, the engine computes what the next user
  /// turn's prompt begins with.
  void expect_user_turn(ModelRequest request) override;
  void expect_results(ModelRequest request) override;

  const engine::Engine& engine() const { return *engine_; }

 private:
  class Generation;  // one request on its way between the two threads
  class Reader;

  Result<engine::GenerationRequest> generation_request(const ModelRequest& request,
                                                       std::vector<context::TokenId> prompt);
  Result<std::shared_ptr<const engine::Grammar>> grammar_for(const ModelRequest& request);
  Result<engine::RequestId> submit(engine::GenerationRequest request,
                                   engine::RequestCallbacks callbacks);
  /// What may come, and how its beginning is found.
  struct Expected {
    ModelRequest request;
    Result<std::vector<context::TokenId>> (*prefix)(const ModelRequest& request,
                                                    const context::TokenizeFn& tokenize);
  };
  void run_engine();
  void expect(Expected expected);
  void prefill(const Expected& expected);

  std::unique_ptr<engine::Engine> engine_;
  std::string description_;
  const context::ChatFormat* format_;
  std::string vocabulary_;
  std::map<std::string, std::shared_ptr<const engine::Grammar>> grammars_;  // by grammar_key

  std::mutex mutex_;  // guards expected_, is_stopping_ and the wait of the engine's thread
  std::condition_variable wake_;
  std::deque<Expected> expected_;  // prompts to get ready for
  bool is_stopping_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace ponder::runtime
