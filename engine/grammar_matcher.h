#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/grammar.h"
#include "engine/grammar_automaton.h"
#include "engine/tokenizer.h"

namespace ponder::engine {

/// One bit per token id, set = allowed. Word i holds ids 64 i .. 64 i + 63.
using TokenMask = std::vector<std::uint64_t>;

inline bool mask_has(std::span<const std::uint64_t> mask, TokenId id) {
  return (mask[id / 64] >> (id % 64) & 1) != 0;
}

/// The bytes of every token in sorted order, so that tokens with a common beginning are tried
/// together. Tokens without bytes are special: allowed in free text only.
///
/// Thread: immutable.
class GrammarVocabulary {
 public:
  /// token_bytes[id] is empty for special and unused ids.
  explicit GrammarVocabulary(std::vector<std::string> token_bytes);
  /// Tokens that the file flags special and ids that no token has count as special; other added
  /// tokens stand for their text, for a tokenizer may have whole tags. Ids go up to vocab_size - 1.
  static GrammarVocabulary from(const Tokenizer& tokenizer, std::size_t vocab_size);

  std::size_t size() const { return token_bytes_.size(); }
  std::size_t num_words() const { return (size() + 63) / 64; }
  std::string_view bytes(TokenId id) const { return token_bytes_[id]; }

 private:
  friend class GrammarMasks;
  struct Entry {
    TokenId id;
    std::uint32_t shared;  // bytes in common with the entry before
  };
  std::vector<std::string> token_bytes_;
  std::vector<Entry> sorted_;
  std::vector<TokenId> special_;
};

/// The token masks of one grammar over one vocabulary, each computed when first needed and kept.
///
/// Thread: none; the engine's thread. Lifetime: keeps the grammar; the vocabulary must outlive it.
class GrammarMasks {
 public:
  GrammarMasks(std::shared_ptr<const Grammar> grammar, const GrammarVocabulary& vocabulary);

  const Grammar& grammar() const { return *grammar_; }
  const GrammarVocabulary& vocabulary() const { return *vocabulary_; }
  GrammarAutomaton& automaton() { return automaton_; }
  /// Tokens that may come next, stop tokens not considered.
  std::span<const std::uint64_t> allowed(GrammarAutomaton::StateId state);
  /// Beyond this the owner had better start afresh: states are kept for good.
  bool is_large() const { return automaton_.num_states() > kStatesMany; }

 private:
  static constexpr std::size_t kStatesMany = 16'384;  // 1 KiB each
  TokenMask compute(GrammarAutomaton::StateId state);

  std::shared_ptr<const Grammar> grammar_;
  const GrammarVocabulary* vocabulary_;
  GrammarAutomaton automaton_;
  std::unordered_map<GrammarAutomaton::StateId, TokenMask> masks_;
  std::vector<GrammarAutomaton::StateId> path_;  // states along the current token's bytes
};

/// Where one request stands in its grammar.
class GrammarMatcher {
 public:
  /// After the rule's end only stop tokens are allowed; in free text they are allowed as well.
  GrammarMatcher(std::shared_ptr<GrammarMasks> masks, std::vector<TokenId> stop_tokens);

  /// Tokens that may come next; valid until the next call. All zero when none may.
  std::span<const std::uint64_t> allowed();
  /// Takes the sampled token. Requires: it is allowed.
  void accept(TokenId id);
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
