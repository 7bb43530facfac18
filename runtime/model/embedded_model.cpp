#include "runtime/model/embedded_model.h"

#include <fmt/format.h>

#include <array>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <optional>
#include <span>
#include <utility>

#include "base/assert.h"
#include "base/digest.h"
#include "context/completion_parser.h"
#include "context/thinking_policy.h"
#include "runtime/model/next_turn.h"
#include "runtime/model/tool_grammar.h"

namespace ponder::runtime {
namespace asio = boost::asio;
namespace {

constexpr std::size_t kGrammarsMax = 16;
constexpr std::size_t kExpectedMax = 16;  // prompts to get ready for

const std::vector<context::ToolSpec>& tools_of(const ModelRequest& request) {
  static const std::vector<context::ToolSpec> none;
  const auto& conversation = request.conversation;
  return conversation.empty() ? none : conversation.front().tools;
}

/// Everything that shapes the grammar of a request's calls.
std::string grammar_key(const ModelRequest& request) {
  std::string key;
  const auto add = [&key](std::string_view text) {
    key += fmt::format("{}:{}", text.size(), text);
  };
  for (const auto& tool : tools_of(request)) {
    add(tool.name);
    add(tool.parameters);
  }
  for (const LiveValues& live : request.live_values) {
    add(live.tool);
    add(live.parameter);
    for (const std::string& value : live.values) add(value);
    key += ';';
  }
  return key;
}

/// Passes on what the parser finds, with the count of tokens so far.
class DeltaTeller final : public context::CompletionSink {
 public:
  explicit DeltaTeller(const ModelSink& sink) : sink_(&sink) {}
  void on_reasoning(std::string_view text) override { tell(ModelDelta::Kind::reasoning, text); }
  void on_content(std::string_view text) override { tell(ModelDelta::Kind::content, text); }
  void on_call_name(std::size_t, std::string_view name) override {
    tell(ModelDelta::Kind::call_name, name);
  }
  void on_call_arguments(std::size_t, std::string_view text) override {
    tell(ModelDelta::Kind::call_arguments, text);
  }
  void tell(ModelDelta::Kind kind, std::string_view text) const {
    if (*sink_) (*sink_)(ModelDelta{kind, std::string(text), tokens_generated});
  }
  std::uint32_t tokens_generated = 0;

 private:
  const ModelSink* sink_;
};

Verdict verdict_of(context::Verdict verdict) {
  switch (verdict) {
    case context::Verdict::ok:
      return Verdict::ok;
    case context::Verdict::repaired:
      return Verdict::repaired;
    case context::Verdict::truncated:
      return Verdict::truncated;
  }
  return Verdict::truncated;
}

Usage usage_of(const engine::RequestStats& stats) {
  return {stats.tokens_prompt, stats.tokens_cached, stats.tokens_generated, stats.prefill_ms,
          stats.decode_ms};
}

Completion completion_of(const context::Completion& parsed, std::vector<context::TokenId> sampled,
                         bool is_cut_off) {
  Completion out;
  out.message = parsed.message();
  out.message.sampled = std::move(sampled);
  for (const context::ParsedCall& call : parsed.calls) {
    out.call_faults.push_back(call.call_class == context::CallClass::refused ? call.problem : "");
  }
  out.finish = is_cut_off ? Finish::length : Finish::stop;
  out.verdict = verdict_of(parsed.verdict);
  for (const context::CompletionNote& note : parsed.notes) {
    out.notes.push_back(fmt::format("{} at byte {}: {}", note.code, note.offset, note.detail));
  }
  if (!parsed.trailing_text.empty()) {
    out.notes.push_back("text after the calls: " + parsed.trailing_text);
  }
  return out;
}

/// Tokens that only a prompt may hold. One in the middle of an answer, replayed with it, would be a
/// turn that nobody took.
class RoleTokens {
 public:
  RoleTokens(const engine::Tokenizer& tokenizer, const context::ChatFormat& format) {
    for (const std::string_view text : {format.bos, format.user, format.assistant}) {
      const auto id = tokenizer.added_token(text);
      if (id) strays_.push_back({*id, text});
    }
  }

  /// Whether the completion's `position`-th token is one; if so it is noted.
  bool take(context::TokenId token, std::size_t position) {
    for (Stray& stray : strays_) {
      if (stray.id != token) continue;
      if (stray.times++ == 0) stray.first = position;
      return true;
    }
    return false;
  }

