#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>

/// How `--help` looks: what the command is, how it is called, its options in groups, and examples,
/// in lines that fit the terminal.
namespace ponder::cli {

inline constexpr std::size_t kHelpColumns = 100;  // where no terminal says less

/// Of standard output, where that is a terminal of a sensible width, and at most kHelpColumns.
std::size_t help_columns();

/// `text` in lines of at most `columns`, each but the first after `indent` blanks. A word that is
/// longer has a line of its own.
std::string wrapped(std::string_view text, std::size_t indent, std::size_t columns);

/// Puts examples under the help of the commands that have some; all commands are there.
void add_examples(CLI::App& app);

class HelpFormat final : public CLI::Formatter {
 public:
  explicit HelpFormat(std::size_t columns) : columns_(columns) {}
  std::string make_help(const CLI::App* app, std::string name,
                        CLI::AppFormatMode mode) const override;
  std::string make_usage(const CLI::App* app, std::string name) const override;
  std::string make_group(std::string group, bool is_positional,
                         std::vector<const CLI::Option*> options) const override;
  std::string make_subcommand(const CLI::App* command) const override;

 private:
  std::string entry(const std::string& name, const std::string& text) const;

  std::size_t columns_;
};

}  // namespace ponder::cli
