#include "runtime/agent/context_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/assert.h"
#include "context/message_json.h"
#include "context/prompt_counter.h"
#include "runtime/model/model_client.h"
#include "runtime/session/event_json.h"
#include "runtime/session/session_state.h"
#include "runtime/text.h"

namespace ponder::runtime {
namespace {

constexpr std::size_t kTextBytesMax = 60;

/// A prompt as it was asked, and what the cache held when it had been answered.
struct AskedPrompt {
  context::Conversation conversation;
  std::vector<std::int64_t> origins;
  context::PromptTokens tokens;
  std::vector<context::TokenId> held;
  std::int64_t seq = 0;         // of its ModelStarted
  std::int64_t answer_seq = 0;  // of its ModelCompleted; 0 while there is none
  std::uint64_t tokens_cached = 0;
};

struct Dropped {
  std::uint64_t tokens = 0;
  std::string rule;
};

std::string begin_of(const context::Message& message) {
  if (!message.content.empty()) return first_line(message.content, kTextBytesMax);
  std::string calls;
  for (const context::ToolCall& call : message.tool_calls) {
    calls += (calls.empty() ? "" : ", ") + call.name;
  }
  return calls.empty() ? first_line(message.reasoning, kTextBytesMax) : "calls " + calls;
}

/// The ids of one message in the prompt, and how many of them were sampled.
struct MessageTokens {
  std::uint64_t all = 0;
  std::uint64_t sampled = 0;
};

std::vector<MessageTokens> tokens_by_message(const AskedPrompt& prompt) {
  std::vector<MessageTokens> out(prompt.conversation.size());
  for (const context::TokenOrigin& origin : prompt.tokens.origins) {
    MessageTokens& tokens = out[origin.first_message];
    tokens.all += origin.end - origin.begin;
    if (origin.is_sampled) tokens.sampled += origin.end - origin.begin;
  }
  return out;
}

/// Walks the log and remembers the two latest prompts and all that was cut.
class Reader {
 public:
  explicit Reader(const context::TokenizeFn& tokenize) : tokenize_(tokenize) {}

  Result<ContextReport> read(std::span<const Record> records) {
    for (const Record& record : records) {
      PONDER_CHECK(take(record));
    }
    if (prompts_.empty()) return fail(Errc::invalid_argument, "the session has no prompt yet");
    ContextReport out;
    PONDER_ASSERT(policy_);  // a prompt was taken by one
    out.policy = fmt::format("{}/{}", policy_->name, policy_->version);
    out.prompts = num_prompts_;
    out.tokens = prompts_.back().tokens.ids.size();
    out.tokens_cached = prompts_.back().tokens_cached;
    add_kept(out);
    add_dropped(out);
    std::sort(out.segments.begin(), out.segments.end(),
              [](const auto& a, const auto& b) { return a.seq < b.seq; });
    if (prompts_.size() == 2) out.divergence = divergence();
    return out;
  }

 private:
  Status take(const Record& record) {
    types_[record.seq] = event_type(record.event);
    if (const auto* cut = std::get_if<ContextReduced>(&record.event)) {
      PONDER_CHECK(take_cut(*cut, record.seq));
    }
    apply(state_, record);
    if (std::holds_alternative<ModelChanged>(record.event)) prompts_.clear();  // not comparable
    const bool has_other_policy = std::holds_alternative<ModelChanged>(record.event) ||
                                  std::holds_alternative<ModeChanged>(record.event);
    if (has_other_policy) is_policy_of_now_ = false;
    if (std::holds_alternative<ModelStarted>(record.event)) return take_prompt(record.seq);
    if (const auto* completed = std::get_if<ModelCompleted>(&record.event)) {
      take_answer(*completed, record.seq);
    }
    return {};
  }

  Status open_policy() {
    if (is_policy_of_now_) return {};
    if (!state_.start) return fail(Errc::corrupt, "the session has no readable beginning");
    if (state_.start->family == "openai") {
      return fail(Errc::invalid_argument, "the endpoint made the prompts of this session");
    }
    const SessionStarted& start = *state_.start;
    PONDER_TRY(policy_, policy_of(ModelRequest({}, start.family, start.sampling, 0)));
    counter_.emplace(*policy_, tokenize_);
    is_policy_of_now_ = true;
    return {};
  }

