#include "runtime/session/money.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

namespace ponder::runtime {
namespace {

constexpr std::int64_t kPicoMax = std::numeric_limits<std::int64_t>::max();
constexpr std::size_t kDecimals = 12;
constexpr std::int64_t kTokensPriced = 1'000'000;

/// tokens * price, at most kPicoMax.
std::int64_t product_of(std::uint64_t tokens, std::int64_t price_pico) noexcept {
  if (tokens == 0 || price_pico == 0) return 0;
  if (tokens > static_cast<std::uint64_t>(kPicoMax / price_pico)) return kPicoMax;
  return price_pico * static_cast<std::int64_t>(tokens);
}

bool is_digits(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

/// What a token costs when a million of them cost `amount`.
Result<std::int64_t> price_of_token(const nlohmann::json& amount) {
  if (!amount.is_string()) {
    return fail(Errc::invalid_argument, "a price is a text, such as \"0.28\"");
  }
  PONDER_TRY(const std::int64_t pico, parse_money(amount.get<std::string>()));
  if (pico % kTokensPriced != 0) {
    return fail(Errc::invalid_argument,
                fmt::format("the price {} has more than six decimals", amount.get<std::string>()));
  }
  return pico / kTokensPriced;
}

Result<Prices> prices_of(const nlohmann::json& in) {
  Prices out;
  out.are_known = true;
  for (const auto& [name, price] :
       {std::pair("prompt", &out.prompt_pico), std::pair("cached", &out.cached_pico),
        std::pair("completion", &out.completion_pico)}) {
    const auto found = in.find(name);
    if (found == in.end()) return fail(Errc::invalid_argument, fmt::format("no {} price", name));
    PONDER_TRY(*price, price_of_token(*found));
  }
  return out;
}

}  // namespace

std::int64_t sum_of(std::int64_t a, std::int64_t b) noexcept {
  return a > kPicoMax - b ? kPicoMax : a + b;
}

Result<std::int64_t> parse_money(std::string_view text) {
  const std::size_t point = text.find('.');
  const std::string_view units = text.substr(0, point);
  const std::string_view decimals =
      point == std::string_view::npos ? std::string_view() : text.substr(point + 1);
  const bool is_number = !units.empty() && is_digits(units) && is_digits(decimals) &&
                         decimals.size() <= kDecimals &&
                         (point == std::string_view::npos || !decimals.empty());
  if (!is_number) {
    return fail(Errc::invalid_argument, fmt::format("\"{}\" is no amount of money", text));
  }
  std::string digits(units);
  digits += decimals;
  digits.append(kDecimals - decimals.size(), '0');
  std::int64_t out = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), out);
  if (error != std::errc() || end != digits.data() + digits.size()) {
    return fail(Errc::invalid_argument, fmt::format("{} is more money than can be counted", text));
  }
  return out;
}

std::string format_money(std::int64_t pico) {
  constexpr std::size_t kDecimalsMin = 2;
  std::string text = fmt::format("{}.{:012}", pico / kPicoPerUnit, pico % kPicoPerUnit);
  const std::size_t shortest = text.find('.') + 1 + kDecimalsMin;
  text.resize(std::max(shortest, text.find_last_not_of('0') + 1));
  return text;
}

std::int64_t cost_of(const Usage& usage, const Prices& prices) noexcept {
  const std::uint64_t cached = std::min(usage.tokens_cached, usage.tokens_prompt);
  std::int64_t out = product_of(usage.tokens_prompt - cached, prices.prompt_pico);
  out = sum_of(out, product_of(cached, prices.cached_pico));
  return sum_of(out, product_of(usage.tokens_generated, prices.completion_pico));
}

Result<PriceList> PriceList::parse(std::string_view json) {
  const auto in = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!in.is_object() || !in.contains("models") || !in["models"].is_object()) {
    return fail(Errc::invalid_argument, "a price list is a JSON object with \"models\"");
  }
  PriceList out;
  if (in.contains("currency") && in["currency"].is_string()) out.currency_ = in["currency"];
  for (const auto& [name, model] : in["models"].items()) {
    auto prices = prices_of(model);
    if (!prices) return fail_in(name, prices.error());
    out.models_[name] = *prices;
  }
  return out;
}

Result<PriceList> PriceList::load(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return fail(Errc::not_found, fmt::format("cannot read {}", file.string()));
  const std::string text(std::istreambuf_iterator<char>(in), {});
  auto list = parse(text);
  if (!list) return fail_in(file.string(), list.error());
  return list;
}

Prices PriceList::find(const std::string& description) const {
  std::string whole = description;
  while (whole.size() > 1 && whole.back() == '/') whole.pop_back();
  const std::size_t blank = whole.find_last_of(' ');
  const std::size_t slash = whole.find_last_of('/');
  for (const std::string& name :
       {description, blank == std::string::npos ? whole : whole.substr(blank + 1),
        slash == std::string::npos ? whole : whole.substr(slash + 1)}) {
    const auto found = models_.find(name);
    if (found != models_.end()) return found->second;
  }
  return {};
}

}  // namespace ponder::runtime
