#include "runtime/store/postgres/statements.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "runtime/session/event_json.h"
#include "runtime/session/session_history.h"
#include "runtime/text.h"

namespace ponder::runtime::pg {
namespace {

using postgres::Call;
using postgres::Value;

constexpr const char* kStart = R"sql(
  WITH begun AS (
    INSERT INTO sessions (id, created_ms, updated_ms, workflow, model, title, last_seq, lease_owner,
                          lease_until)
    VALUES ($1::text, $2::bigint, $3::bigint, $4::text, $5::text, $6::text, $7::bigint, $8::text,
            clock_timestamp() + $9::bigint * interval '1 millisecond')
    ON CONFLICT DO NOTHING RETURNING id, fence),
  texts AS (
    INSERT INTO blobs (hash, text)
    SELECT t.* FROM begun, unnest($10::text[], $11::bytea[]) AS t (hash, text)
    ON CONFLICT DO NOTHING),
  written AS (
    INSERT INTO events (session, seq, unix_ms, type, version, payload, fence)
    SELECT begun.id, e.*, begun.fence
    FROM begun, unnest($12::bigint[], $13::bigint[], $14::text[], $15::bigint[], $16::bytea[]) AS e)
  SELECT count(*) FROM begun)sql";

constexpr const char* kAppend = R"sql(
  WITH moved AS (
    UPDATE sessions SET last_seq = $3::bigint, updated_ms = $4::bigint,
      title = CASE title WHEN '' THEN $5::text ELSE title END,
      lease_until = clock_timestamp() + $8::bigint * interval '1 millisecond'
    WHERE id = $1::text AND last_seq = $2::bigint AND fence = $6::bigint AND lease_owner = $7::text
    RETURNING id, fence),
  texts AS (
    INSERT INTO blobs (hash, text)
    SELECT t.* FROM moved, unnest($9::text[], $10::bytea[]) AS t (hash, text)
    ON CONFLICT DO NOTHING),
  written AS (
    INSERT INTO events (session, seq, unix_ms, type, version, payload, fence)
    SELECT moved.id, e.*, moved.fence
    FROM moved, unnest($11::bigint[], $12::bigint[], $13::text[], $14::bigint[], $15::bytea[]) AS e)
  SELECT count(*) FROM moved)sql";

/// The title that the records give a session: the beginning of the first user message. A title has
/// no zero bytes: the database's texts cannot.
std::string title_of(const std::vector<Record>& records) {
  for (const Record& record : records) {
    const auto* user = std::get_if<UserMessage>(&record.event);
    if (user == nullptr) continue;
    std::string title = first_line(user->content, kTitleBytesMax);
    std::erase(title, '\0');
    if (!title.empty()) return title;
  }
  return "";
}

void add_blobs(std::vector<Value>& values, const std::vector<Blob>& blobs) {
  std::vector<std::string_view> hashes;
  std::vector<std::string_view> texts;
  for (const Blob& blob : blobs) {
    hashes.emplace_back(blob.hash);
    texts.emplace_back(blob.text);
  }
  values.push_back(Value::texts(hashes));
  values.push_back(Value::byte_strings(texts));
}

void add_records(std::vector<Value>& values, const std::vector<const Record*>& records) {
  std::vector<std::int64_t> seqs;
  std::vector<std::int64_t> times;
  std::vector<std::int64_t> versions;
  std::vector<std::string> types;
  std::vector<std::string> payloads;
  for (const Record* record : records) {
    seqs.push_back(record->seq);
    times.push_back(record->unix_ms);
    versions.push_back(event_version(record->event));
    types.push_back(event_type(record->event));
    payloads.push_back(event_payload(record->event));
  }
  values.push_back(Value::numbers(seqs));
  values.push_back(Value::numbers(times));
  values.push_back(Value::texts({types.begin(), types.end()}));
  values.push_back(Value::numbers(versions));
  values.push_back(Value::byte_strings({payloads.begin(), payloads.end()}));
}

std::vector<const Record*> pointers_to(const std::vector<Record>& records) {
  std::vector<const Record*> out;
  out.reserve(records.size());
  for (const Record& record : records) out.push_back(&record);
  return out;
}

}  // namespace

Status prepare_statements(postgres::Connection& db) {
  PONDER_CHECK(db.prepare("relaxed", "SELECT set_config('synchronous_commit', 'off', true)"));
  PONDER_CHECK(db.prepare("start", kStart));
  return db.prepare("append", kAppend);
}

Call relaxed_call() { return {"relaxed", {}}; }

Call start_call(const Peer& peer, const PendingAppend& append) {
  const auto& start = std::get<SessionStarted>(append.records.front().event);
  Call call{"start",
            {append.session.value, append.records.front().unix_ms, append.records.back().unix_ms,
             start.workflow, start.model, title_of(append.records), append.records.back().seq,
             peer.owner, peer.lease_ms.count()}};
  add_blobs(call.values, append.blobs);
  add_records(call.values, pointers_to(append.records));
  return call;
}

Call append_call(const Peer& peer, const PendingAppend& append, std::int64_t fence) {
  Call call{"append",
            {append.session.value, append.records.front().seq - 1, append.records.back().seq,
             append.records.back().unix_ms, title_of(append.records), fence, peer.owner,
             peer.lease_ms.count()}};
  add_blobs(call.values, append.blobs);
  add_records(call.values, pointers_to(append.records));
  return call;
}

Call import_call(const Peer& peer, const SessionCopy& session) {
  std::vector<const Record*> records;
  for (const Record& record : session.records) {
    // What is missing is shown by the gap itself.
    if (event_type(record.event) != kMissingType) records.push_back(&record);
  }
  const auto* start = records.empty() ? nullptr : std::get_if<SessionStarted>(&records[0]->event);
  const Record& last = records.empty() ? session.records.back() : *records.back();
  Call call{"start",
            {session.id.value, session.records.front().unix_ms, last.unix_ms,
             start == nullptr ? "" : start->workflow, start == nullptr ? "" : start->model,
             title_of(session.records), last.seq, peer.owner, peer.lease_ms.count()}};
  add_blobs(call.values, session.blobs);
  add_records(call.values, records);
  return call;
}

Result<bool> is_there(postgres::Connection& db, const PendingAppend& append, std::int64_t fence) {
  std::vector<Value> values = {append.session.value, fence};
  add_records(values, pointers_to(append.records));
  PONDER_TRY(const auto found, db.query(R"sql(
    SELECT count(*) FROM events AS e
    JOIN unnest($3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::bytea[])
      AS ours (seq, unix_ms, type, version, payload)
      ON e.seq = ours.seq AND e.unix_ms = ours.unix_ms AND e.type = ours.type
        AND e.version = ours.version AND e.payload = ours.payload
    WHERE e.session = $1 AND e.fence = $2)sql",
                                        values));
  return found.number(0, 0) == static_cast<std::int64_t>(append.records.size());
}

}  // namespace ponder::runtime::pg
