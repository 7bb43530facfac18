#include "runtime/cli/terminal_services.h"

#include <fmt/core.h>

#include <iostream>
#include <utility>

#include "runtime/cli/terminal.h"

namespace ponder::cli {
namespace asio = boost::asio;

asio::awaitable<Result<std::string>> TerminalServices::ask(tools::Question question) {
  fmt::print(stderr, "{}\n", printable(question.text));
  for (const std::string& choice : question.choices) {
    fmt::print(stderr, "  - {}\n", choice.empty() ? "(nothing)" : printable(choice));
  }
  std::string line;
  if (!std::getline(std::cin, line)) co_return fail(Errc::unavailable, "nobody answered");
  co_return line;
}

void TerminalServices::progress(std::string_view text, std::optional<double> share) {
  const std::string percent = share ? fmt::format(" {:.0f}%", *share * 100) : std::string();
  fmt::print(stderr, "[progress{}] {}\n", percent, printable(text));
}

asio::awaitable<Status> TerminalServices::note(tools::Note note) {
  fmt::print(stderr, "[{}] {}\n", printable(note.kind), printable(note.content));
  co_return Status();
}

std::optional<std::string> TerminalServices::value(std::string_view key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? std::nullopt : std::optional(found->second);
}

asio::awaitable<Status> TerminalServices::set_value(std::string key,
                                                    std::optional<std::string> value) {
  values_.erase(key);
  if (value) values_.emplace(std::move(key), std::move(*value));
  co_return Status();
}

}  // namespace ponder::cli
