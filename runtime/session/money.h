#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"
#include "runtime/session/event.h"

/// What completions cost. Amounts are whole millionths of a millionth ("pico") of a unit of some
/// currency: a price for a million tokens with six decimals is a whole number of these for one
/// token, so that costs are exact. The largest amount is 9,223,372 units; sums stop there.
namespace ponder::runtime {

inline constexpr std::int64_t kPicoPerUnit = 1'000'000'000'000;

/// a + b, at most the largest amount. Requires: neither is negative.
std::int64_t sum_of(std::int64_t a, std::int64_t b) noexcept;

/// "0.25" or "3": units with at most twelve decimals. `invalid_argument` for anything else.
Result<std::int64_t> parse_money(std::string_view text);
/// The shortest text that parse_money reads as this amount, with two decimals at least.
std::string format_money(std::int64_t pico);

/// For one token each.
struct Prices {
  std::int64_t prompt_pico = 0;
  std::int64_t cached_pico = 0;  // of the prompt, where the model did not compute it again
  std::int64_t completion_pico = 0;
  bool are_known = false;
};

/// Usage::cost_pico of these tokens.
std::int64_t cost_of(const Usage& usage, const Prices& prices) noexcept;

/// The prices of models, from a file:
/// {"currency": "USD", "models": {"NAME": {"prompt": "0.28", "cached": "0.028",
///  "completion": "0.42"}}}, each for a million tokens and as text, for numbers are not exact.
class PriceList {
 public:
  /// An empty list: nothing has a price.
  PriceList() = default;
  static Result<PriceList> parse(std::string_view json);
  /// `not_found`; `invalid_argument` names the file and what is wrong in it.
  static Result<PriceList> load(const std::filesystem::path& file);

  const std::string& currency() const { return currency_; }
  /// By a model's description (ModelClient::description): the whole of it, an endpoint's name for
  /// the model, or the last part of a folder's path. Unknown ones cost nothing and say so.
  Prices find(const std::string& description) const;

 private:
  std::string currency_;
  std::map<std::string, Prices> models_;
};

}  // namespace ponder::runtime
