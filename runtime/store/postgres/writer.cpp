#include "runtime/store/postgres/writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "runtime/session/event_json.h"
#include "runtime/store/postgres/reader.h"
#include "runtime/store/postgres/statements.h"

namespace ponder::runtime::pg {
namespace {

bool is_start(const Record& record) { return std::holds_alternative<SessionStarted>(record.event); }

tl::unexpected<Error> there_already(const std::string& session) {
  return fail(Errc::invalid_argument, fmt::format("session {} is there already", session));
}

}  // namespace

Writer::Writer(const Peer& peer, Leases& leases, StopSignal& stop, const Clock& clock,
               Synchronous synchronous)
    : peer_(&peer),
      leases_(&leases),
      clock_(&clock),
      synchronous_(synchronous),
      link_(peer, stop, prepare_statements) {}

void Writer::write(std::span<PendingAppend* const> group) {
  std::vector<Job> jobs;
  for (PendingAppend* append : group) {
    // The times are part of what may have to be sent twice.
    for (Record& record : append->records) record.unix_ms = clock_->unix_ms();
    auto job = job_for(*append, jobs);
    if (job) {
      jobs.push_back(*job);
    } else {
      append->status.emplace(tl::unexpected<Error>(job.error()));
    }
  }
  if (jobs.empty()) return;
  const Status status = write_jobs(jobs);
  if (status) return;
  const bool is_in_doubt = link_.last_failure() != postgres::Failure::statement;
  if (is_in_doubt) lose(jobs);
  for (const Job& job : jobs) {
    if (is_in_doubt || jobs.size() == 1) {
      job.append->status.emplace(status);
      continue;
    }
    // One that the server does not take must not fail the others.
    const Status alone = write_jobs(std::span(&job, 1));
    if (alone) continue;
    if (link_.last_failure() != postgres::Failure::statement) lose(std::span(&job, 1));
    job.append->status.emplace(alone);
  }
}

Result<Writer::Job> Writer::job_for(PendingAppend& append, std::span<const Job> before) {
  const std::vector<Record>& records = append.records;
  Job job{&append, 1, records.front().seq == 1};
  if (job.is_start != is_start(records.front()) ||
      std::any_of(records.begin() + 1, records.end(), is_start)) {
    return fail(Errc::invalid_argument,
                fmt::format("session {}: session_started is the first event and no other",
                            append.session.value));
  }
  if (job.is_start) return job;
  const auto begins = std::find_if(before.begin(), before.end(), [&](const Job& other) {
    return other.is_start && other.append->session == append.session;
  });
  if (begins != before.end()) return job;
  PONDER_TRY(job.fence, fence_for(append.session.value));
  return job;
}

Result<std::int64_t> Writer::fence_for(const std::string& session) {
  const auto lease = leases_->find(session);
  if (lease && !lease->lost_words.empty()) return fail(Errc::unavailable, lease->lost_words);
  if (lease) return lease->fence;
  auto fence =
      link_.run([&](postgres::Connection& db, bool) { return acquire(db, *peer_, session); });
  if (fence) leases_->hold(session, *fence, 0);
  return fence;
}

Status Writer::write_jobs(std::span<const Job> jobs) {
  return link_.run(
      [&](postgres::Connection& db, bool is_again) { return try_jobs(db, jobs, is_again); });
}

Status Writer::try_jobs(postgres::Connection& db, std::span<const Job> jobs, bool is_again) {
  const bool must_sync = synchronous_ == Synchronous::full ||
                         std::any_of(jobs.begin(), jobs.end(), [](const Job& job) {
                           return has_intent_of_effect(*job.append);
                         });
  std::vector<postgres::Call> calls;
  if (!must_sync) calls.push_back(relaxed_call());
  for (const Job& job : jobs) {
    calls.push_back(job.is_start ? start_call(*peer_, *job.append)
                                 : append_call(*peer_, *job.append, job.fence));
  }
  PONDER_TRY(const auto results, db.transact(calls));
  ++commits_;
  const std::size_t first = calls.size() - jobs.size();
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const std::int64_t rows = results[first + i].number(0, 0);
    PONDER_TRY(auto status, judge(db, jobs[i], rows, is_again));
    jobs[i].append->status.emplace(std::move(status));
  }
  return {};
}

Result<Status> Writer::judge(postgres::Connection& db, const Job& job, std::int64_t rows,
                             bool is_again) {
  bool is_written = rows == 1;
  if (!is_written && is_again) {
    PONDER_TRY(is_written, is_there(db, *job.append, job.fence));
  }
  if (!is_written) return refusal(db, job);
  if (job.is_start) leases_->hold(job.append->session.value, job.fence, 0);
  return Status();
}

