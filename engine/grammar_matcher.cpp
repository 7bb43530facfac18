#include "engine/grammar_matcher.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"

namespace ponder::engine {
namespace {

std::uint32_t shared_bytes(std::string_view a, std::string_view b) {
  const std::size_t most = std::min(a.size(), b.size());
  std::size_t n = 0;
  while (n < most && a[n] == b[n]) ++n;
  return static_cast<std::uint32_t>(n);
}

void set_bit(TokenMask& mask, TokenId id) { mask[id / 64] |= std::uint64_t{1} << (id % 64); }

}  // namespace

GrammarVocabulary::GrammarVocabulary(std::vector<std::string> token_bytes)
    : token_bytes_(std::move(token_bytes)) {
  for (std::size_t id = 0; id < token_bytes_.size(); ++id) {
    if (token_bytes_[id].empty()) {
      special_.push_back(static_cast<TokenId>(id));
    } else {
      sorted_.push_back({static_cast<TokenId>(id), 0});
    }
  }
  std::sort(sorted_.begin(), sorted_.end(), [this](const Entry& a, const Entry& b) {
    return token_bytes_[a.id] < token_bytes_[b.id];
  });
  for (std::size_t i = 1; i < sorted_.size(); ++i) {
    sorted_[i].shared = shared_bytes(token_bytes_[sorted_[i - 1].id], token_bytes_[sorted_[i].id]);
  }
}

GrammarVocabulary GrammarVocabulary::from(const Tokenizer& tokenizer, std::size_t vocab_size) {
  std::vector<std::string> bytes(vocab_size);
  for (std::size_t id = 0; id < std::min(vocab_size, tokenizer.vocab_size()); ++id) {
    const auto token = static_cast<TokenId>(id);
    if (!tokenizer.is_special(token)) bytes[id] = tokenizer.token_bytes(token);
  }
  return GrammarVocabulary(std::move(bytes));
}

GrammarMasks::GrammarMasks(std::shared_ptr<const Grammar> grammar,
                           const GrammarVocabulary& vocabulary)
    : grammar_(std::move(grammar)), vocabulary_(&vocabulary), automaton_(grammar_->rules()) {}

std::span<const std::uint64_t> GrammarMasks::allowed(GrammarAutomaton::StateId state) {
  const auto found = masks_.find(state);
  if (found != masks_.end()) return found->second;
  return masks_.emplace(state, compute(state)).first->second;
}

TokenMask GrammarMasks::compute(GrammarAutomaton::StateId state) {
  TokenMask mask(vocabulary_->num_words(), 0);
  if (automaton_.is_free(state)) {
    for (const TokenId id : vocabulary_->special_) set_bit(mask, id);
  }
  path_.assign(1, state);  // path_[n]: the state after n bytes, as far as it is alive
  for (const auto& [id, shared] : vocabulary_->sorted_) {
    if (shared >= path_.size()) continue;  // shares the byte that died
    path_.resize(shared + 1);
    const std::string_view bytes = vocabulary_->bytes(id);
    for (std::size_t n = shared; n < bytes.size(); ++n) {
      const auto next = automaton_.step(path_.back(), static_cast<std::uint8_t>(bytes[n]));
      if (next == GrammarAutomaton::kDead) break;
      path_.push_back(next);
    }
    if (path_.size() == bytes.size() + 1) set_bit(mask, id);
  }
  return mask;
}

GrammarMatcher::GrammarMatcher(std::shared_ptr<GrammarMasks> masks,
                               std::vector<TokenId> stop_tokens)
    : masks_(std::move(masks)),
      stop_tokens_(std::move(stop_tokens)),
      state_(masks_->automaton().start()) {}

std::span<const std::uint64_t> GrammarMatcher::allowed() {
  const auto mask = masks_->allowed(state_);
  if (!may_end()) return mask;
  with_stops_.assign(mask.begin(), mask.end());
  for (const TokenId id : stop_tokens_) set_bit(with_stops_, id);
  return with_stops_;
}

void GrammarMatcher::accept(TokenId id) {
  PONDER_ASSERT(!is_stopped_);
  if (may_end() && std::find(stop_tokens_.begin(), stop_tokens_.end(), id) != stop_tokens_.end()) {
    is_stopped_ = true;
    return;
  }
  GrammarAutomaton& automaton = masks_->automaton();
  const std::string_view bytes = masks_->vocabulary().bytes(id);
  if (bytes.empty()) {
    PONDER_ASSERT(automaton.is_free(state_));
    state_ = automaton.step_special(state_);
    return;
  }
  for (const char c : bytes) state_ = automaton.step(state_, static_cast<std::uint8_t>(c));
  PONDER_ASSERT(state_ != GrammarAutomaton::kDead);
}

}  // namespace ponder::engine
