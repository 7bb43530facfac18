#include <fmt/core.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string_view>
#include <thread>

#include "engine/checkpoint.h"
#include "engine/config.h"
#include "engine/device_memory.h"
#include "engine/machine.h"
#include "engine/model_report.h"
#include "engine/tokenizer.h"
#include "kernels/cuda_library.h"
#include "kernels/dispatch.h"
#include "runtime/cli/commands.h"
#include "runtime/cli/compose.h"
#include "runtime/cli/terminal.h"
#include "runtime/cli/version.h"
#include "runtime/data_dir.h"
#include "runtime/store/postgres_session_store.h"
#include "tools/process/sandbox_support.h"

/// What this machine has, what is missing, and how to get it.
namespace ponder::cli {
namespace {

/// One line of the report. `remedy` is empty when nothing is missing.
struct Finding {
  enum class State { ok, absent, broken };
  State state;
  std::string name;
  std::string detail;
  std::string remedy;
};

Finding ok(std::string name, std::string detail) {
  return {Finding::State::ok, std::move(name), std::move(detail), ""};
}

/// The value of the first line of `file` that begins with `key`, as /proc writes it.
std::string proc_value(const char* file, const std::string& key) {
  std::ifstream in(file);
  std::string line;
  while (std::getline(in, line)) {
    if (line.rfind(key, 0) != 0) continue;
    const auto value = line.find_first_not_of(" \t:", key.size());
    return value == std::string::npos ? "" : line.substr(value);
  }
  return "unknown";
}

Finding check_kernels(const Environment& environment) {
  std::string rows;
  for (const auto* row : kernels::runnable_tables()) rows += fmt::format(" {}", row->name);
  if (kernels::select(environment.isa.c_str()) == nullptr)
    return {Finding::State::broken, "kernels",
            fmt::format("PONDER_ISA={} cannot run here; available:{}", environment.isa, rows),
            "unset PONDER_ISA or name an available row"};
  return ok("kernels", fmt::format("{} (available:{})", kernels::active().name, rows));
}

/// The toolkit that the program was built with, the driver, the devices, and if none of them is
/// used the reason.
Finding check_gpu() {
  const kernels::CudaDriver driver = kernels::find_cuda_driver();
  const std::string version =
      driver.is_present ? fmt::format("{}.{}", driver.version / 1000, driver.version % 1000 / 10)
                        : std::string("none");
  const std::string found =
      fmt::format("toolkit at build {}, driver {}", kernels::cuda_toolkit(), version);
  const kernels::CudaLibrary library = kernels::load_cuda_library();
  if (library.table == nullptr) {
    return {Finding::State::absent, "gpu",
            fmt::format("{}; the engine computes on the CPU: {}", found, library.reason), ""};
  }
  const auto chosen = engine::find_device(*library.table);
  if (!chosen) return {Finding::State::broken, "gpu", chosen.error().message, ""};
  return ok(
      "gpu",
      fmt::format("{}; --device cuda takes {}; ponder model inspect says what of a model it holds",
                  found, chosen->description()));
}

Finding check_sandbox() {
  const tools::SandboxSupport& support = tools::sandbox_support();
  const std::string detail = fmt::format("{}", fmt::join(tools::describe(support), "; "));
  if (tools::check_support(support, tools::Isolation::isolated)) return ok("sandbox", detail);
  return {Finding::State::absent, "sandbox", detail, ""};
}

Finding check_library(const Environment& environment) {
  const auto library = runtime::find_library({"", environment.library, environment.executable});
  if (!library)
    return {Finding::State::broken, "library", library.error().message,
            "set PONDER_LIBRARY to the folder that holds travel.lua"};
  return ok("library", library->string());
}

Finding check_model(const Environment& environment) {
  const auto broken = [](const std::string& what) {
    return Finding{Finding::State::broken, "model", what,
                   "pass --model DIR, set PONDER_MODEL, or train one: scripts/train/README.md"};
  };
  if (environment.model.find("://") != std::string::npos)
    return ok("model", environment.model + " (endpoint; not asked)");
  const auto dir = runtime::find_model({"", environment.model, environment.executable});
  if (!dir) return broken(dir.error().message);
  const auto config = engine::load_config(*dir);
  if (!config) return broken(config.error().message);
  const auto tokenizer = engine::Tokenizer::load(*dir / "tokenizer.json");
  if (!tokenizer) return broken(tokenizer.error().message);
  const auto checkpoint = engine::Checkpoint::open(*dir);
  if (!checkpoint) return broken(checkpoint.error().message);
  return ok("model", fmt::format("{} ({} layers, hidden {}, {} tensors, vocabulary {})",
                                 dir->string(), config->num_hidden_layers, config->hidden_size,
                                 checkpoint->tensors().size(), tokenizer->vocab_size()));
}

/// What `ponder fix` takes where no model is named.
Finding check_code_model(const Environment& environment) {
  const auto dir = runtime::find_model({"", "", environment.executable}, "mini-code");
  const auto config = dir ? engine::load_config(*dir)
                          : Result<engine::ModelConfig>(tl::unexpected<Error>(dir.error()));
  if (!config) {
    return {Finding::State::absent, "mini-code", config.error().message,
            "pass --model to ponder fix, or train one: scripts/train/README.md"};
  }
  return ok("mini-code", dir->string());
}

/// Programs that some tools run, in the places where a sandbox looks for them.
Finding check_programs() {
  std::string found;
  bool has_git = false;
  for (const char* name : {"git", "python3", "pdftotext"}) {
    std::string place = "none";
    for (const char* folder : {"/usr/local/bin/", "/usr/bin/", "/bin/"}) {
      const std::string file = std::string(folder) + name;
      if (place == "none" && access(file.c_str(), X_OK) == 0) place = file;
    }
    if (place != "none" && std::string_view(name) == "git") has_git = true;
    found += fmt::format("{}{} {}", found.empty() ? "" : ", ", name, place);
  }
  if (has_git) return ok("programs", found);
  return {Finding::State::absent, "programs", found, "ponder fix and git_diff need git"};
}

Finding check_sessions(const Environment& environment) {
  const auto store = open_store(environment);
  if (!store)
    return {Finding::State::broken, "sessions", store.error().message,
            "set PONDER_SESSIONS to a file that can be written"};
  const std::string& where = environment.sessions;
  const bool is_postgres = runtime::is_postgres_address(where);
  return ok("sessions", is_postgres ? runtime::shown_postgres_address(where) : where);
}

Finding check_postgres() {
  const std::string version = runtime::postgres_library();
  if (version.empty())
    return {Finding::State::absent, "postgres", "not built in: sessions lie in SQLite files", ""};
  return ok("postgres", fmt::format("libpq {}: programs can share sessions", version));
}

const char* state_name(Finding::State state) {
  switch (state) {
    case Finding::State::ok:
      return "ok";
    case Finding::State::absent:
      return "-";
    case Finding::State::broken:
      return "MISSING";
  }
  return "";
}

void print_json(const std::vector<Finding>& findings) {
  nlohmann::json report = nlohmann::json::array();
  for (const auto& finding : findings)
    report.push_back({{"state", state_name(finding.state)},
                      {"name", finding.name},
                      {"detail", finding.detail},
                      {"remedy", finding.remedy}});
  fmt::print("{}\n", report.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace

int doctor(const Environment& environment, bool json) {
  std::vector<Finding> findings;
  findings.push_back(ok("ponder", version_line()));
  findings.push_back(ok(
      "cpu",
      fmt::format("{}, {} cores, avx2 {}, avx512 {}", proc_value("/proc/cpuinfo", "model name"),
                  std::thread::hardware_concurrency(), kernels::cpu_features().avx2 ? "yes" : "no",
                  kernels::cpu_features().avx512 ? "yes" : "no")));
  findings.push_back(check_kernels(environment));
  const engine::MachineMemory memory = engine::machine_memory();
  findings.push_back(
      ok("memory", fmt::format("{} available of {}", engine::bytes_text(memory.available),
                               engine::bytes_text(memory.total))));
  findings.push_back(check_gpu());
  findings.push_back(check_sandbox());
  findings.push_back(check_library(environment));
  findings.push_back(check_model(environment));
  if (environment.model.empty()) findings.push_back(check_code_model(environment));
  findings.push_back(check_programs());
  findings.push_back(check_sessions(environment));
  findings.push_back(check_postgres());

  bool is_broken = false;
  for (const auto& finding : findings) is_broken |= finding.state == Finding::State::broken;
  if (json) {
    print_json(findings);
    return is_broken ? 1 : 0;
  }
  for (const auto& finding : findings) {
    fmt::print("{:<8} {:<9} {}\n", state_name(finding.state), finding.name,
               printable(finding.detail));
    if (!finding.remedy.empty()) fmt::print("{:<8} {:<9} remedy: {}\n", "", "", finding.remedy);
  }
  fmt::print("{}\n",
             is_broken ? "something is missing (above)" : "everything that ponder needs is here");
  return is_broken ? 1 : 0;
}

}  // namespace ponder::cli
