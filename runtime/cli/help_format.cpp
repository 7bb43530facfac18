#include "runtime/cli/help_format.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

namespace ponder::cli {
namespace {

constexpr std::size_t kNameColumns = 28;  // where descriptions begin

/// What stands for an option's value: "ask|never|always", or the kind of thing that it is.
std::string value_name(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const std::size_t choices = type.find('{');
  if (choices != std::string::npos && type.back() == '}') {
    std::string names = type.substr(choices + 1, type.size() - choices - 2);
    std::ranges::replace(names, ',', '|');
    return names;
  }
  if (type.find(":DIR") != std::string::npos) return "DIR";
  if (type.find(":FILE") != std::string::npos) return "FILE";
  if (type.find(":PATH") != std::string::npos) return "PATH";
  if (type.find("TIME") != std::string::npos) return "TIME";
  if (type.starts_with("UINT") || type.starts_with("INT")) return "N";
  if (type.starts_with("FLOAT")) return "X";
  return "TEXT";
}

/// "-h, --help", "--seed N", "--web [TEXT]".
std::string shown_name(const CLI::Option& option, bool is_positional) {
  if (is_positional) return option.get_name(true, false);
  std::string name = fmt::format("{}", fmt::join(option.get_snames(), ", "));
  if (!name.empty()) name.insert(0, "-");
  for (const std::string& word : option.get_lnames()) {
    name += (name.empty() ? "--" : ", --") + word;
  }
  const bool takes_value = option.get_items_expected_max() > 0 && option.get_type_size() != 0;
  if (!takes_value) {  // a flag may have a number, behind "=" only
    return option.get_type_name().find(" in [") == std::string::npos ? name : name + "[=N]";
  }
  if (option.get_items_expected_min() > 0) return name + " " + value_name(option);
  return name + " [TEXT]";
}

/// The description, with what the value may be and what it is where nothing is said.
std::string shown_text(const CLI::Option& option) {
  std::string text = option.get_description();
  const std::string type = option.get_type_name();
  const std::size_t range = type.find(" in [");
  const std::size_t end = type.find(']', range);
  if (range != std::string::npos && end != std::string::npos && type.find("TIME") > type.size()) {
    const std::string bounds = type.substr(range + 5, end - range - 5);
    const std::size_t dash = bounds.find(" - ");
    text += fmt::format("; {} to {}", bounds.substr(0, dash), bounds.substr(dash + 3));
  }
  if (option.get_required() && !option.get_positional()) text += " (required)";
  const bool has_own_default = option.get_items_expected_min() == 0;
  if (!option.get_default_str().empty() && !has_own_default && !option.get_required()) {
    text += fmt::format(" (default: {})", option.get_default_str());
  }
  for (const CLI::Option* other : option.get_excludes()) {
    text += fmt::format(" (not with {})", other->get_name());
  }
  return text;
}

struct Example {
  std::vector<std::string> command;
  const char* text;
};

/// Lines that can be typed as they are, or nearly.
const Example kExamples[] = {
    {{"run"},
     R"(examples:
  ponder run travel "Three days from Hangzhou. Hotels at most 800 CNY a night." --out trip
  ponder run code "the sum is wrong" --folder DIR --test "make check" --model URL --model-name NAME
  ponder run assistant "..." --tools weather.lua --grant http:api.open-meteo.com --model URL
)"},
    {{"fix"},
     R"(example:
  ponder fix --repo . --issue "add() subtracts" --test "python3 -m unittest -v"
)"},
    {{"eval"},
     R"(examples:
  ponder eval travel --count 20 --verbose
  ponder eval codefix --language python --count 20
)"},
    {{"sessions", "fork"},
     R"(example:
  ponder sessions fork last --at 13 && ponder sessions resume last
)"},
    {{"sessions", "export"},
     R"(example:
  ponder sessions export last --format markdown > session.md
)"},
    {{"tool", "new"},
     R"(example:
  ponder tool new weather && ponder tool test weather.lua    # docs/writing-tools.md
)"},
    {{"tool", "run"},
     R"(example:
  ponder tool run weather.lua --args '{"city": "Oslo"}' --grant http:api.open-meteo.com
)"},
    {{"index"},
     R"(examples:
  ponder index ~/notes --find "page store"
  ponder run assistant "What do my notes say of it?" --web local=$HOME/notes/.ponder-index.db
)"},
    {{"mcp", "try"},
     R"(example:
  ponder mcp try -- uvx mcp-server-time
)"},
    {{"model", "convert"},
     R"(example:
  ponder model convert DIR DIR-int8 --to int8 && ponder model inspect DIR-int8
)"},
    {{"model", "random"},
     R"(example:
  ponder model random --config DIR/config.json --layers 2 --out tiny --dtype bf16
)"},
    {{"tokenize"},
     R"(example:
  echo '{"text": "hello"}' | ponder tokenize --tokenizer DIR/tokenizer.json
)"},
    {{"logits"},
     R"(example:
  echo '{"tokens": [1, 2, 3]}' | ponder logits --model DIR --trace
)"},
};

}  // namespace

void add_examples(CLI::App& app) {
  for (const Example& example : kExamples) {
    CLI::App* command = &app;
    for (const std::string& name : example.command) command = command->get_subcommand(name);
    command->footer(example.text);
  }
}

std::size_t help_columns() {
  constexpr std::size_t kColumnsMin = 60;
  winsize size{};
  if (isatty(STDOUT_FILENO) != 1 || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 ||
      size.ws_col < kColumnsMin) {
    return kHelpColumns;
  }
  return std::min<std::size_t>(size.ws_col, kHelpColumns);
}

std::string wrapped(std::string_view text, std::size_t indent, std::size_t columns) {
  std::string out;
  std::size_t used = indent;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (word.empty()) continue;
    const bool is_first = used == indent;
    if (!is_first && used + 1 + word.size() > columns) {
      out += "\n" + std::string(indent, ' ');
      used = indent;
    } else if (!is_first) {
      out += ' ';
      ++used;
    }
    out += word;
    used += word.size();
  }
  return out;
}

