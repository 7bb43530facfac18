#include "runtime/cli/shared_options.h"

#include <CLI/CLI.hpp>
#include <map>

#include "runtime/cli/command_line.h"

namespace ponder::cli {
namespace {

constexpr std::uint32_t kThreadsMax = 1024;

/// The options that a function adds stand under a heading of their own in --help.
class Heading {
 public:
  Heading(CLI::App& command, const char* name)
      : defaults_(command.option_defaults()), before_(defaults_->get_group()) {
    defaults_->group(name);
  }
  ~Heading() { defaults_->group(before_); }
  Heading(const Heading&) = delete;
  Heading& operator=(const Heading&) = delete;

 private:
  CLI::OptionDefaults* defaults_;
  std::string before_;
};

constexpr const char* kModel = "The model";
constexpr const char* kSampling = "Sampling";
constexpr const char* kEngine = "The embedded engine";

}  // namespace

void add_index_keys_option(CLI::App& command, std::string& index_keys) {
  const Heading heading(command, kEngine);
  command
      .add_option("--index-keys", index_keys,
                  "what the indexer's keys are kept as: int8 is fastest, fp8 as DeepSeek has it")
      ->check(CLI::IsMember({"floating", "int8", "fp8"}))
      ->capture_default_str();
}

void add_cache_dtype_option(CLI::App& command, std::string& cache_dtype) {
  const Heading heading(command, kEngine);
  command
      .add_option("--cache-dtype", cache_dtype,
                  "what the cache's latents are kept as; fp8 holds more tokens and rounds more")
      ->check(CLI::IsMember({"auto", "f32", "bf16", "fp8"}))
      ->capture_default_str();
}

void add_device_option(CLI::App& command, std::string& device) {
  const Heading heading(command, kEngine);
  command
      .add_option("--device", device,
                  "what computes; auto: a GPU if one can be used, and the CPU when it is lost "
                  "(docs/cuda.md)")
      ->check(CLI::IsMember({"cpu", "cuda", "auto"}))
      ->capture_default_str();
}

void add_experts_option(CLI::App& command, std::string& experts) {
  const Heading heading(command, kEngine);
  command
      .add_option("--experts", experts,
                  "with a GPU, where routed experts are kept and computed: on it, in host memory, "
                  "or (auto) as many layers' on it as fit")
      ->check(CLI::IsMember({"auto", "device", "host"}))
      ->capture_default_str();
}

void add_prompt_attention_option(CLI::App& command, std::string& attention) {
  const Heading heading(command, kEngine);
  command
      .add_option(
          "--prompt-attention", attention,
          "with a GPU, how attention of a prompt's first tokens is computed; expanded: less "
          "arithmetic, and bits that depend on what came as a prompt (docs/cuda.md)")
      ->check(CLI::IsMember({"gathered", "expanded"}))
      ->capture_default_str();
}

void add_drafts_option(CLI::App& command, std::uint32_t& num_drafts) {
  const Heading heading(command, kEngine);
  command.add_option("--drafts", num_drafts,
                     "tokens that the model's MTP layer guesses ahead; changes none of them");
}

void add_activations_option(CLI::App& command, std::string& activations) {
  const Heading heading(command, kEngine);
  command.add_option("--activations", activations, "what BF16 and FP8 weights are multiplied with")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->capture_default_str();
}

namespace {

constexpr double kTopPMin = 1e-6;  // at 0 the engine would refuse the first request

void add_sampling_options(CLI::App& command, ModelOptions& options) {
  const Heading heading(command, kSampling);
  command.add_option("--temperature", options.temperature, "0 is greedy")
      ->check(number_between(0, 100))
      ->capture_default_str();
  command.add_option("--top-p", options.top_p, "nucleus sampling")
      ->check(number_between(kTopPMin, 1))
      ->capture_default_str();
  command
      .add_option("--repetition-penalty", options.repetition_penalty,
                  "divides the logits of tokens in prompt and answer; 1 does nothing")
      ->check(number_between(0.01, 100))
      ->capture_default_str();
  command
      .add_option("--frequency-penalty", options.frequency_penalty,
                  "taken from a token's logit each time the answer has it")
      ->check(number_between(-2, 2))
      ->capture_default_str();
  command
      .add_option("--presence-penalty", options.presence_penalty,
                  "taken once from the logit of each token that the answer has")
      ->check(number_between(-2, 2))
      ->capture_default_str();
  command.add_option("--sampling-seed", options.seed, "seed of the sampler")->capture_default_str();
  command.add_flag("--no-grammar", options.no_grammar, "do not constrain tool calls");
}

}  // namespace

void add_measured_model_options(CLI::App& command, ModelOptions& options) {
  {
    const Heading heading(command, kModel);
    command.add_option(
        "--model", options.model,
        "model directory, endpoint such as http://host/v1, or script:FILE (JSON lines of answers); "
        "default: ponder-mini, or ponder-mini-code where projects are fixed");
    command.add_option("--model-name", options.model_name, "the endpoint's name for the model");
  }
  add_sampling_options(command, options);
  const Heading heading(command, kEngine);
  command.add_option("--threads", options.num_threads, "engine threads; 0: one for each core")
      ->check(CLI::Range(0U, kThreadsMax));
  add_drafts_option(command, options.num_drafts);
  add_device_option(command, options.device);
  add_experts_option(command, options.experts);
  add_prompt_attention_option(command, options.prompt_attention);
  add_cache_dtype_option(command, options.cache_dtype);
  add_index_keys_option(command, options.index_keys);
}

void add_model_options(CLI::App& command, ModelOptions& options) {
  const Heading heading(command, kEngine);
  add_measured_model_options(command, options);
  command.add_option("--spill-dir", options.spill_dir,
                     "folder for cache pages that memory has no room for; also warms later runs");
  command.add_option("--spill-limit", options.spill_gib_max, "GiB in that folder")
      ->capture_default_str();
}

void add_context_options(CLI::App& command, ContextLimits& limits) {
  const Heading heading(command, "The context window");
  command
      .add_option("--context-strategy", limits.strategy,
                  "how a new session makes room in the model's window; auto: discard-all while the "
                  "tools only looked, else summary")
      ->check(CLI::IsMember({"auto", "summary", "discard-75", "discard-all", "page-out"}))
      ->capture_default_str();
  command
      .add_option("--context-limit", limits.limit_percent, "percent of the window at which it does")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
}

void add_approve_option(CLI::App& command, std::string& approve) {
  const Heading heading(command, "Approval and sub-agents");
  command
      .add_option("--approve", approve,
                  "calls with lasting effects (not pure or idempotent): ask you on a terminal and "
                  "deny them elsewhere, never run them, or always run them")
      ->check(CLI::IsMember({"ask", "never", "always"}))
      ->capture_default_str();
}

void add_money_options(CLI::App& command, MoneyOptions& options) {
  const Heading heading(command, "Budgets");
  command.add_option("--budget-money", options.budget,
                     "what the session may cost, as 0.50; its sub-agents included");
  command.add_option("--prices", options.prices, "price list (default: PONDER_PRICES)");
}

void add_budget_options(CLI::App& command, BudgetOptions& options) {
  const Heading heading(command, "Budgets");
  constexpr std::int64_t kSecondsMax = 30 * 24 * 3600;
  const std::map<std::string, std::int64_t> units = {{"s", 1}, {"m", 60}, {"h", 3600}};
  command.add_option("--steps", options.steps_max, "step limit of a turn (default: 40)")
      ->check(positive_number());
  command
      .add_option("--budget-tokens", options.tokens_max,
                  "tokens that the model may generate in a turn (default: 200000)")
      ->check(positive_number());
  command
      .add_option("--budget-time", options.seconds_max,
                  "how long a turn may take: seconds, or as 15m or 2h (default: 1h)")
      ->transform(CLI::AsNumberWithUnit(units, CLI::AsNumberWithUnit::CASE_SENSITIVE, "TIME"))
      ->check(CLI::Range(std::int64_t{1}, kSecondsMax));
}

void add_agents_option(CLI::App& command, std::uint32_t& depth_max) {
  const Heading heading(command, "Approval and sub-agents");
  constexpr std::uint32_t kDepthMax = 5;
  command
      .add_flag("--agents{1}", depth_max,
                "let the agent hand tasks to sub-agents; =2: and these to theirs, and so on")
      ->check(CLI::Range(0U, kDepthMax));
}

void add_world_options(CLI::App& command, std::uint64_t& seed, std::string& size) {
  const Heading heading(command, "The world (environments only)");
  command.add_option("--seed", seed, "seed of the generated world")->capture_default_str();
  command.add_option("--size", size, "size of the generated world")
      ->check(CLI::IsMember({"S", "M", "L"}))
      ->capture_default_str();
}

void add_project_options(CLI::App& command, ProjectOptions& project) {
  const Heading heading(command, "The project (workflow code only)");
  command.add_option("--folder", project.folder, "the project's folder")
      ->check(CLI::ExistingDirectory)
      ->each([&project](const std::string&) { project.has_folder = true; })
      ->capture_default_str();
  command.add_option("--test", project.test_command,
                     "the command that runs the tests, in the sandbox; its success is the "
                     "verdict");
  command.add_option("--test-reports", project.test_reports,
                     "JUnit files that the test command writes, such as 'build/**/*.xml'");
  command
      .add_option("--sandbox", project.sandbox,
                  "how programs are kept in (docs/tools.md); ponder doctor says what this "
                  "machine can do")
      ->check(CLI::IsMember({"isolated", "confined"}))
      ->capture_default_str();
}

void add_sandbox_options(CLI::App& command, ProjectOptions& project) {
  const Heading heading(command, "The sandbox");
  command
      .add_option("--sandbox", project.sandbox,
                  "how programs are kept in (docs/tools.md); ponder doctor says what this machine "
                  "can do")
      ->check(CLI::IsMember({"isolated", "confined"}))
      ->capture_default_str();
  command
      .add_option("--readable", project.readable,
                  "folder that programs may read beside the project and the system, such as an "
                  "interpreter's; repeatable")
      ->check(CLI::ExistingDirectory);
}

}  // namespace ponder::cli
