#pragma once

#include <string>
#include <string_view>

/// What a line that was typed into `ponder chat` asks for.
namespace ponder::cli {

struct ChatLine {
  enum class Kind {
    nothing,  // an empty line
    words,    // for the model
    steer,    // words for the turn that runs
    send,     // words that end it
    cancel,
    allow,  // a call that waits for a person's word
    deny,
    answer,  // what a call asked
    pin,
    unpin,
    help,
    quit,
    unknown,  // a command that does not exist, or one without the words it needs
  };
  Kind kind = Kind::nothing;
  std::string text;  // the words; of an unknown command, its name
};

/// A line is a command when its first word is a slash and a name; `/home/me` is words.
ChatLine read_chat_line(std::string_view line);

/// The commands and keys, for people.
extern const char* const kChatHelp;

}  // namespace ponder::cli
