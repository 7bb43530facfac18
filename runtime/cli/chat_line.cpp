#include "runtime/cli/chat_line.h"

#include <array>
#include <cstddef>

namespace ponder::cli {
namespace {

using Kind = ChatLine::Kind;

struct Command {
  std::string_view name;
  Kind kind;
  bool needs_words;
};
constexpr std::array kCommands = {
    Command{"/steer", Kind::steer, true},    Command{"/send", Kind::send, true},
    Command{"/cancel", Kind::cancel, false}, Command{"/allow", Kind::allow, true},
    Command{"/deny", Kind::deny, true},      Command{"/answer", Kind::answer, true},
    Command{"/pin", Kind::pin, false},       Command{"/unpin", Kind::unpin, false},
    Command{"/help", Kind::help, false},     Command{"/quit", Kind::quit, false},
    Command{"/exit", Kind::quit, false}};

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

}  // namespace

const char* const kChatHelp =
    R"(While the agent works, a line that you type steers it: the next tool
result carries your words, and the agent keeps its train of thought.
  /send TEXT     ends the turn that runs and begins a new one
  /steer TEXT    steers, as a plain line does
  /cancel        ends the turn that runs (so does Ctrl-C)
  /cancel CALL   ends one call, and the turn goes on; CALL is the tool's
                 name, or 2 for the second call that is shown last
  /allow CODE, /allow CODE always [ARGUMENT...], /deny CODE [REASON]
                 answer whether a call with a lasting effect may run:
                 once, or for the session (while the named arguments stay)
  /answer CODE TEXT
                 answers what a call asked; TEXT is a choice or its number
  /pin [TEXT]    the latest answer or tool result (that holds TEXT) stays
                 when the context is cut; what you say always stays
  /unpin [TEXT]  takes that back
  /quit          ends the chat (so does Ctrl-D)
From a pipe, plain lines are turns one after the other; /steer, /send and
/cancel act on the turn that runs when they are read.
)";

ChatLine read_chat_line(std::string_view line) {
  line = trimmed(line);
  if (line.empty()) return {};
  const std::string_view name = line.substr(0, line.find_first_of(" \t"));
  const bool is_command = name[0] == '/' && name.find('/', 1) == std::string_view::npos;
  if (!is_command) return {Kind::words, std::string(line)};
  const std::string_view rest = trimmed(line.substr(name.size()));
  for (const Command& command : kCommands) {
    if (command.name != name || (command.needs_words && rest.empty())) continue;
    return {command.kind, std::string(rest)};
  }
  return {Kind::unknown, std::string(name)};
}

}  // namespace ponder::cli
