#include <fmt/core.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "base/clock.h"
#include "base/text.h"
#include "context/prompt_counter.h"
#include "engine/tokenizer.h"
#include "runtime/cli/compose.h"
#include "runtime/cli/terminal.h"
#include "runtime/cli/tool_command.h"
#include "runtime/data_dir.h"
#include "runtime/model/embedded_model.h"
#include "runtime/session/event.h"
#include "tools/script/tool_trial.h"

/// `ponder tool test`: what a trial of a tool showed, and what the tool costs the model.
namespace ponder::cli {
namespace {

namespace asio = boost::asio;
using nlohmann::json;
using Kind = tools::TrialCase::Kind;

constexpr std::size_t kTextColumns = 100;

const char* kind_name(Kind kind) {
  switch (kind) {
    case Kind::example:
      return "example";
    case Kind::generated:
      return "generated";
    case Kind::hostile:
      return "hostile";
  }
  return "";
}

/// Tokens as the shipped model (or PONDER_MODEL) reads them.
class TokenCost {
 public:
  static Result<TokenCost> open(const Environment& environment) {
    PONDER_TRY(const auto dir,
               runtime::find_model({"", environment.model, environment.executable}));
    PONDER_TRY(auto tokenizer, engine::Tokenizer::load(dir / "tokenizer.json"));
    PONDER_TRY(auto policy, context::thinking_policy("dsv32"));
    return TokenCost(std::move(tokenizer), policy);
  }

  /// What the tool adds to every prompt: to one that has tools, when there are two of it.
  Result<std::size_t> of_spec(const context::ToolSpec& spec) const {
    context::Message system;
    system.role = context::Role::system;
    system.tools = {spec};
    PONDER_TRY(const std::size_t one, count({system}));
    system.tools.push_back(spec);
    PONDER_TRY(const std::size_t two, count({system}));
    return two - one;
  }
  std::size_t of_text(const std::string& text) const {
    return tokenizer_.encode(clean_utf8(text), false).size();
  }

 private:
  TokenCost(engine::Tokenizer tokenizer, context::ThinkingPolicy policy)
      : tokenizer_(std::move(tokenizer)), policy_(policy) {}
  Result<std::size_t> count(const context::Conversation& conversation) const {
    return context::PromptCounter(policy_, runtime::tokenize_fn(tokenizer_)).count(conversation);
  }
  engine::Tokenizer tokenizer_;
  context::ThinkingPolicy policy_;
};

asio::awaitable<int> run_trial(std::filesystem::path file, asio::any_io_executor pool,
                               std::optional<Result<tools::TrialReport>>* out) {
  auto report = co_await tools::try_tool(std::move(file), system_clock(), std::move(pool));
  out->emplace(std::move(report));
  co_return 0;
}

Result<tools::TrialReport> trial_of(const std::filesystem::path& file) {
  asio::io_context io;
  asio::thread_pool pool(1);
  std::optional<Result<tools::TrialReport>> report;
  (void)run_interruptibly(io, run_trial(file, pool.get_executor(), &report));
  pool.join();
  if (!report) return fail(Errc::cancelled, "interrupted");
  return std::move(*report);
}

json to_json(const tools::ToolCardFromFile& card, const tools::TrialReport& report,
             const TokenCost& cost, std::size_t tokens_spec) {
  json cases = json::array();
  for (const tools::TrialCase& one : report.cases) {
    cases.push_back({{"kind", kind_name(one.kind)},
                     {"title", one.title},
                     {"arguments", one.arguments},
                     {"output", one.output.content},
                     {"is_error", one.output.is_error},
                     {"tokens", cost.of_text(one.output.content)},
                     {"fault", one.fault}});
  }
  return {{"name", card.spec.name},
          {"effect", runtime::effect_name(card.effect)},
          {"capabilities", card.capabilities},
          {"tokens_prompt", tokens_spec},
          {"refused", report.num_refused},
          {"cases", std::move(cases)}};
}

void print_case(const tools::TrialCase& one, const TokenCost& cost) {
  const bool is_ok = one.fault.empty();
  fmt::print("{} {}: {}\n", is_ok ? "ok  " : "FAIL", kind_name(one.kind),
             one_line(one.title + "  " + one.arguments, kTextColumns));
  fmt::print("     the model reads ({} tokens): {}\n", cost.of_text(one.output.content),
             one_line(one.output.content, kTextColumns));
  if (!is_ok) fmt::print("     {}\n", one_line(one.fault, kTextColumns));
}

std::size_t count(const tools::TrialReport& report, Kind kind) {
  return static_cast<std::size_t>(
      std::count_if(report.cases.begin(), report.cases.end(),
                    [kind](const auto& one) { return one.kind == kind; }));
}

void print_table(const tools::ToolCardFromFile& card, const tools::TrialReport& report,
                 const TokenCost& cost, std::size_t tokens_spec) {
  // Without examples, one of each kind shows what the model reads.
  const bool has_examples = count(report, Kind::example) > 0;
  std::set<Kind> seen;
  for (const tools::TrialCase& one : report.cases) {
    const bool is_first = seen.insert(one.kind).second;
    const bool is_shown = one.kind == Kind::example || !one.fault.empty();
    if (is_shown || (is_first && !has_examples)) print_case(one, cost);
  }
  if (!has_examples) {
    fmt::print("the file has no examples: with one, you and this test know what is right\n");
  }
  fmt::print(
      "{} examples, {} calls with made-up arguments ({} more did not fit the schema and "
      "were refused), {} rounds of hostile answers\n",
      count(report, Kind::example), count(report, Kind::generated), report.num_refused,
      count(report, Kind::hostile));
  fmt::print("\nevery prompt of a session with this tool has {} tokens more:\n  {}\n  {}\n  {}\n",
             tokens_spec, printable(card.spec.name), printable(card.spec.description),
             printable(card.spec.parameters));
}

}  // namespace

int tool_test(const Environment& environment, const ToolTestOptions& options) {
  const auto check = tools::check_tool_file(options.file, system_clock());
  if (!check) return complain(check.error().message);
  for (const std::string& fault : check->faults) fmt::print(stderr, "{}\n", printable(fault));
  const auto& card = check->card;
  if (!card) return 1;
  const auto cost = TokenCost::open(environment);
  if (!cost) return complain(cost.error().message);
  const auto tokens_spec = cost->of_spec(card->spec);
  if (!tokens_spec) return complain(tokens_spec.error().message);
  const auto report = trial_of(options.file);
  if (!report) return complain(report.error().message);
  if (options.json) {
    const json out = to_json(*card, *report, *cost, *tokens_spec);
    fmt::print("{}\n", out.dump(-1, ' ', false, json::error_handler_t::replace));
  } else {
    print_table(*card, *report, *cost, *tokens_spec);
  }
  const bool has_fault = std::any_of(report->cases.begin(), report->cases.end(),
                                     [](const auto& one) { return !one.fault.empty(); });
  return has_fault ? 1 : 0;
}

}  // namespace ponder::cli
