local values = require("codefix.values")

return {
  name = "calendar_days",
  purpose = "`$is_leap` knows leap years, `$days_in` the days of a month from 1 to 12 (0 for other numbers), `$day_of_year` the number of a day within its year, from 1.",
  names = {
    { key = "is_leap", words = { "is_leap", "leap_year", "is_leap_year", "has_leap_day", "is_long_year", "leaps" } },
    { key = "days_in", words = { "days_in", "month_length", "days_of_month", "length_of", "num_days", "month_days" } },
    { key = "day_of_year", words = { "day_of_year", "ordinal", "day_number", "yearday", "nth_day", "day_index" } },
    { key = "year", words = { "year", "y", "in_year", "calendar_year", "the_year", "yr" } },
    { key = "month", words = { "month", "m", "which", "month_number", "the_month", "mon" } },
  },
  visible = {
    { "is_leap", { 2024 }, true }, { "is_leap", { 2020 }, true }, { "is_leap", { 2023 }, false }, { "is_leap", { 1900 }, false }, { "is_leap", { 2000 }, true },
    { "days_in", { 2023, 2 }, 28 }, { "days_in", { 2024, 2 }, 29 }, { "days_in", { 2023, 4 }, 30 }, { "days_in", { 2023, 13 }, 0 }, { "days_in", { 2023, 12 }, 31 }, { "days_in", { 2023, 1 }, 31 }, { "days_in", { 2023, 0 }, 0 },
    { "day_of_year", { 2023, 1, 1 }, 1 }, { "day_of_year", { 2023, 3, 1 }, 60 }, { "day_of_year", { 2024, 3, 1 }, 61 },
  },
  hidden = {
    { "is_leap", { 2100 }, false }, { "is_leap", { 2400 }, true }, { "is_leap", { 2016 }, true }, { "is_leap", { 1999 }, false },
    { "days_in", { 2000, 2 }, 29 }, { "days_in", { 1900, 2 }, 28 }, { "days_in", { 2021, 11 }, 30 }, { "days_in", { 2021, 8 }, 31 }, { "days_in", { 2021, 14 }, 0 }, { "days_in", { 2021, 0 }, 0 },
    { "day_of_year", { 2024, 12, 31 }, 366 }, { "day_of_year", { 2023, 12, 31 }, 365 }, { "day_of_year", { 2021, 2, 10 }, 41 },
  },
  python = [==[
LENGTHS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]


def $is_leap($year):
    if $year % 400 == 0:   @@missing_edge_case|-2   @@negated_condition|if $year % 400 != 0:
        return True
    if $year % 100 == 0:   @@wrong_constant|if $year % 10 == 0:   @@missing_edge_case|-2
        return False   @@swapped_results|return True
    return $year % 4 == 0   @@wrong_operator|return $year // 4 == 0   @@missing_return|$year % 4 == 0   @@negated_condition|return $year % 4 != 0


def $days_in($year, $month):
    if $month < 1 or $month > 12:   @@wrong_comparison|if $month < 1 or $month >= 12:   @@missing_edge_case|-2   @@wrong_operator|if $month < 1 and $month > 12:
        return 0
    if $month == 2 and $is_leap($year):   @@wrong_operator|if $month == 2 or $is_leap($year):   @@wrong_variable|if $month == 2 and $is_leap($month):
        return 29
    return LENGTHS[$month - 1]   @@wrong_index|return LENGTHS[$month - 2]


def $day_of_year($year, $month, day):
    number = day   @@wrong_initial_value|number = 0
    for earlier in range(1, $month):   @@off_by_one|for earlier in range(1, $month + 1):
        number += $days_in($year, earlier)   @@swapped_arguments|number += $days_in(earlier, $year)   @@wrong_variable|number += $days_in($year, $month)
    return number
]==],
  lua = [==[
local calendar_days = {}

local LENGTHS = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }

function calendar_days.$is_leap($year)
  if $year % 400 == 0 then return true end   @@missing_edge_case|-
  if $year % 100 == 0 then return false end   @@wrong_constant|if $year % 10 == 0 then return false end   @@swapped_results|if $year % 100 == 0 then return true end
  return $year % 4 == 0   @@negated_condition|return $year % 4 ~= 0   @@wrong_operator|return $year // 4 == 0
end

function calendar_days.$days_in($year, $month)
  if $month < 1 or $month > 12 then return 0 end   @@missing_nil_check|-   @@wrong_operator|if $month < 1 and $month > 12 then return 0 end   @@wrong_comparison|if $month < 1 or $month >= 12 then return 0 end
  if $month == 2 and calendar_days.$is_leap($year) then return 29 end   @@wrong_operator|if $month == 2 or calendar_days.$is_leap($year) then return 29 end   @@wrong_variable|if $month == 2 and calendar_days.$is_leap($month) then return 29 end
  return LENGTHS[$month]   @@wrong_index|return LENGTHS[$month - 1]
end

function calendar_days.$day_of_year($year, $month, day)
  local number = day   @@wrong_initial_value|local number = 0
  for earlier = 1, $month - 1 do   @@off_by_one|for earlier = 1, $month do
    number = number + calendar_days.$days_in($year, earlier)   @@swapped_arguments|number = number + calendar_days.$days_in(earlier, $year)   @@wrong_operator|number = number - calendar_days.$days_in($year, earlier)
  end
  return number
end

return calendar_days
]==],
  cpp = [==[
#pragma once

#include <array>

inline bool $is_leap(int $year) {
  if ($year % 400 == 0) return true;   @@missing_edge_case|-
  if ($year % 100 == 0) return false;   @@swapped_results|if ($year % 100 == 0) return true;
  return $year % 4 == 0;   @@wrong_operator|return $year / 4 == 0;   @@negated_condition|return $year % 4 != 0;
}

inline int $days_in(int $year, int $month) {
  constexpr std::array<int, 12> kLengths = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  if ($month < 1 || $month > 12) return 0;   @@wrong_operator|if ($month < 1 && $month > 12) return 0;   @@wrong_comparison|if ($month < 1 || $month >= 12) return 0;
  if ($month == 2 && $is_leap($year)) return 29;   @@wrong_operator|if ($month == 2 || $is_leap($year)) return 29;
  return kLengths[$month - 1];   @@wrong_index|return kLengths[$month % 12];
}

inline int $day_of_year(int $year, int $month, int day) {
  int number = day;   @@wrong_initial_value|int number = 0;
  for (int earlier = 1; earlier < $month; ++earlier) {   @@off_by_one|for (int earlier = 1; earlier <= $month; ++earlier) {
    number += $days_in($year, earlier);   @@swapped_arguments|number += $days_in(earlier, $year);
  }
  return number;
}
]==],
}
