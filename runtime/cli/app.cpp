#include "runtime/cli/app.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <functional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "context/chat_format.h"
#include "runtime/cli/chat_line.h"
#include "runtime/cli/command_line.h"
#include "runtime/cli/env_commands.h"
#include "runtime/cli/help_format.h"
#include "runtime/cli/mcp_commands.h"
#include "runtime/cli/shared_options.h"
#include "runtime/cli/terminal.h"
#include "runtime/cli/tool_command.h"
#include "runtime/cli/toolset_flags.h"
#include "runtime/cli/version.h"

namespace ponder::cli {
namespace {

constexpr const char* kFooter = R"(examples:
  ponder run travel "Three days from Hangzhou, starting 2025-10-01. Hotels at most 800 CNY a night."
  ponder chat                                  talk to the travel agent, also while it works
  ponder eval travel --count 200               success rate on unseen tasks
  ponder fix --repo DIR --issue "..." --test CMD    a verified patch, made on a copy
  ponder run travel "..." --model http://localhost:8000/v1 --model-name NAME
`ponder COMMAND --help` says what a command takes.

environment:
  PONDER_MODEL     model directory or endpoint used without --model
  PONDER_API_KEY   key for endpoints (else OPENAI_API_KEY)
  PONDER_PRICES    price list: {"currency": "USD", "models": {NAME: {"prompt": "0.28",
                   "cached": "0.028", "completion": "0.42"}}}, for a million tokens each
  PONDER_SESSIONS  session store: a file (else below XDG_STATE_HOME or ~/.local/state), or
                   postgresql://user@host/database, which programs on many machines may share
  PONDER_LEASE     seconds after which the session of a program that has stopped is another's (15)
  PONDER_SYNCHRONOUS  full (default): an event is on the disk when it counts; normal: events
                   that intend no effect may be lost to a power failure
  PONDER_LIBRARY   directory of the Lua library
  PONDER_CONFIG    configuration file (docs/configuration.md)
  BRAVE_API_KEY, TAVILY_API_KEY  keys of search providers (docs/web.md)
  PONDER_ISA       forces a kernel row: scalar, avx2, avx512, avx512vnni, avx512bf16, amx
  PONDER_DEVICE_GRAPHS  on (default): a GPU's steps of decoding are launched as graphs; off: they
                   are launched operation by operation
  NO_COLOR         no colours

exit status: 0 done, 1 not done or not verified, 2 a wrong command line, 130 interrupted
)";

/// What to run once the command line has been understood.
using Action = std::function<int()>;

void add_fix_command(CLI::App& app, const Environment& environment, Action& action) {
  auto* command = app.add_subcommand("fix", "mend a project so that a failing test passes");
  auto options = std::make_shared<RunOptions>();
  command->add_option("--repo", options->project.folder, "the project; it is copied, not changed")
      ->required()
      ->check(CLI::ExistingDirectory);
  command->add_option("--issue", options->fix.issue, "what is wrong, in words, or a file with them")
      ->required();
  command->add_option("--test", options->project.test_command, "the command that runs the tests")
      ->required();
  command
      ->add_option("--out", options->out,
                   "directory for fix.patch, JUnit files, the report and the trajectory")
      ->default_str("ponder-fix");
  command->add_option("--protect", options->fix.protects,
                      "glob of files that the agent may not change, beside tests and settings of "
                      "their runners; repeatable");
  command
      ->add_option("--repeat", options->fix.repeats, "runs of the tests, to find those that waver")
      ->check(CLI::Range(1, 20))
      ->capture_default_str();
  add_budget_options(*command, options->budget);
  command->add_flag("--json", options->json, "stream the events as JSON lines");
  add_sandbox_options(*command, options->project);
  add_model_options(*command, options->model);
  add_context_options(*command, options->context);
  add_money_options(*command, options->money);
  command->callback([&action, &environment, options] {
    action = [&environment, options] { return fix(environment, *options); };
  });
}

void add_eval_command(CLI::App& app, const Environment& environment, Action& action) {
  auto* command = app.add_subcommand("eval", "measure the success rate on generated tasks");
  auto options = std::make_shared<EvalOptions>();
  command
      ->add_option("workflow", options->workflow,
                   "an environment such as travel or codefix, a .lua file, or fix with --tasks")
      ->required();
  command->add_option("--count", options->count, "number of tasks")->capture_default_str();
  command->add_option("--seed", options->seed, "seed of the first task")->capture_default_str();
  command->add_flag("--json", options->json, "print the report as JSON");
  command->add_option("--concurrency", options->concurrency_max, "sessions at once on one engine")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  command->add_flag("--verbose", options->verbose, "print a line for each task");
  auto* kind = command->add_option("--kind", options->kind, "only tasks of this kind");
  command->add_option("--tasks", options->tasks, "fix: a folder of tasks instead of made ones")
      ->check(CLI::ExistingDirectory);
  command
      ->add_option("--language", options->language, "codefix: a kind, and with --class half of one")
      ->check(CLI::IsMember({"python", "lua", "cpp"}))
      ->excludes(kind);
  command->add_option("--class", options->bug_class, "codefix: a kind, such as off_by_one")
      ->excludes(kind);
  command->add_option(
      "--export", options->export_dir,
      "where tasks are projects: write them to this folder, with a script that solves them");
  add_sandbox_options(*command, options->project);
  add_model_options(*command, options->model);
  command->callback([&action, &environment, options] {
    action = [&environment, options] { return eval(environment, *options); };
  });
}

void add_agent_commands(CLI::App& app, const Environment& environment, Action& action) {
  auto* run_command = app.add_subcommand("run", "run an agent on one request");
  auto run_options = std::make_shared<RunOptions>();
  run_command
      ->add_option("workflow", run_options->workflow,
                   "assistant, code, an environment such as travel, or a .lua file")
      ->required();
  run_command->add_option("request", run_options->request, "what you want, in plain words");
  run_command->add_option("--task", run_options->task_seed,
                          "a generated task instead of a request");
  run_command->add_option("--out", run_options->out, "directory for the artefacts");
  add_budget_options(*run_command, run_options->budget);
  run_command->add_flag("--json", run_options->json, "stream the events as JSON lines");
  run_command->add_flag("--queue", run_options->queued,
                        "leave it to a `ponder work` on the same store (PostgreSQL), whose "
                        "--approve and prices hold then");
  add_project_options(*run_command, run_options->project);
  add_world_options(*run_command, run_options->world_seed, run_options->size);
  add_model_options(*run_command, run_options->model);
  add_toolset_flags(*run_command, run_options->toolset);
  add_context_options(*run_command, run_options->context);
  add_approve_option(*run_command, run_options->approve);
  add_money_options(*run_command, run_options->money);
  add_agents_option(*run_command, run_options->agent_depth_max);
  run_command->callback([&action, &environment, run_options] {
    action = [&environment, run_options] { return run(environment, *run_options); };
  });

  auto* chat_command = app.add_subcommand("chat", "talk to an agent, also while it works");
  auto chat_options = std::make_shared<ChatOptions>();
  chat_command
      ->add_option("--workflow", chat_options->workflow,
                   "assistant, code, an environment such as travel, or a .lua file")
      ->each([chat_options](const std::string&) { chat_options->is_workflow_named = true; })
      ->capture_default_str();
  chat_command->add_option("--session", chat_options->session, "go on with a session of the store");
  chat_command->add_flag("--json", chat_options->json, "stream the events as JSON lines");
  chat_command->footer(kChatHelp);
  add_project_options(*chat_command, chat_options->project);
  add_world_options(*chat_command, chat_options->world_seed, chat_options->size);
  add_model_options(*chat_command, chat_options->model);
  add_toolset_flags(*chat_command, chat_options->toolset);
  add_context_options(*chat_command, chat_options->context);
  add_approve_option(*chat_command, chat_options->approve);
  add_money_options(*chat_command, chat_options->money);
  add_budget_options(*chat_command, chat_options->budget);
  add_agents_option(*chat_command, chat_options->agent_depth_max);
  chat_command->callback([&action, &environment, chat_options] {
    action = [&environment, chat_options] { return chat(environment, *chat_options); };
  });
}

void add_work_command(CLI::App& app, const Environment& environment, Action& action) {
  auto* command = app.add_subcommand(
      "work", "go on with the queued sessions of a shared store, beside others that do");
  auto options = std::make_shared<WorkOptions>();
  command->add_option("--concurrency", options->concurrency_max, "sessions at once in this program")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command->add_flag("--drain", options->is_draining, "end when the queue is empty");
  command
      ->add_option("--approve", options->approve,
                   "calls with lasting effects (not pure or idempotent): never or always run them")
      ->check(CLI::IsMember({"never", "always"}))
      ->capture_default_str();
  command->add_flag("--json", options->json, "stream the events as JSON lines");
  add_model_options(*command, options->model);
  add_toolset_flags(*command, options->toolset);
  command->callback([&action, &environment, options] {
    action = [&environment, options] { return work(environment, *options); };
  });
}

/// What only some of the actions on sessions take.
void add_action_options(CLI::App& command, SessionsOptions& options) {
  const std::string& action = options.action;
  if (action == "resume" || action == "replay") add_model_options(command, options.model);
  if (action == "resume") add_toolset_flags(command, options.toolset);
  if (action == "resume") add_approve_option(command, options.approve);
  if (action == "resume") add_money_options(command, options.money);
  if (action == "resume") {
    add_project_options(command, options.project);
    command.add_option("--out", options.out,
                       "directory for the artefacts, instead of the one that the log names");
  }
  if (action == "resume") add_budget_options(command, options.budget);
  if (action == "doctor")
    command.add_flag("--mend", options.mends,
                     "mend what can be mended; with an id also close its open turn");
  if (action == "fork")
    command.add_option("--at", options.at, "the last event that is shared (default: the last)");
  if (action == "diff")
    command.add_option("other", options.other_id, "the session to compare with")->required();
  if (action == "export")
    command
        .add_option("--format", options.format,
                    "lines: events as JSON; for others to read: atif, markdown")
        ->check(CLI::IsMember({"lines", "atif", "markdown"}))
        ->capture_default_str();
  if (action == "import") command.add_flag("--as-new", options.as_new, "under a new id");
}

void add_session_commands(CLI::App& app, const Environment& environment, Action& action) {
  auto* group =
      app.add_subcommand("sessions", "list, show, resume, fork, compare, export or mend sessions");
  group->require_subcommand(1);
  enum class Id { none, optional, required };
  const auto add = [&](const char* name, const char* description, Id id) {
    auto* command = group->add_subcommand(name, description);
    auto options = std::make_shared<SessionsOptions>();
    options->action = name;
    if (id != Id::none)
      command
          ->add_option("id", options->id,
                       options->action == "import" ? "file of JSON lines, or - for standard input"
                                                   : "session, or the start of its id")
          ->required(id == Id::required);
    command->add_flag("--json", options->json, "print JSON");
    add_action_options(*command, *options);
    command->callback([&action, &environment, options] {
      action = [&environment, options] { return sessions(environment, *options); };
    });
  };
  add("list", "all sessions, newest first", Id::none);
  add("show", "what happened in a session, for people", Id::required);
  add("export", "a session as JSON lines, ATIF trajectory or Markdown", Id::required);
  add("import", "bring back a session that was exported as JSON lines", Id::required);
  add("diff", "where two sessions part", Id::required);
  add("replay", "sample the completions again and compare them with the log", Id::required);
  add("resume", "go on with an interrupted session", Id::required);
  add("queue", "leave an interrupted session to `ponder work`; without an id, what waits for it",
      Id::optional);
  add("fork", "a new session that shares another's events up to one of them", Id::required);
  add("doctor", "what is damaged in the store, and mending it", Id::optional);

  auto* verify_command =
      app.add_subcommand("verify", "check the artefacts of a run, without a model");
  auto dir = std::make_shared<std::filesystem::path>();
  auto as_json = std::make_shared<bool>(false);
  verify_command->add_option("dir", *dir, "the directory given to run --out")->required();
  verify_command->add_flag("--json", *as_json, "print JSON");
  verify_command->callback([&action, &environment, dir, as_json] {
    action = [&environment, dir, as_json] { return verify(environment, *dir, *as_json); };
  });
}

void add_context_commands(CLI::App& app, const Environment& environment, Action& action) {
  auto* group = app.add_subcommand("context", "what the model sees of a session");
  group->require_subcommand(1);
  auto* explain_command = group->add_subcommand(
      "explain", "the latest prompt by message: tokens, what was dropped, by which rule");
  auto options = std::make_shared<ContextOptions>();
  explain_command->add_option("id", options->id, "session, or the start of its id")->required();
  explain_command->add_option("--tokenizer", options->tokenizer,
                              "a tokenizer.json (default: the one of the session's model)");
  explain_command->add_flag("--json", options->json, "print JSON");
  explain_command->callback([&action, &environment, options] {
    action = [&environment, options] { return explain_context(environment, *options); };
  });

  auto* encode_command =
      app.add_subcommand("encode", "JSON lines of messages in, JSON lines of prompt text out");
  auto format = std::make_shared<std::string>("dsv32");
  encode_command->add_option(
      "--format", *format, "chat format of lines that name none: " + context::chat_format_names());
  encode_command->callback(
      [&action, format] { action = [format] { return encode_lines(*format); }; });

  auto* parse_command =
      app.add_subcommand("parse", "JSON lines of completion text in, JSON lines of messages out");
  auto strict = std::make_shared<bool>(false);
  parse_command->add_flag("--strict", *strict, "behave as the reference parser does");
  parse_command->callback(
      [&action, strict] { action = [strict] { return parse_lines(*strict); }; });
}

void add_bench_loop(CLI::App& group, const Environment& environment, Action& action) {
  auto* command =
      group.add_subcommand("loop", "a turn of many tool calls, and the user turn after it");
  auto options = std::make_shared<LoopOptions>();
  command->add_option("--steps", options->steps, "tool calls")->capture_default_str();
  command->add_option("--system", options->tokens_system, "tokens before the first step")
      ->capture_default_str();
  command->add_option("--answer", options->tokens_answer, "tokens generated in a step")
      ->capture_default_str();
  command->add_option("--result", options->tokens_result, "tokens of a tool result")
      ->capture_default_str();
  command->add_option("--repeats", options->repeats, "runs; medians are shown")
      ->capture_default_str();
  command->add_flag("--json", options->json, "print JSON");
  add_measured_model_options(*command, options->model);
  command->callback([&action, &environment, options] {
    action = [&environment, options] { return bench_loop(environment, *options); };
  });
}

void add_random_command(CLI::App& group, Action& action) {
  auto* command = group.add_subcommand("random", "write a checkpoint of random weights");
  auto options = std::make_shared<RandomModelOptions>();
  command->add_option("--config", options->config, "a config.json")->required();
  command->add_option("--out", options->out, "directory to write")->required();
  command->add_option("--dtype", options->dtype)
      ->check(CLI::IsMember({"f32", "bf16", "fp8"}))
      ->capture_default_str();
  command->add_option("--layers", options->num_layers,
                      "only so many decoder layers, of the config's shapes, and no MTP layer");
  command->add_option("--set", options->values,
                      "KEY=VALUE instead of the config's, as --set n_routed_experts=16");
  command->callback([&action, options] { action = [options] { return random_model(*options); }; });
}

void add_model_commands(CLI::App& app, Action& action) {
  auto* group = app.add_subcommand("model", "inspect, convert and make checkpoints");
  group->require_subcommand(1);
  auto* inspect_command = group->add_subcommand(
      "inspect", "architecture, sizes, and whether this machine can run it; headers are enough");
  auto inspect_options = std::make_shared<InspectOptions>();
  inspect_command->add_option("dir", inspect_options->dir, "model directory")->required();
  inspect_command->add_option("--context", inspect_options->context_tokens,
                              "tokens of context (default: the model's positions)");
  add_cache_dtype_option(*inspect_command, inspect_options->cache_dtype);
  add_index_keys_option(*inspect_command, inspect_options->index_keys);
  add_drafts_option(*inspect_command, inspect_options->num_drafts);
  inspect_command
      ->add_option("--memory", inspect_options->memory_gb,
                   "GB of a machine, to see how it would run the model (default: this machine's)")
      ->check(number_above_zero());
  inspect_command
      ->add_option("--gpu-memory", inspect_options->gpu_memory_gb,
                   "GB of a GPU, to see what of the model it would hold (default: this machine's)")
      ->check(number_above_zero());
  add_experts_option(*inspect_command, inspect_options->experts);
  add_prompt_attention_option(*inspect_command, inspect_options->prompt_attention);
  inspect_command->add_flag("--json", inspect_options->json, "print JSON");
  inspect_command->callback([&action, inspect_options] {
    action = [inspect_options] { return inspect_model(*inspect_options); };
  });
  auto* convert_command =
      group->add_subcommand("convert", "write a checkpoint with its matrices quantised");
  auto convert_options = std::make_shared<ConvertOptions>();
  convert_command->add_option("in", convert_options->in, "model directory")->required();
  convert_command->add_option("out", convert_options->out, "directory to write")->required();
  convert_command->add_option("--to", convert_options->to, "the format")
      ->required()
      ->check(CLI::IsMember({"fp8", "int8", "int4-32", "int4-64", "int4-128"}));
  convert_command->callback([&action, convert_options] {
    action = [convert_options] { return convert_model(*convert_options); };
  });
  add_random_command(*group, action);
}

void add_engine_commands(CLI::App& app, const Environment& environment, Action& action) {
  auto* tokenize_command = app.add_subcommand("tokenize", "JSON lines of text in, of ids out");
  auto tokenizer = std::make_shared<std::filesystem::path>();
  auto decode = std::make_shared<bool>(false);
  tokenize_command->add_option("--tokenizer", *tokenizer, "a tokenizer.json")->required();
  tokenize_command->add_flag("--decode", *decode, "ids in, text out");
  tokenize_command->callback([&action, tokenizer, decode] {
    action = [tokenizer, decode] { return tokenize_lines(*tokenizer, *decode); };
  });

  auto* logits_command = app.add_subcommand("logits", "JSON lines of tokens in, of logits out");
  auto options = std::make_shared<LogitsOptions>();
  logits_command->add_option("--model", options->model.model, "model directory")->required();
  logits_command->add_flag("--trace", options->trace,
                           "also selections and experts of the last row");
  add_device_option(*logits_command, options->model.device);
  add_experts_option(*logits_command, options->model.experts);
  add_prompt_attention_option(*logits_command, options->model.prompt_attention);
  add_cache_dtype_option(*logits_command, options->model.cache_dtype);
  add_index_keys_option(*logits_command, options->model.index_keys);
  add_activations_option(*logits_command, options->model.activations);
  logits_command->callback([&action, &environment, options] {
    action = [&environment, options] { return logits_lines(environment, *options); };
  });

  auto* bench_group = app.add_subcommand("bench", "measure");
  bench_group->require_subcommand(1);
  auto* engine_command =
      bench_group->add_subcommand("engine", "prefill and decode speed of a model");
  auto bench_options = std::make_shared<BenchOptions>();
  engine_command->add_option("--prompt", bench_options->tokens_prompt, "prompt tokens")
      ->capture_default_str();
  engine_command->add_option("--generate", bench_options->tokens_generated, "tokens to generate")
      ->capture_default_str();
  engine_command->add_option("--repeats", bench_options->repeats, "runs; medians are shown")
      ->capture_default_str();
  engine_command->add_flag("--same-prompt", bench_options->same_prompt,
                           "one prompt for all runs, cached: decoding after a long one");
  engine_command->add_flag("--json", bench_options->json, "print JSON");
  add_activations_option(*engine_command, bench_options->model.activations);
  add_measured_model_options(*engine_command, bench_options->model);
  engine_command->callback([&action, &environment, bench_options] {
    action = [&environment, bench_options] { return bench_engine(environment, *bench_options); };
  });
  add_bench_loop(*bench_group, environment, action);
}

void add_index_command(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("index", "a search index over a folder's documents");
  auto options = std::make_shared<IndexCommand>();
  command->add_option("folder", options->folder, "text, Markdown, HTML and PDF files are indexed")
      ->required()
      ->check(CLI::ExistingDirectory);
  command->add_option("--out", options->out, "the index (default: .ponder-index.db in the folder)");
  command->add_option("--find", options->find, "words to look up in it afterwards");
  command->add_flag("--json", options->json, "print JSON");
  command->callback([&action, options] { action = [options] { return index(*options); }; });
}

}  // namespace

