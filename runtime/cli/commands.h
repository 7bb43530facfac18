#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace ponder::runtime {
class SessionStore;
struct SessionId;
}  // namespace ponder::runtime

/// The commands of the `ponder` program. Each takes its options as a plain struct, prints its
/// result to standard output and its complaints to standard error, and returns the exit status:
/// 0 done, 1 failed (one line says what and how to mend it), 2 wrong usage, 130 interrupted.
namespace ponder::cli {

/// What the program takes from its environment; read once, in main.
struct Environment {
  std::filesystem::path executable;
  std::string model;                   // PONDER_MODEL
  std::string library;                 // PONDER_LIBRARY
  std::filesystem::path state_folder;  // below XDG_STATE_HOME or HOME
  std::filesystem::path home;          // HOME
  std::filesystem::path config;        // PONDER_CONFIG, else below XDG_CONFIG_HOME or HOME
  bool is_config_named = false;        // by PONDER_CONFIG: then it has to be there
  std::string sessions;                // PONDER_SESSIONS, else in the state folder
  std::string lease;        // PONDER_LEASE: seconds that a shared session stays one program's
  std::string synchronous;  // PONDER_SYNCHRONOUS: full (default) or normal
  std::string isa;          // PONDER_ISA
  std::string api_key;      // PONDER_API_KEY, else OPENAI_API_KEY
  std::string prices;       // PONDER_PRICES: a price list (runtime/session/money.h)
  bool no_color = false;    // NO_COLOR
  /// Any other variable, by its name; empty where it is not set.
  std::function<std::string(const std::string& name)> variable;
};

/// Where completions come from, as several commands take it.
struct ModelOptions {
  std::string model;         // a directory, or http(s)://host/v1; empty: the shipped model
  std::string model_name;    // remote: the name to ask for
  bool is_patient = false;   // asks an endpoint that is away until the turn's deadline
  bool is_from_log = false;  // a session's log names the address: the API key is not sent there
  double temperature = 0.0;
  double top_p = 0.95;
  double repetition_penalty = 1.0;
  double frequency_penalty = 0.0;
  double presence_penalty = 0.0;
  std::uint64_t seed = 0;
  bool no_grammar = false;
  std::uint32_t num_threads = 0;
  std::string device = "cpu";                 // or cuda, auto
  std::string experts = "auto";               // or device, host
  std::string prompt_attention = "gathered";  // or expanded
  std::filesystem::path spill_dir;  // cache pages that memory has no room for; empty: nowhere
  std::uint32_t spill_gib_max = 16;
  std::uint32_t num_drafts = 0;
  std::string cache_dtype = "auto";     // or f32, bf16, fp8
  std::string index_keys = "floating";  // or int8, fp8
  std::string activations = "f32";      // or bf16
};

/// What to do when a session outgrows the model's window.
struct ContextLimits {
  std::string strategy = "auto";
  std::uint32_t limit_percent = 80;
};

/// What a session may cost, and what its model does.
struct MoneyOptions {
  std::string budget;            // an amount, for the whole session; empty: without a bound
  std::filesystem::path prices;  // a price list; empty: PONDER_PRICES
};

/// What a turn may take; what is not said is as the session has it, or by default.
struct BudgetOptions {
  std::optional<std::uint32_t> steps_max;
  std::optional<std::uint32_t> tokens_max;  // generated
  std::optional<std::int64_t> seconds_max;
};

/// The project of the workflow "code".
struct ProjectOptions {
  std::filesystem::path folder = ".";
  bool has_folder = false;   // --folder was given
  std::string test_command;  // run by sh
  std::string test_reports;  // JUnit files that it writes: a pattern in the folder
  std::string sandbox = "isolated";
  std::vector<std::filesystem::path> readable;  // for programs, beside the project
};

/// What `ponder fix` takes beside the project.
struct FixCommandOptions {
  std::string issue;                  // words, or a file with them
  std::vector<std::string> protects;  // globs of files that the agent may not change
  std::uint32_t repeats = 2;
};

/// What is added to the user's configuration of tools.
struct ToolsetFlags {
  std::filesystem::path config;  // empty: the user's
  std::vector<std::filesystem::path> tools;
  std::vector<std::string> grants;
  std::string web;               // PROVIDER or PROVIDER=PLACE
  std::vector<std::string> mcp;  // NAME=PLACE
};

struct RunOptions {
  ModelOptions model;
  ToolsetFlags toolset;
  ContextLimits context;
  MoneyOptions money;
  BudgetOptions budget;
  std::uint32_t agent_depth_max = 0;  // sub-agents
  std::string approve = "ask";        // or never, always
  std::string workflow;
  ProjectOptions project;
  FixCommandOptions fix;
  std::string request;
  std::optional<std::uint64_t> task_seed;  // a generated task instead of a request
  std::uint64_t world_seed = 1'000'000;    // a world that training never saw
  std::string size = "S";
  std::filesystem::path out;
  bool json = false;
  bool queued = false;  // for `ponder work` instead of this program
};

struct WorkOptions {
  ModelOptions model;
  ToolsetFlags toolset;
  std::string approve = "never";  // or always: nobody is there to be asked
  std::uint32_t concurrency_max = 8;
  bool is_draining = false;  // ends when the queue is empty
  bool json = false;
};

struct ChatOptions {
  ModelOptions model;
  ToolsetFlags toolset;
  ContextLimits context;
  MoneyOptions money;
  BudgetOptions budget;
  std::uint32_t agent_depth_max = 0;  // sub-agents
  std::string approve = "ask";        // or never, always
  std::string workflow = "travel";
  bool is_workflow_named = false;  // --workflow was given
  ProjectOptions project;
  std::string session;                   // goes on with this one; empty: a new one
  std::uint64_t world_seed = 1'000'000;  // a world that training never saw
  std::string size = "S";
  bool json = false;
};

struct SessionsOptions {
  // list, show, export, import, resume, queue, fork, diff, replay, doctor
  std::string action;
  std::string id;                  // import: a file, or -
  std::string other_id;            // diff
  std::string format = "lines";    // export: lines, atif or markdown
  bool as_new = false;             // import: under a new id
  std::optional<std::int64_t> at;  // fork: the last event that is shared; none: the last there is
  bool mends = false;              // doctor
  ModelOptions model;
  ToolsetFlags toolset;         // resume
  MoneyOptions money;           // resume
  ProjectOptions project;       // resume: instead of what the log says
  std::filesystem::path out;    // resume: the same
  BudgetOptions budget;         // resume
  std::string approve = "ask";  // resume
  bool json = false;
};

struct ContextOptions {
  std::string id;
  std::filesystem::path tokenizer;  // a tokenizer.json; empty: of the session's model
  bool json = false;
};

struct EvalOptions {
  ModelOptions model;
  std::string workflow;
  std::uint32_t count = 200;
  std::uint64_t seed = 1'000'000;
  bool json = false;
  bool verbose = false;
  std::uint32_t concurrency_max = 8;
  std::string kind;                  // of tasks; empty: any
  std::filesystem::path tasks;       // fix: a folder of tasks
  std::string language;              // codefix: a kind in two parts; empty: any
  std::string bug_class;             // codefix
  std::filesystem::path export_dir;  // where tasks are projects: write them here instead
  ProjectOptions project;            // where tasks are projects: the sandbox
};

struct BenchOptions {
  ModelOptions model;
  std::uint32_t tokens_prompt = 1024;
  std::uint32_t tokens_generated = 256;
  std::uint32_t repeats = 5;
  bool same_prompt = false;  // only the first run, which is not counted, computes it
  bool json = false;
};

struct LoopOptions {
  ModelOptions model;
  std::uint32_t steps = 30;
  std::uint32_t tokens_system = 1500;
  std::uint32_t tokens_answer = 40;
  std::uint32_t tokens_result = 100;
  std::uint32_t tokens_user = 30;
  std::uint32_t repeats = 5;
  bool json = false;
};

/// `ponder mcp list|approve`.
struct McpPinsOptions {
  std::string server;              // approve; list: empty for all
  std::vector<std::string> tools;  // approve; empty: all that wait
  bool json = false;
};

/// `ponder mcp try`.
struct McpTryOptions {
  std::vector<std::string> command;  // or
  std::string url;
  std::string token_variable;  // names the environment variable that holds a bearer token
  std::string era = "auto";
  std::string tool;  // to call; empty: shows what there is
  std::string arguments = "{}";
  std::uint32_t seconds_max = 60;
  bool json = false;
};

struct LogitsOptions {
  ModelOptions model;  // the directory, and how it is computed
  bool trace = false;
};

struct RandomModelOptions {
  std::filesystem::path config;
  std::filesystem::path out;
  std::string dtype = "f32";
  std::uint32_t num_layers = 0;     // 0: as the config says
  std::vector<std::string> values;  // "key=value": replaces a key of the config
};

struct InspectOptions {
  std::filesystem::path dir;
  std::uint64_t context_tokens = 0;     // 0: as many as the model knows positions
  std::string cache_dtype = "auto";     // or f32, bf16, fp8
  std::string index_keys = "floating";  // or int8, fp8
  std::uint32_t num_drafts = 0;         // more than 0: with the MTP layer
  double memory_gb = 0;                 // of a machine that may not be this one; 0: this one's
  double gpu_memory_gb = 0;             // of a GPU that may not be here; 0: this machine's
  std::string experts = "auto";         // or device, host
  std::string prompt_attention = "gathered";  // or expanded
  bool json = false;
};

struct ConvertOptions {
  std::filesystem::path in;
  std::filesystem::path out;
  std::string to;
};

struct IndexCommand {
  std::filesystem::path folder;
  std::filesystem::path out;  // empty: in the folder
  std::string find;           // words to look up afterwards
  bool json = false;
};

int run(const Environment& environment, const RunOptions& options);
/// `run` with the workflow "fix".
int fix(const Environment& environment, RunOptions options);
int chat(const Environment& environment, const ChatOptions& options);
/// 0: it was stopped, or the queue is empty.
int work(const Environment& environment, const WorkOptions& options);
int sessions(const Environment& environment, const SessionsOptions& options);
/// 0: nothing is wrong that could be mended or that stops a session.
int sessions_doctor(const Environment& environment, const SessionsOptions& options);
int export_session(const runtime::SessionStore& store, const runtime::SessionId& id,
                   const std::string& format);
int import_session(runtime::SessionStore& store, const SessionsOptions& options);
/// 0: no difference.
int diff_sessions(const runtime::SessionStore& store, const runtime::SessionId& id,
                  const SessionsOptions& options);
/// 0: what could be sampled again was, id for id.
int replay_session(const Environment& environment, const runtime::SessionStore& store,
                   const runtime::SessionId& id, const SessionsOptions& options);
int explain_context(const Environment& environment, const ContextOptions& options);
int eval(const Environment& environment, const EvalOptions& options);
int list_mcp_pins(const Environment& environment, const McpPinsOptions& options);
int approve_mcp_pins(const Environment& environment, const McpPinsOptions& options);
/// 0: the server was reached, and the call, if there was one, did not fail.
int try_mcp_server(const Environment& environment, const McpTryOptions& options);
int verify(const Environment& environment, const std::filesystem::path& dir, bool json);
int index(const IndexCommand& command);
int doctor(const Environment& environment, bool json);
int bench_engine(const Environment& environment, const BenchOptions& options);
int bench_loop(const Environment& environment, const LoopOptions& options);

/// JSON lines from standard input, JSON lines to standard output.
int encode_lines(const std::string& format);
int parse_lines(bool strict);
/// `{"text"}`, or `{"bytes_b64"}` for text that is not UTF-8, to `{"ids"}`; with `decode` the other
/// way. Special tokens spelled in the text are matched unless `"match_added_tokens"` is false.
int tokenize_lines(const std::filesystem::path& tokenizer_json, bool decode);
int logits_lines(const Environment& environment, const LogitsOptions& options);

int random_model(const RandomModelOptions& options);
int inspect_model(const InspectOptions& options);
int convert_model(const ConvertOptions& options);

/// Prints "ponder: error: message" and returns 1.
int complain(const std::string& message);

}  // namespace ponder::cli
