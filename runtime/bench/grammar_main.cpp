// ponder_bench_grammar [--json] --tokenizer FILE [--tools FILE] [--rounds N]
//
// Times the token masks of tool calls: the tools of a coding and booking agent (or a JSON array of
// {"name", "parameters"}), calls to each of them tokenised by the given tokenizer.json, and one
// mask before every token. `cold` is a grammar that was just made, `warm` the same one again.
// Processor time, so that a busy machine shows less.

#include <fmt/core.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "context/chat_format.h"
#include "engine/grammar_matcher.h"
#include "runtime/model/tool_grammar.h"

namespace ponder::bench {
namespace {

constexpr const char* kTools = R"([
 {"name": "run_command", "parameters": {"type": "object", "required": ["command"], "properties": {
   "command": {"type": "string"}, "cwd": {"type": "string"}, "timeout_s": {"type": "integer"},
   "env": {"type": "object"}}}},
 {"name": "read_file", "parameters": {"type": "object", "required": ["path"], "properties": {
   "path": {"type": "string"}, "first_line": {"type": "integer"},
   "last_line": {"type": "integer"}}}},
 {"name": "edit_file", "parameters": {"type": "object", "required": ["path", "edits"],
   "properties": {"path": {"type": "string"}, "edits": {"type": "array"},
   "create": {"type": "boolean"}}}},
 {"name": "search", "parameters": {"type": "object", "required": ["query"], "properties": {
   "query": {"type": "string"}, "kind": {"enum": ["code", "issues", "docs", "commits"]},
   "limit": {"type": "integer"}, "filters": {"type": "object"}}}},
 {"name": "book_hotel", "parameters": {"type": "object",
   "required": ["city", "hotel", "check_in", "nights"], "properties": {
   "city": {"enum": ["Beijing", "Shanghai", "Hangzhou", "Suzhou", "Xi'an", "Chengdu"]},
   "hotel": {"type": "string"}, "check_in": {"type": "string"}, "nights": {"type": "integer"},
   "price_max": {"type": "number"}, "guests": {"type": "array"}}}},
 {"name": "plan", "parameters": {"type": "object", "properties": {
   "steps": {"type": "array"}, "explanation": {"type": "string"}}}},
 {"name": "now", "parameters": {"type": "object"}}])";

using Json = nlohmann::json;

double now_us() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}

std::string text_of(int round) {
  static const char* const texts[] = {
      "git diff --stat HEAD~3 -- src/ | tail -n 20 && echo \"<done>\"",
      "def area(r):\n    return 3.14159 * r ** 2  # </circle>\n\nprint(area(2))\n",
      "\xe6\x9d\xad\xe5\xb7\x9e\xe8\xa5\xbf\xe6\xb9\x96 three days, caf\xc3\xa9 \xf0\x9f\x8d\x9c",
      "std::vector<std::pair<int, std::string>> rows{{1, \"a\"}, {2, \"b\"}};",
      "a < b && c </ d, the 2nd of 1,024 items (50% off)"};
  return texts[static_cast<std::size_t>(round) % std::size(texts)];
}

Json value_of(const Json& property, int round) {
  if (property.contains("enum")) {
    return property["enum"][static_cast<std::size_t>(round) % property["enum"].size()];
  }
  const std::string type = property.value("type", "string");
  if (type == "integer") return 7 * round * round + 12;
  if (type == "number") return 812.5 + round;
  if (type == "boolean") return round % 2 == 0;
  if (type == "array") return Json::array({{{"old", text_of(round)}, {"new", text_of(round + 1)}}});
  if (type == "object") return Json{{"name", text_of(round)}, {"count", {1, 2.5, nullptr, true}}};
  return text_of(round);
}

/// A JSON value as Python's json.dumps writes it.
std::string python_json(const Json& value) {
  if (value.is_array() || value.is_object()) {
    std::string out;
    for (const auto& [key, item] : value.items()) {
      out += out.empty() ? "" : ", ";
      if (value.is_object()) out += Json(key).dump() + ": ";
      out += python_json(item);
    }
    return value.is_array() ? "[" + out + "]" : "{" + out + "}";
  }
  return value.dump();
}

