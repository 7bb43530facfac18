#include "engine/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <optional>
#include <utility>
#include <variant>

#include "base/assert.h"
#include "base/clock.h"
#include "engine/forced_tokens.h"
#include "engine/generation_request.h"
#include "engine/grammar_matcher.h"
#include "engine/inbox.h"
#include "engine/machine.h"
#include "engine/mask_cache.h"
#include "engine/model.h"
#include "engine/prefix_cache.h"
#include "engine/scheduler.h"
#include "engine/speculation.h"
#include "engine/token_choice.h"

namespace ponder::engine {
namespace {

constexpr std::size_t kForcedBytesMax = 256;

using LoadSpare = std::function<Result<Spare>()>;

class EngineImpl final : public Engine {
 public:
  /// `load_spare`: what goes on when the device is lost; empty: nothing does.
  EngineImpl(Machine machine, Tokenizer tokenizer, LoadSpare load_spare,
             const EngineOptions& options);
  ~EngineImpl() override { cache_.spill(); }

  const ModelConfig& config() const override { return config_; }
  const Tokenizer& tokenizer() const override { return tokenizer_; }
  const char* isa_name() const override { return isa_name_.load(std::memory_order_relaxed); }

  Result<RequestId> submit(GenerationRequest request, RequestCallbacks callbacks) override;
  Result<RequestId> fork(RequestId parent, std::size_t num_tokens, GenerationRequest request,
                         RequestCallbacks callbacks) override;
  Status truncate(RequestId id, std::size_t num_tokens, std::uint64_t seed) override;
  Status prefill_when_idle(std::vector<TokenId> prompt) override;
  void cancel(RequestId id) override { inbox_.send(Inbox::Cancellation{id}); }
  bool has_work() const override { return num_live_.load(std::memory_order_acquire) > 0; }
  bool has_idle_work() const override { return inbox_.has_shadow(); }
  void step() override;
  EngineStats stats() const override { return inbox_.stats(); }

 private:
  Status check_pages(const Request& request) const;
  std::size_t tokens_max(const GenerationRequest& request) const;
  Result<RequestId> enqueue(std::unique_ptr<Request> request);

  void take_inbox();
  void apply(std::unique_ptr<Request>& request);
  void apply(const Inbox::Truncation& truncation);
  void apply(Inbox::Cancellation cancellation) {
    finish(cancellation.id, FinishReason::cancelled, "");
  }
  Status grow_branch(Request& request);
  void end_expired();
  void give_up_step(const Error& error);
  Status move_to_spare(const std::string& why);
  void fail_step(const std::string& why);
  std::uint64_t& rows_counter(const Request& request);
  void start(Request& request);
  void publish_rows(Request& request, const BatchSegment& segment, std::size_t first_row,
                    std::span<const float> logits, std::span<const RowChoice> choices);
  bool publish(Request& request, std::span<const float> logits, const RowChoice& choice);
  bool deliver(Request& request, TokenId token);
  bool append_forced(Request& request);
  void finish(RequestId id, FinishReason reason, const std::string& error);
  void update_stats();