  Status take_prompt(std::int64_t seq) {
    PONDER_CHECK(open_policy());
    AskedPrompt prompt;
    prompt.conversation = state_.conversation;
    prompt.origins = state_.origins;
    prompt.seq = seq;
    PONDER_ASSERT(policy_);
    PONDER_TRY(prompt.tokens, context::assemble(state_.conversation, *policy_, tokenize_));
    prompt.held = prompt.tokens.ids;
    if (prompts_.size() == 2) prompts_.erase(prompts_.begin());
    prompts_.push_back(std::move(prompt));
    ++num_prompts_;
    return {};
  }

  void take_answer(const ModelCompleted& completed, std::int64_t seq) {
    if (prompts_.empty()) return;
    AskedPrompt& prompt = prompts_.back();
    const auto& sampled = completed.message.sampled;
    prompt.held.insert(prompt.held.end(), sampled.begin(), sampled.end());
    prompt.answer_seq = seq;
    prompt.tokens_cached = completed.usage.tokens_cached;
    if (!state_.origins.empty() && state_.origins.back() == seq) return;
    ContextSegment segment = segment_of(completed.message, seq);
    segment.tokens_dropped = sampled.size();
    segment.rule = "never entered: nothing but reasoning";
    left_out_.push_back(std::move(segment));
  }

  Status take_cut(const ContextReduced& cut, std::int64_t seq) {
    PONDER_CHECK(open_policy());
    PONDER_ASSERT(counter_);
    PONDER_TRY(const auto tokens, counter_->count_messages(state_.conversation));
    const auto name = context::strategy_name(cut.reduction.strategy);
    last_cut_ = fmt::format("{} at event {}", name, seq);
    for (const std::size_t i : cut.reduction.removed) {
      if (i >= tokens.size()) continue;
      ContextSegment segment = segment_of(state_.conversation[i], state_.origins[i]);
      segment.tokens_dropped = tokens[i];
      segment.rule = "removed by " + last_cut_;
      left_out_.push_back(std::move(segment));
    }
    for (const context::PagedResult& paged : cut.reduction.paged_out) {
      if (paged.message >= tokens.size()) continue;
      shortened_[state_.origins[paged.message]] = {
          tokens[paged.message], fmt::format("moved to blob {} by {}",
                                             paged.hash.substr(0, context::kHashShown), last_cut_)};
    }
    last_cut_seq_ = seq;
    return {};
  }

  ContextSegment segment_of(const context::Message& message, std::int64_t seq) const {
    ContextSegment out;
    out.seq = seq;
    const auto type = types_.find(seq);
    if (type != types_.end()) out.event = type->second;
    out.role = context::role_name(message.role);
    out.text = begin_of(message);
    return out;
  }

  void add_kept(ContextReport& out) const {
    const AskedPrompt& prompt = prompts_.back();
    const auto tokens = tokens_by_message(prompt);
    std::size_t turn_begin = 0;
    for (std::size_t i = 0; i < prompt.conversation.size(); ++i) {
      if (prompt.conversation[i].role == context::Role::user) turn_begin = i;
    }
    for (std::size_t i = 0; i < prompt.conversation.size(); ++i) {
      const context::Message& message = prompt.conversation[i];
      ContextSegment segment = segment_of(message, prompt.origins[i]);
      segment.is_kept = true;
      segment.tokens = tokens[i].all;
      const Dropped dropped = dropped_of(message, segment.seq, tokens[i], i > turn_begin);
      segment.tokens_dropped = dropped.tokens;
      segment.rule = dropped.rule;
      out.segments.push_back(std::move(segment));
    }
  }

