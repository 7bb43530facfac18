#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "runtime/model/scripted_model.h"

namespace ponder::runtime::test {

/// A step that calls a tool.
inline ScriptedStep calls(const std::string& tool, const nlohmann::json& arguments) {
  Completion completion;
  completion.message.tool_calls = {{"", tool, arguments.dump()}};
  completion.call_faults = {""};
  return ScriptedStep(std::move(completion));
}

/// A step that answers, which ends the turn.
inline ScriptedStep says(const std::string& text) {
  Completion completion;
  completion.message.content = text;
  return ScriptedStep(std::move(completion));
}

}  // namespace ponder::runtime::test
