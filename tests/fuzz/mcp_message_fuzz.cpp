#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/assert.h"
#include "tools/mcp/detail/content.h"
#include "tools/mcp/detail/line_reader.h"
#include "tools/mcp/detail/message.h"
#include "tools/mcp/detail/tool_definition.h"

using namespace ponder;

/// What a server writes: lines in pieces, messages in lines, tools and results in messages. The
/// first byte says how long the pieces are.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  constexpr std::size_t kLineBytesMax = 4096;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::size_t piece = 1 + static_cast<unsigned char>(text.front());
  text.remove_prefix(1);
  const auto read_line = [](Result<std::string_view> line) {
    if (!line) return;
    PONDER_ASSERT(line->size() <= kLineBytesMax && line->find('\n') == std::string_view::npos);
    const auto messages = mcp::parse_messages(*line);
    if (!messages) return;
    for (const mcp::Message& message : *messages) {
      if (message.is_answer()) {
        (void)mcp::tool_output(message.result, nullptr);
        (void)mcp::resource_output(message.result);
        (void)mcp::prompt_output(message.result);
      }
      for (const mcp::Json& entry : mcp::array_field(message.result, "tools")) {
        if (!entry.is_object()) continue;
        const auto tool = mcp::read_tool(entry);
        if (tool) (void)mcp::parameter_headers(*tool, message.params);
      }
      // What was understood can be said again.
      const auto again = mcp::parse_messages(mcp::result_text(1, message.result));
      PONDER_ASSERT(again.has_value() && again->front().answers(1));
    }
  };
  mcp::LineReader reader(kLineBytesMax);
  for (; !text.empty(); text.remove_prefix(std::min(piece, text.size()))) {
    reader.feed(text.substr(0, piece), read_line);
  }
  return 0;
}
