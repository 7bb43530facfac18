#include <fmt/core.h>

#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/base64.h"
#include "base/json_problem.h"
#include "context/chat_format.h"
#include "context/json.h"
#include "context/json_lines.h"
#include "engine/logits.h"
#include "engine/tokenizer.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/engine_options.h"
#include "runtime/cli/terminal.h"

/// The commands that turn JSON lines into JSON lines, for people and for conformance tests. A line
/// that cannot be understood gives a line that says so; the others go on.
namespace ponder::cli {
namespace {

using nlohmann::json;

/// Answers each line of standard input with one line. Returns the exit status.
int answer_lines(const std::function<std::string(const std::string&)>& answer) {
  std::string line;
  while (std::getline(std::cin, line)) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string reply = answer(line);
    if (std::fwrite(reply.data(), 1, reply.size(), stdout) != reply.size() ||
        std::fputc('\n', stdout) == EOF || std::fflush(stdout) != 0)
      return complain("cannot write to standard output");
  }
  return 0;
}

std::string error_line(const std::string& code, const std::string& message) {
  return json{{"error", code}, {"message", message}}.dump(-1, ' ', false,
                                                          json::error_handler_t::replace);
}

/// An answer for the parsed line, with JSON faults turned into an error line.
std::string with_json(const std::string& line, const std::function<json(const json&)>& answer) {
  try {
    return answer(json::parse(line)).dump(-1, ' ', false, json::error_handler_t::replace);
  } catch (const json::exception& fault) {
    return error_line("invalid_argument", json_problem(fault));
  }
}

/// {"<layer>": [...]} of one of the trace's lists, for the layers where it is not empty.
template <class List>
json by_layer(const engine::RowTrace& trace, List engine::LayerTrace::* list) {
  json object = json::object();
  for (std::size_t layer = 0; layer < trace.size(); ++layer)
    if (!(trace[layer].*list).empty()) object[std::to_string(layer)] = trace[layer].*list;
  return object;
}

/// The text of a line, or its bytes where it is not UTF-8.
Result<std::string> read_text(const json& request) {
  const bool has_bytes = request.contains("bytes_b64");
  if (has_bytes == request.contains("text")) {
    return fail(Errc::invalid_argument, "expected either 'text' or 'bytes_b64'");
  }
  if (!has_bytes) return request.at("text").get<std::string>();
  return decode_base64(request.at("bytes_b64").get_ref<const std::string&>());
}

json tokenize_request(const engine::Tokenizer& tokenizer, const json& request) {
  const auto text = read_text(request);
  if (!text) {
    return {{"error", errc_name(text.error().code)}, {"message", text.error().message}};
  }
  return {{"ids", tokenizer.encode(*text, request.value("match_added_tokens", true))}};
}

json detokenize_request(const engine::Tokenizer& tokenizer, const json& request) {
  const auto bytes = tokenizer.decode(request.at("ids").get<std::vector<engine::TokenId>>());
  if (context::find_invalid_utf8(bytes)) return {{"bytes_b64", encode_base64(bytes)}};
  return {{"text", bytes}};
}

}  // namespace

int encode_lines(const std::string& format) {
  if (const auto known = context::chat_format(format); !known)
    return complain(known.error().message);
  return answer_lines([&](const std::string& line) { return context::encode_line(line, format); });
}

int parse_lines(bool strict) {
  return answer_lines([=](const std::string& line) { return context::parse_line(line, strict); });
}

int tokenize_lines(const std::filesystem::path& tokenizer_json, bool decode) {
  const auto tokenizer = engine::Tokenizer::load(tokenizer_json);
  if (!tokenizer) return complain(tokenizer.error().message);
  return answer_lines([&](const std::string& line) {
    return with_json(line, [&](const json& request) -> json {
      return decode ? detokenize_request(*tokenizer, request)
                    : tokenize_request(*tokenizer, request);
    });
  });
}

int logits_lines(const Environment& environment, const LogitsOptions& options) {
  const auto how = engine_options(environment, options.model);
  if (!how) return complain(how.error().message);
  const auto model = engine::LogitsRunner::open_as_engine(options.model.model, *how);
  if (!model) return complain(model.error().message);
  return answer_lines([&](const std::string& line) {
    return with_json(line, [&](const json& request) -> json {
      const auto tokens = request.at("tokens").get<std::vector<engine::TokenId>>();
      const auto result = (*model)->run(tokens, options.trace);
      if (!result)
        return {{"error", errc_name(result.error().code)}, {"message", result.error().message}};
      json answer = {{"logits", result->logits}};
      if (options.trace) {
        answer["selections"] = by_layer(result->trace, &engine::LayerTrace::selection);
        answer["experts"] = by_layer(result->trace, &engine::LayerTrace::experts);
      }
      return answer;
    });
  });
}

int complain(const std::string& message) {
  put_error(fmt::format("ponder: error: {}\n", printable(message)));
  return 1;
}

}  // namespace ponder::cli