Result<Status> Writer::refusal(postgres::Connection& db, const Job& job) {
  const std::string& session = job.append->session.value;
  PONDER_TRY(const auto row, db.query("SELECT last_seq, fence, coalesce(lease_owner, '') "
                                      "FROM sessions WHERE id = $1",
                                      {session}));
  if (row.size() == 0) {
    return Status(fail(Errc::not_found, fmt::format("no session \"{}\"", session)));
  }
  if (job.is_start) return Status(there_already(session));
  const bool is_taken = row.number(0, 1) != job.fence || row.text(0, 2) != peer_->owner;
  if (is_taken) {
    const std::string words = taken_over(*peer_, session, row.text(0, 2));
    leases_->lose(session, job.fence, words);
    return Status(fail(Errc::unavailable, words));
  }
  return Status(fail(Errc::unavailable,
                     fmt::format("session {} has {} events where {} were expected: another program "
                                 "works on it",
                                 session, row.number(0, 0), job.append->records.front().seq - 1)));
}

void Writer::lose(std::span<const Job> jobs) {
  for (const Job& job : jobs) {
    const std::string& session = job.append->session.value;
    leases_->lose(session, job.fence,
                  fmt::format("the connection was lost while session {} was written, and what was "
                              "written is unknown: open the session again",
                              session));
  }
}

Status Writer::begin_whole(postgres::Connection& db, const std::string& session, std::int64_t made,
                           bool is_again) {
  if (made == 0 && is_again) {
    PONDER_TRY(const auto ours,
               db.query("SELECT count(*) FROM sessions WHERE id = $1 AND fence = 1 "
                        "AND lease_owner = $2",
                        {session, peer_->owner}));
    made = ours.number(0, 0);
  }
  if (made == 0) return there_already(session);
  leases_->hold(session, 1, 0);
  return {};
}

Status Writer::import(const SessionCopy& session) {
  const std::vector<postgres::Call> calls = {import_call(*peer_, session)};
  return link_.run([&](postgres::Connection& db, bool is_again) -> Status {
    PONDER_TRY(const auto results, db.transact(calls));
    return begin_whole(db, session.id.value, results[0].number(0, 0), is_again);
  });
}

Status Writer::fork(const SessionId& id, const SessionId& parent, std::optional<std::int64_t> at) {
  const std::int64_t now_ms = clock_->unix_ms();
  return link_.run([&](postgres::Connection& db, bool is_again) -> Status {
    PostgresEventRows rows(db);
    PONDER_TRY(const std::int64_t last_seq, last_seq_of(db, parent.value));
    PONDER_TRY(const ForkPoint point, fork_point(rows, parent.value, last_seq, at));
    const Event event = SessionForked{point.owner, point.shared};
    PONDER_TRY(const auto made,
               db.query(R"sql(
      WITH begun AS (
        INSERT INTO sessions (id, created_ms, updated_ms, workflow, model, title, parent,
                              parent_seq, last_seq, lease_owner, lease_until)
        SELECT $1, $2, $2, workflow, model, title, $3, $4, $4 + 1, $5,
               clock_timestamp() + $6 * interval '1 millisecond'
        FROM sessions WHERE id = $7
        ON CONFLICT DO NOTHING RETURNING id, fence),
      written AS (
        INSERT INTO events (session, seq, unix_ms, type, version, payload, fence)
        SELECT id, $4 + 1, $2, $8, $9, $10, fence FROM begun)
      SELECT count(*) FROM begun)sql",
                        {id.value, now_ms, point.owner, point.shared, peer_->owner,
                         peer_->lease_ms.count(), parent.value, event_type(event),
                         event_version(event), postgres::Value::bytes(event_payload(event))}));
    return begin_whole(db, id.value, made.number(0, 0), is_again);
  });
}

void Writer::release(const std::string& session, std::int64_t fence) {
  if (link_.is_away()) return;  // it runs out by itself
  const auto db = link_.get();
  if (!db) return;
  const auto released = (*db)->query(
      "UPDATE sessions SET lease_owner = NULL, lease_until = NULL "
      "WHERE id = $1 AND fence = $2 AND lease_owner = $3",
      {session, fence, peer_->owner});
  if (!released) link_.drop();
}

void Writer::release_all() {
  if (leases_->held().empty() || link_.is_away()) return;
  const auto db = link_.get();
  if (!db) return;
  const auto released = (*db)->query(
      "UPDATE sessions SET lease_owner = NULL, lease_until = NULL WHERE lease_owner = $1",
      {peer_->owner});
  if (!released) link_.drop();
}

}  // namespace ponder::runtime::pg
