#include "engine/grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "engine/grammar_automaton.h"
#include "engine/grammar_rules.h"

namespace ponder::engine {
namespace {

constexpr std::size_t kMembersMax = 63;
constexpr std::size_t kScannerBytesMax = 60'000;

std::uint32_t index_of(RuleId id) { return static_cast<std::uint32_t>(id); }

std::vector<std::uint32_t> indices_of(const std::vector<RuleId>& ids) {
  std::vector<std::uint32_t> indices;
  indices.reserve(ids.size());
  for (const RuleId id : ids) indices.push_back(index_of(id));
  return indices;
}

Rule make_rule(RuleKind kind, bool is_nullable = false) {
  Rule rule;
  rule.kind = kind;
  rule.is_nullable = is_nullable;
  return rule;
}

RuleId add(GrammarRules& rules, Rule rule) {
  rules.rules.push_back(std::move(rule));
  return RuleId{static_cast<std::uint32_t>(rules.rules.size() - 1)};
}

void fault(GrammarRules& rules, std::string message) {
  if (rules.fault.empty()) rules.fault = std::move(message);
}

/// The same text machine for the same strings: a tool list repeats its terminators a lot.
std::uint32_t scanner_for(GrammarRules& rules, std::string terminator,
                          std::vector<std::string> forbidden) {
  std::size_t bytes = terminator.size();
  for (const std::string& text : forbidden) {
    bytes += text.size();
    if (text.empty()) fault(rules, "an empty forbidden string");
  }
  if (bytes > kScannerBytesMax) fault(rules, "terminator and forbidden strings are too long");
  if (!rules.fault.empty()) {
    terminator.clear();
    forbidden.clear();
  }
  for (std::size_t i = 0; i < rules.scanners.size(); ++i) {
    if (rules.scanners[i].is_for(terminator, forbidden)) return static_cast<std::uint32_t>(i);
  }
  rules.scanners.emplace_back(std::move(terminator), std::move(forbidden));
  return static_cast<std::uint32_t>(rules.scanners.size() - 1);
}

}  // namespace

Grammar::Grammar(std::unique_ptr<const GrammarRules> rules) : rules_(std::move(rules)) {}
Grammar::~Grammar() = default;

GrammarMatch Grammar::match(std::string_view text) const {
  GrammarAutomaton automaton(*rules_);
  GrammarAutomaton::StateId state = automaton.start();
  for (const char c : text) {
    state = automaton.step(state, static_cast<std::uint8_t>(c));
    if (state == GrammarAutomaton::kDead) return GrammarMatch::none;
  }
  return automaton.may_end(state) ? GrammarMatch::full : GrammarMatch::prefix;
}

GrammarBuilder::GrammarBuilder() : rules_(std::make_unique<GrammarRules>()) {}
GrammarBuilder::~GrammarBuilder() = default;

RuleId GrammarBuilder::literal(std::string bytes) {
  Rule rule = make_rule(RuleKind::literal, bytes.empty());
  rule.bytes = std::move(bytes);
  return add(*rules_, std::move(rule));
}

RuleId GrammarBuilder::sequence(const std::vector<RuleId>& items) {
  Rule rule = make_rule(RuleKind::sequence, true);
  rule.children = indices_of(items);
  for (const std::uint32_t child : rule.children) {
    rule.is_nullable = rule.is_nullable && rules_->rules[child].is_nullable;
  }
  return add(*rules_, std::move(rule));
}

RuleId GrammarBuilder::choice(const std::vector<RuleId>& options) {
  if (options.empty()) fault(*rules_, "a choice without options");
  Rule rule = make_rule(RuleKind::choice);
  rule.children = indices_of(options);
  for (const std::uint32_t child : rule.children) {
    rule.is_nullable = rule.is_nullable || rules_->rules[child].is_nullable;
  }
  return add(*rules_, std::move(rule));
}

RuleId GrammarBuilder::one_of(std::vector<std::string> strings) {
  std::vector<RuleId> options;
  options.reserve(strings.size());
  for (std::string& text : strings) options.push_back(literal(std::move(text)));
  return choice(options);
}

RuleId GrammarBuilder::optional(RuleId item) { return choice({item, literal("")}); }

RuleId GrammarBuilder::repeat(RuleId item, RuleId separator, std::uint32_t min,
                              std::uint32_t max) {
  if (rules_->rules[index_of(item)].is_nullable) fault(*rules_, "a repeat over nothing");
  if (min > max) fault(*rules_, fmt::format("a repeat of at least {}, at most {}", min, max));
  Rule rule = make_rule(RuleKind::repeat, min == 0);
  rule.children = {index_of(item)};
  rule.separator = index_of(separator);
  rule.min = min;
  rule.max = max;
  return add(*rules_, std::move(rule));
}

RuleId GrammarBuilder::each_once(std::vector<Member> members, RuleId separator) {
  if (members.size() > kMembersMax) {
    fault(*rules_, fmt::format("each_once of {} members, at most {}", members.size(), kMembersMax));
    members.resize(kMembersMax);
  }
  Rule rule = make_rule(RuleKind::each_once);
  rule.separator = index_of(separator);
  for (std::size_t i = 0; i < members.size(); ++i) {
    rule.children.push_back(index_of(members[i].rule));
    if (rules_->rules[rule.children.back()].is_nullable) fault(*rules_, "a member that is nothing");
    if (members[i].is_required) rule.required |= std::uint64_t{1} << i;
  }
  rule.is_nullable = rule.required == 0;
  return add(*rules_, std::move(rule));
}

RuleId GrammarBuilder::text_until(std::string terminator, std::vector<std::string> forbidden) {
  if (terminator.empty()) fault(*rules_, "text without a terminator");
  Rule rule = make_rule(RuleKind::text);
  rule.scanner = scanner_for(*rules_, std::move(terminator), std::move(forbidden));
  return add(*rules_, std::move(rule));
}

RuleId GrammarBuilder::json_value(JsonType type, std::vector<std::string> forbidden) {
  Rule rule = make_rule(RuleKind::json);
  rule.json = type;
  rule.scanner = scanner_for(*rules_, "", std::move(forbidden));
  return add(*rules_, std::move(rule));
}

Result<std::shared_ptr<const Grammar>> GrammarBuilder::compile(std::string trigger, RuleId rule) {
  RuleId root = rule;
  if (!trigger.empty()) {
    const RuleId free_text = text_until(std::move(trigger));
    rules_->rules[index_of(free_text)].is_free = true;
    root = sequence({free_text, rule});
  }
  if (!rules_->fault.empty()) {
    return fail(Errc::invalid_argument, "grammar: " + rules_->fault);
  }
  rules_->root = index_of(root);
  return std::make_shared<const Grammar>(std::exchange(rules_, std::make_unique<GrammarRules>()));
}

}  // namespace ponder::engine
