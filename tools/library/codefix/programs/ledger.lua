return {
  name = "ledger",
  purpose = "`$balance` books changes on a start, refusing those that would make it negative; `$interest` is a percentage for whole years, compounded and rounded down each year; `$fee` is 1 in a hundred, at least 5, at most 50.",
  names = {
    { key = "balance", words = { "balance", "book_all", "final_balance", "apply_changes", "settle", "post_entries" } },
    { key = "interest", words = { "interest", "compound", "with_interest", "grown", "after_years", "accrue" } },
    { key = "fee", words = { "fee", "commission", "charge_for", "service_fee", "toll", "brokerage" } },
    { key = "start", words = { "start", "opening", "initial", "funds", "deposit", "principal" } },
    { key = "changes", words = { "changes", "entries", "bookings", "moves", "transactions", "deltas" } },
    { key = "percent", words = { "percent", "rate", "yearly", "annual", "points", "growth" } },
  },
  visible = {
    { "balance", { 100, { 50, -30 } }, 120 }, { "balance", { 10, { -20, 5 } }, 15 }, { "balance", { 20, { -20 } }, 0 }, { "balance", { 7, {} }, 7 }, { "balance", { 10, { -6, -6 } }, 4 },
    { "interest", { 1000, 10, 2 }, 1210 }, { "interest", { 500, 5, 0 }, 500 }, { "interest", { 99, 1, 1 }, 99 }, { "interest", { 150, 10, 1 }, 165 },
    { "fee", { 100 }, 5 }, { "fee", { 2000 }, 20 }, { "fee", { 10000 }, 50 }, { "fee", { 1999 }, 19 },
  },
  hidden = {
    { "balance", { 0, { -1, 4, -4, 9 } }, 9 }, { "balance", { 5, { -3, -3, -2 } }, 0 }, { "balance", { 50, { 1, 2, 3 } }, 56 },
    { "interest", { 200, 50, 3 }, 675 }, { "interest", { 333, 10, 1 }, 366 }, { "interest", { 0, 9, 9 }, 0 }, { "interest", { 100, 0, 5 }, 100 },
    { "fee", { 0 }, 5 }, { "fee", { 501 }, 5 }, { "fee", { 4900 }, 49 }, { "fee", { 999999 }, 50 }, { "fee", { 3050 }, 30 },
  },
  python = [==[
def $balance($start, $changes):
    current = $start   @@wrong_initial_value|current = 0
    for change in $changes:   @@wrong_slice|for change in $changes[:-1]:   @@wrong_slice|for change in $changes[1:]:
        if current + change < 0:   @@wrong_comparison|if current + change <= 0:   @@wrong_variable|if $start + change < 0:   @@wrong_operator|if current - change < 0:   @@missing_edge_case|-2
            continue   @@wrong_jump|break
        current += change   @@missing_update|current = change   @@wrong_operator|current -= change
    return current   @@wrong_variable|return $start


def $interest($start, $percent, years):
    amount = $start
    for _ in range(years):   @@off_by_one|for _ in range(years + 1):   @@off_by_one|for _ in range(1, years):   @@wrong_variable|for _ in range($percent):
        amount += amount * $percent // 100   @@integer_division|amount += amount * $percent / 100   @@wrong_constant|amount += amount * $percent // 10   @@wrong_variable|amount += $start * $percent // 100   @@missing_update|amount = amount * $percent // 100
    return amount


def $fee(amount, lowest=5, highest=50):   @@wrong_default|def $fee(amount, lowest=0, highest=50):   @@wrong_default|def $fee(amount, lowest=5, highest=500):   @@swapped_arguments|def $fee(amount, highest=5, lowest=50):
    return max(lowest, min(highest, amount // 100))   @@wrong_function|return min(lowest, min(highest, amount // 100))   @@integer_division|return max(lowest, min(highest, amount / 100))   @@missing_edge_case|return min(highest, amount // 100)   @@missing_return|max(lowest, min(highest, amount // 100))
]==],
  lua = [==[
local ledger = {}

function ledger.$balance($start, $changes)
  local current = $start   @@wrong_initial_value|local current = 0
  for _, change in ipairs($changes) do
    if current + change >= 0 then   @@wrong_comparison|if current + change > 0 then   @@wrong_variable|if $start + change >= 0 then   @@wrong_operator|if current - change >= 0 then
      current = current + change   @@missing_update|current = change   @@wrong_operator|current = current - change
    end
  end
  return current   @@wrong_variable|return $start   @@missing_return|-
end

function ledger.$interest($start, $percent, years)
  local amount = $start
  for _ = 1, years do   @@off_by_one|for _ = 0, years do   @@wrong_variable|for _ = 1, $percent do
    amount = amount + amount * $percent // 100   @@integer_division|amount = amount + amount * $percent / 100   @@wrong_variable|amount = amount + $start * $percent // 100   @@missing_update|amount = amount * $percent // 100   @@wrong_constant|amount = amount + amount * $percent // 10
  end
  return amount
end

function ledger.$fee(amount, lowest, highest)
  lowest = lowest or 5   @@wrong_default|lowest = lowest or 0   @@missing_nil_check|-
  highest = highest or 50   @@wrong_default|highest = highest or 500
  return math.max(lowest, math.min(highest, amount // 100))   @@wrong_function|return math.min(lowest, math.min(highest, amount // 100))   @@integer_division|return math.max(lowest, math.min(highest, amount / 100))   @@swapped_arguments|return math.max(highest, math.min(lowest, amount // 100))
end

return ledger
]==],
  cpp = [==[
#pragma once

#include <algorithm>
#include <vector>

inline int $balance(int $start, const std::vector<int>& $changes) {
  int current = $start;   @@wrong_initial_value|int current = 0;
  for (int change : $changes) {
    if (current + change < 0) continue;   @@wrong_comparison|if (current + change <= 0) continue;   @@wrong_jump|if (current + change < 0) break;   @@wrong_variable|if ($start + change < 0) continue;   @@missing_edge_case|-
    current += change;   @@wrong_operator|current -= change;   @@missing_update|current = change;
  }
  return current;
}

inline int $interest(int $start, int $percent, int years) {
  int amount = $start;
  for (int year = 0; year < years; ++year) {   @@off_by_one|for (int year = 0; year <= years; ++year) {
    amount += amount * $percent / 100;   @@integer_division|amount += amount / 100 * $percent;   @@wrong_variable|amount += $start * $percent / 100;
  }
  return amount;
}

inline int $fee(int amount, int lowest = 5, int highest = 50) {   @@wrong_default|inline int $fee(int amount, int lowest = 0, int highest = 50) {   @@wrong_default|inline int $fee(int amount, int lowest = 5, int highest = 500) {
  return std::max(lowest, std::min(highest, amount / 100));   @@wrong_function|return std::min(lowest, std::min(highest, amount / 100));   @@swapped_arguments|return std::max(highest, std::min(lowest, amount / 100));
}
]==],
}
