return {
  name = "running",
  purpose = "`$running_totals` gives the sums of all beginnings of a list, `$moving_sums` the sums of each window of a size (none when the list is shorter), `$longest_streak` the longest run of values that are at least a level.",
  names = {
    { key = "running_totals", words = { "running_totals", "prefix_sums", "cumulative", "partial_sums", "accumulate_all", "totals_so_far" } },
    { key = "moving_sums", words = { "moving_sums", "window_sums", "rolling_sums", "sliding_sums", "sums_of_windows", "roll" } },
    { key = "longest_streak", words = { "longest_streak", "max_streak", "longest_run", "best_streak", "record_run", "longest_series" } },
    { key = "values", words = { "values", "numbers", "entries", "measures", "series", "inputs" } },
    { key = "total", words = { "total", "so_far", "acc", "current_sum", "partial", "running_sum" } },
    { key = "size", words = { "size", "width", "window", "length", "span", "k" } },
    { key = "level", words = { "level", "floor", "minimum", "limit", "at_least", "bar" } },
  },
  visible = {
    { "running_totals", { { 1, 2, 3 } }, { 1, 3, 6 } }, { "running_totals", { {} }, {} }, { "running_totals", { { 5, -2 } }, { 5, 3 } },
    { "moving_sums", { { 1, 2, 3, 4 }, 2 }, { 3, 5, 7 } }, { "moving_sums", { { 5, 6 }, 2 }, { 11 } }, { "moving_sums", { { 1 }, 2 }, {} },
    { "longest_streak", { { 5, 6, 1, 7 }, 5 }, 2 }, { "longest_streak", { { 1, 2 }, 5 }, 0 }, { "longest_streak", { { 1, 9, 5, 8 }, 5 }, 3 },
  },
  hidden = {
    { "running_totals", { { 4 } }, { 4 } }, { "running_totals", { { 2, 2, 2, 2 } }, { 2, 4, 6, 8 } },
    { "moving_sums", { { 3, 1, 4, 1, 5 }, 3 }, { 8, 6, 10 } }, { "moving_sums", { { 7, 8, 9 }, 1 }, { 7, 8, 9 } }, { "moving_sums", { {}, 2 }, {} },
    { "longest_streak", { { 3, 3, 3 }, 3 }, 3 }, { "longest_streak", { {}, 1 }, 0 }, { "longest_streak", { { 2, 4, 4, 1, 4, 4, 4, 0, 4 }, 4 }, 3 },
  },
  python = [==[
def $running_totals($values):
    totals = []
    $total = 0   @@wrong_initial_value|$total = 1
    for value in $values:
        $total += value   @@missing_update|$total = value   @@wrong_operator|$total -= value
        totals.append($total)   @@wrong_variable|totals.append(value)
    return totals   @@wrong_variable|return $total


def $moving_sums($values, $size):
    sums = []
    for start in range(len($values) - $size + 1):   @@off_by_one|for start in range(len($values) - $size):   @@wrong_initial_value|for start in range(1, len($values) - $size + 1):
        sums.append(sum($values[start : start + $size]))   @@wrong_slice|sums.append(sum($values[start : $size]))   @@wrong_slice|sums.append(sum($values[start + 1 : start + $size]))   @@wrong_variable|sums.append(sum($values[start : start + start]))
    return sums


def $longest_streak($values, $level):
    longest = 0   @@wrong_initial_value|longest = 1
    current = 0
    for value in $values:
        if value >= $level:   @@wrong_comparison|if value > $level:   @@negated_condition|if value < $level:
            current += 1
            longest = max(longest, current)   @@wrong_function|longest = min(longest, current)
        else:
            current = 0   @@missing_reset|current = current
    return longest   @@wrong_variable|return current
]==],
  lua = [==[
local running = {}

function running.$running_totals($values)
  local totals = {}
  local $total = 0   @@wrong_initial_value|local $total = 1
  for i, value in ipairs($values) do
    $total = $total + value   @@missing_update|$total = value   @@wrong_operator|$total = $total - value
    totals[i] = $total   @@wrong_index|totals[1] = $total   @@wrong_variable|totals[i] = value
  end
  return totals   @@missing_return|-
end

function running.$moving_sums($values, $size)
  local sums = {}
  for start = 1, #$values - $size + 1 do   @@off_by_one|for start = 1, #$values - $size do   @@wrong_initial_value|for start = 2, #$values - $size + 1 do
    local $total = 0
    for i = start, start + $size - 1 do   @@off_by_one|for i = start, start + $size - 2 do   @@wrong_variable|for i = start, $size do
      $total = $total + $values[i]   @@wrong_index|$total = $total + $values[start]
    end
    sums[#sums + 1] = $total   @@wrong_index|sums[#sums] = $total
  end
  return sums
end

function running.$longest_streak($values, $level)
  local longest, current = 0, 0   @@wrong_initial_value|local longest, current = 1, 0
  for _, value in ipairs($values) do
    current = value >= $level and current + 1 or 0   @@wrong_comparison|current = value > $level and current + 1 or 0   @@missing_reset|current = value >= $level and current + 1 or current
    if current > longest then longest = current end   @@missing_edge_case|-   @@wrong_comparison|if current < longest then longest = current end
  end
  return longest   @@wrong_variable|return current
end

return running
]==],
  cpp = [==[
#pragma once

#include <algorithm>
#include <vector>

inline std::vector<int> $running_totals(const std::vector<int>& $values) {
  std::vector<int> totals;
  int $total = 0;   @@wrong_initial_value|int $total = 1;
  for (int value : $values) {
    $total += value;   @@missing_update|$total = value;
    totals.push_back($total);   @@wrong_variable|totals.push_back(value);
  }
  return totals;
}

inline std::vector<int> $moving_sums(const std::vector<int>& $values, int $size) {
  std::vector<int> sums;
  const int last = static_cast<int>($values.size()) - $size;   @@off_by_one|const int last = static_cast<int>($values.size()) - $size - 1;
  for (int start = 0; start <= last; ++start) {   @@wrong_comparison|for (int start = 0; start < last; ++start) {
    int $total = 0;
    for (int i = start; i < start + $size; ++i) $total += $values[i];   @@wrong_index|for (int i = start; i < start + $size; ++i) $total += $values[start];   @@wrong_initial_value|for (int i = 0; i < start + $size; ++i) $total += $values[i];
    sums.push_back($total);
  }
  return sums;
}

inline int $longest_streak(const std::vector<int>& $values, int $level) {
  int longest = 0;
  int current = 0;
  for (int value : $values) {
    current = value >= $level ? current + 1 : 0;   @@wrong_comparison|current = value > $level ? current + 1 : 0;   @@missing_reset|current = value >= $level ? current + 1 : current;
    longest = std::max(longest, current);   @@wrong_function|longest = std::min(longest, current);   @@wrong_variable|longest = current;
  }
  return longest;
}
]==],
}
