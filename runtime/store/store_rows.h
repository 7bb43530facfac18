#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/result.h"
#include "runtime/session/event.h"
#include "runtime/session/session_history.h"

namespace ponder::runtime {

/// The rows of a session store as its doctor sees and mends them, whichever database has them.
///
/// Thread: one. Errors: the database's. What changes something does so in one transaction.
class StoreRows : public EventRows {
 public:
  struct Session {
    std::string id;
    std::string parent;
    std::int64_t parent_seq = 0;
  };
  using Place = std::pair<std::string, std::int64_t>;               // of an event: session, seq
  using Seen = std::tuple<std::string, std::int64_t, std::string>;  // and the kind of its fault

  /// What goes to the quarantine: a fault, noted with a copy of the event's row if there is one.
  struct Note {
    std::string session;
    std::int64_t seq = 0;
    std::string kind;
    std::string problem;
    std::int64_t found_ms = 0;
  };
  /// What the list says of a session.
  struct Listing {
    std::string id;
    std::int64_t created_ms = 0;
    std::int64_t updated_ms = 0;
    std::string workflow;
    std::string model;
    std::string title;
  };

  /// `corrupt` with the first complaint when the database's files are damaged.
  virtual Status check_files() = 0;
  /// What a person can do about such damage.
  virtual const char* file_remedy() const = 0;

  virtual Result<std::vector<Session>> sessions() = 0;
  virtual Result<std::set<Seen>> quarantined() = 0;
  /// Sessions that have events and are not listed, and how many.
  virtual Result<std::vector<Place>> orphans() = 0;
  /// Events that stand before those that their fork owns.
  virtual Result<std::vector<Place>> shadowed() = 0;
  /// Sessions that the list gives another last event than they have, and which they have.
  virtual Result<std::vector<Place>> miscounted() = 0;
  /// Of these, the sessions whose last event is gone, and the last place that is there.
  virtual Result<std::vector<Place>> cut_off() = 0;
  /// Places that two events claim.
  virtual Result<std::vector<Place>> doubled() = 0;
  /// The first event that a session owns.
  virtual Result<std::optional<Record>> first_own(const std::string& session) = 0;
  /// `not_found` when there is none of that hash.
  virtual Result<std::string> blob(const std::string& hash) = 0;

  virtual Status quarantine(const Note& note) = 0;
  /// To the quarantine, and out of the log.
  virtual Status move_out(const Note& note) = 0;
  virtual Status list_again(const Listing& listing) = 0;
  virtual Status recount(const std::string& session) = 0;
  virtual Status set_parent(const Session& session) = 0;
  /// Puts `text` in place of what is stored under the hash, or nothing. What was stored goes to the
  /// quarantine, under the note's kind.
  virtual Status replace_blob(const std::string& hash, const std::optional<std::string>& text,
                              const std::optional<std::string>& stored, const Note& note) = 0;
};

/// Each fails when the store cannot be opened at all, with its name and the remedy.
Result<std::unique_ptr<StoreRows>> open_sqlite_rows(const std::filesystem::path& file);
Result<std::unique_ptr<StoreRows>> open_postgres_rows(const std::string& address);

}  // namespace ponder::runtime
