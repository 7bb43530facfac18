#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "context/completion_parser.h"
#include "context/strict_parser.h"

using namespace ponder::context;

namespace {

std::string everything(const Completion& completion) {
  std::string text = completion.reasoning + "|" + completion.content + "|" +
                     completion.trailing_text + "|" + std::string(verdict_name(completion.verdict));
  for (const ParsedCall& call : completion.calls) {
    text += "|" + call.call.name + call.call.arguments + call.problem;
    text += call_class_name(call.call_class);
  }
  for (const CompletionNote& note : completion.notes) {
    text += "|" + std::string(note.code) + std::to_string(note.offset) + note.detail;
  }
  return text;
}

}  // namespace

/// The first byte chooses the options, the second the chunk size; the rest is the completion.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::vector<ToolSpec> tools = {
      {"f", "", R"({"properties":{"a":{"type":"string"},"n":{"type":"integer"}}})"}};
  const CompletionOptions options{.starts_in_reasoning = (data[0] & 1) != 0,
                                  .tools = (data[0] & 2) != 0 ? &tools : nullptr};
  const FinishReason reason = (data[0] & 4) != 0 ? FinishReason::stop : FinishReason::length;
  const std::size_t chunk_bytes = 1 + data[1] % 64;
  const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);

  const Completion whole = parse_completion(text, options, reason);
  CompletionParser parser(options);
  for (std::size_t at = 0; at < text.size(); at += chunk_bytes) {
    parser.feed(text.substr(at, chunk_bytes));
  }
  PONDER_ASSERT(everything(parser.finish(reason)) == everything(whole));
  for (const ParsedCall& call : whole.calls) {
    PONDER_ASSERT(whole.verdict != Verdict::truncated || call.call_class == CallClass::refused);
  }
  (void)parse_strict(text, options.starts_in_reasoning);
  return 0;
}
