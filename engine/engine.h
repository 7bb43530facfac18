#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "engine/config.h"
#include "engine/device_choice.h"
#include "engine/grammar.h"
#include "engine/sampling_params.h"
#include "engine/tokenizer.h"
#include "engine/weight_format.h"

namespace ponder::engine {

enum class RequestId : std::uint64_t {};

enum class FinishReason { stop, length, cancelled, expired, failed };

/// Who goes first. A higher priority starts before a lower one and may take its pages; no request
/// starves (engine/scheduler.h).
enum class Priority : std::uint8_t { low, normal, high };

/// What one request cost, for the status line and the benchmarks. truncate() takes tokens that were
/// generated back; what they cost stays, so that more may have been forced or accepted than are
/// left.
struct RequestStats {
  std::uint32_t tokens_prompt = 0;
  std::uint32_t tokens_cached = 0;  // of the prompt, taken from the prefix cache
  std::uint32_t tokens_shadow = 0;  // of the cached ones, computed in idle time for this request
  std::uint32_t tokens_generated = 0;
  std::uint32_t tokens_forced = 0;    // not sampled: the grammar left no choice
  std::uint32_t tokens_drafted = 0;   // guessed ahead and verified
  std::uint32_t tokens_accepted = 0;  // of these, guessed right
  double prefill_ms = 0;
  double decode_ms = 0;
  bool was_moved = false;  // the device was lost on the way, and the CPU went on
};

struct GenerationRequest {
  std::vector<TokenId> prompt;  // not empty
  SamplingParams sampling;
  std::vector<TokenId> stop_tokens;  // empty: the model's own; the stop token is delivered too
  bool ends_at_stop = true;  // false: only those listed end it, and the limit; for benchmarks
  std::uint32_t tokens_generated_max = 4096;
  std::shared_ptr<const Grammar> grammar;  // null: unconstrained. Shared by the requests using it
  Priority priority = Priority::normal;
  Deadline deadline = Deadline::never();  // then it ends with `expired`, wherever it is
};

/// Receives one request's tokens. Called on the thread that calls Engine::step().
struct RequestCallbacks {
  std::function<void(TokenId)> on_token;
  std::function<void(FinishReason, const RequestStats&, const std::string& error)> on_finish;
  /// May be empty. The logits [vocab_size] that the next token is drawn from, before the mask.
  std::function<void(std::span<const float>)> on_logits = {};
  /// May be empty. truncate() has taken effect: of prompt and answer the first so many tokens stay,
  /// and on_token goes on after them.
  std::function<void(std::size_t num_tokens)> on_truncate = {};
};

struct EngineOptions {
  std::uint32_t num_threads = 0;       // 0: one for each core
  std::uint64_t cache_bytes_max = 0;   // 0: default_cache_bytes()
  std::uint32_t batch_rows_max = 512;  // rows (sequence, position) of one step
  std::uint32_t requests_waiting_max = 10'000;
  std::string isa;  // empty: the best this CPU has
  /// What computes and holds the cache. With `automatic` the CPU takes over when the GPU cannot be
  /// used, and when it is lost: requests go on with the tokens that they have. With `cuda` they
  /// fail then, as all later ones do; and so it is when the CPU cannot load the model, which is
  /// tried once.
  DeviceChoice device = DeviceChoice::cpu;
  /// With a GPU: where routed experts are kept and computed.
  ExpertPlacement experts = ExpertPlacement::automatic;
  /// With a GPU: how attention of a prompt's first rows is computed. `expanded` changes what a
  /// prompt's tokens come to in the last bits (docs/cuda.md); refused for DeviceChoice::cpu.
  PromptAttention prompt_attention = PromptAttention::gathered;
  /// What is taken for the GPU, for tests; null: the one of this machine.
  const kernels::DeviceTable* device_table = nullptr;
  /// Whether a device launches steps of decoding as graphs. Changes no token, only the time.
  bool device_graphs = true;
  /// May be empty. Told, on the thread of open() or step(), when the CPU takes over, or graphs
  /// cannot be used, and why, and which experts of a model on the GPU stay in host memory.
  std::function<void(const std::string&)> on_notice = {};
  /// Tokens that the MTP layer drafts ahead for each request and step; 0: none, and the layer is
  /// not loaded. Changes no token, only the time: see docs/engine.md.
  std::uint32_t draft_tokens_max = 0;
  CacheDType cache_dtype = CacheDType::automatic;
  IndexKeys index_keys = IndexKeys::floating;
  Activations activations = Activations::f32;
  const Clock* clock = nullptr;  // null: the machine's
  /// A checkpoint of up to so many bytes is copied to huge pages, a larger one is read in place.
  std::uint64_t copied_bytes_max = std::uint64_t{1} << 30;
  /// Where cache pages go that memory has no room for or that later runs may want; empty: nowhere.
  std::filesystem::path spill_dir;
  std::uint64_t spill_bytes_max = std::uint64_t{16} << 30;
};

/// What the engine has done since it was opened, and how full its cache is.
struct EngineStats {
  std::uint64_t steps = 0;         // batches computed
  std::uint64_t rows_prefill = 0;  // prompt tokens computed, cached ones not counted
  std::uint64_t rows_decode = 0;
  std::uint64_t tokens_generated = 0;
  std::uint64_t tokens_forced = 0;    // of these, not sampled
  std::uint64_t tokens_drafted = 0;   // guessed ahead and verified
  std::uint64_t tokens_accepted = 0;  // of these, guessed right
  std::uint64_t device_losses = 0;    // after which the CPU went on
  std::uint64_t nan_scores = 0;       // not zero: the weights are broken
  std::uint64_t cache_pages_total = 0;
  std::uint64_t cache_pages_used = 0;  // held by requests or kept for later ones
  std::uint64_t cache_page_bytes = 0;
  std::uint64_t requests_waiting = 0;
  std::uint64_t requests_running = 0;
  std::uint64_t preemptions = 0;          // requests that gave up their pages to a higher priority
  std::uint64_t expirations = 0;          // requests whose deadline passed
  std::uint64_t shadow_prefills = 0;      // prompts accepted for idle time
  std::uint64_t shadow_hits = 0;          // requests that found tokens computed in idle time
  std::uint64_t rows_shadow = 0;          // tokens computed in idle time
  std::uint64_t tokens_shadow_saved = 0;  // of these, found by a request
  std::uint64_t spill_pages_written = 0;
  std::uint64_t spill_pages_read = 0;
  std::uint64_t spill_pages_refused = 0;   // files that were damaged or not what their name says
  std::uint64_t spill_pages_left_out = 0;  // the disk was too slow for them, or refused them
  std::uint64_t spill_bytes = 0;           // on disk now, or on the way
};

/// Tokens in, tokens out: a loaded model, its cache and its scheduler.
///
/// A plain loop: whoever owns the thread calls step() while has_work(), and may go on while
/// has_idle_work(). Requests that share a prefix share its cache pages; a finished request's pages
/// stay until memory is wanted. A request that is alive when its engine is destroyed gets no
/// on_finish.
///
/// Thread: step() and the callbacks belong to one thread at a time; everything else may be called
/// from any thread.
class Engine {
 public:
  /// Fails with not_found, corrupt or invalid_argument, naming the file, tensor or field.
  static Result<std::unique_ptr<Engine>> open(const std::filesystem::path& model_dir,
                                              const EngineOptions& options);
  virtual ~Engine() = default;