int main_with(const Environment& environment, int argc, char** argv) {
  CLI::App app{"ponder: an agent runtime that thinks with tools, with its own inference engine",
               "ponder"};
  app.require_subcommand(1);
  app.formatter(std::make_shared<HelpFormat>(help_columns()));  // commands made below inherit it
  app.set_help_flag("-h,--help", "say what the command takes, and end");
  app.set_version_flag("--version", version_line(), "say the version, and end");
  Action action;
  add_agent_commands(app, environment, action);
  add_fix_command(app, environment, action);
  add_eval_command(app, environment, action);
  add_env_commands(app, environment, action);
  add_work_command(app, environment, action);
  add_session_commands(app, environment, action);
  add_context_commands(app, environment, action);
  add_engine_commands(app, environment, action);
  add_model_commands(app, action);
  add_tool_commands(app, environment, action);
  add_index_command(app, action);
  add_mcp_commands(app, environment, action);
  auto* doctor_command = app.add_subcommand("doctor", "what this machine has, and what is missing");
  auto doctor_json = std::make_shared<bool>(false);
  doctor_command->add_flag("--json", *doctor_json, "print JSON");
  doctor_command->callback(
      [&] { action = [&environment, doctor_json] { return doctor(environment, *doctor_json); }; });
  app.footer(kFooter);  // of the program alone: commands made before do not inherit it
  add_examples(app);
  refuse_negative_numbers(app);
  try {
    std::vector<std::string> words = arguments_of(argc, argv);
    std::ranges::reverse(words);  // as the library wants them
    app.parse(std::move(words));
  } catch (const CLI::ParseError& error) {
    return tell_parse_error(app, error);
  }
  std::error_code gone;
  (void)std::filesystem::current_path(gone);
  if (gone) {
    return complain(fmt::format("the working directory cannot be used ({}): change to another one",
                                gone.message()));
  }
  return status_with_output(action());
}

}  // namespace ponder::cli
