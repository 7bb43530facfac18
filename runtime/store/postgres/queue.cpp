#include "runtime/store/postgres/queue.h"

#include <string>

#include "runtime/session/work_queue.h"
#include "runtime/text.h"

namespace ponder::runtime::pg {

Status put_in_queue(postgres::Connection& db, const Peer& peer, const SessionId& session) {
  // A session that is put there again has all of its tries again.
  PONDER_CHECK(
      db.query("INSERT INTO queue (session) VALUES ($1) "
               "ON CONFLICT (session) DO UPDATE SET takes = 0, problem = '', problem_takes = 0",
               {session.value}));
  PONDER_CHECK(
      db.query("UPDATE sessions SET lease_owner = NULL, lease_until = NULL "
               "WHERE id = $1 AND lease_owner = $2",
               {session.value, peer.owner}));
  return {};
}

Result<std::optional<Taken>> take_from_queue(postgres::Connection& db, const Peer& peer,
                                             const std::vector<std::string>& excluded) {
  PONDER_TRY(const auto taken,
             db.query(R"sql(
    WITH next AS (
      SELECT q.session FROM queue q JOIN sessions s ON s.id = q.session
      WHERE q.takes < $3 AND q.session <> ALL ($4)
        AND (s.lease_owner IS NULL OR s.lease_until < clock_timestamp())
      ORDER BY q.place LIMIT 1 FOR UPDATE OF s SKIP LOCKED),
    counted AS (
      UPDATE queue SET takes = takes + 1 FROM next WHERE queue.session = next.session)
    UPDATE sessions SET lease_owner = $1, fence = fence + 1,
      lease_until = clock_timestamp() + $2 * interval '1 millisecond'
    FROM next WHERE sessions.id = next.session
    RETURNING sessions.id, sessions.fence)sql",
                      {peer.owner, peer.lease_ms.count(), kTakesMax,
                       postgres::Value::texts({excluded.begin(), excluded.end()})}));
  if (taken.size() == 1) {
    return std::optional(Taken{SessionId{std::string(taken.text(0, 0))}, taken.number(0, 1)});
  }
  // What is free may be locked by a program that stands still: it is free at the next try.
  PONDER_CHECK(end_stalled(db));
  return std::optional<Taken>();
}

Status note_in_queue(postgres::Connection& db, const SessionId& session,
                     const std::string& problem) {
  // The database's texts are UTF-8 and have no zero bytes.
  std::string words = clean_utf8(first_line(problem, kProblemBytesMax));
  std::erase(words, '\0');
  PONDER_CHECK(db.query("UPDATE queue SET problem = $2, problem_takes = takes WHERE session = $1",
                        {session.value, words}));
  return {};
}

Status remove_from_queue(postgres::Connection& db, const SessionId& session) {
  PONDER_CHECK(db.query("DELETE FROM queue WHERE session = $1", {session.value}));
  return {};
}

Result<std::uint64_t> size_of_queue(postgres::Connection& db) {
  PONDER_TRY(const auto rows, db.query("SELECT count(*) FROM queue WHERE takes < $1", {kTakesMax}));
  return static_cast<std::uint64_t>(rows.number(0, 0));
}

Result<std::vector<QueuedSession>> list_queue(postgres::Connection& db) {
  PONDER_TRY(const auto rows, db.query(R"sql(
    SELECT q.session, q.takes,
      CASE WHEN s.lease_until >= clock_timestamp() THEN coalesce(s.lease_owner, '') ELSE '' END,
      q.problem, q.problem_takes
    FROM queue q JOIN sessions s ON s.id = q.session ORDER BY q.place)sql"));
  std::vector<QueuedSession> out;
  out.reserve(rows.size());
  for (std::size_t row = 0; row < rows.size(); ++row) {
    out.push_back({SessionId{std::string(rows.text(row, 0))}, static_cast<int>(rows.number(row, 1)),
                   std::string(rows.text(row, 2)), std::string(rows.text(row, 3)),
                   static_cast<int>(rows.number(row, 4))});
  }
  return out;
}

}  // namespace ponder::runtime::pg
