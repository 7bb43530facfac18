local values = require("codefix.values")
local null = values.null

return {
  name = "words",
  purpose = "`$longest` is the first of the longest words (nothing when there are none), `$is_balanced` checks that brackets \"(\" and \")\" fit, `$run_lengths` gives {value, how often in a row} for a list.",
  names = {
    { key = "longest", words = { "longest", "longest_word", "biggest", "longest_of", "max_word", "widest" } },
    { key = "is_balanced", words = { "is_balanced", "balanced", "brackets_match", "well_formed", "check_brackets", "fits" } },
    { key = "run_lengths", words = { "run_lengths", "encode_runs", "runs", "compress", "grouped_runs", "streaks" } },
    { key = "words", words = { "words", "names", "texts", "tokens", "strings", "terms" } },
    { key = "depth", words = { "depth", "open", "level", "nesting", "pending", "unclosed" } },
    { key = "values", words = { "values", "items", "numbers", "data", "series", "input" } },
  },
  visible = {
    { "longest", { { "to", "seven", "three" } }, "seven" }, { "longest", { {} }, null }, { "longest", { { "a" } }, "a" }, { "longest", { { "a", "ccc", "bb", "dd" } }, "ccc" }, { "longest", { { "aaa", "bb" } }, "aaa" },
    { "is_balanced", { { "(", "x", ")" } }, true }, { "is_balanced", { { ")", "(" } }, false }, { "is_balanced", { { "(" } }, false }, { "is_balanced", { { "(", "(", ")", ")" } }, true }, { "is_balanced", { {} }, true },
    { "run_lengths", { { 7, 7, 2 } }, { { 7, 2 }, { 2, 1 } } }, { "run_lengths", { {} }, {} }, { "run_lengths", { { 1, 2, 1 } }, { { 1, 1 }, { 2, 1 }, { 1, 1 } } },
  },
  hidden = {
    { "longest", { { "one", "two", "six" } }, "one" }, { "longest", { { "x", "yy", "zzz" } }, "zzz" }, { "longest", { {} }, null },
    { "is_balanced", { { "(", "(", "x", ")", "y", ")" } }, true }, { "is_balanced", { { "(", ")", ")" } }, false }, { "is_balanced", { { "a", "b" } }, true }, { "is_balanced", { { "(", "(", ")" } }, false }, { "is_balanced", { { "(", ")", ")", "(" } }, false },
    { "run_lengths", { { 5 } }, { { 5, 1 } } }, { "run_lengths", { { 3, 3, 3, 3 } }, { { 3, 4 } } }, { "run_lengths", { { 1, 1, 2, 2, 1 } }, { { 1, 2 }, { 2, 2 }, { 1, 1 } } },
  },
  python = [==[
def $longest($words):
    best = None   @@wrong_default|best = ""
    for word in $words:
        if best is None or len(word) > len(best):   @@wrong_comparison|if best is None or len(word) >= len(best):   @@missing_nil_check|if len(word) > len(best):   @@wrong_comparison|if best is None or len(word) < len(best):   @@wrong_function|if best is None or word > best:
            best = word   @@wrong_index|best = $words[0]
    return best   @@wrong_variable|return word


def $is_balanced(tokens):
    $depth = 0   @@wrong_initial_value|$depth = 1
    for token in tokens:
        if token == "(":   @@wrong_constant|if token == "[":
            $depth += 1
        elif token == ")":
            $depth -= 1   @@wrong_operator|$depth += 1
            if $depth < 0:   @@missing_edge_case|-2   @@wrong_comparison|if $depth <= 0:   @@off_by_one|if $depth < 1:
                return False   @@swapped_results|return True   @@missing_break|continue
    return $depth == 0   @@wrong_comparison|return $depth >= 0   @@missing_return|$depth == 0   @@negated_condition|return $depth != 0


def $run_lengths($values):
    runs = []
    for value in $values:
        if runs and runs[-1][0] == value:   @@wrong_index|if runs and runs[-1][1] == value:   @@wrong_index|if runs and runs[0][0] == value:   @@missing_nil_check|if runs[-1][0] == value:   @@negated_condition|if runs and runs[-1][0] != value:
            runs[-1][1] += 1   @@missing_update|runs[-1][1] = 1   @@wrong_index|runs[-1][0] += 1
        else:
            runs.append([value, 1])   @@swapped_arguments|runs.append([1, value])   @@wrong_initial_value|runs.append([value, 0])
    return runs
]==],
  lua = [==[
local words = {}

function words.$longest($words)
  local best = nil   @@wrong_default|local best = ""
  for _, word in ipairs($words) do
    if not best or #word > #best then best = word end   @@wrong_comparison|if not best or #word >= #best then best = word end   @@missing_nil_check|if #word > #best then best = word end   @@wrong_variable|if not best or #$words > #best then best = word end   @@missing_break|if not best or #word > #best then return word end
  end
  return best   @@wrong_index|return $words[1]
end

function words.$is_balanced(tokens)
  local $depth = 0   @@wrong_initial_value|local $depth = 1
  for _, token in ipairs(tokens) do
    if token == "(" then $depth = $depth + 1 end   @@wrong_constant|if token == "[" then $depth = $depth + 1 end   @@missing_update|if token == "(" then $depth = 1 end
    if token == ")" then $depth = $depth - 1 end   @@wrong_operator|if token == ")" then $depth = $depth + 1 end
    if $depth < 0 then return false end   @@missing_edge_case|-   @@wrong_comparison|if $depth <= 0 then return false end   @@swapped_results|if $depth < 0 then return true end
  end
  return $depth == 0   @@wrong_comparison|return $depth >= 0   @@negated_condition|return $depth ~= 0   @@missing_return|-
end

function words.$run_lengths($values)
  local runs = {}
  for i, value in ipairs($values) do
    local last = runs[#runs]   @@wrong_index|local last = runs[1]
    if last and last[1] == value then   @@missing_nil_check|if last[1] == value then   @@wrong_index|if last and last[2] == value then   @@wrong_variable|if last and last[1] == i then
      last[2] = last[2] + 1   @@missing_update|last[2] = 1   @@wrong_increment|last[2] = last[2] + 2
    else
      runs[#runs + 1] = { value, 1 }   @@swapped_arguments|runs[#runs + 1] = { 1, value }   @@wrong_initial_value|runs[#runs + 1] = { value, 0 }
    end
  end
  return runs
end

return words
]==],
  cpp = [==[
#pragma once

#include <optional>
#include <string>
#include <vector>

inline std::optional<std::string> $longest(const std::vector<std::string>& $words) {
  std::optional<std::string> best;   @@wrong_default|std::optional<std::string> best = "";
  for (const std::string& word : $words) {
    if (!best || word.size() > best->size()) best = word;   @@wrong_comparison|if (!best || word.size() >= best->size()) best = word;   @@missing_edge_case|if (!best) best = word;
  }
  return best;   @@wrong_index|return $words[0];
}

inline bool $is_balanced(const std::vector<std::string>& tokens) {
  int $depth = 0;   @@wrong_initial_value|int $depth = 1;
  for (const std::string& token : tokens) {
    if (token == "(") ++$depth;   @@wrong_constant|if (token == "[") ++$depth;
    if (token == ")") --$depth;   @@wrong_operator|if (token == ")") ++$depth;
    if ($depth < 0) return false;   @@missing_edge_case|-   @@wrong_comparison|if ($depth <= 0) return false;
  }
  return $depth == 0;   @@wrong_comparison|return $depth >= 0;   @@negated_condition|return $depth != 0;
}

inline std::vector<std::vector<int>> $run_lengths(const std::vector<int>& $values) {
  std::vector<std::vector<int>> runs;
  for (int value : $values) {
    if (runs.empty() || runs.back()[0] != value) runs.push_back({value, 0});   @@wrong_operator|if (runs.empty() && runs.back()[0] != value) runs.push_back({value, 0});   @@wrong_initial_value|if (runs.empty() || runs.back()[0] != value) runs.push_back({value, 1});   @@wrong_index|if (runs.empty() || runs.front()[0] != value) runs.push_back({value, 0});
    ++runs.back()[1];   @@wrong_index|++runs.front()[1];   @@missing_update|runs.back()[1] = 1;
  }
  return runs;
}
]==],
}
