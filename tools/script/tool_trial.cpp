#include "tools/script/tool_trial.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <utility>

#include "tools/json_schema.h"
#include "tools/registry.h"
#include "tools/script/detail/argument_cases.h"
#include "tools/script/detail/resources.h"
#include "tools/script/detail/script_tool.h"
#include "tools/script/detail/tool_file.h"
#include "tools/script/lua_tools.h"

namespace ponder::tools {
namespace {

namespace asio = boost::asio;

constexpr std::chrono::seconds kCallTime{10};
constexpr std::size_t kOutputBytesMax = 64 << 10;
constexpr double kTrialTime = 1'759'307'400;  // ctx.time.now(): 2025-10-01T08:30:00Z
constexpr std::size_t kHugeBytes = 1 << 20;
constexpr std::size_t kHostileRounds = 5;
constexpr std::string_view kGarbage("\xff\xfe<html>\x00\x1b[31m", 14);

/// What every trial answers itself.
std::optional<Answer> common_answer(std::string_view function) {
  if (function == "time.now") return Answer(Json(kTrialTime));
  if (function == "sleep") return Answer(Json(true));
  return std::nullopt;
}

/// The answers of one example, in their order; of each function on its own.
class ExampleAnswers {
 public:
  explicit ExampleAnswers(Json answers) : answers_(std::move(answers)) {}

  std::optional<Answer> operator()(std::string_view function) {
    const std::string name(function);
    const auto found = answers_.find(name);
    const Json list = found == answers_.end() || !found->is_array() ? Json::array() : *found;
    const std::size_t place = next_[name]++;
    if (place < list.size()) {
      const bool is_error = list[place].is_object() && list[place].size() == 1 &&
                            list[place].value("error", Json()).is_string();
      if (!is_error) return Answer(list[place]);
      return Answer(fail(Errc::unavailable, list[place]["error"].get<std::string>()));
    }
    if (auto common = common_answer(function)) return common;
    return Answer(fail(Errc::unavailable,
                       fmt::format("the example gives no answer {} of {}", place + 1, name)));
  }

 private:
  Json answers_;
  std::map<std::string, std::size_t> next_;
};

/// The worst that the world says: round 0 fails, the others bring garbage, nothing, too much, and
/// another shape.
std::optional<Answer> hostile_answer(std::string_view function, std::size_t round) {
  if (auto common = common_answer(function)) return common;
  if (round == 0) return Answer(fail(Errc::unavailable, "connection refused"));
  const std::array<std::string, 4> texts = {std::string(kGarbage), "", std::string(kHugeBytes, 'x'),
                                            R"({"error": [null, {"deep": []}]})"};
  const std::string& text = texts[(round - 1) % texts.size()];
  if (function.starts_with("http.")) {
    const int status = round % 2 == 0 ? 200 : 500;
    return Answer(Json{
        {"status", status}, {"headers", Json::object()}, {"body", text}, {"url", "http://x/"}});
  }
  if (function == "exec") {
    return Answer(Json{{"code", round % 2}, {"stdout", text}, {"stderr", text}});
  }
  if (function == "fs.list") {
    if (round != 1) return Answer(Json::array());
    return Answer(Json::array({{{"name", text}, {"kind", "other"}, {"bytes", 0}}}));
  }
  if (function == "sql") return Answer(Json::array());
  if (function == "kv.get") return Answer(round == 2 ? Json(nullptr) : Json(text));
  return Answer(Json(text));
}

const char* round_title(std::size_t round) {
  constexpr std::array<const char*, kHostileRounds> kTitles = {
      "everything outside fails", "answers are bytes that are no text", "answers are empty",
      "answers are huge", "answers have another shape"};
  return kTitles[round];
}

/// What a call gave the model, and whether it ended by an error of ctx and not in its own words.
struct CallEnd {
  ToolOutput output;
  bool has_misused_context;
};

/// Why an output shows that the tool broke; empty when it did not.
std::string breakage(const CallEnd& end) {
  const ToolOutput& output = end.output;
  if (!output.is_error) return "";
  if (end.has_misused_context) return output.content;
  constexpr std::array<std::string_view, 7> kSigns = {
      ": attempt to ",  ": bad argument #",    "limit reached",          "limit of ",
      "stack overflow", "the tool's result: ", "the tool gave no result"};
  const std::string_view text = output.content;
  const bool is_broken = std::any_of(kSigns.begin(), kSigns.end(), [text](std::string_view sign) {
    return text.find(sign) != std::string_view::npos;
  });
  return is_broken ? output.content : "";
}

bool is_of_context(const std::string& message) { return message.find("ctx.") != std::string::npos; }

/// Why an example's expectation is not met; empty when it is.
std::string disappointment(const Json& example, const CallEnd& end) {
  const ToolOutput& output = end.output;
  if (example.contains("expect_error")) {
    const std::string wanted = example["expect_error"].is_string()
                                   ? example["expect_error"].get<std::string>()
                                   : dump_json(example["expect_error"]);
    const bool is_met = output.is_error && output.content.find(wanted) != std::string::npos;
    return is_met ? "" : fmt::format("an error with \"{}\" was expected", wanted);
  }
  if (!example.contains("expect")) return breakage(end);
  const Json& wanted = example["expect"];
  const auto parsed = parse_json(output.content);
  const bool is_met = wanted.is_string() ? output.content == wanted.get<std::string>()
                                         : parsed && *parsed == wanted;
  if (!output.is_error && is_met) return "";
  const std::string text = wanted.is_string() ? wanted.get<std::string>() : dump_json(wanted);
  return fmt::format("expected: {}", text);
}

/// The trial of one file.
class Trial {
 public:
  Trial(std::string text, ScriptDeclaration declaration, ScriptResources resources)
      : text_(std::move(text)),
        declaration_(std::move(declaration)),
        resources_(std::move(resources)) {}