std::string HelpFormat::entry(const std::string& name, const std::string& text) const {
  std::string out = "  " + name;
  if (out.size() + 2 > kNameColumns) {
    out += "\n" + std::string(kNameColumns, ' ');
  } else {
    out.resize(kNameColumns, ' ');
  }
  return out + wrapped(text, kNameColumns, columns_) + "\n";
}

std::string HelpFormat::make_group(std::string group, bool is_positional,
                                   std::vector<const CLI::Option*> options) const {
  std::string out = is_positional ? "\n" : fmt::format("\n{}:\n", group);
  for (const CLI::Option* option : options) {
    out += entry(shown_name(*option, is_positional), shown_text(*option));
  }
  return out;
}

std::string HelpFormat::make_subcommand(const CLI::App* command) const {
  return entry(command->get_name(), command->get_description());
}

std::string HelpFormat::make_usage(const CLI::App* app, std::string name) const {
  std::string out = "\nusage: " + name;
  for (const CLI::Option* option : app->get_options()) {
    if (option->nonpositional() && option->get_required()) {
      out += fmt::format(" {} {}", option->get_name(), value_name(*option));
    }
  }
  for (const CLI::Option* option : app->get_options()) {
    if (!option->get_positional()) continue;
    const std::string word = option->get_name(true, false);
    out += option->get_required() ? " " + word : " [" + word + "]";
    if (option->get_expected_max() > 1) out += "...";
  }
  if (app->get_require_subcommand_min() > 0) out += " COMMAND";
  return wrapped(out, 0, columns_) + " [OPTIONS]\n";
}

std::string HelpFormat::make_help(const CLI::App* app, std::string name,
                                  CLI::AppFormatMode mode) const {
  const bool is_root = app->get_parent() == nullptr;
  std::string title =
      is_root ? app->get_description() : fmt::format("{}: {}", name, app->get_description());
  std::string out = wrapped(title, 0, columns_) + "\n" + make_usage(app, name);
  out += make_positionals(app);
  out +=
      CLI::detail::find_and_replace(make_subcommands(app, mode), "\nSubcommands:", "\nCommands:");
  std::string options = make_groups(app, mode);
  // The base puts an empty line between groups, and make_group one before each.
  for (std::size_t at; (at = options.find("\n\n\n")) != std::string::npos;) options.erase(at, 1);
  out += options;
  if (!app->get_footer().empty()) out += "\n" + app->get_footer();
  if (out.back() != '\n') out += '\n';
  return out;
}

}  // namespace ponder::cli
