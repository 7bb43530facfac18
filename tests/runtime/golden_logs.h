#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

#include "base/digest.h"
#include "runtime/session/session_lines.h"
#include "runtime/session/session_state.h"

/// Logs of real runs in the format of version 1, kept for ever (tests/runtime/data/README.md).
namespace ponder::runtime::test {

inline const std::filesystem::path kGoldenDir = "tests/runtime/data/v1";

inline std::string read_file(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  EXPECT_TRUE(in) << file;
  return std::string(std::istreambuf_iterator<char>(in), {});
}

/// Every message of the session, to the byte.
inline std::string digest_of(const context::Conversation& conversation) {
  std::string text;
  for (const context::Message& message : conversation) {
    text += std::to_string(static_cast<int>(message.role)) + '\x1f' + message.reasoning + '\x1f' +
            message.content + '\x1f' + message.tool_call_id;
    for (const auto& call : message.tool_calls) {
      text += '\x1f' + call.id + '\x1f' + call.name + '\x1f' + call.arguments;
    }
    for (const auto id : message.sampled) text += ' ' + std::to_string(id);
    text += '\x1e';
  }
  return sha256_hex(text);
}

/// What a log folds to, one line for each fact.
inline std::string facts_of(const SessionState& state) {
  std::string out;
  const auto add = [&out](const char* name, const auto& value) {
    std::ostringstream text;
    text << name << ' ' << value << '\n';
    out += text.str();
  };
  add("last_seq", state.last_seq);
  add("turns", state.turns);
  add("turn_open", state.is_turn_open);
  add("last_end", state.last_end ? turn_end_name(state.last_end->reason) : "none");
  add("completions", state.completions);
  add("tool_calls", state.tool_calls);
  add("open_calls", state.calls.size());
  add("tokens_generated", state.usage_total.tokens_generated);
  add("messages", state.conversation.size());
  add("conversation", digest_of(state.conversation));
  add("history", digest_of(state.history()));
  add("blobs", state.blobs.size());
  add("unreadable", state.unreadable);
  return out;
}

/// With PONDER_UPDATE_GOLDEN=1 the session becomes the golden log of this name; without it there
/// has to be one.
inline void keep_golden(const std::string& name, const SessionCopy& session) {
  const auto lines = kGoldenDir / (name + ".jsonl");
  const char* update = std::getenv("PONDER_UPDATE_GOLDEN");
  if (update == nullptr || *update == '\0') {
    EXPECT_TRUE(std::filesystem::exists(lines)) << lines << " was never made";
    return;
  }
  std::ofstream(lines, std::ios::binary) << write_lines(session);
  std::ofstream(kGoldenDir / (name + ".facts")) << facts_of(fold(session.records));
}

}  // namespace ponder::runtime::test