  void describe(Completion& completion) const {
    for (const Stray& stray : strays_) {
      if (stray.times == 0) continue;
      completion.notes.push_back(
          fmt::format("stray_role_token: {} (id {}) left out {} times, "
                      "first at token {}",
                      stray.text, stray.id, stray.times, stray.first));
      if (completion.verdict == Verdict::ok) completion.verdict = Verdict::repaired;
    }
  }

 private:
  struct Stray {
    context::TokenId id;
    std::string_view text;
    std::size_t times = 0;
    std::size_t first = 0;
  };
  std::vector<Stray> strays_;
};

/// A digest of what every id stands for.
std::string vocabulary_of(const engine::Tokenizer& tokenizer) {
  std::string texts;
  for (engine::TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
    const std::string text = tokenizer.decode(std::array{id});
    texts += fmt::format("{}:{}", text.size(), text);
  }
  return sha256_hex(texts);
}

}  // namespace

context::TokenizeFn tokenize_fn(const engine::Tokenizer& tokenizer) {
  return [&tokenizer](std::string_view text, bool match_added) {
    return tokenizer.encode(text, match_added);
  };
}

Result<context::PromptTokens> prompt_tokens(const ModelRequest& request,
                                            const engine::Tokenizer& tokenizer) {
  PONDER_TRY(const context::ThinkingPolicy policy, policy_of(request));
  return context::assemble(request.conversation, policy, tokenize_fn(tokenizer));
}

std::string prompt_hash(const std::vector<context::TokenId>& ids) {
  std::string bytes;
  bytes.reserve(ids.size() * 4);
  for (const context::TokenId id : ids) {
    for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>((id >> shift) & 0xFF);
  }
  return sha256_hex(bytes);
}

/// What one request's tokens travel in. The engine's thread fills it, the session's executor
/// empties it; it is shared by the coroutine and the engine's callbacks, whichever lives longer.
class EmbeddedModel::Generation : public std::enable_shared_from_this<Generation> {
 public:
  struct Batch {
    std::vector<context::TokenId> tokens;
    std::optional<engine::FinishReason> finish;
    engine::RequestStats stats;
    std::string error;
  };

  explicit Generation(const asio::any_io_executor& home) : home_(home) {
    arrived_.emplace(home, asio::steady_timer::time_point::max());
  }
  /// To be called on home when the last batch was taken: the engine's thread may be the last to let
  /// go of this object, and must not find a timer of a context that may be gone by then.
  void close() { arrived_.reset(); }

  engine::RequestCallbacks callbacks() {
    engine::RequestCallbacks out;
    out.on_token = [self = shared_from_this()](context::TokenId token) {
      const std::lock_guard lock(self->mutex_);
      self->batch_.tokens.push_back(token);
      self->notify();
    };
    out.on_finish = [self = shared_from_this()](engine::FinishReason reason,
                                                const engine::RequestStats& stats,
                                                const std::string& error) {
      const std::lock_guard lock(self->mutex_);
      self->batch_.finish = reason;
      self->batch_.stats = stats;
      self->batch_.error = error;
      self->notify();
    };
    return out;
  }

  /// What has arrived since the last call; waits for something. Not cancellable: `on_cancel` is
  /// called instead, and the end then arrives like any other.
  asio::awaitable<Batch> next(std::function<void()> on_cancel) {
    const auto state = co_await asio::this_coro::cancellation_state;
    while (true) {
      Batch batch = take();
      if (!batch.tokens.empty() || batch.finish) co_return batch;
      if (state.cancelled() != asio::cancellation_type::none) on_cancel();
      // Asio clears the slot after each operation.
      if (state.slot().is_connected()) {
        state.slot().assign([&on_cancel](asio::cancellation_type) { on_cancel(); });
      }
      boost::system::error_code ignored;
      PONDER_ASSERT(arrived_);
      co_await arrived_->async_wait(asio::bind_cancellation_slot(
          asio::cancellation_slot(), asio::redirect_error(asio::use_awaitable, ignored)));
    }
  }

 private:
  Batch take() {
    const std::lock_guard lock(mutex_);
    is_notified_ = false;
    return std::exchange(batch_, Batch());
  }
  /// Requires: mutex_ is held. One wake-up serves all tokens until the next take().
  void notify() {
    if (std::exchange(is_notified_, true)) return;
    asio::post(home_, [self = shared_from_this()] {
      if (self->arrived_) self->arrived_->cancel();
    });
  }

