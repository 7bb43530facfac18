#include "engine/bench/model_cases.h"

#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>
#include <random>
#include <string>

#include "base/assert.h"
#include "engine/device_model.h"
#include "engine/fp8_latent.h"
#include "kernels/bench/options.h"

namespace ponder::engine::bench {
namespace {

constexpr std::size_t kPageImages = 61;  // distinct pages of a cache; a prime
constexpr std::size_t kPromptTokens = 128;
constexpr std::size_t kWarmUpSteps = 3;

/// As the engine decodes at temperature 0: only tokens come back.
constexpr SamplingParams kGreedyParams{.temperature = 0.0F};
constexpr RowSampling kGreedy{&kGreedyParams, {}, 0};

/// Requires: the pool has one left.
PageId acquire_page(PagePool& pool) {
  const std::optional<PageId> page = pool.acquire();
  PONDER_ASSERT(page);
  return *page;
}

constexpr const char* kDeepseekV32 = R"({
  "architectures": ["DeepseekV32ForCausalLM"], "model_type": "deepseek_v32",
  "attention_bias": false, "bos_token_id": 0, "eos_token_id": 1, "first_k_dense_replace": 3,
  "hidden_act": "silu", "hidden_size": 7168, "index_head_dim": 128, "index_n_heads": 64,
  "index_topk": 2048, "intermediate_size": 18432, "kv_lora_rank": 512,
  "max_position_embeddings": 163840, "moe_intermediate_size": 2048, "moe_layer_freq": 1,
  "n_group": 8, "n_routed_experts": 256, "n_shared_experts": 1, "norm_topk_prob": true,
  "num_attention_heads": 128, "num_experts_per_tok": 8, "num_key_value_heads": 128,
  "num_nextn_predict_layers": 0, "q_lora_rank": 1536, "qk_nope_head_dim": 128,
  "qk_rope_head_dim": 64, "rms_norm_eps": 1e-06, "rope_theta": 10000,
  "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 1.0,
    "mscale_all_dim": 1.0, "original_max_position_embeddings": 4096, "type": "yarn"},
  "routed_scaling_factor": 2.5, "scoring_func": "sigmoid", "tie_word_embeddings": false,
  "topk_group": 4, "topk_method": "noaux_tc", "torch_dtype": "bfloat16", "v_head_dim": 128,
  "vocab_size": 129280, "num_hidden_layers": )";

/// A page of random rows, as the cache stores them: FP8 latents and int8 index keys.
std::vector<std::byte> page_image(const CacheLayout& layout, const ModelConfig& config,
                                  std::minstd_rand& rng) {
  std::vector<std::byte> page(layout.page_bytes);
  for (std::byte& code : page) {
    const auto bits = static_cast<std::uint32_t>(rng()) >> 8;
    code = static_cast<std::byte>((bits & 0x80U) | (0x18U + bits % 0x28U));  // 1/16 to below 2
  }
  const float one = 0.5F;  // of every scale
  const kernels::Fp8LatentLayout fp8 =
      fp8_latent_layout(config.kv_lora_rank, config.qk_rope_head_dim);
  for (const std::size_t block : layout.latent_offsets) {
    for (std::size_t token = 0; token < kPageTokens; ++token) {
      std::byte* row = page.data() + block + token * fp8.bytes;
      for (std::size_t at = fp8.scales_at; at < fp8.rope_at; at += sizeof one) {
        std::memcpy(row + at, &one, sizeof one);
      }
    }
  }
  for (const std::size_t block : layout.index_offsets) {
    if (block == CacheLayout::kNoBlock) continue;
    std::byte* scales = page.data() + block + kPageTokens * config.index_head_dim;
    for (std::size_t token = 0; token < kPageTokens; ++token) {
      std::memcpy(scales + token * sizeof one, &one, sizeof one);
    }
  }
  return page;
}

