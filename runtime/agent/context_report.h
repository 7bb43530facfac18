#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "context/prompt.h"
#include "runtime/session/event.h"

/// What the model saw of a session, and why: the latest prompt message by message, and how it
/// differs from the one before. Made from the log and a tokenizer alone.
namespace ponder::runtime {

/// One message of the session and what became of it.
struct ContextSegment {
  std::int64_t seq = 0;  // the event that it came from
  std::string event;     // that event's type
  std::string role;
  std::string text;                  // how it begins, one line
  std::uint64_t tokens = 0;          // in the latest prompt
  std::uint64_t tokens_dropped = 0;  // that it had before, or that the policy leaves out
  bool is_kept = false;              // some of it is in the latest prompt
  std::string rule;                  // what decided that
};

/// Where the latest prompt leaves the path of the one before.
struct PromptDivergence {
  std::uint64_t tokens_before = 0;  // the prompt before and what was sampled after it
  std::uint64_t tokens_now = 0;     // the latest prompt
  std::uint64_t tokens_common = 0;  // from the start on
  std::uint64_t tokens_new = 0;     // of messages that came since
  std::uint64_t tokens_again = 0;   // computed before, and once more now
  std::int64_t seq = 0;             // the event of the message where they part
  std::string rule;                 // why they part there
};

struct ContextReport {
  std::string policy;
  std::uint64_t prompts = 0;             // in the session so far
  std::uint64_t tokens = 0;              // of the latest prompt
  std::uint64_t tokens_cached = 0;       // of it, as the model counted; 0 until it has answered
  std::vector<ContextSegment> segments;  // in the order of the log
  std::optional<PromptDivergence> divergence;  // none with fewer than two prompts
};

/// Fails with invalid_argument when the session has no prompt, or the endpoint made its prompts.
Result<ContextReport> report_context(std::span<const Record> records,
                                     const context::TokenizeFn& tokenize);

}  // namespace ponder::runtime
