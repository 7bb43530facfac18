#include "tools/session/session_tools.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tools/detail/json.h"

namespace ponder::tools {
namespace {

namespace asio = boost::asio;

constexpr const char* kNoSession = "this call belongs to no session";

class SessionTool : public Tool {
 public:
  explicit SessionTool(context::ToolSpec spec) : spec_(std::move(spec)) {}
  const context::ToolSpec& spec() const override { return spec_; }
  Effect effect() const override { return Effect::idempotent; }
  const std::vector<std::string>& capabilities() const override { return none_; }

  asio::awaitable<Result<ToolOutput>> invoke(std::string arguments, ToolContext context) override {
    const auto parsed = parse_json(arguments);
    if (!parsed) co_return error_output(parsed.error().message);
    if (context.services == nullptr) co_return error_output(kNoSession);
    auto output = co_await serve(*parsed, *context.services);
    co_return output;
  }

 private:
  virtual asio::awaitable<Result<ToolOutput>> serve(Json arguments, CallServices& services) = 0;

  context::ToolSpec spec_;
  std::vector<std::string> none_;
};

class AskUserTool final : public SessionTool {
 public:
  using SessionTool::SessionTool;

 private:
  asio::awaitable<Result<ToolOutput>> serve(Json arguments, CallServices& services) override {
    Question question(arguments.at("question").get<std::string>());
    question.choices = arguments.value("choices", std::vector<std::string>());
    auto answer = co_await services.ask(std::move(question));
    if (answer) co_return ToolOutput(std::move(*answer), false);
    co_return refusal(std::move(answer.error()));
  }

  static Result<ToolOutput> refusal(Error error) {
    switch (error.code) {
      case Errc::unavailable:
        return error_output(error.message +
                            "; decide for yourself, and say in your answer what you assumed");
      case Errc::deadline:
        return error_output(error.message + "; go on without, or ask in your answer");
      case Errc::cancelled:
        return tl::unexpected<Error>(std::move(error));
      default:
        return error_output(error.message);
    }
  }
};

const char* mark_of(const std::string& status) {
  if (status == "done") return "[x]";
  return status == "in_progress" ? "[>]" : "[ ]";
}

std::string list_of(const Json& items) {
  std::string out;
  for (const Json& item : items) {
    std::string text = item.at("text").get<std::string>();
    std::replace_if(text.begin(), text.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
    out += fmt::format("{} {}\n", mark_of(item.at("status").get<std::string>()), text);
  }
  return out;
}

class TodoTool final : public SessionTool {
 public:
  using SessionTool::SessionTool;

 private:
  asio::awaitable<Result<ToolOutput>> serve(Json arguments, CallServices& services) override {
    if (arguments.contains("items")) {
      std::optional<std::string> list = list_of(arguments["items"]);
      if (list->empty()) list.reset();
      const Status kept = co_await services.set_value(kTodoKey, std::move(list));
      if (!kept) co_return error_output(kept.error().message);
    }
    co_return ToolOutput(services.value(kTodoKey).value_or("the list is empty\n"), false);
  }
};

context::ToolSpec ask_user_spec() {
  return {kAskUserTool,
          "Asks the user and waits for the answer. For what only the user can know or decide; not "
          "for what can be found out.",
          R"({"type":"object","properties":{)"
          R"("question":{"type":"string","minLength":1,"maxLength":2000},)"
          R"("choices":{"type":"array","items":{"type":"string","minLength":1,"maxLength":50},)"
          R"("minItems":2,"maxItems":20,"description":"the only answers there are"}},)"
          R"("required":["question"],"additionalProperties":false})"};
}

context::ToolSpec todo_spec() {
  return {kTodoTool,
          "Keeps your plan as a short list, which the user sees. Give the whole list each time; "
          "without items it is shown. For work of several steps: one item in progress at a time, "
          "and done as soon as it is.",
          R"({"type":"object","properties":{"items":{"type":"array","maxItems":50,)"
          R"("items":{"type":"object","properties":{)"
          R"("text":{"type":"string","minLength":1,"maxLength":200},)"
          R"("status":{"enum":["pending","in_progress","done"]}},)"
          R"("required":["text","status"],"additionalProperties":false}}},)"
          R"("additionalProperties":false})"};
}

}  // namespace

Status add_session_tools(Registry& registry, const SessionToolOptions& options) {
  if (options.has_todo) {
    PONDER_CHECK(registry.add(std::make_unique<TodoTool>(todo_spec())));
  }
  if (!options.has_person) return {};
  return registry.add(std::make_unique<AskUserTool>(ask_user_spec()));
}

}  // namespace ponder::tools
