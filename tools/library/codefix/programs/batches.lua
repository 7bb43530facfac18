local values = require("codefix.values")
local null = values.null

return {
  name = "batches",
  purpose = "`$split_batches` cuts a list into parts of a size (the last may be shorter), `$page` gives the n-th part (from 1) of a list (empty when there is none), `$first_match` the first value over a limit or nothing.",
  names = {
    { key = "split_batches", words = { "split_batches", "chunked", "in_batches", "make_groups", "partition_list", "cut" } },
    { key = "page", words = { "page", "get_page", "nth_page", "slice_page", "page_of", "part" } },
    { key = "first_match", words = { "first_match", "first_above", "find_first", "first_over", "earliest_over", "first_big" } },
    { key = "items", words = { "items", "rows", "values", "entries", "jobs", "elements" } },
    { key = "size", words = { "size", "per_page", "batch_size", "width", "chunk_size", "step" } },
    { key = "limit", words = { "limit", "bound", "threshold", "floor", "barrier", "cutoff" } },
  },
  visible = {
    { "split_batches", { { 9, 8, 7, 6, 5 }, 2 }, { { 9, 8 }, { 7, 6 }, { 5 } } }, { "split_batches", { { 1, 2 }, 2 }, { { 1, 2 } } }, { "split_batches", { {}, 3 }, {} },
    { "page", { { 1, 2, 3, 4, 5 }, 2, 2 }, { 3, 4 } }, { "page", { { 1, 2, 3 }, 1, 2 }, { 1, 2 } }, { "page", { { 1, 2, 3 }, 2, 2 }, { 3 } }, { "page", { { 1 }, 0, 2 }, {} }, { "page", { { 1 }, 3, 2 }, {} }, { "page", { { 1, 2, 3, 4, 5 }, -1, 2 }, {} },
    { "first_match", { { 1, 8, 9 }, 5 }, 8 }, { "first_match", { { 1, 2 }, 5 }, null }, { "first_match", { { 5, 6 }, 5 }, 6 },
  },
  hidden = {
    { "split_batches", { { 7, 8, 9, 10, 11, 12 }, 3 }, { { 7, 8, 9 }, { 10, 11, 12 } } }, { "split_batches", { { 4 }, 3 }, { { 4 } } }, { "split_batches", { { 1, 2, 3, 4 }, 3 }, { { 1, 2, 3 }, { 4 } } },
    { "page", { { 5, 6, 7, 8 }, 4, 1 }, { 8 } }, { "page", { { 5, 6, 7, 8 }, 1, 3 }, { 5, 6, 7 } }, { "page", { {}, 1, 3 }, {} }, { "page", { { 5, 6, 7, 8 }, 0, 1 }, {} }, { "page", { { 1, 2, 3, 4, 5, 6 }, 3, 2 }, { 5, 6 } },
    { "first_match", { { 30, 10, 40 }, 20 }, 30 }, { "first_match", { {}, 0 }, null }, { "first_match", { { 20, 21 }, 20 }, 21 },
  },
  python = [==[
def $split_batches($items, $size):
    batches = []
    for start in range(0, len($items), $size):   @@wrong_initial_value|for start in range(1, len($items), $size):   @@off_by_one|for start in range(0, len($items) - 1, $size):   @@missing_argument|for start in range(0, len($items)):   @@swapped_arguments|for start in range(0, $size, len($items)):
        batches.append($items[start : start + $size])   @@wrong_slice|batches.append($items[start : start + $size - 1])   @@wrong_slice|batches.append($items[start : $size])   @@wrong_function|batches.extend($items[start : start + $size])
    return batches


def $page($items, number, $size):
    if number < 1:   @@missing_edge_case|-2   @@wrong_comparison|if number <= 1:
        return []   @@missing_return|pass
    start = (number - 1) * $size   @@off_by_one|start = number * $size   @@wrong_operator|start = (number - 1) + $size
    return $items[start : start + $size]   @@wrong_slice|return $items[start : $size]   @@wrong_slice|return $items[start:]


def $first_match($items, $limit):
    found = None   @@wrong_default|found = 0
    for value in $items:
        if value > $limit:   @@wrong_comparison|if value >= $limit:   @@negated_condition|if value <= $limit:
            found = value   @@wrong_variable|found = $limit
            break   @@missing_break|continue
    return found
]==],
  lua = [==[
local batches = {}

function batches.$split_batches($items, $size)
  local parts = {}
  for i, value in ipairs($items) do
    if (i - 1) % $size == 0 then parts[#parts + 1] = {} end   @@off_by_one|if i % $size == 0 then parts[#parts + 1] = {} end   @@wrong_operator|if (i - 1) // $size == 0 then parts[#parts + 1] = {} end
    local part = parts[#parts]   @@wrong_index|local part = parts[1]
    part[#part + 1] = value   @@wrong_variable|part[#part + 1] = i
  end
  return parts
end

function batches.$page($items, number, $size)
  local part = {}
  if number < 1 then return part end   @@missing_return|if number < 1 then return nil end   @@wrong_comparison|if number <= 1 then return part end
  local start = (number - 1) * $size   @@off_by_one|local start = number * $size   @@wrong_operator|local start = (number - 1) + $size
  for i = start + 1, math.min(start + $size, #$items) do   @@off_by_one|for i = start, math.min(start + $size, #$items) do   @@wrong_function|for i = start + 1, math.max(start + $size, #$items) do   @@wrong_boundary|for i = start + 1, math.min($size, #$items) do
    part[#part + 1] = $items[i]
  end
  return part
end

function batches.$first_match($items, $limit)
  local found = nil   @@wrong_default|local found = 0
  for _, value in ipairs($items) do
    if value > $limit then   @@wrong_comparison|if value >= $limit then   @@negated_condition|if value <= $limit then
      found = value   @@wrong_variable|found = $limit
      break   @@missing_break|-
    end
  end
  return found
end

return batches
]==],
  cpp = [==[
#pragma once

#include <algorithm>
#include <optional>
#include <vector>

inline std::vector<std::vector<int>> $split_batches(const std::vector<int>& $items, std::size_t $size) {
  std::vector<std::vector<int>> parts;
  for (std::size_t i = 0; i < $items.size(); ++i) {   @@wrong_initial_value|for (std::size_t i = 1; i < $items.size(); ++i) {
    if (i % $size == 0) parts.emplace_back();   @@wrong_operator|if (i / $size == 0) parts.emplace_back();
    parts.back().push_back($items[i]);   @@wrong_index|parts.front().push_back($items[i]);
  }
  return parts;
}

inline std::vector<int> $page(const std::vector<int>& $items, int number, int $size) {
  if (number < 1) return {};   @@missing_edge_case|-   @@wrong_comparison|if (number <= 1) return {};
  const int count = static_cast<int>($items.size());
  const int start = std::min((number - 1) * $size, count);   @@off_by_one|const int start = std::min(number * $size, count);
  const int end = std::min(start + $size, count);   @@wrong_boundary|const int end = std::min($size, count);   @@wrong_function|const int end = std::max(start + $size, count);
  return {$items.begin() + start, $items.begin() + end};
}

inline std::optional<int> $first_match(const std::vector<int>& $items, int $limit) {
  std::optional<int> found;   @@wrong_default|std::optional<int> found = 0;
  for (int value : $items) {
    if (value > $limit) {   @@wrong_comparison|if (value >= $limit) {   @@negated_condition|if (value <= $limit) {
      found = value;
      break;   @@missing_break|-
    }
  }
  return found;
}
]==],
}
