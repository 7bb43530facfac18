#pragma once

#include <vector>

#include "base/result.h"
#include "context/prompt.h"
#include "runtime/model/model_client.h"
#include "runtime/session/session_state.h"

namespace ponder::runtime {

/// The ids that the prompt of the next user turn begins with, whatever the user says: the history
/// as the thinking policy will show it then, without the reasoning that a new turn drops.
///
/// `request.conversation` is everything before that turn. A pure function; usable from any thread.
/// Fails as prompt assembly does.
Result<std::vector<context::TokenId>> next_turn_prefix(const ModelRequest& request,
                                                       const context::TokenizeFn& tokenize);

/// The ids that the turn's next prompt begins with while calls of the latest completion have no
/// outcome yet, whatever it will be. `request.conversation` ends with that completion and the
/// results that are known, in the order of the calls. Otherwise as next_turn_prefix().
Result<std::vector<context::TokenId>> next_results_prefix(const ModelRequest& request,
                                                          const context::TokenizeFn& tokenize);

/// Lets the model get ready for another user turn of the session while the user thinks.
/// Requires: the session has begun, and no turn is running.
void expect_user_turn(ModelClient& model, const SessionState& state);

/// Lets the model get ready for the prompt after the calls that are open: they may take long, or
/// wait for a person. Nothing when there are none.
void expect_results(ModelClient& model, const SessionState& state);

}  // namespace ponder::runtime
