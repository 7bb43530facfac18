#pragma once

#include <fmt/format.h>

#include <string>
#include <vector>

#include "tests/runtime/fake_server.h"

/// What an endpoint of the tests says, as the program reads it.
namespace ponder::e2e {

inline std::string delta(const std::string& field, const std::string& text) {
  return "data: {\"choices\":[{\"delta\":{\"" + field + "\":\"" + text + "\"}}]}\n\n";
}

/// The end of a stream, with what it took.
inline std::string stream_end(const std::string& reason, int tokens_prompt = 0,
                              int tokens_cached = 0, int tokens_generated = 0) {
  return fmt::format(
      "data: {{\"choices\":[{{\"delta\":{{}},\"finish_reason\":\"{}\"}}],\"usage\":{{"
      "\"prompt_tokens\":{},\"completion_tokens\":{},"
      "\"prompt_tokens_details\":{{\"cached_tokens\":{}}}}}}}\n\ndata: [DONE]\n\n",
      reason, tokens_prompt, tokens_generated, tokens_cached);
}

/// A completion that calls a tool; `arguments` is JSON.
inline runtime::test::Exchange calls(const std::string& tool, const std::string& arguments,
                                     const std::string& end = stream_end("tool_calls")) {
  std::string quoted;
  for (const char c : arguments) quoted += c == '"' ? std::string("\\\"") : std::string(1, c);
  const std::string call = fmt::format(
      "data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":[{{\"index\":0,\"id\":\"c\",\"function\":"
      "{{\"name\":\"{}\",\"arguments\":\"{}\"}}}}]}}}}]}}\n\n",
      tool, quoted);
  return {runtime::test::event_stream({call, end})};
}

inline runtime::test::Exchange answers(const std::string& text,
                                       const std::string& end = stream_end("stop")) {
  return {runtime::test::event_stream({delta("content", text), end})};
}

/// A model that begins to think and never ends.
inline runtime::test::Exchange thinks_for_ever() {
  return {runtime::test::event_stream({delta("reasoning_content", "thinking hard")}),
          /*stays_open=*/true};
}

/// The options that point a command at the server.
inline std::vector<std::string> model_at(const runtime::test::FakeServer& server) {
  return {"--model", fmt::format("http://127.0.0.1:{}/v1", server.port()), "--model-name", "slow"};
}

/// A library whose only environment, `desk`, has tools with lasting effects, and one that waits.
inline constexpr const char* kDesk = R"lua(
return {
  name = "desk",
  instructions = "Handle the mail.",
  tools = {
    { name = "pays", description = "Pays.", effect = "irreversible", capabilities = {},
      parameters = '{"properties": {"to": {"type": "string"}, "sum": {"type": "integer"}}}',
      run = function(args) return "paid " .. args.to end },
    { name = "spins", description = "Takes for ever.", effect = "pure", capabilities = {},
      parameters = '{"type": "object"}', run = function() while true do end end },
  },
  build = function() end,
  parse_request = function() return nil, "no task" end,
}
)lua";

}  // namespace ponder::e2e
