#include "tests/crash/audit.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <tuple>

#include "base/sqlite/connection.h"
#include "runtime/agent/agent_tool.h"
#include "runtime/agent/call_gate.h"
#include "runtime/model/embedded_model.h"
#include "runtime/model/model_client.h"
#include "runtime/session/event_json.h"
#include "runtime/session/log_check.h"
#include "runtime/session/session_state.h"
#include "runtime/store/postgres_session_store.h"
#include "runtime/store/sqlite_session_store.h"
#include "tests/crash/script.h"
#include "tools/registry.h"

namespace ponder::crash {
namespace {

using namespace runtime;
using tools::Effect;

constexpr std::uint32_t kSessionsMax = 1000;
constexpr const char* kInterrupted =
    "error: interrupted: ponder stopped while this call ran; whether it took effect is unknown";

struct CallRecord {
  context::ToolCall call;
  Outcome outcome = Outcome::error;
  std::string content;
  bool is_own = true;  // not of the session that this one is a fork of
};
using Calls = std::map<CallAt, CallRecord>;

/// A fork that is a sub-agent's counts its steps anew from its task on.
bool begins_turn(const Record& record) {
  return std::holds_alternative<UserMessage>(record.event) ||
         std::holds_alternative<TaskAssigned>(record.event);
}

Calls calls_of(const std::vector<Record>& records) {
  const std::int64_t own_from = fold(records).task_seq;
  Calls calls;
  std::uint32_t turn = 0;
  for (const Record& record : records) {
    if (begins_turn(record)) ++turn;
    if (const auto* e = std::get_if<ModelCompleted>(&record.event)) {
      for (std::uint32_t i = 0; i < e->message.tool_calls.size(); ++i) {
        CallRecord& call = calls[{turn, e->step, i}];
        call.call = e->message.tool_calls[i];
        call.is_own = record.seq > own_from;
      }
    }
    if (const auto* e = std::get_if<ToolFinished>(&record.event)) {
      CallRecord& call = calls[{turn, e->step, e->call_index}];
      call.outcome = e->outcome;
      call.content = e->content;
    }
  }
  return calls;
}

/// The hash of each prompt that the records lead to, in order.
std::vector<std::string> prompts_from(const std::vector<Record>& records) {
  std::vector<std::string> out;
  SessionState state;
  std::string latest;
  for (const Record& record : records) {
    apply(state, record);
    if (std::holds_alternative<ModelStarted>(record.event)) {
      latest = prompt_hash(scripted_prompt(next_request(state)));
    }
    if (std::holds_alternative<ModelCompleted>(record.event)) out.push_back(latest);
  }
  return out;
}

/// The hash of each prompt that the model did read.
std::vector<std::string> prompts_seen(const std::vector<Record>& records) {
  std::vector<std::string> out;
  for (const Record& record : records) {
    const auto* e = std::get_if<ModelCompleted>(&record.event);
    if (e != nullptr) out.push_back(e->prompt_hash);
  }
  return out;
}

/// The twin as it would be had the same calls been interrupted.
std::vector<Record> with_interruptions(std::vector<Record> twin, const Calls& calls) {
  std::uint32_t turn = 0;
  for (Record& record : twin) {
    if (begins_turn(record)) ++turn;
    auto* e = std::get_if<ToolFinished>(&record.event);
    if (e == nullptr) continue;
    const auto call = calls.find({turn, e->step, e->call_index});
    if (call == calls.end() || call->second.outcome != Outcome::interrupted) continue;
    e->outcome = Outcome::interrupted;
    e->content = kInterrupted;
  }
  return twin;
}

Effect effect_of(const std::string& tool) {
  for (const ScriptedTool& known : scripted_tools()) {
    if (known.name == tool) return known.effect;
  }
  return Effect::irreversible;
}

bool is_hand_out(const CallRecord& call) { return call.call.name == kAgentTool; }

bool may_repeat(Effect effect) { return effect == Effect::pure || effect == Effect::idempotent; }

void audit_prompts(const std::string& id, const std::vector<Record>& records, const Calls& calls,
                   const Twin& twin, Findings& findings) {
  for (const auto& [place, call] : calls) {
    if (!call.is_own) continue;
    const bool is_interrupted = call.outcome == Outcome::interrupted;
    if (is_interrupted && (is_hand_out(call) || may_repeat(effect_of(call.call.name)))) {
      findings.mismatched(fmt::format("{}: {} was not run again", id, call.call.name));
    }
    if (!is_interrupted && call.outcome != Outcome::success) {
      findings.mismatched(fmt::format("{}: {} ended in: {}", id, call.call.name, call.content));
    }
  }
  const std::vector<std::string> expected = prompts_from(with_interruptions(twin.records, calls));
  const std::vector<std::string> seen = prompts_seen(records);
  if (seen != expected) {
    const auto differing =
        std::mismatch(seen.begin(), seen.end(), expected.begin(), expected.end());
    findings.mismatched(fmt::format("{}: prompt {} is not the twin's ({} of {})", id,
                                    differing.first - seen.begin(), seen.size(), expected.size()));
  }
  if (prompts_from(records) != seen) {
    findings.mismatched(fmt::format("{}: the log does not lead to the prompts that were read", id));
  }
}

struct EffectLine {
  std::string key, tool, arguments;
};

std::vector<EffectLine> read_effects(const std::filesystem::path& file) {
  std::vector<EffectLine> out;
  std::ifstream in(file);
  std::string line;
  while (std::getline(in, line)) {
    EffectLine effect;
    std::istringstream words(line);
    words >> effect.key >> effect.tool >> std::ws;
    std::getline(words, effect.arguments);
    out.push_back(std::move(effect));
  }
  return out;
}

/// What was said between a session's calls and a person, against its log.
void audit_questions(const std::string& id, const std::vector<Record>& records,
                     const std::vector<EffectLine>& effects, Findings& findings) {
  std::map<std::string, std::string> answers;  // "KEY N" -> what the log says
  std::int64_t completion_seq = 0;
  for (const Record& record : records) {
    if (std::holds_alternative<ModelCompleted>(record.event)) completion_seq = record.seq;
    const auto* e = std::get_if<QuestionAnswered>(&record.event);
    if (e == nullptr) continue;
    const std::string key = idempotency_key({id}, completion_seq, e->call_index);
    const bool is_first = answers.emplace(fmt::format("{} {}", key, e->n), e->answer).second;
    if (!is_first) findings.doubled(fmt::format("{}: question {} has two answers", key, e->n));
  }
  std::map<std::string, std::string> digests;
  for (const EffectLine& line : effects) {
    const bool is_asked = line.tool == "person";
    if (!line.key.starts_with(id + "/") || (!is_asked && line.tool != "heard")) continue;
    const std::size_t space = line.arguments.find(' ');
    const std::string question = line.key + " " + line.arguments.substr(0, space);
    const std::string words = line.arguments.substr(space + 1);
    const auto answer = answers.find(question);
    if (answer == answers.end()) {
      findings.lost(fmt::format("{} was put to a person and has no answer", question));
    } else if (!is_asked && answer->second != words) {
      findings.doubled(
          fmt::format("{} was answered with {} and {}", question, answer->second, words));
    }
    if (is_asked && digests.emplace(question, words).first->second != words) {
      findings.doubled(fmt::format("{} was put as another question", question));
    }
  }
}

/// The effects of one session against its log. No two calls of a session are alike, so an effect is
/// known by what it did, whatever key it came with.
void audit_effects(const std::string& id, const Calls& calls,
                   const std::vector<EffectLine>& effects, Findings& findings) {
  std::map<std::string, std::vector<std::string>> fired;  // what was done -> the keys
  for (const EffectLine& effect : effects) {
    const bool is_question = effect.tool == "person" || effect.tool == "heard";
    if (!effect.key.starts_with(id + "/") || is_question) continue;
    fired[effect.tool + " " + effect.arguments].push_back(effect.key);
  }
  std::set<std::string> keys;
  for (const auto& [done, its_keys] : fired) {
    const bool has_one_key = std::set<std::string>(its_keys.begin(), its_keys.end()).size() == 1;
    if (!has_one_key || !keys.insert(its_keys.front()).second) {
      findings.doubled(fmt::format("{}: {} has no key of its own", id, done));
    }
    const bool is_repeated = its_keys.size() > 1;
    if (is_repeated && !may_repeat(effect_of(done.substr(0, done.find(' '))))) {
      findings.doubled(fmt::format("{}: {} was fired {} times", id, done, its_keys.size()));
    }
  }
  for (const auto& [place, call] : calls) {
    if (!call.is_own || is_hand_out(call)) continue;
    const bool was_fired = fired.count(call.call.name + " " + call.call.arguments) > 0;
    if (call.outcome == Outcome::success && !was_fired) {
      findings.lost(fmt::format("{}: {} {} reported success and did nothing", id, call.call.name,
                                call.call.arguments));
    }
  }
}

/// Says so where the log is not that of a session at its end.
bool is_at_end(const std::string& id, const std::vector<Record>& records, const Twin& twin,
               Findings& findings) {
  std::int64_t seq = 0;
  for (const Record& record : records) {
    if (record.seq == ++seq) continue;
    findings.lost(fmt::format("{}: no event {}", id, seq));
    return false;
  }
  const SessionState state = fold(records);
  const bool is_whole = state.start && state.unreadable == 0;
  const bool has_ended = !state.is_turn_open && state.turns == fold(twin.records).turns;
  if (!is_whole || !has_ended) {
    findings.unopened(fmt::format("{}: not at its end, {} turns", id, state.turns));
    return false;
  }
  for (const LogFault& fault : check_log(records)) {
    findings.unopened(
        fmt::format("{}: {} at {}: {}", id, fault_name(fault.kind), fault.seq, fault.detail));
  }
  return true;
}

/// The session of each sub-agent that the session itself has begun, by its call.
std::map<CallAt, SessionId> sub_agents_of(const std::vector<Record>& records) {
  const std::int64_t own_from = fold(records).task_seq;
  std::map<CallAt, SessionId> out;
  std::uint32_t turn = 0;
  for (const Record& record : records) {
    if (begins_turn(record)) ++turn;
    const auto* e = std::get_if<SubAgentStarted>(&record.event);
    if (e != nullptr && record.seq > own_from) {
      out[{turn, e->step, e->call_index}] = SessionId{e->child};
    }
  }
  return out;
}

/// A session and all below it; `seen` gets their ids.
void audit_session(const SessionStore& store, const SessionId& id, const Twin& twin,
                   const std::vector<EffectLine>& effects, std::set<std::string>& seen,
                   Findings& findings) {
  seen.insert(id.value);
  const auto records = store.load(id);
  if (!records) return findings.unopened(fmt::format("{}: {}", id.value, records.error().message));
  if (!is_at_end(id.value, *records, twin, findings)) return;
  const Calls calls = calls_of(*records);
  audit_prompts(id.value, *records, calls, twin, findings);
  audit_effects(id.value, calls, effects, findings);
  audit_questions(id.value, *records, effects, findings);
  const auto sub_agents = sub_agents_of(*records);
  if (sub_agents.size() != twin.sub_agents.size()) {
    findings.unopened(fmt::format("{}: {} sub-agents of {}", id.value, sub_agents.size(),
                                  twin.sub_agents.size()));
  }
  for (const auto& [call, child] : sub_agents) {
    const auto its_twin = twin.sub_agents.find(call);
    if (its_twin != twin.sub_agents.end()) {
      audit_session(store, child, its_twin->second, effects, seen, findings);
    }
  }
}

Result<Twin> read_session(const SessionStore& store, const SessionId& id) {
  Twin out;
  PONDER_TRY(out.records, store.load(id));
  for (const auto& [call, child] : sub_agents_of(out.records)) {
    PONDER_TRY(out.sub_agents[call], read_session(store, child));
  }
  return out;
}

}  // namespace

Result<std::unique_ptr<SessionStore>> open_store(const std::string& store) {
  if (is_postgres_address(store)) return open_postgres_store(store, system_clock());
  return SqliteSessionStore::open(store, system_clock());
}

void audit_acks(const std::string& address, const std::vector<std::string>& acks,
                Findings& findings) {
  const auto store = open_store(address);
  if (!store) return;  // reported where sessions are
  std::set<std::string> kept;
  const auto sessions = (*store)->list(kSessionsMax);
  for (const SessionSummary& session : sessions.value_or(std::vector<SessionSummary>())) {
    const auto records = (*store)->load(session.id);
    if (!records) continue;
    for (const Record& record : *records) kept.insert(record_line(session.id, record));
  }
  for (const std::string& ack : acks) {
    if (kept.count(ack) == 0) findings.lost("acknowledged, but not there: " + ack.substr(0, 200));
  }
}

void audit(const Remains& remains, const Twin& twin, Findings& findings) {
  audit_acks(remains.store, remains.acks, findings);
  const auto store = open_store(remains.store);
  if (!store) return findings.unopened(store.error().message);
  if (!is_postgres_address(remains.store)) {
    auto reader = sqlite::Connection::open_read_only(remains.store);
    const Status is_sound = reader ? reader->integrity_check() : Status();
    if (!is_sound) findings.unopened(is_sound.error().message);
  }
  const auto sessions = (*store)->list(kSessionsMax);
  if (!sessions) return findings.unopened(sessions.error().message);
  const std::vector<EffectLine> effects = read_effects(remains.effects);
  std::set<std::string> seen;
  std::size_t count = 0;
  for (const SessionSummary& session : *sessions) {
    if (is_sub_agent(session.id)) continue;
    ++count;
    audit_session(**store, session.id, twin, effects, seen, findings);
  }
  if (count != remains.sessions) {
    findings.unopened(fmt::format("{} sessions of {}", count, remains.sessions));
  }
  for (const SessionSummary& session : *sessions) {
    if (!seen.contains(session.id.value)) {
      findings.doubled(session.id.value + " is a sub-agent that no call has begun");
    }
  }
}

Result<Twin> read_twin(const std::string& address) {
  PONDER_TRY(const auto store, open_store(address));
  PONDER_TRY(const SessionId id, store->resolve("last"));
  return read_session(*store, id);
}

}  // namespace ponder::crash
