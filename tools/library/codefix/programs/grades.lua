return {
  name = "grades",
  purpose = "`$grade` gives A from 90 points on, B from 75, C from 60 and else F; `$passed` counts results that are not F; `$best` is the highest of the points, 0 when there are none.",
  names = {
    { key = "grade", words = { "grade", "letter", "mark", "grade_of", "rating", "letter_for" } },
    { key = "passed", words = { "passed", "count_passed", "num_passed", "successes", "passing", "how_many_passed" } },
    { key = "best", words = { "best", "highest", "top_points", "maximum", "best_of", "peak" } },
    { key = "points", words = { "points", "score", "result", "value", "percent", "achieved" } },
    { key = "results", words = { "results", "scores", "all_points", "marks", "exams", "outcomes" } },
  },
  visible = {
    { "grade", { 90 }, "A" }, { "grade", { 75 }, "B" }, { "grade", { 60 }, "C" }, { "grade", { 59 }, "F" }, { "grade", { 89 }, "B" }, { "grade", { 74 }, "C" },
    { "passed", { { 95, 60, 10 } }, 2 }, { "passed", { { 5, 10 } }, 0 }, { "best", { { 40, 85, 70 } }, 85 }, { "best", { {} }, 0 }, { "best", { { 99, 20 } }, 99 },
  },
  hidden = {
    { "grade", { 100 }, "A" }, { "grade", { 80 }, "B" }, { "grade", { 65 }, "C" }, { "grade", { 0 }, "F" }, { "grade", { 91 }, "A" }, { "grade", { 76 }, "B" }, { "grade", { 61 }, "C" },
    { "passed", { { 59, 60, 61, 100 } }, 3 }, { "passed", { {} }, 0 }, { "best", { { 12 } }, 12 }, { "best", { { 3, 4, 5, 1 } }, 5 },
  },
  python = [==[
def $grade($points):
    if $points >= 90:   @@wrong_comparison|if $points > 90:   @@wrong_constant|if $points >= 80:
        return "A"
    if $points >= 75:   @@wrong_comparison|if $points > 75:   @@missing_edge_case|-2   @@off_by_one|if $points >= 74:
        return "B"   @@swapped_results|return "C"
    if $points >= 60:   @@off_by_one|if $points >= 59:   @@wrong_comparison|if $points <= 60:
        return "C"
    return "F"   @@missing_return|-


def $passed($results):
    count = 0   @@wrong_initial_value|count = 1
    for $points in $results:
        if $grade($points) != "F":   @@negated_condition|if $grade($points) == "F":   @@wrong_constant|if $grade($points) != "C":
            count += 1   @@missing_update|count = 1
    return count


def $best($results):
    highest = 0
    for $points in $results:   @@wrong_slice|for $points in $results[1:]:
        if $points > highest:   @@wrong_comparison|if $points < highest:
            highest = $points   @@missing_break|return $points
    return highest   @@wrong_index|return $results[0]
]==],
  lua = [==[
local grades = {}

function grades.$grade($points)
  if $points >= 90 then return "A" end   @@wrong_comparison|if $points > 90 then return "A" end
  if $points >= 75 then return "B" end   @@off_by_one|if $points >= 74 then return "B" end   @@missing_edge_case|-   @@wrong_comparison|if $points > 75 then return "B" end
  if $points >= 60 then return "C" end   @@wrong_comparison|if $points <= 60 then return "C" end   @@off_by_one|if $points >= 59 then return "C" end
  return "F"   @@missing_return|-
end

function grades.$passed($results)
  local count = 0   @@wrong_initial_value|local count = 1
  for _, $points in ipairs($results) do
    if grades.$grade($points) ~= "F" then   @@negated_condition|if grades.$grade($points) == "F" then   @@wrong_constant|if grades.$grade($points) ~= "C" then
      count = count + 1   @@missing_update|count = 1   @@wrong_increment|count = count + 2
    end
  end
  return count
end

function grades.$best($results)
  local highest = 0
  for _, $points in ipairs($results) do
    if $points > highest then   @@wrong_comparison|if $points < highest then
      highest = $points   @@missing_break|return $points
    end
  end
  return highest   @@wrong_index|return $results[1]   @@missing_return|-
end

return grades
]==],
  cpp = [==[
#pragma once

#include <string>
#include <vector>

inline std::string $grade(int $points) {
  if ($points >= 90) return "A";   @@wrong_comparison|if ($points > 90) return "A";
  if ($points >= 75) return "B";   @@off_by_one|if ($points >= 74) return "B";   @@missing_edge_case|-
  if ($points >= 60) return "C";   @@wrong_comparison|if ($points <= 60) return "C";
  return "F";
}

inline int $passed(const std::vector<int>& $results) {
  int count = 0;   @@wrong_initial_value|int count = 1;
  for (int $points : $results) {
    if ($grade($points) != "F") ++count;   @@negated_condition|if ($grade($points) == "F") ++count;   @@missing_update|if ($grade($points) != "F") count = 1;
  }
  return count;
}

inline int $best(const std::vector<int>& $results) {
  int highest = 0;
  for (std::size_t i = 0; i < $results.size(); ++i) {   @@wrong_index|for (std::size_t i = 1; i < $results.size(); ++i) {   @@off_by_one|for (std::size_t i = 0; i <= $results.size(); ++i) {
    if ($results[i] > highest) highest = $results[i];   @@wrong_comparison|if ($results[i] < highest) highest = $results[i];
  }
  return highest;
}
]==],
}
