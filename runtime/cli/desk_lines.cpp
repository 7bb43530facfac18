#include "runtime/cli/desk_lines.h"

#include <unistd.h>

#include <utility>

#include "base/assert.h"
#include "runtime/cli/chat_line.h"
#include "runtime/cli/commands.h"

namespace ponder::cli {
namespace asio = boost::asio;

bool DeskLines::is_person_there() {
  return isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;
}

DeskLines::DeskLines(asio::io_context& io, Output& output, bool is_quiet)
    : desk_([&output](const std::string& text) {
        output.write(text);
        output.flush();
      }),
      listener_(io.get_executor()) {
  if (!is_person_there() || is_quiet) return;
  lines_.emplace(io.get_executor(), output, /*is_terminal=*/false);
}

void DeskLines::begin() {
  if (lines_) listener_.spawn(listen());
}

asio::awaitable<void> DeskLines::close() {
  if (lines_) lines_->close();
  co_await listener_.join();
}

asio::awaitable<void> DeskLines::listen() {
  PONDER_ASSERT(lines_);
  while (true) {
    const auto line = co_await lines_->next();
    if (!line) co_return;
    const ChatLine said = read_chat_line(*line);
    Status taken;
    if (said.kind == ChatLine::Kind::allow) {
      taken = desk_.allow(said.text);
    } else if (said.kind == ChatLine::Kind::deny) {
      taken = desk_.deny(said.text);
    } else if (said.kind == ChatLine::Kind::answer) {
      taken = desk_.reply(said.text);
    } else if (said.kind != ChatLine::Kind::nothing) {
      taken = fail(Errc::invalid_argument, "only /allow, /deny and /answer are taken here");
    }
    if (!taken) complain(taken.error().message);
  }
}

}  // namespace ponder::cli
