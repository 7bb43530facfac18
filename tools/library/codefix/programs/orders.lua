return {
  name = "orders",
  purpose = "`$order_total` adds up prices in cents, and takes a percentage off from a threshold on (rounded down); `$shipping` is 490 below 5000 and free from there on, 990 for express whatever the sum.",
  names = {
    { key = "order_total", words = { "order_total", "cart_total", "invoice_total", "basket_sum", "bill_total", "sum_of_order" } },
    { key = "shipping", words = { "shipping", "delivery_fee", "postage", "shipping_fee", "freight", "delivery_cost" } },
    { key = "prices", words = { "prices", "amounts", "costs", "charges", "positions", "lines" } },
    { key = "threshold", words = { "threshold", "minimum", "limit", "discount_from", "lower_bound", "at_least" } },
    { key = "percent", words = { "percent", "discount", "rebate", "reduction", "rate", "cut" } },
    { key = "subtotal", words = { "subtotal", "total", "amount", "gross", "sum_of_all", "raw_total" } },
  },
  visible = {
    { "order_total", { { 1000, 250 }, 5000, 10 }, 1250 }, { "order_total", { { 3000, 2000 }, 5000, 10 }, 4500 },
    { "order_total", { { 4000, 4005 }, 5000, 20 }, 6404 }, { "order_total", { {}, 5000, 10 }, 0 }, { "order_total", { { 999, 2 }, 1000, 10 }, 900 },
    { "shipping", { 1000, false }, 490 }, { "shipping", { 5000, false }, 0 }, { "shipping", { 6000, true }, 990 }, { "shipping", { 4999, false }, 490 },
  },
  hidden = {
    { "order_total", { { 700 }, 700, 50 }, 350 }, { "order_total", { { 100, 100, 100 }, 301, 50 }, 300 },
    { "order_total", { { 999, 2 }, 1000, 15 }, 850 }, { "order_total", { { 50, 60, 70 }, 0, 0 }, 180 },
    { "shipping", { 0, true }, 990 }, { "shipping", { 5001, false }, 0 }, { "shipping", { 0, false }, 490 }, { "shipping", { 4998, true }, 990 },
  },
  python = [==[
EXPRESS = 990
STANDARD = 490
FREE_FROM = 5000   @@wrong_constant|FREE_FROM = 500


def $order_total($prices, $threshold, $percent):
    $subtotal = 0   @@wrong_initial_value|$subtotal = $threshold
    for price in $prices:   @@wrong_slice|for price in $prices[:-1]:
        $subtotal += price   @@missing_update|$subtotal = price
    if $subtotal >= $threshold:   @@wrong_comparison|if $subtotal > $threshold:   @@negated_condition|if $subtotal < $threshold:   @@wrong_variable|if $percent >= $threshold:
        return $subtotal * (100 - $percent) // 100   @@swapped_operands|return $subtotal * ($percent - 100) // 100   @@missing_return|$subtotal * (100 - $percent) // 100   @@integer_division|return $subtotal * (100 - $percent) / 100   @@wrong_operator|return $subtotal * (100 + $percent) // 100
    return $subtotal   @@missing_return|pass


def $shipping($subtotal, express):
    if express:   @@missing_edge_case|-2   @@negated_condition|if not express:
        return EXPRESS   @@wrong_variable|return STANDARD
    if $subtotal >= FREE_FROM:   @@off_by_one|if $subtotal >= FREE_FROM - 1:   @@wrong_comparison|if $subtotal > FREE_FROM:
        return 0
    return STANDARD
]==],
  lua = [==[
local orders = {}

local EXPRESS = 990
local STANDARD = 490
local FREE_FROM = 5000   @@wrong_constant|local FREE_FROM = 500

function orders.$order_total($prices, $threshold, $percent)
  local $subtotal = 0
  for _, price in ipairs($prices) do
    $subtotal = $subtotal + price   @@missing_update|$subtotal = price   @@wrong_operator|$subtotal = $subtotal * price
  end
  if $subtotal >= $threshold then   @@wrong_comparison|if $subtotal > $threshold then   @@negated_condition|if $subtotal < $threshold then
    return $subtotal * (100 - $percent) // 100   @@missing_return|$subtotal = $subtotal * (100 - $percent) // 1000   @@swapped_operands|return $subtotal * ($percent - 100) // 100   @@integer_division|return $subtotal * (100 - $percent) / 100   @@wrong_variable|return $threshold * (100 - $percent) // 100
  end
  return $subtotal   @@missing_return|-
end

function orders.$shipping($subtotal, express)
  if express then return EXPRESS end   @@missing_edge_case|-   @@wrong_variable|if express then return STANDARD end   @@negated_condition|if not express then return EXPRESS end
  if $subtotal >= FREE_FROM then return 0 end   @@wrong_comparison|if $subtotal > FREE_FROM then return 0 end   @@off_by_one|if $subtotal >= FREE_FROM - 1 then return 0 end
  return STANDARD
end

return orders
]==],
  cpp = [==[
#pragma once

#include <vector>

constexpr int kExpress = 990;
constexpr int kStandard = 490;
constexpr int kFreeFrom = 5000;   @@wrong_constant|constexpr int kFreeFrom = 500;

inline int $order_total(const std::vector<int>& $prices, int $threshold, int $percent) {
  int $subtotal = 0;
  for (int price : $prices) $subtotal += price;   @@missing_update|for (int price : $prices) $subtotal = price;
  if ($subtotal >= $threshold) {   @@wrong_comparison|if ($subtotal > $threshold) {   @@negated_condition|if ($subtotal < $threshold) {
    return $subtotal * (100 - $percent) / 100;   @@swapped_operands|return $subtotal * ($percent - 100) / 100;   @@integer_division|return $subtotal / 100 * (100 - $percent);   @@wrong_operator|return $subtotal * (100 + $percent) / 100;
  }
  return $subtotal;   @@wrong_variable|return $threshold;
}

inline int $shipping(int $subtotal, bool express) {
  if (express) return kExpress;   @@missing_edge_case|-   @@wrong_variable|if (express) return kStandard;
  return $subtotal >= kFreeFrom ? 0 : kStandard;   @@wrong_comparison|return $subtotal > kFreeFrom ? 0 : kStandard;   @@swapped_operands|return $subtotal >= kFreeFrom ? kStandard : 0;
}
]==],
}