  virtual const ModelConfig& config() const = 0;
  virtual const Tokenizer& tokenizer() const = 0;
  virtual const char* isa_name() const = 0;

  /// Queues a request. Fails when it holds an impossible value (invalid_argument), can never fit or
  /// meets a full queue (exhausted), or its deadline has passed (deadline).
  virtual Result<RequestId> submit(GenerationRequest request, RequestCallbacks callbacks) = 0;
  /// Queues a branch of a live request: its prompt is the first `num_tokens` of the parent's prompt
  /// and answer, and `request.prompt` after them. No row of what both have in common is computed or
  /// copied (ids and addresses are); of the page in which they part, whoever first adds to it takes
  /// a copy. Fails as submit() does; when the parent has ended or is shorter than that, the branch
  /// ends with `failed`.
  virtual Result<RequestId> fork(RequestId parent, std::size_t num_tokens,
                                 GenerationRequest request, RequestCallbacks callbacks) = 0;
  /// Sets a live request back to the first `num_tokens` tokens of its prompt and answer, from where
  /// it goes on with another seed: a turn that is retried. Nothing of what stays is computed again
  /// but the last token's row. Takes effect in step(), which says so by on_truncate(); a request
  /// that has ended by then, or has no more tokens than that, is left alone. Fails
  /// (invalid_argument) for 0 tokens.
  virtual Status truncate(RequestId id, std::size_t num_tokens, std::uint64_t seed) = 0;
  /// Asks that a prompt that is likely to come be computed when there is nothing else to do, up to
  /// its end. Forgotten when it cannot fit, or many newer ones come. Fails as submit() does.
  virtual Status prefill_when_idle(std::vector<TokenId> prompt) = 0;
  /// Ends the request before its next token; on_finish(cancelled) follows from step().
  virtual void cancel(RequestId id) = 0;
  /// True while a request waits or runs.
  virtual bool has_work() const = 0;
  /// True while step() would compute something for prefill_when_idle() if there were no work.
  virtual bool has_idle_work() const = 0;
  /// Schedules, runs and publishes one batch.
  virtual void step() = 0;
  /// As of the end of the last step.
  virtual EngineStats stats() const = 0;
};

}  // namespace ponder::engine
