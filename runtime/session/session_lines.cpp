#include "runtime/session/session_lines.h"

#include <fmt/format.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/digest.h"
#include "base/json_problem.h"
#include "runtime/json_field.h"
#include "runtime/session/event_json.h"

namespace ponder::runtime {
namespace {

using nlohmann::json;

constexpr int kDepthMax = 64;  // of a line; events nest less

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

/// Throws std::exception for what is no JSON or nests too deep.
json parse(std::string_view line) {
  const auto check_depth = [](int depth, json::parse_event_t, json&) {
    if (depth > kDepthMax) throw std::invalid_argument("it nests too deep");
    return true;
  };
  return json::parse(line, check_depth);
}

Blob read_blob_line(const json& in) {
  Blob blob{field<std::string>(in, "hash"), field<std::string>(in, "text")};
  if (sha256_hex(blob.text) != blob.hash) {
    throw std::invalid_argument("the text is not what its hash says");
  }
  return blob;
}

Record read_event_line(const json& in) {
  Record record;
  record.seq = field<std::int64_t>(in, "seq");
  record.unix_ms = field<std::int64_t>(in, "time_ms");
  const auto type = field<std::string>(in, "type");
  const int version = field<int>(in, "version");
  const json& data = in.at("data");
  if (field_or(in, "unreadable", false)) {
    record.event = UnreadableEvent{type, field<std::string>(data, "payload"),
                                   field_or(data, "problem", ""), version};
  } else {
    record.event = read_event(type, version, dump(data));
  }
  return record;
}

/// Throws std::exception.
void read_line(std::string_view line, SessionCopy& out) {
  const json in = parse(line);
  const auto session = field<std::string>(in, "session");
  if (out.id.value.empty()) out.id.value = session;
  if (session.empty() || session != out.id.value) {
    throw std::invalid_argument(fmt::format("it is of session \"{}\"", session));
  }
  if (in.at("type") == "blob") {
    out.blobs.push_back(read_blob_line(in));
    return;
  }
  Record record = read_event_line(in);
  if (record.seq <= (out.records.empty() ? 0 : out.records.back().seq)) {
    throw std::invalid_argument("its place does not follow on the one before");
  }
  if (record.seq == std::numeric_limits<std::int64_t>::max()) {
    throw std::invalid_argument("nothing could follow on its place");
  }
  out.records.push_back(std::move(record));
}

}  // namespace

std::string write_lines(const SessionCopy& session) {
  std::string out;
  for (const Record& record : session.records) out += record_line(session.id, record) + "\n";
  for (const Blob& blob : session.blobs) {
    out += fmt::format(R"({{"session":{},"type":"blob","hash":{},"text":{}}})",
                       dump(session.id.value), dump(blob.hash), dump(blob.text));
    out += "\n";
  }
  return out;
}

void mark_as_imported(SessionCopy& session, std::int64_t now_unix_ms, const SessionId& id) {
  const std::int64_t last_seq = session.records.empty() ? 0 : session.records.back().seq;
  SessionImported mark;
  if (!id.value.empty() && id != session.id) mark.from = std::exchange(session.id, id).value;
  session.records.push_back({last_seq + 1, now_unix_ms, std::move(mark)});
}

Result<SessionCopy> read_lines(std::string_view lines) {
  SessionCopy out;
  std::size_t number = 0;
  while (!lines.empty()) {
    ++number;
    const std::size_t end = lines.find('\n');
    const std::string_view line = lines.substr(0, end);
    lines.remove_prefix(end == std::string_view::npos ? lines.size() : end + 1);
    if (line.empty()) continue;
    try {
      read_line(line, out);
    } catch (const std::exception& error) {
      return fail(Errc::invalid_argument, fmt::format("line {}: {}", number, json_problem(error)));
    }
  }
  if (out.records.empty()) return fail(Errc::invalid_argument, "there are no events in it");
  return out;
}

}  // namespace ponder::runtime
