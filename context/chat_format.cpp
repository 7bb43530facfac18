#include "context/chat_format.h"

#include <fmt/format.h>

namespace ponder::context {
namespace {

// The wording of the tools block is DeepSeek's (MIT licence, tests/context/data/LICENSE).
constexpr std::string_view kDsv32ToolsPrefix =
    "## Tools\n\n"
    "You have access to a set of tools you can use to answer the user's question.\n"
    "You can invoke functions by writing a \"<｜DSML｜function_calls>\" block like the "
    "following as part of your reply to the user:\n"
    "<｜DSML｜function_calls>\n"
    "<｜DSML｜invoke name=\"$FUNCTION_NAME\">\n"
    "<｜DSML｜parameter name=\"$PARAMETER_NAME\" "
    "string=\"true|false\">$PARAMETER_VALUE</｜DSML｜parameter>\n"
    "...\n"
    "</｜DSML｜invoke>\n"
    "<｜DSML｜invoke name=\"$FUNCTION_NAME2\">\n"
    "...\n"
    "</｜DSML｜invoke>\n"
    "</｜DSML｜function_calls>\n\n"
    "String and scalar parameters should be specified as is without any escaping or "
    "quotes, while lists and objects should use JSON format. The \"string\" "
    "attribute should be set to \"true\" for string type parameters and \"false\" "
    "for other types (numbers, booleans, arrays, objects).\n\n"
    "If the thinking_mode is enabled, then after function results you should "
    "strongly consider outputting a thinking block. Here is an example:\n\n"
    "<｜DSML｜function_calls>\n"
    "...\n"
    "</｜DSML｜function_calls>\n\n"
    "<function_results>\n"
    "...\n"
    "</function_results>\n\n"
    "<think>...thinking about results</think>\n\n"
    "Here are the functions available in JSONSchema format:\n"
    "<functions>\n";

constexpr ChatFormat kDsv32{
    .name = "dsv32",
    .bos = "<｜begin▁of▁sentence｜>",
    .eos = "<｜end▁of▁sentence｜>",
    .user = "<｜User｜>",
    .assistant = "<｜Assistant｜>",
    .think_open = "<think>",
    .think_close = "</think>",
    .marker = "｜DSML｜",
    .tools_prefix = kDsv32ToolsPrefix,
    .tools_separator = "\n",
    .tools_suffix = "\n</functions>\n",
    .block_separator = "\n\n",
    .response_format_prefix =
        "## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n",
    .developer_question_prefix = "\n\n# The user's message is: ",
    .calls_open = "\n\n<｜DSML｜function_calls>\n",
    .calls_separator = "\n",
    .calls_close = "\n</｜DSML｜function_calls>",
    .invoke_open = "<｜DSML｜invoke name=\"",
    .invoke_name_close = "\">\n",
    .invoke_close = "\n</｜DSML｜invoke>",
    .param_open = "<｜DSML｜parameter name=\"",
    .param_name_close_string = "\" string=\"true\">",
    .param_name_close_json = "\" string=\"false\">",
    .param_close = "</｜DSML｜parameter>",
    .param_separator = "\n",
    .results_open = "\n\n<function_results>",
    .result_open = "\n<result>",
    .result_close = "</result>",
    .results_close = "\n</function_results>",
    .after_results = "\n\n",
    .parse_calls_start = "\n\n<｜DSML｜function_calls",
    .parse_calls_end = "</｜DSML｜function_calls>",
    .parse_invoke_start = "<｜DSML｜invoke",
    .parse_invoke_end = "</｜DSML｜invoke",
    .parse_param_start = "<｜DSML｜parameter",
    .parse_param_end = "/｜DSML｜parameter",
};

}  // namespace

const ChatFormat& dsv32() { return kDsv32; }

Result<const ChatFormat*> chat_format(std::string_view name) {
  if (name == kDsv32.name) return &kDsv32;
  return fail(Errc::not_found, fmt::format("unknown chat format '{}', known: dsv32", name));
}

}  // namespace ponder::context
