#include "runtime/cli/command_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <numeric>
#include <regex>

#include "runtime/cli/commands.h"

namespace ponder::cli {
namespace {

constexpr int kUsageStatus = 2;

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row[b.size()];
}

std::string suggestion(std::string_view word, const std::vector<std::string>& names) {
  const std::string near = nearest_name(word, names);
  return near.empty() ? "" : fmt::format("; did you mean {}?", near);
}

/// The command that was named, down to its last part: "ponder sessions resume".
std::pair<const CLI::App*, std::string> named_command(const CLI::App& app) {
  const CLI::App* command = &app;
  std::string name = app.get_name();
  while (!command->get_subcommands().empty()) {
    command = command->get_subcommands().front();
    name += " " + command->get_name();
  }
  return {command, name};
}

std::vector<std::string> option_names(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

std::vector<std::string> command_names(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::App* each : command.get_subcommands({})) names.push_back(each->get_name());
  return names;
}

std::string about_extra(const CLI::App& command, const std::string& name, const std::string& word) {
  if (word.starts_with("-") && word.size() > 1) {
    const std::string option = word.substr(0, word.find('='));
    const std::vector<std::string> options = option_names(command);
    if (std::ranges::find(options, option) != options.end()) {  // it stood before the command
      return fmt::format("{} stands behind the command: {} {}", option, name, option);
    }
    return fmt::format("{} has no option {}{}", name, option, suggestion(option, options));
  }
  const std::vector<std::string> commands = command_names(command);
  if (!commands.empty()) {
    return fmt::format("{} has no command '{}'{}", name, word, suggestion(word, commands));
  }
  return fmt::format("one argument too many for {}: '{}'; quotes keep words together", name, word);
}

/// What the library says, in sentences: "--size: XL is not one of S, M, L".
std::string reworded(const std::string& text) {
  static const std::regex choices(R"(^(.*) not in \{(.*)\}$)");
  static const std::regex range(R"(^(.*)Value (\S+) not in range (\S+) to (\S+)$)");
  static const std::regex missing(R"(^(.*): \d+ required .* missing$)");
  static const std::regex excluded(R"(^(\S+) excludes (\S+)$)");
  static const std::regex unit(R"(^(.*): \S+ unit not recognized.*$)");
  std::smatch match;
  if (std::regex_match(text, match, choices)) {
    const std::string names = std::regex_replace(match[2].str(), std::regex(","), ", ");
    return fmt::format("{} is not one of {}", match[1].str(), names);
  }
  if (std::regex_match(text, match, range)) {
    return fmt::format("{}{} is not a number from {} to {}", match[1].str(), match[2].str(),
                       match[3].str(), match[4].str());
  }
  if (std::regex_match(text, match, missing)) return match[1].str() + " needs a value";
  if (std::regex_match(text, match, excluded)) {
    return fmt::format("{} and {} do not go together", match[1].str(), match[2].str());
  }
  if (std::regex_match(text, match, unit)) return match[1].str() + ": not a time; 90, 15m or 2h";
  return text;
}

}  // namespace

void refuse_negative_numbers(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    if (!option->get_type_name().starts_with("UINT")) continue;
    option->check(CLI::Validator(
        [](std::string& text) {
          std::uint64_t value = 0;
          const bool is_good = !text.starts_with("-") && CLI::detail::lexical_cast(text, value);
          return is_good ? std::string() : text + " is not a whole number";
        },
        ""));
  }
  for (CLI::App* command : app.get_subcommands({})) refuse_negative_numbers(*command);
}

std::vector<std::string> arguments_of(int argc, const char* const* argv) {
  std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
  if (!words.empty() && words.front() == "help") {
    words.erase(words.begin());
    words.emplace_back("--help");
  }
  return words;
}

CLI::Validator positive_number() {
  return CLI::Validator(
      [](std::string& text) {
        std::uint64_t value = 0;
        const bool is_good =
            !text.starts_with("-") && CLI::detail::lexical_cast(text, value) && value > 0;
        return is_good ? std::string() : text + " is not a whole number from 1 on";
      },
      "");
}

CLI::Validator number_above_zero() {
  return CLI::Validator(
      [](std::string& text) {
        double value = 0;
        const bool is_good = CLI::detail::lexical_cast(text, value) && value > 0;
        return is_good ? std::string() : text + " is not a number above 0";
      },
      "");
}

CLI::Validator number_between(double lowest, double highest) {
  return CLI::Validator(
      [lowest, highest](std::string& text) {
        double value = std::numeric_limits<double>::quiet_NaN();
        const bool is_number = CLI::detail::lexical_cast(text, value);
        const bool is_good = is_number && value >= lowest && value <= highest;  // NaN is not
        if (is_good) return std::string();
        return fmt::format("{} is not a number from {} to {}", text, lowest, highest);
      },
      fmt::format("FLOAT in [{} - {}]", lowest, highest));
}

std::string nearest_name(std::string_view word, const std::vector<std::string>& names) {
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(1, word.size() / 3) + 1;
  for (const std::string& name : names) {
    const std::size_t distance = edit_distance(word, name);
    if (distance >= best_distance) continue;
    best = name;
    best_distance = distance;
  }
  return best;
}

int tell_parse_error(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) return app.exit(error);
  const auto [command, name] = named_command(app);
  // What was typed says more than that something else is missing.
  const std::vector<std::string> extras = app.remaining(/*recurse=*/true);
  const bool has_command_missing = !command_names(*command).empty();
  if (extras.empty() && has_command_missing) {
    fmt::print(stderr, "{}", app.help());
    return kUsageStatus;
  }
  if (!extras.empty()) {
    complain(about_extra(*command, name, extras.front()));
  } else {
    complain(fmt::format("{}: {}", name, reworded(error.what())));
  }
  fmt::print(stderr, "`{} --help` says what it takes\n", name);
  return kUsageStatus;
}

}  // namespace ponder::cli