  /// What is missing of a message that is in the prompt, and by which rule it is as it is.
  Dropped dropped_of(const context::Message& message, std::int64_t seq, const MessageTokens& tokens,
                     bool is_in_running_turn) const {
    const auto shortened = shortened_.find(seq);
    if (shortened != shortened_.end() && message.role == context::Role::tool) {
      const Dropped& was = shortened->second;
      return {was.tokens > tokens.all ? was.tokens - tokens.all : 0, was.rule};
    }
    if (message.role != context::Role::assistant) {
      return {0, state_.pinned.contains(seq) ? "kept: pinned" : "kept: always"};
    }
    PONDER_ASSERT(policy_);
    if (policy_->keeps_running_turn && is_in_running_turn) return {0, "kept: the running turn"};
    std::uint64_t dropped = 0;
    if (message.sampled.empty()) {
      dropped = tokenize_(message.reasoning, false).size();
    } else {
      dropped =
          message.sampled.size() - std::min<std::uint64_t>(message.sampled.size(), tokens.sampled);
    }
    if (dropped == 0) {
      return {0, state_.pinned.contains(seq) ? "kept: pinned" : "kept: nothing to drop"};
    }
    return {dropped, policy_->keeps_running_turn ? "reasoning dropped: a new user turn began"
                                                 : "reasoning dropped: the mode is chat"};
  }

  void add_dropped(ContextReport& out) const {
    for (const ContextSegment& segment : left_out_) {
      if (segment.seq < prompts_.back().seq) out.segments.push_back(segment);
    }
  }

  PromptDivergence divergence() const {
    const AskedPrompt& before = prompts_.front();
    const AskedPrompt& now = prompts_.back();
    const auto& ids = now.tokens.ids;
    PromptDivergence out;
    out.tokens_before = before.held.size();
    out.tokens_now = ids.size();
    const auto parted =
        std::mismatch(before.held.begin(), before.held.end(), ids.begin(), ids.end());
    out.tokens_common = static_cast<std::uint64_t>(parted.second - ids.begin());
    const auto tokens = tokens_by_message(now);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      const std::int64_t seq = now.origins[i];
      if (seq > before.seq && seq != before.answer_seq) out.tokens_new += tokens[i].all;
    }
    const std::uint64_t computed = out.tokens_now - out.tokens_common;
    out.tokens_new = std::min(out.tokens_new, computed);
    out.tokens_again = computed - out.tokens_new;
    for (const context::TokenOrigin& origin : now.tokens.origins) {
      if (origin.begin <= out.tokens_common) out.seq = now.origins[origin.first_message];
    }
    out.rule = rule_of(out);
    return out;
  }

  std::string rule_of(const PromptDivergence& divergence) const {
    const std::int64_t since = prompts_.front().seq;
    if (divergence.tokens_common == divergence.tokens_before) return "none: the prompt only grew";
    if (last_cut_seq_ > since) return "cut by " + last_cut_;
    const auto is_new_turn = [&](const auto& entry) {
      return entry.first > since && entry.first < prompts_.back().seq &&
             entry.second == "user_message";
    };
    if (std::any_of(types_.begin(), types_.end(), is_new_turn)) {
      return "a new user turn: the reasoning before it is dropped";
    }
    return "the completion before did not enter as it was sampled";
  }

  const context::TokenizeFn& tokenize_;
  SessionState state_;
  std::optional<context::ThinkingPolicy> policy_;  // of the latest prompt
  std::optional<context::PromptCounter> counter_;  // by that policy
  bool is_policy_of_now_ = false;                  // no other model or mode has followed it
  std::vector<AskedPrompt> prompts_;               // the latest two, older first
  std::uint64_t num_prompts_ = 0;
  std::map<std::int64_t, std::string> types_;  // by seq
  std::vector<ContextSegment> left_out_;
  std::map<std::int64_t, Dropped> shortened_;  // by the seq of the result; tokens: before
  std::string last_cut_;
  std::int64_t last_cut_seq_ = 0;
};

}  // namespace

Result<ContextReport> report_context(std::span<const Record> records,
                                     const context::TokenizeFn& tokenize) {
  return Reader(tokenize).read(records);
}

}  // namespace ponder::runtime
