#pragma once

#include <string>
#include <tl/expected.hpp>
#include <utility>

/// How ponder says that something which can go wrong in a correct program did go wrong.
///
/// `Result<T>` is a value or an `Error`; `Status` is a Result without a value. Bugs are asserted
/// (base/assert.h), third-party exceptions stop at the edge that calls the third party.
namespace ponder {

/// What the caller should do about it; the message says what happened.
enum class Errc {
  invalid_argument,  // the request is wrong: do not repeat it
  not_found,
  exhausted,  // a limit was reached: less, or later
  cancelled,
  deadline,
  corrupt,      // stored data is damaged
  unavailable,  // a peer or resource is away: later may work
  internal,
};

/// The code's name, as logs and JSON show it.
constexpr const char* errc_name(Errc code) noexcept {
  switch (code) {
    case Errc::invalid_argument: return "invalid_argument";
    case Errc::not_found: return "not_found";
    case Errc::exhausted: return "exhausted";
    case Errc::cancelled: return "cancelled";
    case Errc::deadline: return "deadline";
    case Errc::corrupt: return "corrupt";
    case Errc::unavailable: return "unavailable";
    case Errc::internal: return "internal";
  }
  return "unknown";
}

struct Error {
  Error(Errc code, std::string message) : code(code), message(std::move(message)) {}
  Errc code;
  std::string message;  // values and names; one line, lower case, no period
};

template <class T>
class [[nodiscard]] Result : public tl::expected<T, Error> {  // tl 1.0.0 lacks the attribute
  using Base = tl::expected<T, Error>;

 public:
  using Base::Base;
  Result(Base base) : Base(std::move(base)) {}  // NOLINT(google-explicit-constructor)
};

using Status = Result<void>;

inline tl::unexpected<Error> fail(Errc code, std::string message) {
  return tl::unexpected<Error>(Error(code, std::move(message)));
}

/// The same error with where it happened put in front: "load layer 12: ...".
inline tl::unexpected<Error> fail_in(const std::string& where, const Error& error) {
  return tl::unexpected<Error>(Error(error.code, where + ": " + error.message));
}

}  // namespace ponder

#define PONDER_CONCAT_INNER(a, b) a##b
#define PONDER_CONCAT(a, b) PONDER_CONCAT_INNER(a, b)

#define PONDER_TRY_IMPL(ret, tmp, decl, ...)              \
  auto tmp = (__VA_ARGS__);                               \
  if (!tmp) ret ::tl::unexpected(std::move(tmp).error()); \
  decl = std::move(*tmp)

/// PONDER_TRY(auto value, expression): the value, or returns the error from this function.
#define PONDER_TRY(decl, ...) \
  PONDER_TRY_IMPL(return, PONDER_CONCAT(ponder_try_, __LINE__), decl, __VA_ARGS__)

#define PONDER_CHECK_IMPL(ret, tmp, ...) \
  auto tmp = (__VA_ARGS__);              \
  if (!tmp) ret ::tl::unexpected(std::move(tmp).error())

/// PONDER_CHECK(status expression): goes on, or returns the error from this function.
#define PONDER_CHECK(...) \
  PONDER_CHECK_IMPL(return, PONDER_CONCAT(ponder_try_, __LINE__), __VA_ARGS__)

/// In coroutines. The expression contains no co_await: await first, then try the named result.
#define PONDER_CO_TRY(decl, ...) \
  PONDER_TRY_IMPL(co_return, PONDER_CONCAT(ponder_try_, __LINE__), decl, __VA_ARGS__)
#define PONDER_CO_CHECK(...) \
  PONDER_CHECK_IMPL(co_return, PONDER_CONCAT(ponder_try_, __LINE__), __VA_ARGS__)
