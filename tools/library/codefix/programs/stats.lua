local values = require("codefix.values")
local null = values.null

return {
  name = "stats",
  purpose = "`$mean` is the mean of a list of numbers (nothing for an empty list), `$spread` the largest less the smallest, `$count_above` how many are over a limit.",
  names = {
    { key = "mean", words = { "mean", "average", "mean_value", "avg", "centre", "mean_of" } },
    { key = "spread", words = { "spread", "range_of", "width", "extent", "gap", "value_range" } },
    { key = "count_above", words = { "count_above", "count_over", "num_above", "how_many_over", "exceeding", "count_exceeding" } },
    { key = "values", words = { "values", "numbers", "samples", "readings", "data", "items" } },
    { key = "total", words = { "total", "sum_so_far", "acc", "amount", "running", "result" } },
    { key = "limit", words = { "limit", "bound", "threshold", "cutoff", "level", "cap" } },
  },
  visible = {
    { "mean", { { 2.5, 4.5, 8.0 } }, 5.0 }, { "mean", { {} }, null }, { "mean", { { 7.0, 2.0 } }, 4.5 },
    { "spread", { { 3, 9, 4 } }, 6 }, { "spread", { { -5, -2 } }, 3 }, { "spread", { { 8, 1, 5 } }, 7 },
    { "count_above", { { 1, 5, 9 }, 5 }, 1 }, { "count_above", { { 4, 6, 7 }, 3 }, 3 },
  },
  hidden = {
    { "mean", { { 1.0, 2.0, 3.0, 4.0 } }, 2.5 }, { "mean", { { 6.0 } }, 6.0 }, { "mean", { {} }, null },
    { "spread", { { -4, 10, 2, 0 } }, 14 }, { "spread", { { 12 } }, 0 }, { "spread", { { 90, 20, 55 } }, 70 },
    { "count_above", { { 10, 20, 30, 40 }, 20 }, 2 }, { "count_above", { {}, 1 }, 0 }, { "count_above", { { -3, -1 }, -2 }, 1 },
  },
  python = [==[
def $mean($values):
    if not $values:   @@missing_edge_case|-2
        return None
    $total = 0   @@wrong_initial_value|$total = 1
    for value in $values:   @@wrong_slice|for value in $values[1:]:
        $total += value   @@wrong_operator|$total -= value   @@wrong_operator|$total = value
    return $total / len($values)   @@integer_division|return $total // len($values)   @@missing_return|$total / len($values)   @@off_by_one|return $total / (len($values) + 1)


def $spread($values):
    lowest = $values[0]   @@wrong_initial_value|lowest = 0
    highest = $values[0]   @@wrong_initial_value|highest = 0
    for value in $values:
        if value < lowest:   @@wrong_comparison|if value > lowest:
            lowest = value
        if value > highest:
            highest = value   @@wrong_variable|highest = lowest
    return highest - lowest   @@swapped_operands|return lowest - highest   @@wrong_operator|return highest + lowest


def $count_above($values, $limit):
    count = 0
    for value in $values:
        if value > $limit:   @@wrong_comparison|if value >= $limit:   @@negated_condition|if not value > $limit:
            count += 1   @@wrong_increment|count += 2
    return count   @@wrong_variable|return $limit
]==],
  lua = [==[
local stats = {}

function stats.$mean($values)
  if #$values == 0 then return nil end   @@missing_edge_case|-
  local $total = 0   @@wrong_initial_value|local $total = 1
  for i = 1, #$values do   @@off_by_one|for i = 1, #$values - 1 do   @@wrong_index|for i = 2, #$values do
    $total = $total + $values[i]   @@wrong_operator|$total = $total - $values[i]   @@wrong_variable|$total = $total + i
  end
  return $total / #$values   @@integer_division|return $total // #$values   @@missing_return|$total = $total / #$values
end

function stats.$spread($values)
  local lowest, highest = $values[1], $values[1]   @@wrong_initial_value|local lowest, highest = 0, 0
  for _, value in ipairs($values) do
    if value < lowest then lowest = value end   @@wrong_comparison|if value > lowest then lowest = value end
    if value > highest then highest = value end   @@wrong_variable|if value > lowest then highest = value end
  end
  return highest - lowest   @@swapped_operands|return lowest - highest
end

function stats.$count_above($values, $limit)
  local count = 0
  for _, value in ipairs($values) do
    if value > $limit then count = count + 1 end   @@wrong_comparison|if value >= $limit then count = count + 1 end   @@missing_update|if value > $limit then count = 1 end
  end
  return count
end

return stats
]==],
  cpp = [==[
#pragma once

#include <optional>
#include <vector>

inline std::optional<double> $mean(const std::vector<double>& $values) {
  if ($values.empty()) return std::nullopt;   @@missing_edge_case|-
  double $total = 0;   @@wrong_type|int $total = 0;   @@wrong_initial_value|double $total = 1;
  for (double value : $values) $total += value;   @@wrong_operator|for (double value : $values) $total -= value;
  return $total / $values.size();   @@integer_division|return static_cast<int>($total) / static_cast<int>($values.size());
}

inline int $spread(const std::vector<int>& $values) {
  int lowest = $values[0];   @@wrong_initial_value|int lowest = 0;
  int highest = $values[0];
  for (int value : $values) {
    if (value < lowest) lowest = value;   @@wrong_comparison|if (value > lowest) lowest = value;
    if (value > highest) highest = value;   @@wrong_variable|if (value > highest) highest = lowest;
  }
  return highest - lowest;   @@swapped_operands|return lowest - highest;
}

inline int $count_above(const std::vector<int>& $values, int $limit) {
  int count = 0;
  for (int value : $values) {
    if (value > $limit) ++count;   @@wrong_comparison|if (value >= $limit) ++count;   @@negated_condition|if (!(value > $limit)) ++count;
  }
  return count;
}
]==],
}
