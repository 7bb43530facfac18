#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>
#include <vector>

/// What is wrong with a command line, in words that say what to do.
namespace ponder::cli {

/// Whole numbers without a sign, for every option that is stored as one: without this "-1" is
/// 18446744073709551615. For an application whose options are all there.
void refuse_negative_numbers(CLI::App& app);

/// What was typed behind the program's name; `help run` is `run --help`.
std::vector<std::string> arguments_of(int argc, const char* const* argv);

/// Of whole numbers, from 1 on.
CLI::Validator positive_number();
CLI::Validator number_above_zero();
CLI::Validator number_between(double lowest, double highest);

/// The one of `names` that `word` was probably meant to be; empty: none is near.
std::string nearest_name(std::string_view word, const std::vector<std::string>& names);

/// Says what `error` is about and where to read on; gives the exit status, which is 0 for --help
/// and --version.
int tell_parse_error(const CLI::App& app, const CLI::ParseError& error);

}  // namespace ponder::cli
