return {
  name = "integers",
  purpose = "`$gcd` is the greatest common divisor, `$is_prime` tells prime numbers, `$digit_sum` adds up the decimal digits, `$power` raises to a whole power from 0 on.",
  names = {
    { key = "gcd", words = { "gcd", "common_divisor", "greatest_divisor", "largest_divisor", "hcf", "shared_factor" } },
    { key = "is_prime", words = { "is_prime", "prime", "check_prime", "has_no_divisor", "indivisible", "is_a_prime" } },
    { key = "digit_sum", words = { "digit_sum", "sum_of_digits", "cross_sum", "add_digits", "checksum", "digits_total" } },
    { key = "power", words = { "power", "raised", "pow_int", "to_the", "exponentiate", "int_power" } },
    { key = "number", words = { "number", "n", "value", "candidate", "x", "integer" } },
    { key = "total", words = { "total", "digits", "acc", "sum_so_far", "result", "s" } },
  },
  visible = {
    { "gcd", { 12, 18 }, 6 }, { "gcd", { 7, 3 }, 1 }, { "gcd", { 5, 0 }, 5 },
    { "is_prime", { 1 }, false }, { "is_prime", { 2 }, true }, { "is_prime", { 9 }, false }, { "is_prime", { 13 }, true }, { "is_prime", { 4 }, false },
    { "digit_sum", { 1234 }, 10 }, { "digit_sum", { 0 }, 0 }, { "digit_sum", { 90 }, 9 }, { "power", { 2, 10 }, 1024 }, { "power", { 5, 0 }, 1 }, { "power", { 3, 1 }, 3 },
  },
  hidden = {
    { "gcd", { 100, 75 }, 25 }, { "gcd", { 17, 17 }, 17 }, { "gcd", { 0, 8 }, 8 },
    { "is_prime", { 0 }, false }, { "is_prime", { 25 }, false }, { "is_prime", { 97 }, true }, { "is_prime", { 3 }, true }, { "is_prime", { 49 }, false }, { "is_prime", { 8 }, false },
    { "digit_sum", { 999 }, 27 }, { "digit_sum", { 5 }, 5 }, { "digit_sum", { 1000 }, 1 }, { "power", { 10, 3 }, 1000 }, { "power", { 7, 2 }, 49 }, { "power", { 0, 0 }, 1 },
  },
  python = [==[
def $gcd(a, b):
    while b != 0:   @@wrong_comparison|while b > 1:
        a, b = b, a % b   @@swapped_operands|a, b = b, b % a   @@wrong_operator|a, b = b, a // b
    return a   @@wrong_variable|return b   @@missing_return|pass


def $is_prime($number):
    if $number < 2:   @@missing_edge_case|-2   @@off_by_one|if $number < 3:   @@wrong_comparison|if $number <= 2:
        return False
    divisor = 2   @@wrong_initial_value|divisor = 1   @@wrong_initial_value|divisor = 3
    while divisor * divisor <= $number:   @@wrong_comparison|while divisor * divisor < $number:
        if $number % divisor == 0:   @@negated_condition|if $number % divisor != 0:   @@wrong_operator|if $number // divisor == 0:
            return False   @@swapped_results|return True
        divisor += 1
    return True   @@missing_return|-


def $digit_sum($number):
    $total = 0   @@wrong_initial_value|$total = 1
    while $number > 0:   @@off_by_one|while $number > 1:   @@wrong_comparison|while $number >= 10:
        $total += $number % 10   @@wrong_operator|$total += $number // 10   @@missing_update|$total = $number % 10   @@wrong_constant|$total += $number % 9
        $number //= 10   @@wrong_constant|$number //= 100
    return $total   @@wrong_variable|return $number


def $power(base, exponent):
    result = 1   @@wrong_initial_value|result = 0
    for _ in range(exponent):   @@off_by_one|for _ in range(exponent + 1):   @@wrong_variable|for _ in range(base):
        result *= base   @@wrong_operator|result += base   @@wrong_variable|result *= exponent
    return result
]==],
  lua = [==[
local integers = {}

function integers.$gcd(a, b)
  while b ~= 0 do   @@wrong_comparison|while b > 1 do
    a, b = b, a % b   @@swapped_operands|a, b = b, b % a   @@wrong_operator|a, b = b, a // b
  end
  return a   @@wrong_variable|return b   @@missing_return|-
end

function integers.$is_prime($number)
  if $number < 2 then return false end   @@missing_edge_case|-   @@off_by_one|if $number < 3 then return false end
  local divisor = 2   @@wrong_initial_value|local divisor = 1   @@wrong_initial_value|local divisor = 3
  while divisor * divisor <= $number do   @@wrong_comparison|while divisor * divisor < $number do
    if $number % divisor == 0 then return false end   @@negated_condition|if $number % divisor ~= 0 then return false end   @@swapped_results|if $number % divisor == 0 then return true end
    divisor = divisor + 1
  end
  return true   @@missing_return|-
end

function integers.$digit_sum($number)
  local $total = 0   @@wrong_initial_value|local $total = 1
  while $number > 0 do   @@off_by_one|while $number > 1 do   @@wrong_comparison|while $number >= 10 do
    $total = $total + $number % 10   @@wrong_operator|$total = $total + $number // 10   @@missing_update|$total = $number % 10
    $number = $number // 10   @@wrong_constant|$number = $number // 100
  end
  return $total   @@wrong_variable|return $number
end

function integers.$power(base, exponent)
  local result = 1   @@wrong_initial_value|local result = 0
  for _ = 1, exponent do   @@off_by_one|for _ = 0, exponent do   @@wrong_variable|for _ = 1, base do
    result = result * base   @@wrong_operator|result = result + base   @@wrong_variable|result = result * exponent
  end
  return result
end

return integers
]==],
  cpp = [==[
#pragma once

#include <utility>

inline int $gcd(int a, int b) {
  while (b != 0) a = std::exchange(b, a % b);   @@wrong_comparison|while (b > 1) a = std::exchange(b, a % b);
  return a;   @@wrong_variable|return b;
}

inline bool $is_prime(int $number) {
  if ($number < 2) return false;   @@missing_edge_case|-   @@off_by_one|if ($number < 3) return false;
  for (int divisor = 2; divisor * divisor <= $number; ++divisor) {   @@wrong_comparison|for (int divisor = 2; divisor * divisor < $number; ++divisor) {   @@wrong_initial_value|for (int divisor = 3; divisor * divisor <= $number; ++divisor) {
    if ($number % divisor == 0) return false;   @@negated_condition|if ($number % divisor != 0) return false;   @@swapped_results|if ($number % divisor == 0) return true;
  }
  return true;
}

inline int $digit_sum(int $number) {
  int $total = 0;   @@wrong_initial_value|int $total = 1;
  for (; $number > 0; $number /= 10) $total += $number % 10;   @@wrong_operator|for (; $number > 0; $number /= 10) $total += $number / 10;   @@missing_update|for (; $number > 0; $number /= 10) $total = $number % 10;   @@off_by_one|for (; $number > 1; $number /= 10) $total += $number % 10;
  return $total;
}

inline int $power(int base, int exponent) {
  int result = 1;   @@wrong_initial_value|int result = 0;
  for (int i = 0; i < exponent; ++i) result *= base;   @@off_by_one|for (int i = 0; i <= exponent; ++i) result *= base;   @@wrong_variable|for (int i = 0; i < exponent; ++i) result *= exponent;
  return result;
}
]==],
}
