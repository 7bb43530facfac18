#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tools/tool.h"

namespace ponder::mcp {

/// What every tool of an MCP server needs to be granted.
inline constexpr const char* kCapability = "mcp";

/// A server that speaks the Model Context Protocol: a program that we start, or an address.
struct ServerOptions {
  /// Letters, digits, '_' and '-', at most 32; its tools are called NAME_tool.
  std::string name;

  /// A program and its arguments, spoken to over its standard streams. It runs with the user's
  /// rights and is not sandboxed; all that it starts dies with the session.
  std::vector<std::string> command;
  std::filesystem::path working_folder;  // empty: "/"
  /// Beside PATH, LANG and HOME, nothing of our own environment is handed on.
  std::vector<std::pair<std::string, std::string>> environment;

  /// Or where it is: http:// or https://, usually ending in /mcp.
  std::string url;
  /// For the header Authorization. A secret: it appears in no message, and is not sent without TLS
  /// but to this machine. (Configuration names an environment variable.)
  std::string bearer_token;
  std::vector<std::pair<std::string, std::string>> headers;

  /// "auto" finds out; "modern" is 2026-07-28, "legacy" the versions with `initialize`.
  std::string era = "auto";
  /// How long a program may take to say that it is modern before it is taken for legacy. One that
  /// speaks both and is slower than this is spoken to in the legacy way.
  std::chrono::milliseconds probe_ms_max{5000};

  /// Only these of its tools, by its names; empty: all.
  std::vector<std::string> tools;
  /// What running a tool twice means, by its name, or "*" for all others. Without an entry a tool
  /// is irreversible, whatever the server says, and needs a person's word.
  std::map<std::string, tools::Effect> effects;
  /// Believes the server's annotations: readOnlyHint is pure, idempotentHint idempotent. Entries of
  /// `effects` come first.
  bool trusts_hints = false;

  std::chrono::milliseconds connect_ms_max{30'000};
  /// Of one call, without the time in which a person is asked.
  std::chrono::milliseconds call_ms_max{300'000};
  std::uint32_t calls_max = 16;  // of one tool at the same time, in one session
};

struct Options {
  std::vector<ServerOptions> servers;
  /// The approved definitions, JSON; made when it is missing. See tools/mcp/pins.h.
  std::filesystem::path pins_file;
  /// Whether a server that was never seen is approved as it is. Without this its tools wait for
  /// `ponder mcp approve`. A definition that changes, or is added later, always waits.
  bool approves_first_use = true;
  /// For each server's program, before its own: PATH and HOME belong here.
  std::vector<std::pair<std::string, std::string>> environment;
  /// Folders that servers are told they may work in (`roots/list`); they are not held to it.
  std::vector<std::filesystem::path> roots;
  std::filesystem::path ca_file;  // more certificates to trust than the system's
  std::string client_version = "1";
  std::size_t message_bytes_max = 16 << 20;
};

}  // namespace ponder::mcp
