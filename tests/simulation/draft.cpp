#include "tests/simulation/draft.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "context/completion_parser.h"
#include "runtime/agent/agent_tool.h"
#include "tests/context/byte_tokenizer.h"
#include "tests/simulation/tool.h"

namespace ponder::simulation {
namespace {

using context::TokenId;
using runtime::Completion;

constexpr unsigned kAnswerPercent = 35;

std::string make_arguments(Run& run) {
  Random& random = run.random;
  if (!run.strikes(Fault::malformed_call)) return fmt::format(R"({{"x": {}}})", random.below(1000));
  switch (random.below(6)) {
    case 0:
      return "";
    case 1:
      return R"({"x": 1)";
    case 2:
      return R"({"x": "one"})";
    case 3:
      return "[1, 2]";
    case 4:
      return R"({"x": 1e400, "x": 2})";
    default:
      return foreign_text(random);
  }
}

std::pair<std::string, std::string> make_call(Run& run) {
  std::string name = run.random.pick(tool_names());
  if (run.strikes(Fault::unknown_tool)) {
    name = run.random.pick<std::string>({"fly", "", "read_blob", "pay pay", "\xff"});
  }
  std::string arguments = make_arguments(run);
  return {std::move(name), std::move(arguments)};
}

std::pair<std::string, std::string> make_task(Run& run) {
  Random& random = run.random;
  std::string arguments = fmt::format(R"({{"task": "task {}")", random.below(1000));
  if (random.chance(30)) arguments += R"(, "fork": true)";
  if (random.chance(20)) arguments += fmt::format(R"(, "steps": {})", 1 + random.below(4));
  return {runtime::kAgentTool, arguments + "}"};
}

/// The ids of a completion: what the format says is special, what was said is not.
class Writer {
 public:
  void mark(std::string_view text) { add(text, true); }
  void say(std::string_view text) { add(text, false); }

  std::vector<TokenId> ids;
  std::string text;

