#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/grammar_masks.h"

namespace ponder::engine {

/// Where one request stands in its grammar.
class GrammarMatcher {
 public:
  /// After the rule's end only stop tokens are allowed; in free text they are allowed as well.
  GrammarMatcher(std::shared_ptr<GrammarMasks> masks, std::vector<TokenId> stop_tokens);

  /// Tokens that may come next; valid until the next call. All zero when none may.
  std::span<const std::uint64_t> allowed();
  /// Takes the sampled token. Requires: it is allowed.
  void accept(TokenId id);
  /// The bytes that must come next, up to where the grammar leaves a choice; at most `bytes_max`.
  std::string forced(std::size_t bytes_max) const;
  /// Whether nothing but a stop token may come next.
  bool must_end() const { return !is_stopped_ && masks_->automaton().must_end(state_); }
  /// Whether a stop token has ended the text.
  bool is_stopped() const { return is_stopped_; }
  /// Whether a stop token may come next.
  bool may_end() const { return masks_->automaton().may_end(state_); }
  /// Whether the trigger has been written.
  bool is_constrained() const { return !masks_->automaton().is_free(state_); }

 private:
  std::shared_ptr<GrammarMasks> masks_;  // shared by the requests that use the grammar
  std::vector<TokenId> stop_tokens_;
  GrammarAutomaton::StateId state_;
  bool is_stopped_ = false;
  TokenMask with_stops_;
};

}  // namespace ponder::engine
