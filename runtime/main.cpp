#include <fmt/core.h>

#include <csignal>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <string>

#include "runtime/cli/app.h"

namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

/// What outlives a run and is nobody else's: sessions without PONDER_SESSIONS, approvals.
std::string state_folder() {
  const std::string state = variable("XDG_STATE_HOME");
  if (!state.empty()) return state + "/ponder";
  const std::string home = variable("HOME");
  return (home.empty() ? std::string(".") : home + "/.local/state") + "/ponder";
}

ponder::cli::Environment read_environment() {
  ponder::cli::Environment environment;
  std::error_code unreadable;
  environment.executable = std::filesystem::read_symlink("/proc/self/exe", unreadable);
  environment.model = variable("PONDER_MODEL");
  environment.library = variable("PONDER_LIBRARY");
  environment.sessions = variable("PONDER_SESSIONS");
  environment.state_folder = state_folder();
  if (environment.sessions.empty()) {
    environment.sessions = (environment.state_folder / "sessions.db").string();
  }
  environment.path = variable("PATH");
  environment.home = variable("HOME");
  environment.lease = variable("PONDER_LEASE");
  environment.synchronous = variable("PONDER_SYNCHRONOUS");
  environment.isa = variable("PONDER_ISA");
  environment.api_key = variable("PONDER_API_KEY");
  if (environment.api_key.empty()) environment.api_key = variable("OPENAI_API_KEY");
  environment.prices = variable("PONDER_PRICES");
  environment.no_color = !variable("NO_COLOR").empty();
  return environment;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // a closed pipe shows as a failed write
  try {
    return ponder::cli::main_with(read_environment(), argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "ponder: error: {}\n", error.what());
  } catch (...) {
    fmt::print(stderr, "ponder: error: an unknown exception\n");
  }
  return 1;
}