  asio::any_io_executor home_;
  std::optional<asio::steady_timer> arrived_;  // never expires; used on home_ only
  std::mutex mutex_;                           // guards what follows
  Batch batch_;
  bool is_notified_ = false;
};

Result<std::unique_ptr<EmbeddedModel>> EmbeddedModel::open(const std::filesystem::path& model_dir,
                                                           const engine::EngineOptions& options) {
  // Before the weights: those of a model that cannot chat need not be read.
  PONDER_TRY(const auto config, engine::load_config(model_dir));
  const auto format = context::chat_format_for_model(engine::model_type_name(config.architecture));
  if (!format) {
    return fail(format.error().code,
                fmt::format("{}: {}", model_dir.string(), format.error().message));
  }
  PONDER_TRY(auto engine, engine::Engine::open(model_dir, options));
  return std::make_unique<EmbeddedModel>(std::move(engine), model_dir.string(), **format);
}

EmbeddedModel::EmbeddedModel(std::unique_ptr<engine::Engine> engine, std::string description,
                             const context::ChatFormat& format)
    : engine_(std::move(engine)),
      description_(std::move(description)),
      format_(&format),
      vocabulary_(vocabulary_of(engine_->tokenizer())),
      thread_([this] { run_engine(); }) {}

EmbeddedModel::~EmbeddedModel() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

std::uint32_t EmbeddedModel::tokens_context_max() const {
  return static_cast<std::uint32_t>(engine_->config().max_position_embeddings);
}

context::TokenizeFn EmbeddedModel::tokenizer() const { return tokenize_fn(engine_->tokenizer()); }

void EmbeddedModel::run_engine() {
  const auto has_any_work = [this] { return engine_->has_work() || engine_->has_idle_work(); };
  while (true) {
    std::optional<Expected> expected;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return is_stopping_ || has_any_work() || !expected_.empty(); });
      if (is_stopping_) return;
      if (!engine_->has_work() && !expected_.empty()) {
        expected.emplace(std::move(expected_.front()));
        expected_.pop_front();
      }
    }
    if (expected) prefill(*expected);
    if (has_any_work()) engine_->step();
  }
}

void EmbeddedModel::expect_user_turn(ModelRequest request) {
  expect({std::move(request), next_turn_prefix});
}

void EmbeddedModel::expect_results(ModelRequest request) {
  expect({std::move(request), next_results_prefix});
}

void EmbeddedModel::expect(Expected expected) {
  {
    const std::lock_guard lock(mutex_);
    expected_.push_back(std::move(expected));
    if (expected_.size() > kExpectedMax) expected_.pop_front();
  }
  wake_.notify_one();
}

/// Nobody waits for it, so a conversation that cannot be rendered is reported when it is continued.
void EmbeddedModel::prefill(const Expected& expected) {
  auto prefix = expected.prefix(expected.request, tokenizer());
  if (!prefix || prefix->empty()) return;
  const Status ignored = engine_->prefill_when_idle(std::move(*prefix));
  (void)ignored;
}

Result<engine::RequestId> EmbeddedModel::submit(engine::GenerationRequest request,
                                                engine::RequestCallbacks callbacks) {
  PONDER_TRY(const engine::RequestId id, engine_->submit(std::move(request), std::move(callbacks)));
  {
    const std::lock_guard lock(mutex_);  // so that the thread is not between its test and its wait
  }
  wake_.notify_one();
  return id;
}

Result<std::shared_ptr<const engine::Grammar>> EmbeddedModel::grammar_for(
    const ModelRequest& request) {
  const std::string key = grammar_key(request);
  const auto found = grammars_.find(key);
  if (found != grammars_.end()) return found->second;
  PONDER_TRY(auto grammar, tool_grammar(tools_of(request), *format_, request.live_values));
  if (grammars_.size() >= kGrammarsMax) grammars_.clear();
  grammars_[key] = grammar;
  return grammar;
}

Result<engine::GenerationRequest> EmbeddedModel::generation_request(
    const ModelRequest& request, std::vector<context::TokenId> prompt) {
  engine::GenerationRequest out;
  out.prompt = std::move(prompt);
  out.sampling.temperature = static_cast<float>(request.sampling.temperature);
  out.sampling.top_p = static_cast<float>(request.sampling.top_p);
  out.sampling.repetition_penalty = static_cast<float>(request.sampling.repetition_penalty);
  out.sampling.frequency_penalty = static_cast<float>(request.sampling.frequency_penalty);
  out.sampling.presence_penalty = static_cast<float>(request.sampling.presence_penalty);
  out.sampling.seed = request.sampling.seed;
  out.tokens_generated_max = request.tokens_generated_max;
  out.deadline = request.deadline;
  const auto& tools = tools_of(request);
  if (request.sampling.has_grammar && !tools.empty()) {
    PONDER_TRY(out.grammar, grammar_for(request));
  }
  return out;
}

