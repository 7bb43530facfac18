#pragma once

#include <memory>
#include <vector>

#include "base/result.h"
#include "context/chat_format.h"
#include "context/message.h"
#include "engine/grammar.h"
#include "runtime/session/live_values.h"

namespace ponder::runtime {

/// What a model may write when these tools are offered: free text, but once it has written the
/// opening of a calls block, only well-formed calls of declared tools with declared parameters
/// follow, required ones all present, enumerated ones with a listed value, those of `live` with one
/// of its values; then the turn ends. Values that could be taken for markup are left out.
///
/// Of a parameter's schema it holds the value to `type`, `enum` and `const`, also where they stand
/// in `anyOf`, `oneOf` or behind a `$ref` into the same schema. All else (what is inside arrays and
/// objects, bounds, patterns, `allOf`, `not`) the tool's own check says when a call comes
/// (tools/json_schema.h). Parameters that are not declared cannot be written, whatever
/// `additionalProperties` says.
///
/// All literals come from the chat format. Fails with invalid_argument when a schema is no JSON
/// object, or a name or no value of a parameter can stand in the markup. Requires: at least one
/// tool.
Result<std::shared_ptr<const engine::Grammar>> tool_grammar(
    const std::vector<context::ToolSpec>& tools, const context::ChatFormat& format,
    const std::vector<LiveValues>& live = {});

}  // namespace ponder::runtime
