#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "runtime/session/event.h"
#include "runtime/session/session_store.h"

/// What must hold after any crash, checked on what the processes left behind.
namespace ponder::crash {

/// What was found; all counts are zero when everything holds.
struct Findings {
  std::uint64_t lost_events = 0;        // acknowledged, and not in the store as they were
  std::uint64_t doubled_effects = 0;    // fired twice or under two keys; questions answered twice
  std::uint64_t unopened_sessions = 0;  // cannot be read, or do not go on to the end
  std::uint64_t prompt_mismatches = 0;  // not the undisturbed twin's
  std::uint64_t torn_artefacts = 0;     // files that are neither whole nor absent
  std::vector<std::string> notes;       // a line for each

  bool is_clean() const { return notes.empty(); }
  void lost(std::string note) { add(lost_events, std::move(note)); }
  void doubled(std::string note) { add(doubled_effects, std::move(note)); }
  void unopened(std::string note) { add(unopened_sessions, std::move(note)); }
  void mismatched(std::string note) { add(prompt_mismatches, std::move(note)); }
  void torn(std::string note) { add(torn_artefacts, std::move(note)); }

 private:
  void add(std::uint64_t& count, std::string note) {
    ++count;
    notes.push_back(std::move(note));
  }
};

/// What a group of workers left.
struct Remains {
  std::string store;  // a file, or postgresql://...
  std::filesystem::path effects;
  std::vector<std::string> acks;  // of all processes
  std::size_t sessions = 0;  // how many there should be, all at their end; sub-agents' not counted
};

/// A call's place in a session: turn, step, position.
using CallAt = std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>;

/// A session from a run that nobody disturbed, and those of its sub-agents by the calls that they
/// worked for.
struct Twin {
  std::vector<runtime::Record> records;
  std::map<CallAt, Twin> sub_agents;
};

/// Every check of the crash matrix over the worker's remains.
void audit(const Remains& remains, const Twin& twin, Findings& findings);

/// The acknowledged events (runtime::record_line) against what the store has.
void audit_acks(const std::string& store, const std::vector<std::string>& acks, Findings& findings);

/// The only session of a store, with its sub-agents.
Result<Twin> read_twin(const std::string& store);

/// The store at an address or in a file.
Result<std::unique_ptr<runtime::SessionStore>> open_store(const std::string& store);

}  // namespace ponder::crash
