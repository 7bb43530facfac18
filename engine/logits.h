#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/engine.h"
#include "engine/model.h"
#include "engine/tokenizer.h"

namespace ponder::engine {

struct LogitsResult {
  std::vector<float> logits;  // [vocab_size] of the last token
  RowTrace trace;             // of the last token; empty unless asked for
};

/// A model without the machinery around it: tokens in, the last row's logits out. What `ponder
/// logits` shows and what tests compare with other implementations.
///
/// Thread: none; one call at a time.
class LogitsRunner {
 public:
  /// Needs config.json and the weights, no tokenizer. Fails as Model::load does.
  static Result<std::unique_ptr<LogitsRunner>> open(const std::filesystem::path& model_dir,
                                                    const ModelOptions& options);
  static Result<std::unique_ptr<LogitsRunner>> open(const std::filesystem::path& model_dir,
                                                    ModelConfig config,
                                                    const ModelOptions& options);

  /// As an engine with these options has it: on the device that it would choose, or on the CPU in
  /// its place, with the same experts on it, so that logits have the bits of a run; told to
  /// options.on_notice. Room is kept for the cache of such an engine; more tokens than that holds
  /// may find none. The folder for pages means nothing here.
  static Result<std::unique_ptr<LogitsRunner>> open_as_engine(
      const std::filesystem::path& model_dir, const EngineOptions& options);

  const ModelConfig& config() const { return model_->config(); }
  const char* isa_name() const { return model_->isa_name(); }
  std::string expert_placement() const { return model_->expert_placement(); }
  /// See Model::force.
  void force(const ForcedChoices* choices) { model_->force(choices); }

  /// Computes the tokens from scratch, `chunk_rows` at a time (0: as many as a batch holds); the
  /// result does not depend on it. Fails with invalid_argument for no tokens, too many, or one out
  /// of range.
  Result<LogitsResult> run(std::span<const TokenId> tokens, bool with_trace,
                           std::size_t chunk_rows = 0);

 private:
  explicit LogitsRunner(std::unique_ptr<Model> model) : model_(std::move(model)) {}
  std::unique_ptr<Model> model_;
};

}  // namespace ponder::engine
