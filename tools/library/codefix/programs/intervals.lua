return {
  name = "intervals",
  held_out = true,
  purpose = "Intervals are {begin, end}. `$merge` joins those, sorted by their begin, that touch or overlap; `$covered` is how much sorted, separate intervals cover; `$contains` tells whether one holds a point, its end not included.",
  names = {
    { key = "merge", words = { "merge", "join_all", "merge_all", "unite", "coalesce", "combine" } },
    { key = "covered", words = { "covered", "coverage", "total_length", "length_covered", "extent", "measure" } },
    { key = "contains", words = { "contains", "holds", "is_inside", "includes_point", "covers", "has_point" } },
    { key = "spans", words = { "spans", "ranges", "pieces", "segments", "slots", "bookings" } },
    { key = "point", words = { "point", "position", "moment", "place", "time", "at" } },
  },
  visible = {
    { "merge", { { { 1, 3 }, { 2, 5 }, { 7, 8 } } }, { { 1, 5 }, { 7, 8 } } }, { "merge", { { { 1, 9 }, { 2, 3 } } }, { { 1, 9 } } }, { "merge", { { { 1, 2 }, { 2, 4 } } }, { { 1, 4 } } }, { "merge", { {} }, {} }, { "merge", { { { 1, 2 }, { 4, 6 }, { 5, 7 } } }, { { 1, 2 }, { 4, 7 } } },
    { "covered", { { { 1, 3 }, { 5, 9 } } }, 6 }, { "covered", { {} }, 0 }, { "contains", { { 2, 5 }, 2 }, true }, { "contains", { { 2, 5 }, 5 }, false }, { "contains", { { 2, 5 }, 1 }, false }, { "contains", { { 2, 5 }, 9 }, false },
  },
  hidden = {
    { "merge", { { { 0, 1 }, { 3, 4 }, { 4, 6 }, { 5, 5 } } }, { { 0, 1 }, { 3, 6 } } }, { "merge", { { { 4, 8 } } }, { { 4, 8 } } }, { "merge", { { { 1, 10 }, { 2, 3 }, { 9, 12 } } }, { { 1, 12 } } },
    { "covered", { { { 2, 10 } } }, 8 }, { "covered", { { { 0, 1 }, { 2, 3 }, { 4, 5 } } }, 3 }, { "contains", { { -3, 3 }, 0 }, true }, { "contains", { { 1, 1 }, 1 }, false }, { "contains", { { 4, 6 }, 3 }, false }, { "contains", { { 4, 6 }, 7 }, false },
  },
  python = [==[
def $merge($spans):
    merged = []
    for begin, end in $spans:
        if merged and begin <= merged[-1][1]:   @@wrong_comparison|if merged and begin < merged[-1][1]:   @@wrong_index|if merged and begin <= merged[-1][0]:   @@missing_nil_check|if begin <= merged[-1][1]:   @@wrong_operator|if merged or begin <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)   @@wrong_function|merged[-1][1] = min(merged[-1][1], end)   @@missing_edge_case|merged[-1][1] = end   @@wrong_index|merged[-1][0] = max(merged[-1][1], end)
        else:
            merged.append([begin, end])   @@swapped_arguments|merged.append([end, begin])
    return merged   @@wrong_variable|return $spans


def $covered($spans):
    length = 0
    for begin, end in $spans:
        length += end - begin   @@swapped_operands|length += begin - end   @@off_by_one|length += end - begin + 1   @@missing_update|length = end - begin
    return length   @@missing_return|pass


def $contains(span, $point):
    return span[0] <= $point < span[1]   @@wrong_comparison|return span[0] <= $point <= span[1]   @@wrong_comparison|return span[0] < $point < span[1]   @@swapped_operands|return span[1] <= $point < span[0]
]==],
  lua = [==[
local intervals = {}

function intervals.$merge($spans)
  local merged = {}
  for _, span in ipairs($spans) do
    local last = merged[#merged]   @@wrong_index|local last = merged[1]
    if last and span[1] <= last[2] then   @@wrong_comparison|if last and span[1] < last[2] then   @@missing_nil_check|if span[1] <= last[2] then   @@wrong_index|if last and span[1] <= last[1] then
      last[2] = math.max(last[2], span[2])   @@wrong_function|last[2] = math.min(last[2], span[2])   @@missing_edge_case|last[2] = span[2]
    else
      merged[#merged + 1] = { span[1], span[2] }   @@wrong_index|merged[#merged + 1] = { span[1], span[1] }   @@swapped_arguments|merged[#merged + 1] = { span[2], span[1] }
    end
  end
  return merged
end

function intervals.$covered($spans)
  local length = 0   @@wrong_initial_value|local length = 1
  for _, span in ipairs($spans) do
    length = length + span[2] - span[1]   @@swapped_operands|length = length + span[1] - span[2]   @@missing_update|length = span[2] - span[1]   @@wrong_operator|length = length + span[2] + span[1]
  end
  return length
end

function intervals.$contains(span, $point)
  return span[1] <= $point and $point < span[2]   @@wrong_comparison|return span[1] <= $point and $point <= span[2]   @@wrong_operator|return span[1] <= $point or $point < span[2]   @@wrong_comparison|return span[1] < $point and $point < span[2]
end

return intervals
]==],
  cpp = [==[
#pragma once

#include <algorithm>
#include <vector>

using Span = std::vector<int>;

inline std::vector<Span> $merge(const std::vector<Span>& $spans) {
  std::vector<Span> merged;
  for (const Span& span : $spans) {
    if (!merged.empty() && span[0] <= merged.back()[1]) {   @@wrong_comparison|if (!merged.empty() && span[0] < merged.back()[1]) {   @@wrong_index|if (!merged.empty() && span[0] <= merged.back()[0]) {   @@missing_nil_check|if (span[0] <= merged.back()[1]) {
      merged.back()[1] = std::max(merged.back()[1], span[1]);   @@wrong_function|merged.back()[1] = std::min(merged.back()[1], span[1]);   @@missing_edge_case|merged.back()[1] = span[1];
    } else {
      merged.push_back(span);
    }
  }
  return merged;
}

inline int $covered(const std::vector<Span>& $spans) {
  int length = 0;
  for (const Span& span : $spans) length += span[1] - span[0];   @@swapped_operands|for (const Span& span : $spans) length += span[0] - span[1];   @@missing_update|for (const Span& span : $spans) length = span[1] - span[0];
  return length;
}

inline bool $contains(const Span& span, int $point) {
  return span[0] <= $point && $point < span[1];   @@wrong_operator|return span[0] <= $point || $point < span[1];   @@wrong_comparison|return span[0] <= $point && $point <= span[1];
}
]==],
}
