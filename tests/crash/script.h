#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "context/message.h"
#include "runtime/model/model_client.h"
#include "runtime/session/event.h"
#include "tools/tool.h"

/// The work that crashes interrupt: turns with tools of every effect class, alone and in parallel,
/// with a tool that asks a person, and with sub-agents, a fork and a sub-agent's own among them,
/// that do the same side by side. The same in every process, so that one that goes on knows what to
/// say next and one that audits knows what should have happened.
namespace ponder::crash {

struct ScriptedTool {
  const char* name;
  tools::Effect effect;
  bool asks = false;  // a person, kQuestionsOfACall times, before it takes effect
};
inline constexpr std::uint32_t kQuestionsOfACall = 2;
const std::vector<ScriptedTool>& scripted_tools();

/// What a tool answers; long enough that its event fills several pages of the log.
std::string answer_of(const std::string& tool, const std::string& arguments);

/// The first event of each session that is no sub-agent's, as Agent::start() takes it. `owner`
/// tells whose it is, where several programs share a store.
runtime::SessionStarted scripted_start(const std::string& owner);

/// What the user says, one text for each turn.
const std::vector<std::string>& user_texts();

/// Whether a session works for another.
bool is_sub_agent(const runtime::SessionId& id);

/// The completion that follows a conversation: from what stands in it alone. No two calls of a
/// session are alike.
runtime::Completion scripted_answer(const context::Conversation& conversation);

/// The ids of the prompt that a model reads for this request.
std::vector<context::TokenId> scripted_prompt(const runtime::ModelRequest& request);

}  // namespace ponder::crash