double seconds_of(const std::function<void()>& run) {
  const auto start = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// What changes the meaning of the figures: steps that are not graphs, for one.
void say(const std::string& notice) { fmt::print(stderr, "note: {}\n", notice); }

/// A model with random weights, and sequences in its cache.
class Stack {
 public:
  static Result<Stack> create(const kernels::DeviceTable& device, const ModelConfig& config,
                              const StackOptions& options) {
    ModelOptions model_options;
    model_options.device = &device;
    model_options.cache_dtype = CacheDType::fp8;
    model_options.index_keys = IndexKeys::int8;
    model_options.batch_rows_max =
        static_cast<std::uint32_t>(*std::ranges::max_element(options.batches));
    model_options.on_notice = say;
    PONDER_TRY(auto model, DeviceModel::with_random_weights(config, model_options));
    PONDER_TRY(PagePool pool, model->create_pool(options.cache_bytes));
    Stack stack(device, std::move(model), std::move(pool));
    PONDER_CHECK(stack.fill_cache());
    return stack;
  }

  struct Step {
    double ms;
    double ms_without_graph;   // launched operation by operation
    std::size_t num_distinct;  // contexts with pages of their own
  };
  /// The medians of a decode step.
  Result<Step> step(std::size_t batch, std::size_t context, std::size_t repetitions) {
    std::vector<BlockTable> tables;
    const std::size_t num_distinct = make_sequences(batch, context, tables);
    if (num_distinct == 0) {
      return fail(Errc::exhausted, fmt::format("cache: no room for {} tokens", context));
    }
    std::vector<TokenId> tokens(batch);
    std::vector<BatchSegment> segments;
    for (std::size_t i = 0; i < batch; ++i) {
      tokens[i] = static_cast<TokenId>(rng_() % model_->config().vocab_size);
      segments.push_back({.table = &tables[i],
                          .first_position = context - 1,
                          .tokens = {&tokens[i], 1},
                          .wants_logits = true,
                          .samplings = {&kGreedy, 1}});
    }
    const double by_graph = median_ms(segments, true, repetitions);
    const double one_by_one = median_ms(segments, false, repetitions);
    PONDER_CHECK(model_->check());
    return Step{by_graph, one_by_one, num_distinct};
  }

 private:
  double median_ms(std::span<const BatchSegment> segments, bool by_graph, std::size_t repetitions) {
    model_->use_graphs(by_graph);
    // The second step of a shape makes its graph.
    for (std::size_t i = 0; i < kWarmUpSteps; ++i) model_->forward(segments);
    std::vector<double> times;
    times.reserve(repetitions);
    for (std::size_t i = 0; i < repetitions; ++i) {
      times.push_back(1e3 * seconds_of([&] { model_->forward(segments); }));
    }
    return kernels::bench::median(std::move(times));
  }

  Stack(const kernels::DeviceTable& device, std::unique_ptr<DeviceModel> model, PagePool pool)
      : device_(&device),
        model_(std::move(model)),
        pool_(std::make_unique<PagePool>(std::move(pool))) {}

  Status fill_cache() {
    std::vector<std::vector<std::byte>> images;
    for (std::size_t i = 0; i < std::min(kPageImages, pool_->num_pages()); ++i) {
      images.push_back(page_image(pool_->layout(), model_->config(), rng_));
    }
    for (std::size_t i = 0; i < pool_->num_pages(); ++i) {
      std::byte* to = pool_->data(PageId{static_cast<std::uint32_t>(i)});
      const auto& image = images[i % images.size()];
      PONDER_CHECK(device_status(*device_, device_->upload(to, image.data(), image.size()),
                                 "fill the cache"));
    }
    return {};
  }

  /// Returns how many of them share no page; 0 when not even one sequence has room. Each has the
  /// page that it writes to for itself.
  std::size_t make_sequences(std::size_t batch, std::size_t context,
                             std::vector<BlockTable>& tables) {
    const std::size_t pages = pages_for(context);
    if (pool_->num_pages() < pages - 1 + batch) return 0;
    const std::size_t room = pool_->num_pages() - batch;
    const std::size_t num_distinct = pages == 1 ? batch : std::min(batch, room / (pages - 1));
    for (std::size_t i = 0; i < batch; ++i) {
      BlockTable& table = tables.emplace_back(*pool_);
      if (i < num_distinct) {
        while (table.pages().size() + 1 < pages) table.append(acquire_page(*pool_));
      } else {
        table.share_from(tables[i % num_distinct], pages - 1);
      }
      table.append(acquire_page(*pool_));
    }
    return num_distinct;
  }

  const kernels::DeviceTable* device_;
  std::unique_ptr<DeviceModel> model_;
  std::unique_ptr<PagePool> pool_;  // goes first
  std::minstd_rand rng_{1};
};

Work step_work(const ModelConfig& config, std::size_t batch, std::size_t context) {
  Work work = head_work(config, batch);
  for (std::size_t i = 0; i < config.num_hidden_layers; ++i) {
    work = work + layer_decode_work(config, config.layers[i].ffn, batch, context);
  }
  return work;
}

struct StackTime {
  std::size_t batch;
  std::size_t context;
  Stack::Step step;
};

Result<std::vector<StackTime>> run_stack(const kernels::DeviceTable& device,
                                         const ModelConfig& config, const StackOptions& options) {
  PONDER_TRY(Stack stack, Stack::create(device, config, options));
  std::vector<StackTime> times;
  for (const std::size_t context : options.contexts) {
    for (const std::size_t batch : options.batches) {
      PONDER_TRY(const Stack::Step step, stack.step(batch, context, options.repetitions));
      times.push_back({batch, context, step});
    }
  }
  return times;
}

void report_step(const StackOptions& options, const StackTime& dense, const StackTime& with_moe,
                 const std::function<void(const Measurement&)>& report) {
  const std::size_t num_dense = options.dense.num_hidden_layers;
  const std::size_t num_moe = options.with_moe.num_hidden_layers - num_dense;
  const std::string where = fmt::format("batch {}, {} tokens", with_moe.batch, with_moe.context);
  const std::string shared = fmt::format("{} of {} contexts in pages of their own",
                                         with_moe.step.num_distinct, with_moe.batch);
  report({fmt::format("step, {}+{} layers, {}", num_dense, num_moe, where), with_moe.step.ms,
          step_work(options.with_moe, with_moe.batch, with_moe.context), shared});
  report({fmt::format("  without a graph, {}", where), with_moe.step.ms_without_graph,
          step_work(options.with_moe, with_moe.batch, with_moe.context),
          "launched operation by operation"});
  report({fmt::format("  of it a layer of experts, {}", where),
          (with_moe.step.ms - dense.step.ms) / static_cast<double>(num_moe),
          layer_decode_work(options.with_moe, FfnKind::moe, with_moe.batch, with_moe.context),
          "difference of two stacks"});
  const std::size_t wanted = options.num_layers_of_model - num_dense;
  Work whole = step_work(options.dense, with_moe.batch, with_moe.context);
  for (std::size_t i = 0; i < wanted; ++i) {
    whole =
        whole + layer_decode_work(options.with_moe, FfnKind::moe, with_moe.batch, with_moe.context);
  }
  report({fmt::format("  {} layers, {}", options.num_layers_of_model, where),
          extrapolate_ms(dense.step.ms, with_moe.step.ms, num_moe, wanted), whole,
          "EXTRAPOLATED, not measured"});
}

/// The sequences of a checkpoint that decode together.
class Decoding {
 public:
  Decoding(Model& model, PagePool& pool, std::size_t batch, std::size_t steps)
      : model_(model), tokens_(batch) {
    std::minstd_rand rng(1);
    for (std::size_t i = 0; i < batch; ++i) {
      BlockTable& table = tables_.emplace_back(pool);
      while (table.capacity() < kPromptTokens + steps + 1) table.append(acquire_page(pool));
      std::vector<TokenId> prompt(kPromptTokens);
      for (TokenId& token : prompt) {
        token = static_cast<TokenId>(rng() % model.config().vocab_size);
      }
      const BatchSegment segment{
          .table = &table, .first_position = 0, .tokens = prompt, .wants_logits = true};
      tokens_[i] = best(model.forward({&segment, 1}));
    }
  }

  void step() {
    std::vector<BatchSegment> segments;
    segments.reserve(tables_.size());
    for (std::size_t i = 0; i < tables_.size(); ++i) {
      segments.push_back({.table = &tables_[i],
                          .first_position = position_,
                          .tokens = {&tokens_[i], 1},
                          .wants_logits = true,
                          .samplings = {&kGreedy, 1}});
    }
    const std::span<const float> logits = model_.forward(segments);
    const std::span<const RowChoice> choices = model_.choices();
    const std::size_t vocab = model_.config().vocab_size;
    for (std::size_t i = 0; i < tables_.size(); ++i) {
      const auto chosen = choices.empty() ? std::nullopt : choices[i].token;
      tokens_[i] = chosen ? *chosen : best(logits.subspan(i * vocab, vocab));
    }
    ++position_;
  }

 private:
  static TokenId best(std::span<const float> logits) {
    return static_cast<TokenId>(std::ranges::max_element(logits) - logits.begin());
  }
  Model& model_;
  std::vector<BlockTable> tables_;
  std::vector<TokenId> tokens_;
  std::size_t position_ = kPromptTokens;
};

}  // namespace

