local values = require("codefix.values")
local map = values.map

return {
  name = "stock",
  purpose = "`$tally` counts how often each name occurs, `$after_sale` takes a number of one article off the stock (unchanged when there are not enough), `$with_tag` adds a tag to a list of tags, to a new one when none is given.",
  names = {
    { key = "tally", words = { "tally", "count_names", "frequencies", "count_each", "histogram", "occurrences" } },
    { key = "after_sale", words = { "after_sale", "sell", "take_off", "remove_units", "withdraw", "checkout" } },
    { key = "with_tag", words = { "with_tag", "add_tag", "tagged", "label", "append_tag", "put_tag" } },
    { key = "names", words = { "names", "articles", "goods", "products", "labels", "keys" } },
    { key = "stock", words = { "levels", "shelf", "supply", "available", "units", "store" } },
    { key = "number", words = { "number", "amount", "quantity", "wanted", "pieces", "sold" } },
  },
  visible = {
    { "tally", { { "a", "b", "a" } }, map({ { "a", 2 }, { "b", 1 } }) }, { "tally", { { "x" } }, map({ { "x", 1 } }) }, { "tally", { { "c", "c", "c" } }, map({ { "c", 3 } }) },
    { "after_sale", { map({ { "nut", 5 } }), "nut", 2 }, map({ { "nut", 3 } }) }, { "after_sale", { map({ { "nut", 1 } }), "nut", 2 }, map({ { "nut", 1 } }) },
    { "after_sale", { map({ { "nut", 1 } }), "bolt", 1 }, map({ { "nut", 1 } }) }, { "after_sale", { map({ { "nut", 2 } }), "nut", 2 }, map({ { "nut", 0 } }) },
    { "with_tag", { "new" }, { "new" } }, { "with_tag", { "red", { "old" } }, { "old", "red" } }, { "with_tag", { "last" }, { "last" } },
  },
  hidden = {
    { "tally", { { "p", "q", "r", "q", "q" } }, map({ { "p", 1 }, { "q", 3 }, { "r", 1 } }) }, { "tally", { { "z", "z" } }, map({ { "z", 2 } }) },
    { "after_sale", { map({ { "a", 9 }, { "b", 4 } }), "b", 3 }, map({ { "a", 9 }, { "b", 1 } }) }, { "after_sale", { map({ { "a", 3 } }), "a", 3 }, map({ { "a", 0 } }) }, { "after_sale", { map({ { "a", 3 } }), "z", 1 }, map({ { "a", 3 } }) }, { "after_sale", { map({ { "a", 3 } }), "a", 5 }, map({ { "a", 3 } }) },
    { "with_tag", { "x" }, { "x" } }, { "with_tag", { "y" }, { "y" } }, { "with_tag", { "c", { "a", "b" } }, { "a", "b", "c" } },
  },
  python = [==[
def $tally($names):
    counts = {}
    for name in $names:   @@wrong_slice|for name in $names[1:]:
        counts[name] = counts.get(name, 0) + 1   @@wrong_default|counts[name] = counts.get(name, 1) + 1   @@missing_nil_check|counts[name] = counts[name] + 1   @@missing_update|counts[name] = 1   @@wrong_operator|counts[name] = counts.get(name, 0) - 1
    return counts   @@wrong_variable|return $names


def $after_sale($stock, name, $number):
    left = dict($stock)
    if left.get(name, 0) >= $number:   @@wrong_comparison|if left.get(name, 0) > $number:   @@missing_nil_check|if left[name] >= $number:   @@missing_edge_case|if name in left:   @@negated_condition|if left.get(name, 0) < $number:
        left[name] -= $number   @@wrong_operator|left[name] += $number   @@missing_update|left[name] = $number   @@off_by_one|left[name] -= $number - 1
    return left   @@wrong_variable|return $stock


def $with_tag(tag, tags=None):   @@mutable_default|def $with_tag(tag, tags=[]):
    if tags is None:   @@missing_nil_check|-2   @@negated_condition|if tags is not None:
        tags = []
    tags.append(tag)   @@wrong_function|tags.extend(tag)   @@missing_update|tags = [tag]
    return tags   @@missing_return|tags
]==],
  lua = [==[
local stock = {}

function stock.$tally($names)
  local counts = {}
  for _, name in ipairs($names) do
    counts[name] = (counts[name] or 0) + 1   @@wrong_default|counts[name] = (counts[name] or 1) + 1   @@missing_nil_check|counts[name] = counts[name] + 1   @@missing_update|counts[name] = 1   @@wrong_operator|counts[name] = (counts[name] or 0) - 1
  end
  return counts
end

function stock.$after_sale($stock, name, $number)
  local left = {}
  for key, level in pairs($stock) do left[key] = level end
  if (left[name] or 0) >= $number then   @@wrong_comparison|if (left[name] or 0) > $number then   @@missing_nil_check|if left[name] >= $number then   @@missing_edge_case|if left[name] then   @@negated_condition|if (left[name] or 0) < $number then
    left[name] = left[name] - $number   @@wrong_operator|left[name] = left[name] + $number   @@missing_update|left[name] = $number   @@swapped_operands|left[name] = $number - left[name]
  end
  return left   @@wrong_variable|return $stock
end

local none = {}

function stock.$with_tag(tag, tags)
  tags = tags or {}   @@aliasing|tags = tags or none   @@missing_nil_check|-   @@missing_update|tags = {}
  tags[#tags + 1] = tag   @@wrong_index|tags[1] = tag   @@wrong_variable|tags[#tags + 1] = tags
  return tags
end

return stock
]==],
  cpp = [==[
#pragma once

#include <map>
#include <string>
#include <vector>

using Counts = std::map<std::string, int>;

inline Counts $tally(const std::vector<std::string>& $names) {
  Counts counts;
  for (const std::string& name : $names) ++counts[name];   @@missing_update|for (const std::string& name : $names) counts[name] = 1;   @@wrong_operator|for (const std::string& name : $names) --counts[name];
  return counts;
}

inline Counts $after_sale(Counts $stock, const std::string& name, int $number) {
  const auto found = $stock.find(name);
  if (found == $stock.end()) return $stock;   @@swapped_results|if (found == $stock.end()) return {};
  if (found->second < $number) return $stock;   @@wrong_comparison|if (found->second <= $number) return $stock;   @@missing_edge_case|-   @@negated_condition|if (found->second >= $number) return $stock;
  found->second -= $number;   @@wrong_operator|found->second += $number;   @@missing_update|found->second = $number;
  return $stock;
}

inline std::vector<std::string> $with_tag(const std::string& tag, std::vector<std::string> tags = {}) {
  tags.push_back(tag);   @@aliasing|static std::vector<std::string> all; all.push_back(tag); tags = all;   @@wrong_index|tags.insert(tags.begin(), tag);   @@missing_update|tags = {tag};
  return tags;
}
]==],
}
