#pragma once

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

#include "base/json_problem.h"

/// Fields of JSON that came from outside, such as a log or a script, with errors that name them.
/// For sources only.
namespace ponder::runtime {

/// Throws std::invalid_argument when the field is missing, or of another kind than T.
template <class T>
T field(const nlohmann::json& in, const char* name) {
  const auto& value = in.at(name);  // says itself what is missing
  try {
    return value.template get<T>();
  } catch (const std::exception& error) {
    throw std::invalid_argument(fmt::format("field '{}': {}", name, json_problem(error)));
  }
}

/// The same for a field that may be missing.
template <class T>
auto field_or(const nlohmann::json& in, const char* name, T&& fallback) {
  try {
    return in.value(name, std::forward<T>(fallback));
  } catch (const std::exception& error) {
    if (!in.is_object()) throw;
    throw std::invalid_argument(fmt::format("field '{}': {}", name, json_problem(error)));
  }
}

}  // namespace ponder::runtime
