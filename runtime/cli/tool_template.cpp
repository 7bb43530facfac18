#include "runtime/cli/tool_template.h"

#include <string_view>

namespace ponder::cli {
namespace {

constexpr const char* kTemplate =
    R"lua(-- A tool for ponder: one Lua 5.4 file that returns a table.
-- docs/writing-tools.md explains it all.
--
--   ponder tool check @NAME@.lua                          is the file in order?
--   ponder tool run   @NAME@.lua --args '{"text": "a b"}'  call it once
--   ponder tool test  @NAME@.lua                          examples, odd arguments, cost in tokens

---@type ponder.Tool
return {
  -- What the model sees: the name, what the tool is good for, and its parameters.
  name = "@NAME@",
  description = "Counts the words and characters of a text.",

  -- JSON Schema. Calls that do not fit never reach `run`; the model is told what was expected.
  parameters = {
    type = "object",
    properties = {
      text = { type = "string", description = "the text to count", maxLength = 100000 },
    },
    required = { "text" },
    additionalProperties = false,
  },

  -- What calling it twice would mean: "pure" (only looks), "idempotent" (twice is as once),
  -- "compensable" (can be undone) or "irreversible". It decides what happens after a crash, and
  -- whether a person is asked first.
  effect = "pure",

  -- What it needs beyond computing, such as "http:api.example.com", "fs-read", "sql" or
  -- "secret:NAME". People grant it; what they did not grant is not there.
  capabilities = {},

  -- For `ponder tool test`: arguments, and the result that is right.
  examples = {
    { args = { text = "three short words" }, expect = { characters = 17, words = 3 } },
    { args = { text = "" }, expect = { characters = 0, words = 0 } },
  },

  -- args: the arguments, checked. ctx: what ponder offers (ctx.log, ctx.json, ctx.http, ...).
  -- Return text, or a table, which becomes JSON; or nil and a message when it went wrong.
  ---@param args { text: string }
  ---@param ctx ponder.Context
  run = function(args, ctx)
    local words = 0
    for _ in args.text:gmatch("%S+") do
      words = words + 1
    end
    local characters = utf8.len(args.text)
    if not characters then
      return nil, "the text is not valid UTF-8"
    end
    ctx.log("counted " .. words .. " words")
    return { words = words, characters = characters }
  end,
}
)lua";

}  // namespace

std::string tool_template(const std::string& name) {
  constexpr std::string_view kPlace = "@NAME@";
  std::string text = kTemplate;
  for (std::size_t at = text.find(kPlace); at != std::string::npos; at = text.find(kPlace, at)) {
    text.replace(at, kPlace.size(), name);
  }
  return text;
}

}  // namespace ponder::cli