 private:
  void add(std::string_view part, bool is_special) {
    const auto more = byte_tokens(part, is_special);
    ids.insert(ids.end(), more.begin(), more.end());
    text += part;
  }
};

void write_parameter(Writer& out, const context::ChatFormat& format, std::string_view name,
                     std::string_view json) {
  out.mark(format.param_open);
  out.say(name);
  out.mark(format.param_name_close_json);
  out.say(json);
  out.mark(format.param_close);
}

/// `{"x": 5}` and tasks as parameters; anything else as one that no parser takes for it.
void write_call(Writer& out, const context::ChatFormat& format, const std::string& name,
                const std::string& arguments) {
  out.mark(format.invoke_open);
  out.say(name);
  out.mark(format.invoke_name_close);
  const std::string_view before = R"({"x": )";
  const bool is_plain = arguments.starts_with(before) && arguments.ends_with('}');
  if (name == runtime::kAgentTool) {
    const auto task = nlohmann::json::parse(arguments);
    for (const auto& [key, value] : task.items()) {
      write_parameter(out, format, key, value.dump());
    }
  } else {
    write_parameter(out, format, "x",
                    is_plain ? std::string_view(arguments).substr(
                                   before.size(), arguments.size() - before.size() - 1)
                             : arguments);
  }
  out.mark(format.invoke_close);
}

Writer write(const Draft& draft, const context::ChatFormat& format, bool starts_in_reasoning) {
  Writer out;
  if (starts_in_reasoning) {
    out.say(draft.reasoning);
    out.mark(format.think_close);
  }
  out.say(draft.content);
  if (!draft.calls.empty()) {
    out.mark(format.calls_open);
    for (std::size_t i = 0; i < draft.calls.size(); ++i) {
      if (i > 0) out.mark("\n");
      write_call(out, format, draft.calls[i].first, draft.calls[i].second);
    }
    out.mark(format.calls_close);
  }
  out.mark(format.eos);
  return out;
}

runtime::Verdict verdict_of(context::Verdict verdict) {
  if (verdict == context::Verdict::ok) return runtime::Verdict::ok;
  if (verdict == context::Verdict::repaired) return runtime::Verdict::repaired;
  return runtime::Verdict::truncated;
}

}  // namespace

std::vector<TokenId> byte_tokens(std::string_view text, bool match_added_tokens) {
  std::vector<TokenId> ids;
  ids.reserve(text.size());
  while (!text.empty()) {
    if (match_added_tokens && text.front() == '<') {
      // The slow tokenizer knows the special tokens.
      const std::size_t next = std::min(text.find('<', 1), text.size());
      const auto some = context::testing::byte_tokens(text.substr(0, next), true);
      ids.insert(ids.end(), some.begin(), some.end());
      text.remove_prefix(next);
      continue;
    }
    ids.push_back(static_cast<unsigned char>(text.front()));
    text.remove_prefix(1);
  }
  return ids;
}

Draft make_draft(Run& run) {
  Random& random = run.random;
  Draft draft;
  if (random.chance(70)) draft.reasoning = fmt::format("thought {}", random.below(1000));
  if (run.strikes(Fault::foreign_bytes)) draft.reasoning += foreign_text(random);
  if (run.strikes(Fault::reasoning_only)) return draft;
  draft.is_cut = run.strikes(Fault::truncated_answer);
  const bool goes_on = run.strikes(Fault::endless_model);
  if (!goes_on && random.chance(kAnswerPercent)) {
    draft.content = fmt::format("answer {}", random.below(1000));
    if (run.strikes(Fault::foreign_bytes)) draft.content += foreign_text(random);
    return draft;
  }
  if (random.chance(30)) draft.content = "I will look.";
  const std::size_t most = run.strikes(Fault::many_calls) ? 20 : 3;
  const std::size_t num_calls = 1 + random.below(most);
  for (std::size_t i = 0; i < num_calls; ++i) {
    const bool repeats = !draft.calls.empty() && run.strikes(Fault::duplicate_call);
    const bool hands_out = !repeats && run.strikes(Fault::sub_agents);
    if (hands_out) {
      draft.calls.push_back(make_task(run));
    } else {
      draft.calls.push_back(repeats ? draft.calls.back() : make_call(run));
    }
  }
  if (run.strikes(Fault::duplicate_call)) {
    for (auto& [name, arguments] : draft.calls) {
      if (name != runtime::kAgentTool) arguments = R"({"x": 7})";
    }
  }
  return draft;
}

Completion completion_of(const Draft& draft, Run& run) {
  Completion out;
  out.message.role = context::Role::assistant;
  out.message.reasoning = draft.reasoning;
  out.message.content = draft.content;
  for (const auto& [name, arguments] : draft.calls) {
    out.message.tool_calls.push_back({"", name, arguments});
  }
  if (run.random.chance(80)) out.call_faults.resize(draft.calls.size());
  out.finish = draft.is_cut ? runtime::Finish::length : runtime::Finish::stop;
  out.usage.tokens_generated = static_cast<std::uint32_t>(run.random.below(200));
  out.usage.prefill_ms = 0.1;
  return out;
}

Completion sampled_completion(const Draft& draft, Run& run, const context::ChatFormat& format,
                              const runtime::ModelRequest& request, bool starts_in_reasoning) {
  Writer written = write(draft, format, starts_in_reasoning);
  std::size_t most = request.tokens_generated_max;
  if (draft.is_cut) most = std::min<std::size_t>(most, run.random.below(written.ids.size() + 1));
  const bool is_cut = written.ids.size() > most;
  if (is_cut) {
    written.ids.resize(most);
    written.text.clear();
    for (const TokenId id : written.ids) {
      if (id < 256) written.text += static_cast<char>(id);
      for (const auto& [token, token_id] : context::testing::kAddedTokens) {
        if (token_id == id) written.text += token;
      }
    }
  }
  context::CompletionOptions options;
  options.format = &format;
  options.starts_in_reasoning = starts_in_reasoning;
  static const std::vector<context::ToolSpec> none;
  const bool has_tools =
      !request.conversation.empty() && request.conversation.front().role == context::Role::system;
  options.tools = has_tools ? &request.conversation.front().tools : &none;
  const context::Completion parsed = context::parse_completion(
      written.text, options, is_cut ? context::FinishReason::length : context::FinishReason::stop);
  Completion out;
  out.message = parsed.message();
  out.message.sampled = std::move(written.ids);
  for (const context::ParsedCall& call : parsed.calls) {
    out.call_faults.push_back(call.call_class == context::CallClass::refused ? call.problem : "");
  }
  out.finish = is_cut ? runtime::Finish::length : runtime::Finish::stop;
  out.verdict = verdict_of(parsed.verdict);
  for (const auto& note : parsed.notes) out.notes.push_back(fmt::format("{}", note.detail));
  out.usage.tokens_generated = static_cast<std::uint32_t>(out.message.sampled.size());
  return out;
}

}  // namespace ponder::simulation
