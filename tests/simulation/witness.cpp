#include "tests/simulation/witness.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <ranges>
#include <variant>

#include "base/digest.h"
#include "runtime/agent/approval.h"
#include "runtime/agent/context_keeper.h"
#include "runtime/model/scripted_model.h"
#include "runtime/session/event_json.h"
#include "runtime/session/log_check.h"
#include "tests/simulation/dump.h"

namespace ponder::simulation {
namespace {

using namespace runtime;

constexpr std::size_t kNoteBytesMax = 200;  // what is said around a tool's own words

/// Is it a fork that has no task yet? No tool of its own has run then; in place of a result it is
/// told what it has to do, in its parent's words.
bool waits_for_its_task(const SessionFacts& session) {
  for (const Record& record : std::views::reverse(session.log)) {
    if (std::holds_alternative<TaskAssigned>(record.event)) return false;
    if (std::holds_alternative<SessionForked>(record.event)) return session.root != nullptr;
  }
  return false;
}

std::optional<CallKey> parse_key(const std::string& key) {
  const std::size_t first = key.find('/');
  const std::size_t second = key.find('/', first + 1);
  if (first == std::string::npos || second == std::string::npos) return std::nullopt;
  CallKey out;
  out.session = key.substr(0, first);
  const char* data = key.data();
  std::from_chars(data + first + 1, data + second, out.completion_seq);
  std::from_chars(data + second + 1, data + key.size(), out.index);
  return out;
}

const ModelCompleted* completion_of(const SessionFacts& session, const CallKey& key) {
  const auto seq = static_cast<std::size_t>(key.completion_seq);
  if (seq == 0 || seq > session.log.size()) return nullptr;
  return std::get_if<ModelCompleted>(&session.log[seq - 1].event);
}

const context::ToolCall* call_of(const SessionFacts& session, const CallKey& key) {
  const ModelCompleted* completion = completion_of(session, key);
  if (completion == nullptr || key.index >= completion->message.tool_calls.size()) return nullptr;
  return &completion->message.tool_calls[key.index];
}

/// Whether the log intends the call, and no outcome follows the latest intent.
bool has_open_intent(const SessionFacts& session, const CallKey& key) {
  bool is_open = false;
  for (auto i = static_cast<std::size_t>(key.completion_seq); i < session.log.size(); ++i) {
    const Event& event = session.log[i].event;
    if (const auto* intent = std::get_if<ToolIntended>(&event)) {
      if (intent->call_index == key.index) is_open = true;
    }
    if (std::holds_alternative<ModelCompleted>(event)) break;
  }
  return is_open;
}

bool is_yes(ApprovalDecision decision) {
  return decision == ApprovalDecision::allow_once || decision == ApprovalDecision::allow_session;
}

}  // namespace

void SessionFacts::forget() {
  id = {};
  log.clear();
  state = {};
  expected.clear();
  requests.clear();
  summary_requests.clear();
  if (is_fork) turns_done = turns;
}

SessionFacts& Witness::begin(SessionId id) {
  auto facts = std::make_unique<SessionFacts>();
  facts->id = std::move(id);
  facts->number = sessions_.size() + 1;
  sessions_.push_back(std::move(facts));
  return *sessions_.back();
}

SessionFacts* Witness::find(std::string_view id) {
  for (const auto& session : sessions_) {
    if (session->id.value == id) return session.get();
  }
  return nullptr;
}

void Witness::acknowledged(SessionFacts& session, std::size_t process, const Record& record) {
  scene_->story.say("p{} s{} #{} {}", process, session.number, record.seq,
                    record_line(session.id, record));
  const auto place = static_cast<std::size_t>(record.seq);
  if (place > session.log.size() + 1 || place == 0) {
    return scene_->story.violated("log", "session {}: event {} was acknowledged before event {}",
                                  session.number, place, session.log.size() + 1);
  }
  if (place <= session.log.size()) {
    // Somebody read it from the store before its writer heard of it.
    const std::string known = record_line(session.id, session.log[place - 1]);
    if (known == record_line(session.id, record)) return;
    return scene_->story.violated("log", "session {}: two events were acknowledged as {}",
                                  session.number, place);
  }
  check_bounds(session, record.event);
  if (const auto* cut = std::get_if<ContextReduced>(&record.event)) {
    check_summary(session, process, *cut);
  }
  session.log.push_back(record);
  apply(session.state, record);
  if (std::holds_alternative<ModelCompleted>(record.event) && session.expected.contains(process)) {
    scene_->story.violated("prompt", "session {}: event {} answers a request that was never made",
                           session.number, place);
  }
  if (std::holds_alternative<ModelStarted>(record.event)) {
    session.expected[process] = dump(next_request(session.state));
  }
  const auto* intent = std::get_if<ToolIntended>(&record.event);
  const bool has_effect = intent != nullptr && intent->effect != tools::Effect::pure;
  if (scene_->plan.synchronous == Synchronous::full) session.num_durable = session.log.size();
  if (!has_effect) return;
  // It is on the disk, with all that was written before: whatever the same process had heard of.
  session.num_durable = std::max(session.num_durable, place);
  if (scene_->plan.has(Fault::rival)) return;
  for (const auto& each : sessions_) {
    if (!each->power_was_cut) each->num_durable = each->log.size();
  }
}

void Witness::check_bounds(const SessionFacts& session, const Event& event) {
  const bool has_task = session.state.task && session.state.start;
  const Limits& limits = has_task ? session.state.start->limits : scene_->plan.limits;
  const auto* finished = std::get_if<ToolFinished>(&event);
  if (finished != nullptr && !waits_for_its_task(session)) {
    if (finished->content.size() > limits.output_bytes_max + kNoteBytesMax) {
      scene_->story.violated("bounds", "session {}: a result of {} bytes", session.number,
                             finished->content.size());
    }
  }
  if (const auto* started = std::get_if<ModelStarted>(&event)) {
    if (started->step >= limits.steps_max || started->attempt > 1) {
      scene_->story.violated("bounds", "session {}: step {}, attempt {}", session.number,
                             started->step, started->attempt);
    }
  }
}

void Witness::check_summary(const SessionFacts& session, std::size_t process,
                            const ContextReduced& cut) {
  if (cut.reduction.summary.empty()) return;
  context::Reduction asked_about = cut.reduction;
  asked_about.summary.clear();
  const SessionFacts& root = session.root == nullptr ? session : *session.root;
  const auto made = root.summary_requests.find(process);
  // Words that came meanwhile stand in the record now, and stood not in the request.
  const bool is_steered =
      !session.log.empty() && std::holds_alternative<UserInterjected>(session.log.back().event);
  if (is_steered) return;
  const std::string expected = dump(summary_request_of(session.state, asked_about));
  if (made != root.summary_requests.end() && made->second.contains(expected)) return;
  scene_->story.violated("prompt", "session {}: no summary was asked for with {}", session.number,
                         expected);
}

SessionFacts* Witness::asked(SessionFacts& root, std::size_t process, const ModelRequest& request) {
  const Status checked = check_conversation(request.conversation);
  if (!checked) {
    scene_->story.violated("conversation", "session {}: {}", root.number, checked.error().message);
    return nullptr;
  }
  const std::string made = dump(request);
  const std::vector<SessionFacts*> tree = tree_of(root);
  SessionFacts* session = nullptr;  // who has announced something, best just this
  for (SessionFacts* one : tree) {
    const auto expected = one->expected.find(process);
    if (expected == one->expected.end()) continue;
    if (session == nullptr || expected->second == made) session = one;
  }
  const bool is_announced = session != nullptr && session->expected.at(process) == made;
  // In a tree one may announce while another asks for a summary; acknowledged() sees to the first.
  if (session == nullptr || (!is_announced && tree.size() > 1)) {
    auto& summaries = root.summary_requests[process];
    if (tree.size() == 1) summaries.clear();
    summaries.insert(made);
    return nullptr;
  }
  if (!is_announced) {
    scene_->story.violated("prompt", "session {}: sent and announced differ: {}", session->number,
                           difference(made, session->expected.at(process)));
  }
  for (auto it = session->log.rbegin(); it != session->log.rend(); ++it) {
    if (!std::holds_alternative<ModelStarted>(it->event)) continue;
    session->requests[it->seq] = made;
    break;
  }
  session->expected.erase(process);
  return session;
}

void Witness::called(const std::string& key, const std::string& tool,
                     const std::string& arguments) {
  const auto place = parse_key(key);
  SessionFacts* session = place ? find(place->session) : nullptr;
  const context::ToolCall* call = session == nullptr ? nullptr : call_of(*session, *place);
  if (call == nullptr || call->name != tool || call->arguments != arguments) {
    return scene_->story.violated("key", "{} {} has the key {}, which is another call's", tool,
                                  arguments, key);
  }
  if (!has_open_intent(*session, *place)) {
    scene_->story.violated("intent", "session {}: {} was called without an intent in the log",
                           session->number, key);
  }
}

void Witness::fired(const std::string& key, tools::Effect effect) {
  const auto place = parse_key(key);
  SessionFacts* session = place ? find(place->session) : nullptr;
  const context::ToolCall* call = session == nullptr ? nullptr : call_of(*session, *place);
  if (call == nullptr) return;  // called() has said so
  const std::uint32_t times = ++session->fired[key];
  scene_->story.say("s{} {} takes effect, time {}", session->number, key, times);
  if (times > 1 && effect != tools::Effect::idempotent) {
    scene_->story.violated("effect", "session {}: {} was fired {} times", session->number, key,
                           times);
  }
  if (needs_approval(effect)) check_approval(*session, *place, *call);
}

void Witness::check_approval(const SessionFacts& session, const CallKey& key,
                             const context::ToolCall& call) {
  if (scene_->plan.approval != ApprovalMode::ask) return;
  const auto canonical = canonical_arguments(call.arguments);
  const std::string digest = canonical ? approval_digest(call.name, *canonical) : "";
  bool is_allowed = false;
  for (const Record& record : session.log) {
    if (std::holds_alternative<SessionForked>(record.event)) is_allowed = false;
    const auto* answer = std::get_if<ApprovalAnswered>(&record.event);
    if (answer == nullptr || !is_yes(answer->decision)) continue;
    const bool is_about_call = record.seq > key.completion_seq && answer->call_index == key.index;
    const bool was_said = session.allowed.contains(answer->digest);
    if (is_about_call && answer->digest == digest && was_said) is_allowed = true;
    const bool is_rule = answer->decision == ApprovalDecision::allow_session;
    if (is_rule && rule_allows(answer->rule, call) && was_said) is_allowed = true;
  }
  if (!is_allowed) {
    scene_->story.violated("approval", "session {}: {} {} ran, and nobody had allowed it",
                           session.number, call.name, call.arguments);
  }
}

void Witness::answered(const std::string& key, std::uint32_t n, const std::string& words) {
  const auto place = parse_key(key);
  SessionFacts* session = place ? find(place->session) : nullptr;
  if (session == nullptr) return;  // called() has said so
  bool is_in_log = false;
  for (auto i = static_cast<std::size_t>(place->completion_seq); i < session->log.size(); ++i) {
    // Another process may have gone on meanwhile, with other calls.
    if (std::holds_alternative<ModelCompleted>(session->log[i].event)) break;
    const auto* answer = std::get_if<QuestionAnswered>(&session->log[i].event);
    const bool is_about_it =
        answer != nullptr && answer->call_index == place->index && answer->n == n;
    if (is_about_it) is_in_log = answer->end == QuestionEnd::answered && answer->answer == words;
  }
  if (is_in_log && session->said.contains(words)) return;
  scene_->story.violated("question", "session {}: {} got '{}' to its question {}, which {}",
                         session->number, key, words, n,
                         is_in_log ? "nobody said" : "is not in the log");
}

void Witness::reread(SessionFacts& session, std::vector<Record> stored, bool power_was_cut) {
  const std::size_t kept = power_was_cut ? session.num_durable : session.log.size();
  if (stored.size() < kept) {
    return scene_->story.violated("loss", "session {}: {} events of {} that were acknowledged",
                                  session.number, stored.size(), kept);
  }
  for (std::size_t i = 0; i < stored.size(); ++i) {
    if (stored[i].seq != static_cast<std::int64_t>(i) + 1) {
      return scene_->story.violated("loss", "session {}: no event {}", session.number, i + 1);
    }
    // Behind what is to last, a power failure may leave what had been refused there.
    if (i >= kept) continue;
    const std::string there = record_line(session.id, stored[i]);
    const std::string known = record_line(session.id, session.log[i]);
    if (there == known) continue;
    return scene_->story.violated("loss", "session {}: event {} was {}", session.number, i + 1,
                                  difference(known, there));
  }
  for (const LogFault& fault : check_log(stored)) {
    if (fault.kind == FaultKind::orphaned_intent) continue;
    scene_->story.violated("log", "session {}: {} at {}: {}", session.number,
                           runtime::fault_name(fault.kind), fault.seq, fault.detail);
  }
  scene_->story.say("s{} is read: {} events, {} were acknowledged, {} durable", session.number,
                    stored.size(), session.log.size(), session.num_durable);
  session.log = std::move(stored);
  session.state = fold(session.log);
  const auto last_seq = static_cast<std::int64_t>(session.log.size());
  session.requests.erase(session.requests.upper_bound(last_seq), session.requests.end());
  // What was found beyond what was acknowledged may have failed to reach the disk. It lasts with
  // the next event that is acknowledged, on which everything depends that a process does.
  if (power_was_cut) session.num_durable = session.log.size();
  for (const auto& [key, times] : session.fired) {
    if (has_open_intent(session, *parse_key(key))) continue;
    scene_->story.violated("intent", "session {}: {} was fired, and its intent is lost",
                           session.number, key);
  }
}

void Witness::audit(const SessionFacts& session, const std::vector<Record>& stored,
                    const SessionStore& store) {
  SessionState state;
  for (const Record& record : stored) {
    apply(state, record);
    const auto made = session.requests.find(record.seq);
    if (made == session.requests.end()) continue;
    if (!std::holds_alternative<ModelStarted>(record.event)) continue;  // lost with the power
    const std::string rebuilt = dump(next_request(state));
    if (rebuilt == made->second) continue;
    scene_->story.violated("prompt", "session {}: the prompt of event {} is rebuilt as {}",
                           session.number, record.seq, difference(rebuilt, made->second));
  }
  audit_outcomes(session, stored);
  audit_words(session, stored);
  audit_texts(session, stored, store);
}

void Witness::audit_outcomes(const SessionFacts& session, const std::vector<Record>& stored) {
  SessionState state;
  std::vector<std::optional<std::string>> outcomes;  // of the calls of the latest completion
  for (const Record& record : stored) {
    const auto* finished = std::get_if<ToolFinished>(&record.event);
    const auto* completed = std::get_if<ModelCompleted>(&record.event);
    apply(state, record);
    if (completed != nullptr) {
      outcomes.assign(state.calls.size(), std::nullopt);
      continue;
    }
    if (finished == nullptr) continue;
    const bool is_second =
        finished->call_index >= outcomes.size() || outcomes[finished->call_index].has_value();
    if (is_second) {
      return scene_->story.violated("outcome", "session {}: a second outcome at {}", session.number,
                                    record.seq);
    }
    outcomes[finished->call_index] = finished->content;
    if (state.has_open_calls()) continue;
    // The block is complete: its results are the latest messages, in call order.
    for (std::size_t i = 0; i < outcomes.size(); ++i) {
      const auto& message = state.conversation[state.conversation.size() - outcomes.size() + i];
      const bool is_in_place = outcomes[i] && message.role == context::Role::tool &&
                               message.content.starts_with(*outcomes[i]);
      if (is_in_place) continue;
      return scene_->story.violated("outcome", "session {}: result {} of the calls before {}",
                                    session.number, i, record.seq);
    }
  }
}

void Witness::audit_words(const SessionFacts& session, const std::vector<Record>& stored) {
  const SessionState state = fold(stored);
  std::string said;
  for (const context::Message& message : state.history()) said += message.content + "\n";
  for (const std::string& words : state.interjected) said += words + "\n";
  // What a cut paged out, words on results among it, is in the blobs.
  const bool has_paged = std::any_of(stored.begin(), stored.end(), [](const Record& record) {
    const auto* cut = std::get_if<ContextReduced>(&record.event);
    return cut != nullptr && !cut->reduction.paged_out.empty();
  });
  if (has_paged) return;
  for (const Record& record : stored) {
    const auto* words = std::get_if<UserInterjected>(&record.event);
    if (words == nullptr || said.find(words->content) != std::string::npos) continue;
    scene_->story.violated("words", "session {}: the words of event {} reached nobody",
                           session.number, record.seq);
  }
}

void Witness::audit_texts(const SessionFacts& session, const std::vector<Record>& stored,
                          const SessionStore& store) {
  for (const BlobRef& ref : fold(stored).blobs) {
    const auto text = store.load_blob(ref.hash);
    const bool is_whole = text && text->size() == ref.bytes && sha256_hex(*text) == ref.hash;
    if (is_whole) continue;
    scene_->story.violated("text", "session {}: {} ({}) cannot be read back", session.number,
                           ref.hash, ref.title);
  }
  for (const Record& record : stored) {
    const auto* finished = std::get_if<ToolFinished>(&record.event);
    if (finished == nullptr || !finished->whole) continue;
    const std::size_t head = finished->content.rfind("\n[the first ");
    const auto text = store.load_blob(finished->whole->hash);
    if (text && text->starts_with(finished->content.substr(0, head))) continue;
    scene_->story.violated("text", "session {}: the result at {} is not the beginning of its text",
                           session.number, record.seq);
  }
}

}  // namespace ponder::simulation
