#include <fmt/format.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "runtime/workflow/eval.h"

namespace ponder::runtime {
namespace {

using nlohmann::json;

/// Sums over some of the cases.
struct Totals {
  std::uint32_t cases = 0;
  std::uint32_t solved = 0;
  std::uint64_t steps = 0;
  std::uint64_t tool_calls = 0;
  std::uint64_t malformed_calls = 0;
  std::uint64_t damaged_completions = 0;
  std::uint64_t tokens_prompt = 0;
  std::uint64_t tokens_cached = 0;
  std::uint64_t tokens_generated = 0;
  double decode_ms = 0;
  double elapsed_ms = 0;

  void add(const EvalCase& c) {
    ++cases;
    solved += c.is_solved ? 1 : 0;
    steps += c.steps;
    tool_calls += c.tool_calls;
    malformed_calls += c.malformed_calls;
    damaged_completions += c.damaged_completions;
    tokens_prompt += c.usage.tokens_prompt;
    tokens_cached += c.usage.tokens_cached;
    tokens_generated += c.usage.tokens_generated;
    decode_ms += c.usage.decode_ms;
    elapsed_ms += c.elapsed_ms;
  }
  double per_case(double sum) const { return cases == 0 ? 0 : sum / cases; }
  double cached_share() const {
    return tokens_prompt == 0
               ? 0
               : static_cast<double>(tokens_cached) / static_cast<double>(tokens_prompt);
  }
  double tokens_per_s() const {
    return decode_ms <= 0 ? 0 : static_cast<double>(tokens_generated) / decode_ms * 1000.0;
  }
};

struct Summary {
  Totals all;
  std::map<std::string, Totals> by_kind;
  std::map<std::string, std::vector<const EvalCase*>> failures;  // by reason
};

Summary summarise(const EvalReport& report) {
  Summary out;
  for (const EvalCase& c : report.cases) {
    out.all.add(c);
    out.by_kind[c.kind].add(c);
    if (!c.is_solved) out.failures[c.reason].push_back(&c);
  }
  return out;
}

std::string share_line(const std::string& name, const Totals& totals) {
  const Share share = wilson_share(totals.solved, totals.cases);
  return fmt::format(
      "  {:<24} {:>4} of {:>4}  {:>5.1f}%  [{:.1f}, {:.1f}]  {:>6.1f} steps  {:>7.0f} "
      "tokens  {:>6.1f} s\n",
      name, totals.solved, totals.cases, share.value * 100, share.low * 100, share.high * 100,
      totals.per_case(static_cast<double>(totals.steps)),
      totals.per_case(static_cast<double>(totals.tokens_generated)),
      totals.per_case(totals.elapsed_ms) / 1000);
}

json share_json(const Totals& totals) {
  const Share share = wilson_share(totals.solved, totals.cases);
  return {{"solved", totals.solved},
          {"total", totals.cases},
          {"share", share.value},
          {"low", share.low},
          {"high", share.high},
          {"steps_mean", totals.per_case(static_cast<double>(totals.steps))},
          {"tokens_generated_mean", totals.per_case(static_cast<double>(totals.tokens_generated))},
          {"elapsed_ms_mean", totals.per_case(totals.elapsed_ms)}};
}

json case_json(const EvalCase& c) {
  return {{"task_seed", c.task_seed},
          {"kind", c.kind},
          {"session", c.session.value},
          {"solved", c.is_solved},
          {"reason", c.reason},
          {"failure", c.failure},
          {"end", turn_end_name(c.end)},
          {"steps", c.steps},
          {"tool_calls", c.tool_calls},
          {"malformed_calls", c.malformed_calls},
          {"damaged_completions", c.damaged_completions},
          {"tokens_prompt", c.usage.tokens_prompt},
          {"tokens_cached", c.usage.tokens_cached},
          {"tokens_generated", c.usage.tokens_generated},
          {"elapsed_ms", c.elapsed_ms}};
}

}  // namespace

Share wilson_share(std::uint32_t hits, std::uint32_t total) {
  Share out;
  out.hits = hits;
  out.total = total;
  if (total == 0) return out;
  constexpr double kZ = 1.959963984540054;  // the normal distribution's 97.5% point
  const double n = total;
  const double p = hits / n;
  const double centre = (p + kZ * kZ / (2 * n)) / (1 + kZ * kZ / n);
  const double reach = kZ / (1 + kZ * kZ / n) * std::sqrt(p * (1 - p) / n + kZ * kZ / (4 * n * n));
  out.value = p;
  out.low = hits == 0 ? 0 : centre - reach;
  out.high = hits == total ? 1 : centre + reach;
  return out;
}

std::string eval_table(const EvalReport& report) {
  const Summary summary = summarise(report);
  const Totals& all = summary.all;
  const EvalOptions& options = report.options;
  std::string out =
      fmt::format("{}: {} tasks from seed {}, temperature {}, top_p {}, grammar {}\n",
                  options.workflow, report.cases.size(), options.seed, options.sampling.temperature,
                  options.sampling.top_p, options.sampling.has_grammar ? "on" : "off");
  out +=
      fmt::format("model {}\nsolved, with the 95% interval, and means per task:\n", report.model);
  if (report.broken_off) {
    out += fmt::format("broken off after {} of {} tasks: {}\n", report.cases.size(), options.count,
                       report.broken_off->message);
  }
  out += share_line("all", all);
  for (const auto& [kind, totals] : summary.by_kind) out += share_line(kind, totals);
  out += fmt::format("{} tool calls, {} of them malformed; {} completions repaired or cut off\n",
                     all.tool_calls, all.malformed_calls, all.damaged_completions);
  out += fmt::format(
      "{} tokens generated at {:.0f}/s, {:.1f}% of {} prompt tokens from the cache; {:.1f} s in "
      "all\n",
      all.tokens_generated, all.tokens_per_s(), all.cached_share() * 100, all.tokens_prompt,
      report.elapsed_ms / 1000);
  for (const auto& [reason, cases] : summary.failures) {
    out += fmt::format("not solved, {}: {}\n", reason, cases.size());
    for (const EvalCase* c : cases) {
      out += fmt::format("  {} {} {} {}\n", c->task_seed, c->kind, c->session.value, c->failure);
    }
  }
  out.pop_back();  // the caller ends the last line
  return out;
}

std::string eval_json(const EvalReport& report) {
  const Summary summary = summarise(report);
  json by_kind = json::object();
  for (const auto& [kind, totals] : summary.by_kind) by_kind[kind] = share_json(totals);
  json failures = json::object();
  for (const auto& [reason, cases] : summary.failures) failures[reason] = cases.size();
  json cases = json::array();
  for (const EvalCase& c : report.cases) cases.push_back(case_json(c));
  const json broken_off = report.broken_off ? json(report.broken_off->message) : json(nullptr);
  const json out = {{"workflow", report.options.workflow},
                    {"broken_off", broken_off},
                    {"model", report.model},
                    {"seed", report.options.seed},
                    {"temperature", report.options.sampling.temperature},
                    {"top_p", report.options.sampling.top_p},
                    {"grammar", report.options.sampling.has_grammar},
                    {"all", share_json(summary.all)},
                    {"by_kind", std::move(by_kind)},
                    {"failures", std::move(failures)},
                    {"tool_calls", summary.all.tool_calls},
                    {"malformed_calls", summary.all.malformed_calls},
                    {"damaged_completions", summary.all.damaged_completions},
                    {"tokens_generated", summary.all.tokens_generated},
                    {"tokens_per_s", summary.all.tokens_per_s()},
                    {"cached_share", summary.all.cached_share()},
                    {"elapsed_ms", report.elapsed_ms},
                    {"cases", std::move(cases)}};
  return out.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace ponder::runtime
