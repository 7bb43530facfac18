#include <fmt/format.h>

#include <array>
#include <cmath>
#include <ctime>
#include <string>
#include <utility>

#include "tools/script/detail/arguments.h"
#include "tools/script/detail/context_functions.h"

/// ctx.time: seconds since the Unix epoch, with fractions; dates are UTC.
namespace ponder::tools {
namespace {

constexpr double kSecondsMax = 253402300799.0;  // the end of the year 9999
constexpr const char* kIsoFormat = "%Y-%m-%dT%H:%M:%SZ";
/// What strftime does without a locale and without a time zone.
constexpr std::string_view kFormatLetters = "aAbBdDeFHIjmMpRSTuUVwWyY%GgC";

Result<std::tm> calendar_of(double seconds) {
  if (!(std::abs(seconds) <= kSecondsMax)) {
    return fail(Errc::invalid_argument, "the time is not within the years -9999 to 9999");
  }
  const auto whole = static_cast<std::time_t>(std::floor(seconds));
  std::tm out{};
  gmtime_r(&whole, &out);
  return out;
}

Status check_format(const std::string& format) {
  constexpr std::size_t kFormatBytesMax = 200;
  if (format.size() > kFormatBytesMax)
    return fail(Errc::invalid_argument, "the format is too long");
  for (std::size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') continue;
    ++i;
    if (i < format.size() && kFormatLetters.find(format[i]) != std::string_view::npos) continue;
    return fail(Errc::invalid_argument, fmt::format("'%{}' is no part of a time format",
                                                    i < format.size() ? format[i] : ' '));
  }
  return {};
}

/// The seconds that "Z", "+02:00", "-0130" or nothing stand for; none for anything else.
std::optional<int> zone_seconds(std::string_view text) {
  if (text.empty() || text == "Z" || text == "z") return 0;
  const int sign = text[0] == '+' ? 1 : text[0] == '-' ? -1 : 0;
  std::string digits;
  for (const char c : text.substr(1)) {
    if (c >= '0' && c <= '9')
      digits += c;
    else if (c != ':')
      return std::nullopt;
  }
  if (sign == 0 || digits.size() != 4) return std::nullopt;
  const int hours = std::stoi(digits.substr(0, 2));
  const int minutes = std::stoi(digits.substr(2));
  if (hours > 23 || minutes > 59) return std::nullopt;
  return sign * (hours * 3600 + minutes * 60);
}

/// "2025-10-01", "2025-10-01T08:30:00.5+02:00", with a space for the T, or without the seconds.
std::optional<double> parse_iso(const std::string& text) {
  std::tm calendar{};
  const char* rest = strptime(text.c_str(), "%Y-%m-%d", &calendar);
  if (rest == nullptr) return std::nullopt;
  double fraction = 0;
  if (*rest == 'T' || *rest == 't' || *rest == ' ') {
    rest = strptime(rest + 1, "%H:%M", &calendar);
    if (rest == nullptr) return std::nullopt;
    if (*rest == ':') rest = strptime(rest + 1, "%S", &calendar);
    if (rest == nullptr) return std::nullopt;
    if (*rest == '.') {
      ++rest;
      for (double unit = 0.1; *rest >= '0' && *rest <= '9'; unit /= 10) {
        fraction += (*rest++ - '0') * unit;
      }
    }
  }
  const auto zone = zone_seconds(rest);
  if (!zone) return std::nullopt;
  // The calendar forgives 31 February; a date that comes out as another one was none.
  const int day = calendar.tm_mday;
  const std::time_t seconds = timegm(&calendar);
  if (calendar.tm_mday != day) return std::nullopt;
  return static_cast<double>(seconds) + fraction - *zone;
}

boost::asio::awaitable<Answer> note_time(CallServices* services, std::int64_t unix_ms) {
  Note note("time", std::to_string(unix_ms));
  const Status status = co_await services->note(std::move(note));
  PONDER_CO_CHECK(status);
  co_return Json(static_cast<double>(unix_ms) / 1000.0);
}

}  // namespace

Result<Reply> time_now(lua_State*, ScriptCall& call) {
  const std::int64_t unix_ms = call.context().clock->unix_ms();
  CallServices* services = call.context().services;
  if (services == nullptr) return Reply(Json(static_cast<double>(unix_ms) / 1000.0));
  PONDER_CHECK(call.count_note(sizeof unix_ms));
  return Reply(note_time(services, unix_ms));
}

Result<Reply> time_format(lua_State* L, ScriptCall&) {
  const Arguments arguments(L);
  PONDER_TRY(const double seconds, arguments.number(1));
  std::string format = kIsoFormat;
  if (!arguments.is_absent(2)) {
    PONDER_TRY(format, arguments.text(2));
  }
  PONDER_TRY(const std::tm calendar, calendar_of(seconds));
  PONDER_CHECK(check_format(format));
  std::array<char, 4096> out{};
  const std::size_t size = std::strftime(out.data(), out.size(), format.c_str(), &calendar);
  return Reply(Json(std::string(out.data(), size)));
}

Result<Reply> time_parse(lua_State* L, ScriptCall&) {
  const Arguments arguments(L);
  PONDER_TRY(const std::string text, arguments.text(1));
  if (arguments.is_absent(2)) {
    const auto seconds = parse_iso(text);
    if (seconds) return Reply(Json(*seconds));
    return Reply(fail(Errc::invalid_argument, fmt::format("'{}' is no ISO 8601 time", text)));
  }
  PONDER_TRY(const std::string format, arguments.text(2));
  PONDER_CHECK(check_format(format));
  std::tm calendar{};
  calendar.tm_mday = 1;
  const char* rest = strptime(text.c_str(), format.c_str(), &calendar);
  if (rest == nullptr || *rest != '\0') {
    return Reply(fail(Errc::invalid_argument, fmt::format("'{}' is not as '{}'", text, format)));
  }
  return Reply(Json(static_cast<double>(timegm(&calendar))));
}

}  // namespace ponder::tools
