#pragma once

#include <string>
#include <utility>
#include <vector>

#include "context/chat_format.h"
#include "runtime/model/model_client.h"
#include "tests/simulation/run.h"

namespace ponder::simulation {

/// What a simulated model is about to say.
struct Draft {
  std::string reasoning;
  std::string content;
  std::vector<std::pair<std::string, std::string>> calls;  // name, arguments
  bool is_cut = false;                                     // its end is missing
};

/// Thinks of something to say: a call or an answer, or one of the plan's kinds of garbage.
Draft make_draft(Run& run);

/// As an endpoint's client would hand it over.
runtime::Completion completion_of(const Draft& draft, Run& run);

/// As the model of a chat format would write it, token for token, one for each byte, and as it is
/// then parsed. At most `tokens_max` tokens.
runtime::Completion sampled_completion(const Draft& draft, Run& run,
                                       const context::ChatFormat& format,
                                       const runtime::ModelRequest& request,
                                       bool starts_in_reasoning);

/// One id for each byte, and one for each special token of the formats.
std::vector<context::TokenId> byte_tokens(std::string_view text, bool match_added_tokens);

}  // namespace ponder::simulation
