#include <fmt/core.h>

#include <csignal>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <string>
#include <system_error>

#include "base/json_problem.h"
#include "runtime/cli/app.h"

namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

/// Our folder in one of the user's, as the XDG base directory specification has them.
std::filesystem::path user_folder(const char* xdg_name, const char* below_home) {
  const std::filesystem::path xdg = variable(xdg_name);
  if (xdg.is_absolute()) return xdg / "ponder";
  const std::filesystem::path home = variable("HOME");
  return (home.empty() ? std::filesystem::path(".") : home / below_home) / "ponder";
}

ponder::cli::Environment read_environment() {
  ponder::cli::Environment environment;
  std::error_code unreadable;
  environment.executable = std::filesystem::read_symlink("/proc/self/exe", unreadable);
  environment.model = variable("PONDER_MODEL");
  environment.library = variable("PONDER_LIBRARY");
  environment.sessions = variable("PONDER_SESSIONS");
  environment.home = variable("HOME");
  environment.state_folder = user_folder("XDG_STATE_HOME", ".local/state");
  if (environment.sessions.empty()) environment.sessions = environment.state_folder / "sessions.db";
  environment.config = variable("PONDER_CONFIG");
  environment.is_config_named = !environment.config.empty();
  if (!environment.is_config_named)
    environment.config = user_folder("XDG_CONFIG_HOME", ".config") / "config.toml";
  environment.variable = [](const std::string& name) { return variable(name.c_str()); };
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
  } catch (const std::system_error& error) {
    // Who closed the pipe (head, a pager that was left) has seen enough.
    if (error.code() == std::errc::broken_pipe) return ponder::cli::kClosedPipeStatus;
    fmt::print(stderr, "ponder: error: {}\n", ponder::json_problem(error));
  } catch (const std::exception& error) {
    fmt::print(stderr, "ponder: error: {}\n", ponder::json_problem(error));
  } catch (...) {
    fmt::print(stderr, "ponder: error: an unknown exception\n");
  }
  return 1;
}