  asio::awaitable<Result<TrialReport>> run() {
    co_await run_examples();
    co_await run_generated();
    const bool asks_outside = !declaration_.capabilities.empty();
    if (asks_outside) {
      co_await run_hostile();
    }
    co_return std::move(report_);
  }

 private:
  asio::awaitable<void> run_examples() {
    const Json& examples = declaration_.examples;
    for (std::size_t i = 0; i < examples.size(); ++i) {
      TrialCase one;
      one.title = fmt::format("example {}", i + 1);
      const Json arguments = examples[i].value("args", Json::object());
      one.arguments = dump_json(arguments);
      resources_.answers = ExampleAnswers(examples[i].value("answers", Json::object()));
      CallEnd end = co_await call(arguments);
      one.fault = disappointment(examples[i], end);
      one.output = std::move(end.output);
      report_.cases.push_back(std::move(one));
    }
  }

  asio::awaitable<void> run_generated() {
    const auto schema = JsonSchema::compile(declaration_.spec.parameters);
    const auto parsed = parse_json(declaration_.spec.parameters);
    if (!schema || !parsed) co_return;
    const Json base = base_arguments(*parsed);
    for (ArgumentCase& generated : argument_cases(*parsed, base)) {
      TrialCase one;
      one.arguments = dump_json(generated.arguments);
      const Status fits = schema->check(one.arguments);
      if (!fits) {
        ++report_.num_refused;
        continue;
      }
      one.kind = TrialCase::Kind::generated;
      one.title = std::move(generated.title);
      resources_.answers = ExampleAnswers(base_answers());
      CallEnd end = co_await call(generated.arguments);
      one.fault = breakage(end);
      one.output = std::move(end.output);
      report_.cases.push_back(std::move(one));
    }
  }

  asio::awaitable<void> run_hostile() {
    const auto parsed = parse_json(declaration_.spec.parameters);
    const Json arguments = base_arguments(parsed ? *parsed : Json::object());
    for (std::size_t round = 0; round < kHostileRounds; ++round) {
      TrialCase one;
      one.kind = TrialCase::Kind::hostile;
      one.title = round_title(round);
      one.arguments = dump_json(arguments);
      resources_.answers = [round](std::string_view function) {
        return hostile_answer(function, round);
      };
      CallEnd end = co_await call(arguments);
      one.fault = breakage(end);
      one.output = std::move(end.output);
      report_.cases.push_back(std::move(one));
    }
  }

  /// What a person who wrote an example holds for usual.
  Json base_arguments(const Json& schema) const {
    const Json& examples = declaration_.examples;
    if (!examples.empty() && examples[0].contains("args")) return examples[0]["args"];
    return typical_value(schema);
  }
  Json base_answers() const {
    const Json& examples = declaration_.examples;
    return examples.empty() ? Json::object() : examples[0].value("answers", Json::object());
  }

  asio::awaitable<CallEnd> call(Json arguments) {
    CallEnd end{error_output(""), false};
    auto made = ScriptCall::prepare(resources_, text_);
    if (!made) {
      end.output = error_output(made.error().message);
      co_return end;
    }
    ToolContext context(*resources_.clock, Deadline::after(*resources_.clock, kCallTime),
                        kOutputBytesMax);
    auto output = co_await run_script(made->get(), std::move(arguments), std::move(context));
    if (!output) output = error_output(fmt::format("limit reached: {}", output.error().message));
    end.output = std::move(*output);
    // A tool may try, and say something else.
    end.has_misused_context = (*made)->was_misused() && is_of_context(end.output.content);
    co_return end;
  }

  std::string text_;
  ScriptDeclaration declaration_;
  ScriptResources resources_;
  TrialReport report_;
};

struct ReadFile {
  std::string text;
  ScriptFile script;
};

Result<ReadFile> read_file(const std::filesystem::path& file, const Clock& clock) {
  PONDER_TRY(std::string text, read_script_text(file));
  ScriptFile script = read_script(text, file.filename().string(), clock);
  return ReadFile{std::move(text), std::move(script)};
}

}  // namespace

Result<ToolFileCheck> check_tool_file(const std::filesystem::path& file, const Clock& clock) {
  PONDER_TRY(ReadFile read, read_file(file, clock));
  ToolFileCheck out;
  for (const FileFault& fault : read.script.faults) {
    out.faults.push_back(describe_faults({fault}, file.string()));
  }
  if (!read.script.declaration) return out;
  ScriptDeclaration& declared = *read.script.declaration;
  out.card = ToolCardFromFile{std::move(declared.spec), declared.effect,
                              std::move(declared.capabilities), declared.examples.size()};
  return out;
}

asio::awaitable<Result<TrialReport>> try_tool(std::filesystem::path file, const Clock& clock,
                                              asio::any_io_executor pool) {
  auto read = read_file(file, clock);
  PONDER_CO_CHECK(read);
  if (!read->script.declaration) {
    co_return fail(Errc::invalid_argument, describe_faults(read->script.faults, file.string()));
  }
  LuaToolsOptions options;
  auto resources = make_resources(options, *read->script.declaration, file, clock, pool);
  PONDER_CO_CHECK(resources);
  Trial trial(std::move(read->text), std::move(*read->script.declaration), std::move(*resources));
  auto report = co_await trial.run();
  co_return report;
}

}  // namespace ponder::tools
