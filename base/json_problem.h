#pragma once

#include <exception>
#include <string>

namespace ponder {

/// What is wrong with JSON that came from outside, in words for people: where it stops being JSON,
/// which field is missing, or what was expected in place of what is there. `error`: of the JSON
/// library; of any other the words are its own.
std::string json_problem(const std::exception& error);

}  // namespace ponder
