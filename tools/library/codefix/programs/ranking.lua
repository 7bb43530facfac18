local values = require("codefix.values")
local null = values.null

return {
  name = "ranking",
  purpose = "`$top` gives the largest n numbers, largest first; `$rank` the place of a number among others (1 for the largest, equals share a place); `$runner_up` the second largest different number, or nothing.",
  names = {
    { key = "top", words = { "top", "largest", "best_n", "take_largest", "leaders", "highest" } },
    { key = "rank", words = { "rank", "place_of", "position", "standing", "rank_of", "place" } },
    { key = "runner_up", words = { "runner_up", "second", "second_best", "second_largest", "next_best", "vice" } },
    { key = "scores", words = { "scores", "numbers", "points", "marks", "values", "results" } },
    { key = "count", words = { "count", "n", "how_many", "amount", "places", "wanted" } },
    { key = "ahead", words = { "ahead", "place", "better", "so_far", "above", "pos" } },
  },
  visible = {
    { "top", { { 3, 9, 5, 1 }, 2 }, { 9, 5 } }, { "top", { { 4 }, 3 }, { 4 } }, { "top", { { 1, 2 }, 0 }, {} },
    { "rank", { { 10, 30, 20 }, 30 }, 1 }, { "rank", { { 10, 30, 20 }, 10 }, 3 }, { "rank", { { 5, 5, 1 }, 5 }, 1 }, { "rank", { { 30, 10, 20 }, 10 }, 3 },
    { "runner_up", { { 4, 9, 7 } }, 7 }, { "runner_up", { { 6, 6 } }, null }, { "runner_up", { { 1, 2 } }, 1 }, { "runner_up", { {} }, null }, { "runner_up", { { 9, 9, 2 } }, 2 },
  },
  hidden = {
    { "top", { { 8, 8, 2, 6 }, 3 }, { 8, 8, 6 } }, { "top", { {}, 2 }, {} }, { "top", { { -1, -5, 0 }, 1 }, { 0 } },
    { "rank", { { 1, 2, 3, 4 }, 2 }, 3 }, { "rank", { { 7 }, 7 }, 1 }, { "rank", { { 9, 9, 8 }, 8 }, 3 },
    { "runner_up", { { 1 } }, null }, { "runner_up", { { 3, 5, 5, 4 } }, 4 }, { "runner_up", { { 2, 1 } }, 1 }, { "runner_up", { { 5, 8 } }, 5 },
  },
  python = [==[
def $top($scores, $count):
    ordered = sorted($scores, reverse=True)   @@missing_argument|ordered = sorted($scores)   @@wrong_variable|ordered = list($scores)
    return ordered[:$count]   @@wrong_slice|return ordered[1:$count]   @@wrong_slice|return ordered[$count:]   @@off_by_one|return ordered[:$count + 1]   @@wrong_index|return ordered[$count]


def $rank($scores, score):
    $ahead = 1   @@wrong_initial_value|$ahead = 0
    for other in $scores:   @@wrong_slice|for other in $scores[1:]:
        if other > score:   @@wrong_comparison|if other >= score:   @@wrong_comparison|if other < score:
            $ahead += 1   @@missing_update|$ahead = 1
    return $ahead   @@missing_return|pass


def $runner_up($scores):
    different = sorted(set($scores))   @@missing_edge_case|different = sorted($scores)   @@wrong_function|different = list(sorted(set($scores), reverse=True))
    if len(different) < 2:   @@off_by_one|if len(different) < 1:   @@missing_edge_case|-2   @@wrong_comparison|if len(different) <= 2:
        return None   @@wrong_default|return 0
    return different[-2]   @@wrong_index|return different[-1]   @@wrong_index|return different[1]
]==],
  lua = [==[
local ranking = {}

function ranking.$top($scores, $count)
  local ordered = { table.unpack($scores) }   @@aliasing|local ordered = {}
  table.sort(ordered, function(a, b) return a > b end)   @@swapped_operands|table.sort(ordered, function(a, b) return a < b end)   @@missing_argument|table.sort(ordered)
  local first = {}
  for i = 1, math.min($count, #ordered) do   @@off_by_one|for i = 1, math.min($count, #ordered) - 1 do   @@wrong_function|for i = 1, math.max($count, #ordered) do
    first[i] = ordered[i]   @@wrong_index|first[i] = ordered[1]   @@wrong_variable|first[i] = $scores[i]
  end
  return first
end

function ranking.$rank($scores, score)
  local $ahead = 1   @@wrong_initial_value|local $ahead = 0
  for _, other in ipairs($scores) do
    if other > score then $ahead = $ahead + 1 end   @@wrong_comparison|if other >= score then $ahead = $ahead + 1 end   @@swapped_operands|if score > other then $ahead = $ahead + 1 end   @@missing_update|if other > score then $ahead = 1 end
  end
  return $ahead
end

function ranking.$runner_up($scores)
  local best, second
  for _, score in ipairs($scores) do
    if not best or score > best then   @@missing_nil_check|if score > best then   @@wrong_comparison|if not best or score >= best then
      best, second = score, best   @@missing_update|best = score   @@swapped_operands|best, second = best, score
    elseif score < best and (not second or score > second) then   @@missing_nil_check|elseif score < best and score > second then   @@wrong_comparison|elseif score <= best and (not second or score > second) then
      second = score   @@wrong_variable|second = best
    end
  end
  return second   @@wrong_variable|return best
end

return ranking
]==],
  cpp = [==[
#pragma once

#include <algorithm>
#include <functional>
#include <optional>
#include <set>
#include <vector>

inline std::vector<int> $top(std::vector<int> $scores, std::size_t $count) {
  std::sort($scores.begin(), $scores.end(), std::greater<>());   @@missing_argument|std::sort($scores.begin(), $scores.end());   @@wrong_function|std::reverse($scores.begin(), $scores.end());
  $scores.resize(std::min($count, $scores.size()));   @@missing_edge_case|$scores.resize($count);   @@wrong_function|$scores.resize(std::max($count, $scores.size()));
  return $scores;
}

inline int $rank(const std::vector<int>& $scores, int score) {
  int $ahead = 1;   @@wrong_initial_value|int $ahead = 0;
  for (int other : $scores) {
    if (other > score) ++$ahead;   @@wrong_comparison|if (other >= score) ++$ahead;   @@swapped_operands|if (score > other) ++$ahead;
  }
  return $ahead;
}

inline std::optional<int> $runner_up(const std::vector<int>& $scores) {
  const std::set<int> different($scores.begin(), $scores.end());   @@wrong_type|const std::multiset<int> different($scores.begin(), $scores.end());
  if (different.size() < 2) return std::nullopt;   @@wrong_comparison|if (different.size() <= 2) return std::nullopt;   @@wrong_default|if (different.size() < 2) return 0;
  return *std::next(different.rbegin());   @@wrong_index|return *different.rbegin();   @@wrong_function|return *std::next(different.begin());
}
]==],
}
