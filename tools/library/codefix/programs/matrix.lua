return {
  name = "matrix",
  purpose = "`$row_sums` adds up each row of a table of numbers, `$transposed` turns rows into columns, `$diagonal` adds up the main diagonal of a square table.",
  names = {
    { key = "row_sums", words = { "row_sums", "sum_rows", "sums_by_row", "row_totals", "totals_of_rows", "add_rows" } },
    { key = "transposed", words = { "transposed", "flip", "turn", "transpose", "columns_of", "mirrored" } },
    { key = "diagonal", words = { "diagonal", "trace", "diagonal_sum", "main_diagonal", "sum_of_diagonal", "trace_of" } },
    { key = "rows", words = { "rows", "grid", "cells", "matrix_rows", "lines", "sheet" } },
    { key = "total", words = { "total", "acc", "row_total", "amount", "sum_so_far", "s" } },
  },
  visible = {
    { "row_sums", { { { 1, 2 }, { 3, 4 } } }, { 3, 7 } }, { "row_sums", { { { 5, 0, 1 } } }, { 6 } },
    { "transposed", { { { 1, 2, 3 }, { 4, 5, 6 } } }, { { 1, 4 }, { 2, 5 }, { 3, 6 } } }, { "transposed", { { { 7 }, { 8 } } }, { { 7, 8 } } }, { "transposed", { {} }, {} },
    { "diagonal", { { { 1, 2 }, { 3, 4 } } }, 5 }, { "diagonal", { { { 9 } } }, 9 }, { "diagonal", { { { 1, 0, 2 }, { 0, 5, 0 }, { 3, 0, 7 } } }, 13 },
  },
  hidden = {
    { "row_sums", { { { 1 }, { 2 }, { 3 } } }, { 1, 2, 3 } }, { "row_sums", { { { -1, 1 }, { 10, 20 } } }, { 0, 30 } },
    { "transposed", { { { 1, 2 }, { 3, 4 } } }, { { 1, 3 }, { 2, 4 } } }, { "transposed", { { { 5, 6, 7 } } }, { { 5 }, { 6 }, { 7 } } }, { "transposed", { {} }, {} },
    { "diagonal", { { { 2, 9 }, { 9, 3 } } }, 5 }, { "diagonal", { { { 1, 2, 3 }, { 4, 5, 6 }, { 7, 8, 10 } } }, 16 },
  },
  python = [==[
def $row_sums($rows):
    sums = []
    for row in $rows:   @@wrong_slice|for row in $rows[1:]:
        $total = 0   @@wrong_initial_value|$total = row[0]
        for cell in row:   @@wrong_variable|for cell in $rows[0]:   @@wrong_slice|for cell in row[:-1]:
            $total += cell   @@missing_update|$total = cell
        sums.append($total)   @@wrong_variable|sums.append(row)
    return sums   @@missing_break|    return sums


def $transposed($rows):
    if not $rows:   @@missing_edge_case|-2
        return []
    out = [[0] * len($rows) for _ in $rows[0]]   @@aliasing|out = [[0] * len($rows)] * len($rows[0])   @@wrong_variable|out = [[0] * len($rows) for _ in $rows]
    for i, row in enumerate($rows):
        for j, cell in enumerate(row):
            out[j][i] = cell   @@wrong_index|out[i][j] = cell   @@wrong_variable|out[j][i] = j
    return out


def $diagonal($rows):
    $total = 0
    for i in range(len($rows)):   @@off_by_one|for i in range(len($rows) - 1):   @@off_by_one|for i in range(1, len($rows)):
        $total += $rows[i][i]   @@wrong_index|$total += $rows[i][0]   @@wrong_operator|$total -= $rows[i][i]   @@wrong_index|$total += $rows[i][-i]
    return $total   @@missing_return|pass
]==],
  lua = [==[
local matrix = {}

function matrix.$row_sums($rows)
  local sums = {}
  for i, row in ipairs($rows) do
    local $total = 0   @@wrong_initial_value|local $total = row[1]
    for _, cell in ipairs(row) do   @@wrong_variable|for _, cell in ipairs($rows[1]) do
      $total = $total + cell   @@missing_update|$total = cell   @@wrong_variable|$total = $total + i
    end
    sums[i] = $total   @@wrong_index|sums[1] = $total
  end
  return sums
end

function matrix.$transposed($rows)
  local out = {}
  for i, row in ipairs($rows) do
    for j, cell in ipairs(row) do
      out[j] = out[j] or {}   @@missing_nil_check|out[j] = {}   @@wrong_index|out[j] = out[i] or {}
      out[j][i] = cell   @@wrong_index|out[j][j] = cell   @@wrong_variable|out[j][i] = j
    end
  end
  return out   @@wrong_variable|return $rows
end

function matrix.$diagonal($rows)
  local $total = 0
  for i = 1, #$rows do   @@off_by_one|for i = 1, #$rows - 1 do   @@wrong_initial_value|for i = 2, #$rows do
    $total = $total + $rows[i][i]   @@wrong_index|$total = $total + $rows[i][1]   @@wrong_operator|$total = $total - $rows[i][i]   @@wrong_index|$total = $total + $rows[1][i]
  end
  return $total
end

return matrix
]==],
  cpp = [==[
#pragma once

#include <vector>

using Table = std::vector<std::vector<int>>;

inline std::vector<int> $row_sums(const Table& $rows) {
  std::vector<int> sums;
  for (const auto& row : $rows) {
    int $total = 0;   @@wrong_initial_value|int $total = row[0];
    for (int cell : row) $total += cell;   @@missing_update|for (int cell : row) $total = cell;   @@wrong_variable|for (int cell : $rows[0]) $total += cell;
    sums.push_back($total);
  }
  return sums;
}

inline Table $transposed(const Table& $rows) {
  if ($rows.empty()) return {};   @@missing_edge_case|-
  Table out($rows[0].size(), std::vector<int>($rows.size()));   @@swapped_arguments|Table out($rows.size(), std::vector<int>($rows[0].size()));
  for (std::size_t i = 0; i < $rows.size(); ++i) {   @@wrong_initial_value|for (std::size_t i = 1; i < $rows.size(); ++i) {
    for (std::size_t j = 0; j < $rows[i].size(); ++j) out[j][i] = $rows[i][j];   @@wrong_index|for (std::size_t j = 0; j < $rows[i].size(); ++j) out[j][i] = $rows[i][i];   @@off_by_one|for (std::size_t j = 1; j < $rows[i].size(); ++j) out[j][i] = $rows[i][j];
  }
  return out;
}

inline int $diagonal(const Table& $rows) {
  int $total = 0;
  for (std::size_t i = 0; i < $rows.size(); ++i) {   @@wrong_comparison|for (std::size_t i = 0; i <= $rows.size(); ++i) {
    $total += $rows[i][i];   @@wrong_index|$total += $rows[i][0];   @@wrong_operator|$total -= $rows[i][i];
  }
  return $total;
}
]==],
}
