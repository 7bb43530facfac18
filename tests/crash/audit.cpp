#include "tests/crash/audit.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <tuple>

#include "base/sqlite/connection.h"
#include "runtime/model/embedded_model.h"
#include "runtime/model/model_client.h"
#include "runtime/session/event_json.h"
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

/// A call's place in a session: turn, step, position.
using Place = std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>;

struct CallRecord {
  context::ToolCall call;
  Outcome outcome = Outcome::error;
  std::string content;
  bool is_finished = false;
};
using Calls = std::map<Place, CallRecord>;

Calls calls_of(const std::vector<Record>& records) {
  Calls calls;
  std::uint32_t turn = 0;
  for (const Record& record : records) {
    if (std::holds_alternative<UserMessage>(record.event)) ++turn;
    if (const auto* e = std::get_if<ModelCompleted>(&record.event)) {
      for (std::uint32_t i = 0; i < e->message.tool_calls.size(); ++i) {
        calls[{turn, e->step, i}].call = e->message.tool_calls[i];
      }
    }
    if (const auto* e = std::get_if<ToolFinished>(&record.event)) {
      CallRecord& call = calls[{turn, e->step, e->call_index}];
      call.outcome = e->outcome;
      call.content = e->content;
      call.is_finished = true;
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
Twin with_interruptions(Twin twin, const Calls& calls) {
  std::uint32_t turn = 0;
  for (Record& record : twin) {
    if (std::holds_alternative<UserMessage>(record.event)) ++turn;
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

bool may_repeat(Effect effect) { return effect == Effect::pure || effect == Effect::idempotent; }

void audit_prompts(const std::string& id, const std::vector<Record>& records, const Calls& calls,
                   const Twin& twin, Findings& findings) {
  for (const auto& [place, call] : calls) {
    const bool is_interrupted = call.outcome == Outcome::interrupted;
    if (is_interrupted && may_repeat(effect_of(call.call.name))) {
      findings.mismatched(fmt::format("{}: {} was not run again", id, call.call.name));
    }
    if (!is_interrupted && call.outcome != Outcome::success) {
      findings.mismatched(fmt::format("{}: {} ended in: {}", id, call.call.name, call.content));
    }
  }
  const std::vector<std::string> expected = prompts_from(with_interruptions(twin, calls));
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

/// The effects of one session against its log. No two calls of a session are alike, so an effect is
/// known by what it did, whatever key it came with.
void audit_effects(const std::string& id, const Calls& calls,
                   const std::vector<EffectLine>& effects, Findings& findings) {
  std::map<std::string, std::vector<std::string>> fired;  // what was done -> the keys
  for (const EffectLine& effect : effects) {
    if (!effect.key.starts_with(id + "/")) continue;
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
    const bool was_fired = fired.count(call.call.name + " " + call.call.arguments) > 0;
    if (call.outcome == Outcome::success && !was_fired) {
      findings.lost(fmt::format("{}: {} {} reported success and did nothing", id, call.call.name,
                                call.call.arguments));
    }
  }
}

void audit_session(const SessionStore& store, const SessionId& id, const Twin& twin,
                   const std::vector<EffectLine>& effects, Findings& findings) {
  const auto records = store.load(id);
  if (!records) return findings.unopened(fmt::format("{}: {}", id.value, records.error().message));
  std::int64_t seq = 0;
  for (const Record& record : *records) {
    if (record.seq != ++seq) return findings.lost(fmt::format("{}: no event {}", id.value, seq));
  }
  const SessionState state = fold(*records);
  const bool is_whole = state.start && state.unreadable == 0;
  if (!is_whole || state.is_turn_open || state.turns != user_texts().size()) {
    return findings.unopened(fmt::format("{}: not at its end, {} turns", id.value, state.turns));
  }
  const Calls calls = calls_of(*records);
  audit_prompts(id.value, *records, calls, twin, findings);
  audit_effects(id.value, calls, effects, findings);
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
  if (sessions->size() != remains.sessions) {
    findings.unopened(fmt::format("{} sessions of {}", sessions->size(), remains.sessions));
  }
  const std::vector<EffectLine> effects = read_effects(remains.effects);
  for (const SessionSummary& session : *sessions) {
    audit_session(**store, session.id, twin, effects, findings);
  }
}

Result<Twin> read_twin(const std::string& address) {
  PONDER_TRY(const auto store, open_store(address));
  PONDER_TRY(const SessionId id, store->resolve("last"));
  return store->load(id);
}

}  // namespace ponder::crash