  std::unique_ptr<Model> model_;
  const ModelConfig config_;  // other threads read it, and the model may be replaced
  std::atomic<const char*> isa_name_;
  LoadSpare load_spare_;      // empty: there is none, or it has been asked for
  std::string why_no_spare_;  // ends the errors from then on
  std::function<void(const std::string&)> on_notice_;
  Tokenizer tokenizer_;
  PagePool pool_;
  std::unique_ptr<PageStore> store_;  // null: nothing goes to disk
  PrefixCache cache_;
  Scheduler scheduler_;
  Speculation speculation_;
  std::uint32_t batch_rows_max_;
  TokenChoice token_choice_;
  MaskCache masks_;
  std::vector<Scheduler::Work> work_;
  std::vector<BatchSegment> segments_;
  std::vector<Request*> answering_;  // requests that got a token in this step and go on
  EngineStats counted_;
  const Clock* clock_;
  Inbox inbox_;
  std::atomic<std::size_t> num_live_{0};
};

EngineImpl::EngineImpl(Machine machine, Tokenizer tokenizer, LoadSpare load_spare,
                       const EngineOptions& options)
    : model_(std::move(machine.model)),
      config_(model_->config()),
      isa_name_(model_->isa_name()),
      load_spare_(std::move(load_spare)),
      on_notice_(options.on_notice),
      tokenizer_(std::move(tokenizer)),
      pool_(std::move(machine.pool)),
      store_(std::move(machine.store)),
      cache_(pool_, store_.get()),
      scheduler_(cache_, model_->prompt_form_end()),
      speculation_(*model_, cache_, options.draft_tokens_max),
      batch_rows_max_(options.batch_rows_max),
      masks_(tokenizer_, model_->config().vocab_size),
      clock_(options.clock != nullptr ? options.clock : &system_clock()),
      inbox_(options.requests_waiting_max) {
  update_stats();
}

Status EngineImpl::check_pages(const Request& request) const {
  if (request.num_pages_max() <= pool_.num_pages()) return {};
  return fail(Errc::exhausted,
              fmt::format("{} tokens need {} cache pages, there are {}", request.tokens_max,
                          request.num_pages_max(), pool_.num_pages()));
}

std::size_t EngineImpl::tokens_max(const GenerationRequest& request) const {
  return std::min<std::size_t>(request.prompt.size() + request.tokens_generated_max,
                               config().max_position_embeddings);
}

Result<RequestId> EngineImpl::submit(GenerationRequest spec, RequestCallbacks callbacks) {
  PONDER_CHECK(check_length(spec.prompt.size(), config()));
  PONDER_CHECK(check_request(spec, config(), *clock_));
  const std::size_t most = tokens_max(spec);
  auto request =
      std::make_unique<Request>(RequestId{}, std::move(spec), std::move(callbacks), most, pool_);
  PONDER_CHECK(check_pages(*request));
  return enqueue(std::move(request));
}

Result<RequestId> EngineImpl::fork(RequestId parent, std::size_t num_tokens, GenerationRequest spec,
                                   RequestCallbacks callbacks) {
  PONDER_CHECK(check_length(num_tokens + spec.prompt.size(), config()));
  PONDER_CHECK(check_request(spec, config(), *clock_));
  auto request =
      std::make_unique<Request>(RequestId{}, std::move(spec), std::move(callbacks), 0, pool_);
  request->branch = Request::Branch{parent, num_tokens};
  return enqueue(std::move(request));
}

Result<RequestId> EngineImpl::enqueue(std::unique_ptr<Request> request) {
  auto& stops = request->spec.stop_tokens;
  if (stops.empty() && request->spec.ends_at_stop) stops = config().eos_token_id;
  request->submitted_at = clock_->now();
  // Counted first: the engine's thread may end it before this one goes on.
  num_live_.fetch_add(1, std::memory_order_release);
  auto id = inbox_.submit(std::move(request));
  if (!id) num_live_.fetch_sub(1, std::memory_order_release);
  return id;
}

Status EngineImpl::truncate(RequestId id, std::size_t num_tokens, std::uint64_t seed) {
  if (num_tokens == 0) return fail(Errc::invalid_argument, "a request of no tokens");
  inbox_.send(Inbox::Truncation{id, num_tokens, seed});
  return {};
}

Status EngineImpl::prefill_when_idle(std::vector<TokenId> prompt) {
  PONDER_CHECK(check_length(prompt.size(), config()));
  PONDER_CHECK(check_ids(prompt, config()));
  GenerationRequest spec;
  spec.prompt = std::move(prompt);
  const std::size_t most = spec.prompt.size();
  auto request =
      std::make_unique<Request>(RequestId{}, std::move(spec), RequestCallbacks{}, most, pool_);
  request->is_shadow = true;
  PONDER_CHECK(check_pages(*request));
  inbox_.submit_shadow(std::move(request));
  return {};
}

void EngineImpl::step() {
  take_inbox();
  scheduler_.take_loaded();
  end_expired();
  for (Request* request : scheduler_.admit(clock_->now())) start(*request);
  scheduler_.plan(batch_rows_max_, work_, segments_);
  if (!work_.empty()) {
    ++counted_.steps;
    speculation_.extend(work_, segments_);
    if (model_->can_sample()) token_choice_.delegate(work_, segments_);
    std::span<const float> logits = model_->forward(segments_);
    if (const Status intact = model_->check(); !intact) {
      give_up_step(intact.error());
      return;
    }
    answering_.clear();
    std::span<const RowChoice> choices = model_->choices();
    std::size_t row = 0;
    for (std::size_t i = 0; i < work_.size(); ++i) {
      Request& request = *work_[i].request;
      const BatchSegment& segment = segments_[i];
      const std::size_t num_rows = segment.tokens.size();
      rows_counter(request) += num_rows;
      if (!segment.wants_logits) speculation_.computed(request, segment, row, num_rows);
      if (request.is_shadow) speculation_.forget(request.id);
      scheduler_.computed(work_[i]);  // a shadow request may be gone after this
      if (segment.wants_logits) {
        const std::size_t num = 1 + segment.num_drafts;
        const std::size_t size = num * config().vocab_size;
        const auto own = choices.first(choices.empty() ? 0 : num);
        publish_rows(request, segment, row, logits.first(size), own);
        logits = logits.subspan(size);
        choices = choices.subspan(own.size());
      }
      row += num_rows;
    }
    speculation_.draft(answering_);
  } else if (cache_.is_loading()) {
    cache_.wait_for_load();  // nothing else is to be done
  }
  update_stats();
}

/// The spare is asked for once: each attempt would hold up everybody for as long as loading takes.
void EngineImpl::give_up_step(const Error& error) {
  if (error.code == Errc::unavailable && load_spare_) {
    const Status moved = move_to_spare(error.message);
    if (moved) return;
    why_no_spare_ = "; the CPU cannot go on: " + moved.error().message + "; restart to try again";
  }
  fail_step(error.message + why_no_spare_);
}

/// Every request keeps its tokens; their cache rows are computed again.
Status EngineImpl::move_to_spare(const std::string& why) {
  model_->give_up();  // there may not be room for the experts of both
  PONDER_TRY(Spare spare, std::exchange(load_spare_, nullptr)());
  const std::uint64_t bytes = pool_.num_pages() * pool_.layout().page_bytes;
  PONDER_TRY(PagePool pages, spare.model->create_pool(bytes));
  for (Request* request : scheduler_.start_over()) request->stats.was_moved = true;
  scheduler_.set_prompt_form_end(spare.model->prompt_form_end());
  pool_.take_memory_of(std::move(pages));
  if (spare.store_identity) cache_.set_identity(*spare.store_identity);
  speculation_.restart(*spare.model);
  model_ = std::move(spare.model);
  isa_name_.store(model_->isa_name(), std::memory_order_relaxed);
  ++counted_.device_losses;
  if (on_notice_) on_notice_(fmt::format("{}; the CPU goes on ({})", why, model_->isa_name()));
  update_stats();
  return {};
}

/// Nothing that was computed in this step may be used, nor kept for later requests. Idle prefill
/// just comes to its end.
void EngineImpl::fail_step(const std::string& why) {
  for (const Scheduler::Work& work : work_) {
    if (work.request->is_shadow) {
      speculation_.forget(work.request->id);
      scheduler_.drop_shadow();
    } else {
      finish(work.request->id, FinishReason::failed, why);
    }
  }
  update_stats();
}

std::uint64_t& EngineImpl::rows_counter(const Request& request) {
  if (request.is_shadow) return counted_.rows_shadow;
  return request.is_decoding() ? counted_.rows_decode : counted_.rows_prefill;
}

/// The next token from the first row of logits and from each further row while the tokens are those
/// that were drafted; or the ones that the model chose. May end the request.
void EngineImpl::publish_rows(Request& request, const BatchSegment& segment, std::size_t first_row,
                              std::span<const float> logits, std::span<const RowChoice> choices) {
  const std::size_t vocab = config().vocab_size;
  const std::size_t num_drafts = segment.num_drafts;
  const auto drafts = segment.tokens.last(num_drafts);
  std::size_t num_accepted = 0;
  counted_.tokens_drafted += num_drafts;
  request.stats.tokens_drafted += static_cast<std::uint32_t>(num_drafts);
  while (true) {
    std::size_t at = request.tokens.size();
    const auto row = logits.subspan(num_accepted * vocab, vocab);
    const RowChoice choice = choices.empty() ? RowChoice{} : choices[num_accepted];
    if (!publish(request, row, choice)) return;
    for (; at < request.tokens.size() && num_accepted < num_drafts; ++at) {
      if (request.tokens[at] != drafts[num_accepted]) break;
      ++num_accepted;
      ++counted_.tokens_accepted;
      ++request.stats.tokens_accepted;
      scheduler_.computed({&request, 1});
    }
    if (at < request.tokens.size()) break;
  }
  speculation_.computed(request, segment, first_row,
                        segment.tokens.size() - num_drafts + num_accepted);
  speculation_.verified(request, num_drafts, num_accepted);
  answering_.push_back(&request);
}

void EngineImpl::take_inbox() {
  Inbox::Contents arrived = inbox_.take();
  for (auto& request : arrived.shadows) scheduler_.add_shadow(std::move(request));
  for (Inbox::Message& message : arrived.messages) {
    std::visit([this](auto& what) { apply(what); }, message);
  }
}

void EngineImpl::apply(std::unique_ptr<Request>& request) {
  const RequestId id = request->id;
  const Status grown = grow_branch(*request);
  scheduler_.add(std::move(request));
  if (!grown) finish(id, FinishReason::failed, grown.error().message);
}

void EngineImpl::apply(const Inbox::Truncation& truncation) {
  Request* request = scheduler_.find(truncation.id);
  const std::size_t num_tokens = truncation.num_tokens;
  if (request == nullptr || request->tokens.size() <= num_tokens) return;
  speculation_.forget(request->id);
  scheduler_.truncate(*request, num_tokens);
  request->spec.sampling.seed = truncation.seed;
  RequestStats& stats = request->stats;
  stats.tokens_prompt = std::min(stats.tokens_prompt, static_cast<std::uint32_t>(num_tokens));
  stats.tokens_cached = std::min(stats.tokens_cached, stats.tokens_prompt);
  stats.tokens_generated = static_cast<std::uint32_t>(num_tokens) - stats.tokens_prompt;
  if (request->matcher) {
    request->matcher.reset();
    start(*request);
    PONDER_ASSERT(request->matcher);
    for (std::size_t i = stats.tokens_prompt; i < num_tokens; ++i) {
      request->matcher->accept(request->tokens[i]);
    }
  }
  if (request->callbacks.on_truncate) request->callbacks.on_truncate(num_tokens);
}

/// Gives a forked request the tokens that it has in common with its parent.
Status EngineImpl::grow_branch(Request& request) {
  if (!request.branch) return {};
  const std::size_t num_tokens = request.branch->num_tokens;
  const Request* parent = scheduler_.find(request.branch->parent);
  if (parent == nullptr) return fail(Errc::not_found, "the request to fork has ended");
  if (parent->tokens.size() < num_tokens) {
    return fail(Errc::invalid_argument,
                fmt::format("a fork after {} tokens of a request that has {}", num_tokens,
                            parent->tokens.size()));
  }
  const auto begin = parent->tokens.begin();
  request.tokens.insert(request.tokens.begin(), begin,
                        begin + static_cast<std::ptrdiff_t>(num_tokens));
  request.stats.tokens_prompt = static_cast<std::uint32_t>(request.tokens.size());
  request.num_prompt = parent->num_prompt_of_branch(num_tokens, request.tokens.size());
  request.tokens_max = std::min<std::size_t>(
      request.tokens.size() + request.spec.tokens_generated_max, config().max_position_embeddings);
  return check_pages(request);
}

void EngineImpl::end_expired() {
  const Clock::Instant now = clock_->now();
  for (const RequestId id : scheduler_.expired(now)) {
    const Request& request = *scheduler_.find(id);
    const auto waited = ms_between(request.submitted_at, now);
    ++counted_.expirations;
    finish(id, FinishReason::expired,
           fmt::format("the deadline passed {:.0f} ms after the request came, with {} of {} prompt "
                       "tokens computed and {} tokens generated",
                       waited,
                       std::min<std::size_t>(request.num_computed, request.stats.tokens_prompt),
                       request.stats.tokens_prompt, request.stats.tokens_generated));
  }
}

void EngineImpl::start(Request& request) {
  if (request.spec.grammar != nullptr && !request.matcher) {
    request.matcher.emplace(masks_.masks_for(request.spec.grammar), request.spec.stop_tokens);
  }
}

/// Samples and delivers one token, and those that the grammar forces after it. Returns whether the
/// request goes on; otherwise it is gone.
bool EngineImpl::publish(Request& request, std::span<const float> logits, const RowChoice& choice) {
  const auto token = token_choice_.choose(request, logits, choice);
  if (!token) {
    const bool has_choice =
        !request.matcher || std::ranges::any_of(request.matcher->allowed(), std::identity());
    const char* why = has_choice ? "the logits are not finite" : "the grammar leaves no token";
    finish(request.id, FinishReason::failed, why);
    return false;
  }
  if (!request.is_decoding()) {
    request.first_token_at = clock_->now();
    request.stats.prefill_ms = ms_between(request.admitted_at, request.first_token_at);
  }
  return deliver(request, *token) && (!request.matcher || append_forced(request));
}

/// False when the token has ended the request.
bool EngineImpl::deliver(Request& request, TokenId token) {
  if (request.matcher) request.matcher->accept(token);
  request.tokens.push_back(token);
  ++request.stats.tokens_generated;
  ++counted_.tokens_generated;
  // A stop token may be text where the grammar goes on.
  const bool is_listed = std::ranges::count(request.spec.stop_tokens, token) > 0;
  const bool is_stop = request.matcher ? request.matcher->is_stopped() : is_listed;
  const bool is_full = request.tokens.size() == request.tokens_max;
  const RequestId id = request.id;
  if (request.callbacks.on_token) request.callbacks.on_token(token);
  if (is_stop) finish(id, FinishReason::stop, "");
  if (is_full && !is_stop) finish(id, FinishReason::length, "");
  return !is_stop && !is_full;
}

/// Where the grammar leaves no choice the model is not asked: the tokens of such a run are computed
/// together with the next one that is sampled. False when they have ended the request.
bool EngineImpl::append_forced(Request& request) {
  const auto append = [&](TokenId token) {
    ++request.stats.tokens_forced;
    ++counted_.tokens_forced;
    return deliver(request, token);
  };
  PONDER_ASSERT(request.matcher);
  const std::string bytes = request.matcher->forced(kForcedBytesMax);
  if (!bytes.empty()) {
    for (const TokenId token : forced_tokens(tokenizer_, request.tokens, bytes)) {
      if (request.num_pending() == Scheduler::kAnswerRowsMax) return true;
      if (!append(token)) return false;
    }
  }
  const auto& stops = request.spec.stop_tokens;
  return !request.matcher->must_end() || stops.size() != 1 || append(stops.front());
}

void EngineImpl::finish(RequestId id, FinishReason reason, const std::string& error) {
  const std::unique_ptr<Request> request = scheduler_.remove(id);
  if (request == nullptr) return;  // it ended before the cancellation came
  speculation_.forget(id);
  if (request->is_decoding()) {
    request->stats.decode_ms = ms_between(request->first_token_at, clock_->now());
  }
  if (request->callbacks.on_finish) request->callbacks.on_finish(reason, request->stats, error);
  num_live_.fetch_sub(1, std::memory_order_release);
}

void EngineImpl::update_stats() {
  counted_.nan_scores = model_->num_nan_scores();
  counted_.cache_pages_total = pool_.num_pages();
  counted_.cache_pages_used = pool_.num_pages() - pool_.num_free();
  counted_.cache_page_bytes = pool_.layout().page_bytes;
  counted_.requests_waiting = scheduler_.num_waiting();
  counted_.requests_running = scheduler_.num_running();
  const Scheduler::Counters& scheduled = scheduler_.counters();
  counted_.preemptions = scheduled.preemptions;
  counted_.shadow_prefills = scheduled.shadow_prefills;
  counted_.shadow_hits = scheduled.shadow_hits;
  counted_.tokens_shadow_saved = scheduled.tokens_shadow_saved;
  if (store_ != nullptr) {
    const PageStore::Counters& stored = store_->counters();
    counted_.spill_pages_written = stored.pages_written;
    counted_.spill_pages_read = stored.pages_read;
    counted_.spill_pages_refused = stored.pages_refused;
    counted_.spill_pages_left_out = stored.pages_left_out;
    counted_.spill_bytes = stored.bytes;
  }
  inbox_.publish(counted_, scheduler_.num_shadow());
}

}  // namespace

Result<std::unique_ptr<Engine>> Engine::open(const std::filesystem::path& model_dir,
                                             const EngineOptions& options) {
  PONDER_CHECK(Speculation::check(options.draft_tokens_max));
  PONDER_TRY(Tokenizer tokenizer, Tokenizer::load(model_dir / "tokenizer.json"));
  std::optional<Machine> machine;
  bool is_on_device = false;
  PONDER_CHECK(open_on_chosen_device(options, [&](const kernels::DeviceTable* device) -> Status {
    PONDER_TRY(machine, open_machine(model_dir, options, device));
    is_on_device = device != nullptr;
    return {};
  }));
  PONDER_ASSERT(machine);
  PONDER_CHECK(check_ids_fit(tokenizer, machine->model->config()));
  LoadSpare load_spare;
  if (is_on_device && options.device == DeviceChoice::automatic) {
    load_spare = [model_dir, options] { return engine::load_spare(model_dir, options); };
  }
  return std::make_unique<EngineImpl>(std::move(*machine), std::move(tokenizer),
                                      std::move(load_spare), options);
}

}  // namespace ponder::engine
