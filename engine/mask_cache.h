#pragma once

#include <memory>
#include <vector>

#include "engine/grammar_masks.h"
#include "engine/tokenizer.h"

namespace ponder::engine {

/// The masks of the grammars that requests used last, so that those of a tool loop are made once.
///
/// Thread: none; the engine's thread. Lifetime: the tokenizer must outlive it.
class MaskCache {
 public:
  MaskCache(const Tokenizer& tokenizer, std::size_t vocab_size)
      : tokenizer_(&tokenizer), vocab_size_(vocab_size) {}

  /// Shared by the requests that use this grammar, until they have grown large.
  std::shared_ptr<GrammarMasks> masks_for(const std::shared_ptr<const Grammar>& grammar);

 private:
  const Tokenizer* tokenizer_;
  std::size_t vocab_size_;
  std::unique_ptr<GrammarVocabulary> vocabulary_;     // made for the first grammar
  std::vector<std::shared_ptr<GrammarMasks>> masks_;  // the most recently used last
};

}  // namespace ponder::engine
