#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "engine/cache.h"
#include "engine/engine.h"
#include "engine/grammar_matcher.h"

namespace ponder::engine {

/// One request while the engine knows it. Private to the engine.
struct Request {
  Request(RequestId id, GenerationRequest spec, RequestCallbacks callbacks, std::size_t tokens_max,
          PagePool& pool);

  std::size_t num_pending() const { return tokens.size() - num_computed; }
  bool is_decoding() const { return stats.tokens_generated > 0; }
  std::size_t num_pages_max() const;
  /// `num_prompt` of a branch with so many of this one's tokens, which has `num_given` in all: what
  /// follows on generated tokens is no prompt's beginning any more.
  std::size_t num_prompt_of_branch(std::size_t num_in_common, std::size_t num_given) const {
    return num_in_common <= num_prompt ? num_given : num_prompt;
  }
  std::size_t num_reusable() const;  // leading tokens that need not be computed if they are known

  /// Where a forked request comes from, until its pages have been taken over.
  struct Branch {
    RequestId parent;
    std::size_t num_tokens;  // that it has in common with the parent
  };

  RequestId id;
  GenerationRequest spec;  // without the prompt, which has become `tokens`
  RequestCallbacks callbacks;
  bool is_shadow = false;        // computes its tokens and ends; nothing is sampled
  std::size_t tokens_max;        // prompt and answer together
  std::vector<TokenId> tokens;   // the prompt, then what was sampled
  std::size_t num_prompt;        // leading tokens that were given, before any that was generated
  std::size_t num_computed = 0;  // leading tokens whose cache rows exist
  BlockTable table;
  std::optional<Branch> branch;
  std::optional<GrammarMatcher> matcher;
  RequestStats stats;
  Clock::Instant submitted_at;
  Clock::Instant admitted_at;
  Clock::Instant first_token_at;

  // The scheduler's.
  bool is_running = false;
  bool is_loading = false;              // in no queue, while pages of it come back from disk
  bool waits_for_load = false;          // in a queue of its own until they may
  bool has_loaded = false;              // asks for none of its pages on disk any more
  std::uint32_t num_loads = 0;          // since it last began to wait
  std::list<Request*>::iterator place;  // in its queue, while it waits
  std::uint64_t admission = 0;          // counts admissions: lower ones run for longer
  std::uint64_t last_turn = 0;          // counts grants of rows: lower ones wait for longer
  std::uint32_t num_preempted = 0;
  bool is_secured = false;  // not to be preempted: it had been passed over for long
};

/// For its statistics.
inline double ms_between(Clock::Instant from, Clock::Instant to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

}  // namespace ponder::engine
