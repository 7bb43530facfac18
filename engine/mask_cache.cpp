#include "engine/mask_cache.h"

#include <algorithm>

namespace ponder::engine {
namespace {

constexpr std::size_t kGrammarsKept = 8;

}  // namespace

std::shared_ptr<GrammarMasks> MaskCache::masks_for(const std::shared_ptr<const Grammar>& grammar) {
  const auto known = std::find_if(masks_.begin(), masks_.end(), [&](const auto& masks) {
    return &masks->grammar() == grammar.get();
  });
  if (known != masks_.end() && !(*known)->is_large()) {
    std::rotate(known, known + 1, masks_.end());
    return masks_.back();
  }
  if (known != masks_.end()) masks_.erase(known);
  if (masks_.size() == kGrammarsKept) masks_.erase(masks_.begin());
  if (vocabulary_ == nullptr) {
    vocabulary_ =
        std::make_unique<GrammarVocabulary>(GrammarVocabulary::from(*tokenizer_, vocab_size_));
  }
  return masks_.emplace_back(std::make_shared<GrammarMasks>(grammar, *vocabulary_));
}

}  // namespace ponder::engine
