#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "context/completion_parser.h"

/// Short ways to write completions, and one line that says everything a parse found.
namespace ponder::context::testing {

inline const std::string kOpen = "\n\n<｜DSML｜function_calls>\n";
inline const std::string kClose = "\n</｜DSML｜function_calls>";
inline const std::string kEos = "<｜end▁of▁sentence｜>";

inline std::string param(std::string_view key, std::string_view value,
                         std::string_view string = "true") {
  std::string text = "<｜DSML｜parameter name=\"";
  text.append(key).append("\" string=\"").append(string).append("\">").append(value);
  return text + "</｜DSML｜parameter>";
}

inline std::string invoke(std::string_view name, const std::string& body = "") {
  std::string text = "<｜DSML｜invoke name=\"";
  return text.append(name).append("\">\n") + body + "\n</｜DSML｜invoke>";
}

inline std::string block(const std::string& body) { return kOpen + body + kClose; }

/// `verdict [reasoning] content {name arguments class} ... (code code ...)`; empty parts left out.
inline std::string summary(const Completion& completion) {
  std::string text(verdict_name(completion.verdict));
  if (!completion.reasoning.empty()) text += " [" + completion.reasoning + "]";
  if (!completion.content.empty()) text += " " + completion.content;
  for (const ParsedCall& call : completion.calls) {
    text += " {" + call.call.name + " " + call.call.arguments + " ";
    text += call_class_name(call.call_class);
    text += "}";
  }
  if (!completion.trailing_text.empty()) text += " ..." + completion.trailing_text;
  std::string codes;
  for (const CompletionNote& note : completion.notes) {
    codes += codes.empty() ? "" : " ";
    codes += note.code;
  }
  return codes.empty() ? text : text + " (" + codes + ")";
}

}  // namespace ponder::context::testing
