#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ponder::mcp {

/// A tool as its server describes it: name, title, description, schemas and annotations.
struct Definition {
  std::string text;  // JSON with sorted keys
  std::string hash;  // SHA-256 of it
};

/// What a person has approved of each server, so that a server which changes what it says of a tool
/// cannot change what a model believes without being noticed.
///
/// Kept in a JSON file that only its owner can read. Thread: one. Two programs that write at the
/// same time both leave a whole file; what the slower one learned holds.
class Pins {
 public:
  enum class Verdict {
    approved,
    unknown_server,  // it was never seen
    added,           // the server is known, the tool is not
    changed,         // it was approved with another definition
  };
  struct Entry {
    std::string server;
    std::string tool;
    std::string approved;  // the definition's text; empty: none
    std::string waiting;   // the text of one that differs and waits; empty: none
  };

  /// No pins when the file is missing; `corrupt` when it cannot be understood.
  static Result<Pins> load(const std::filesystem::path& file);
  /// `unavailable` when it cannot be written.
  Status save() const;

  Verdict verdict(const std::string& server, const std::string& tool,
                  const Definition& definition) const;
  /// Remembers that the server was seen, whatever it offers. True the first time.
  bool meet(const std::string& server);
  /// Pins this definition.
  void approve(const std::string& server, const std::string& tool, const Definition& definition);
  /// Remembers a definition until somebody approves it.
  void keep_waiting(const std::string& server, const std::string& tool,
                    const Definition& definition);
  /// Approves what waits: the server's tools of these names, or all of its when none is given.
  /// The number; `not_found` names what does not wait.
  Result<std::size_t> approve_waiting(const std::string& server,
                                      const std::vector<std::string>& tools);
  std::vector<Entry> entries() const;
  bool has_changed() const { return has_changed_; }

 private:
  struct Pin {
    std::string approved;
    std::string waiting;
  };
  std::filesystem::path file_;
  std::map<std::string, std::map<std::string, Pin>> servers_;
  bool has_changed_ = false;
};

}  // namespace ponder::mcp
