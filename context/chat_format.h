#pragma once

#include <string_view>

#include "base/result.h"

/// A chat format as a table of literals.
///
/// Everything that differs between the dialects of the family and can be said as text stands here;
/// the encoder, the parsers and the prompt assembly hold none of it. Ids of special tokens are not
/// here: they differ between models that share the text, so they always come from the tokenizer.
///
/// The values are constants of the program; a `ChatFormat` is never copied into anything that
/// outlives it.
namespace ponder::context {

struct ChatFormat {
  std::string_view name;

  // Special tokens.
  std::string_view bos;
  std::string_view eos;
  std::string_view user;
  std::string_view assistant;
  std::string_view think_open;
  std::string_view think_close;
  std::string_view marker;  // what makes a tag markup; an ordinary string to most tokenizers

  // Tools and response format, in the system or developer message.
  std::string_view tools_prefix;
  std::string_view tools_separator;
  std::string_view tools_suffix;
  std::string_view block_separator;
  std::string_view response_format_prefix;
  std::string_view developer_question_prefix;

  // Calls, in the assistant message.
  std::string_view calls_open;
  std::string_view calls_separator;
  std::string_view calls_close;
  std::string_view invoke_open;
  std::string_view invoke_name_close;
  std::string_view invoke_close;
  std::string_view param_open;
  std::string_view param_name_close_string;  // the value follows as it is
  std::string_view param_name_close_json;    // the value follows as JSON text
  std::string_view param_close;
  std::string_view param_separator;

  // Results, one tool message each.
  std::string_view results_open;
  std::string_view result_open;
  std::string_view result_close;
  std::string_view results_close;
  std::string_view after_results;

  // What the strict parser looks for; deliberately looser than what the encoder writes.
  std::string_view parse_calls_start;
  std::string_view parse_calls_end;
  std::string_view parse_invoke_start;
  std::string_view parse_invoke_end;
  std::string_view parse_param_start;
  std::string_view parse_param_end;
};

/// The format of DeepSeek-V3.2.
const ChatFormat& dsv32();

/// The format of that name; an unknown name is refused with the list of the known ones.
Result<const ChatFormat*> chat_format(std::string_view name);

}  // namespace ponder::context