/// From tokens as they come to a completion. Stray role tokens are dropped by their ids before
/// anything else sees them: they are neither in the text nor in the ids that come back.
class EmbeddedModel::Reader {
 public:
  Reader(const engine::Tokenizer& tokenizer, const context::ChatFormat& format,
         const ModelRequest& request, bool starts_in_reasoning, const ModelSink& sink)
      : teller_(sink),
        parser_(options(format, request, starts_in_reasoning), &teller_),
        decoder_(tokenizer),
        role_tokens_(tokenizer, format) {
    teller_.tell(ModelDelta::Kind::prefill, "");
  }

  void take(const std::vector<context::TokenId>& tokens) {
    for (const context::TokenId token : tokens) {
      const bool is_stray = role_tokens_.take(token, teller_.tokens_generated++);
      if (is_stray) continue;
      sampled_.push_back(token);
      parser_.feed(decoder_.push(token));
    }
  }

  /// Fails with invalid_argument if the model writes another chat format than this one.
  Result<Completion> finish(bool is_cut_off) {
    parser_.feed(decoder_.finish());
    const context::Completion parsed =
        parser_.finish(is_cut_off ? context::FinishReason::length : context::FinishReason::stop);
    if (!parsed.configuration_error.empty())
      return fail(Errc::invalid_argument, parsed.configuration_error);
    Completion out = completion_of(parsed, std::move(sampled_), is_cut_off);
    role_tokens_.describe(out);
    return out;
  }

 private:
  static context::CompletionOptions options(const context::ChatFormat& format,
                                            const ModelRequest& request, bool starts_in_reasoning) {
    context::CompletionOptions out;
    out.format = &format;
    out.starts_in_reasoning = starts_in_reasoning;
    out.tools = &tools_of(request);
    return out;
  }
  DeltaTeller teller_;
  context::CompletionParser parser_;
  engine::StreamDecoder decoder_;
  RoleTokens role_tokens_;
  std::vector<context::TokenId> sampled_;
};

asio::awaitable<Result<Completion>> EmbeddedModel::complete(ModelRequest request, ModelSink sink) {
  co_await asio::this_coro::throw_if_cancelled(false);
  const auto home = co_await asio::this_coro::executor;
  auto prompt = prompt_tokens(request, engine_->tokenizer());
  if (!prompt) co_return tl::unexpected<Error>(prompt.error());
  const std::string hash = prompt_hash(prompt->ids);
  auto wanted = generation_request(request, std::move(prompt->ids));
  if (!wanted) co_return tl::unexpected<Error>(wanted.error());
  const auto generation = std::make_shared<Generation>(home);
  const auto id = submit(std::move(*wanted), generation->callbacks());
  PONDER_CO_CHECK(id);

  const bool starts_in_reasoning = prompt->continuation == context::Continuation::reasoning;
  Reader reader(engine_->tokenizer(), *format_, request, starts_in_reasoning, sink);
  std::function<void()> stop = [this, id = *id] { engine_->cancel(id); };
  Generation::Batch batch;
  while (!batch.finish) {
    Generation::Batch arrived = co_await generation->next(stop);
    batch = std::move(arrived);
    reader.take(batch.tokens);
  }
  generation->close();
  using engine::FinishReason;
  const bool is_void = *batch.finish == FinishReason::cancelled ||
                       *batch.finish == FinishReason::expired ||
                       *batch.finish == FinishReason::failed;
  if (is_void && request.on_void) {
    const Status ignored = request.on_void(usage_of(batch.stats));  // there is no other try
    (void)ignored;
  }
  if (*batch.finish == engine::FinishReason::cancelled) {
    co_return fail(Errc::cancelled, "the completion was cancelled");
  }
  if (*batch.finish == engine::FinishReason::expired) co_return fail(Errc::deadline, batch.error);
  if (*batch.finish == engine::FinishReason::failed) {
    co_return fail(Errc::internal, fmt::format("{}: {}", description_, batch.error));
  }
  auto completion = reader.finish(*batch.finish == engine::FinishReason::length);
  PONDER_CO_CHECK(completion);
  completion->usage = usage_of(batch.stats);
  if (batch.stats.was_moved) {
    completion->notes.push_back("device_lost: the CPU went on with the tokens so far");
  }
  completion->prompt_hash = hash;
  co_return completion;
}

}  // namespace ponder::runtime