/// An answer with one call of every tool.
std::string calls_text(const Json& tools, const context::ChatFormat& format, int round) {
  const auto add = [](std::string& to, const auto&... parts) { (to.append(parts), ...); };
  std::string text = "I look at it: " + text_of(round);
  add(text, format.calls_open);
  bool is_first_call = true;
  for (const Json& tool : tools) {
    if (!std::exchange(is_first_call, false)) add(text, format.calls_separator);
    add(text, format.invoke_open, tool["name"].get<std::string>(), format.invoke_name_close);
    bool is_first = true;
    const Json properties = tool["parameters"].value("properties", Json::object());
    for (const auto& [name, property] : properties.items()) {
      if (!std::exchange(is_first, false)) add(text, format.param_separator);
      const Json value = value_of(property, round);
      add(text, format.param_open, name);
      if (value.is_string()) {
        add(text, format.param_name_close_string, value.get<std::string>());
      } else {
        add(text, format.param_name_close_json, python_json(value));
      }
      add(text, format.param_close);
    }
    add(text, format.invoke_close);
  }
  add(text, format.calls_close);
  return text;
}

struct Options {
  bool json = false;
  std::string tokenizer;
  std::string tools;
  int rounds = 5;
};

/// The time of each mask along the text; false when the grammar refuses it.
bool time_masks(const std::shared_ptr<engine::GrammarMasks>& masks,
                const std::vector<engine::TokenId>& ids, std::vector<double>& times) {
  engine::GrammarMatcher matcher(masks, {1});
  for (const engine::TokenId id : ids) {
    const double begin = now_us();
    const auto mask = matcher.allowed();
    times.push_back(now_us() - begin);
    if (!engine::mask_has(mask, id)) return false;
    matcher.accept(id);
  }
  return true;
}

void print_times(const Options& options, const char* name, std::vector<double> times) {
  std::sort(times.begin(), times.end());
  const auto at = [&](double share) {
    return times[static_cast<std::size_t>(share * static_cast<double>(times.size() - 1))];
  };
  if (options.json) {
    const Json row = {{"case", name},
                      {"masks", times.size()},
                      {"p50_us", at(0.5)},
                      {"p99_us", at(0.99)},
                      {"max_us", at(1.0)}};
    fmt::print("{}\n", row.dump());
  } else {
    fmt::print("{:<24} {:>7} masks  p50 {:>8.1f} us  p99 {:>8.1f} us  max {:>8.1f} us\n", name,
               times.size(), at(0.5), at(0.99), at(1.0));
  }
}

int run(const Options& options) {
  const auto complain = [](const std::string& why) {
    fmt::print(stderr, "{}\n", why);
    return 1;
  };
  const auto tokenizer = engine::Tokenizer::load(options.tokenizer);
  if (!tokenizer) return complain(tokenizer.error().message);
  Json tools = Json::parse(kTools);
  if (!options.tools.empty()) tools = Json::parse(std::ifstream(options.tools), nullptr, false);
  if (!tools.is_array() || tools.empty()) return complain(options.tools + ": no array of tools");
  std::vector<context::ToolSpec> specs;
  for (const Json& tool : tools) {
    specs.push_back({tool.at("name"), "", tool.at("parameters").dump()});
  }
  const context::ChatFormat& format = context::dsv32();
  const auto grammar = runtime::tool_grammar(specs, format);
  if (!grammar) return complain(grammar.error().message);
  double begin = now_us();
  const auto vocabulary = engine::GrammarVocabulary::from(*tokenizer, tokenizer->vocab_size());
  const double vocabulary_us = now_us() - begin;
  begin = now_us();
  const auto masks = std::make_shared<engine::GrammarMasks>(*grammar, vocabulary);
  const double grammar_us = now_us() - begin;
  if (!options.json) {
    fmt::print("{} ids; vocabulary {:.1f} ms, once; grammar of {} tools {:.1f} ms\n",
               vocabulary.size(), vocabulary_us / 1e3, specs.size(), grammar_us / 1e3);
  }
  for (const char* name : {"cold", "warm"}) {
    std::vector<double> times;
    for (int round = 0; round < options.rounds; ++round) {
      const auto ids = tokenizer->encode(calls_text(tools, format, round), false);
      if (!time_masks(masks, ids, times)) return complain("the grammar refuses a call");
    }
    print_times(options, name, std::move(times));
  }
  return 0;
}

int usage() {
  fmt::print(stderr,
             "usage: ponder_bench_grammar [--json] --tokenizer FILE [--tools FILE]"
             " [--rounds N]\n");
  return 2;
}

}  // namespace

int main_with(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--json") {
      options.json = true;
      continue;
    }
    if (i + 1 == argc) return usage();
    const char* value = argv[++i];
    if (name == "--tokenizer") {
      options.tokenizer = value;
    } else if (name == "--tools") {
      options.tools = value;
    } else if (name == "--rounds") {
      options.rounds = std::max(1, std::atoi(value));
    } else {
      return usage();
    }
  }
  return options.tokenizer.empty() ? usage() : run(options);
}

}  // namespace ponder::bench

int main(int argc, char** argv) { return ponder::bench::main_with(argc, argv); }