ModelConfig deepseek_v32_config(std::size_t num_layers) {
  auto config = parse_config(kDeepseekV32 + std::to_string(num_layers) + "}");
  PONDER_ASSERT(config.has_value());
  return std::move(*config);
}

Status measure_stack(const kernels::DeviceTable& device, const StackOptions& options,
                     const std::function<void(const Measurement&)>& report) {
  PONDER_TRY(const auto dense, run_stack(device, options.dense, options));
  PONDER_TRY(const auto with_moe, run_stack(device, options.with_moe, options));
  for (std::size_t i = 0; i < dense.size(); ++i) {
    report_step(options, dense[i], with_moe[i], report);
  }
  return {};
}

Status measure_model(const kernels::DeviceTable& device, const std::filesystem::path& dir,
                     const std::vector<std::size_t>& batches, std::size_t steps,
                     const std::function<void(const Measurement&)>& report) {
  for (const bool has_graphs : {true, false}) {
    ModelOptions options;
    options.device = &device;
    options.device_graphs = has_graphs;
    options.experts = ExpertPlacement::device;  // others have no graphs
    options.on_notice = say;
    PONDER_TRY(const std::unique_ptr<Model> model, Model::load(dir, options));
    const std::size_t pages = (kPromptTokens + kWarmUpSteps + steps + kPageTokens) / kPageTokens;
    const std::size_t batch_max = *std::ranges::max_element(batches);
    PONDER_TRY(PagePool pool,
               model->create_pool(batch_max * pages * model->cache_layout().page_bytes));
    for (const std::size_t batch : batches) {
      Decoding decoding(*model, pool, batch, kWarmUpSteps + steps);
      for (std::size_t i = 0; i < kWarmUpSteps; ++i) decoding.step();
      std::vector<double> times;
      times.reserve(steps);
      for (std::size_t i = 0; i < steps; ++i) {
        times.push_back(1e3 * seconds_of([&] { decoding.step(); }));
      }
      PONDER_CHECK(model->check());
      const double ms = kernels::bench::median(std::move(times));
      report({fmt::format("{}, batch {}{}", dir.filename().string(), batch,
                          has_graphs ? "" : ", without graphs"),
              ms,
              {},
              fmt::format("{:.0f} tokens/s", 1e3 * static_cast<double>(batch) / ms)});
    }
  }
  return {};
}

}  // namespace ponder::engine::bench
